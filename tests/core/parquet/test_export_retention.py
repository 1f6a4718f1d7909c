"""Retention of exports: which exports and partitions stay, why, and what the next version of the data set is."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from flows.core.errors import ConfigurationError
from flows.core.names import Namespace
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.erasure_report import Kept, Removal
from flows.core.parquet.export_retention import ExportPolicy, PrunedExports, decision_rows, plan_exports, pruned_page
from flows.core.parquet.partition_times import partition_end
from flows.core.parquet.partitions import NO_DATE
from flows.core.parquet.records import ExportKind, ExportRecord
from tests.core.parquet.test_dataset import dataset, file, record

NOW = datetime(2026, 3, 6, 4, tzinfo=UTC)


def export(days: int, since: int | None = None, partitions: tuple[str, ...] = ("",)) -> ExportRecord:
    """An export whose data is so many days old."""
    at = NOW - timedelta(days=days)
    name = f"{at:%Y-%m-%dT%H-%M-%SZ}"
    kind = ExportKind.FULL if since is None else ExportKind.CHANGES
    found = record(name, kind, "" if since is None else f"{NOW - timedelta(days=since):%Y-%m-%dT%H-%M-%SZ}")
    files = tuple(
        dataclasses.replace(
            file(name, f"{partition}/part.parquet" if partition else "part.parquet"), partition=partition
        )
        for partition in partitions
    )
    item = dataclasses.replace(found.namespaces[0], files=files)
    return dataclasses.replace(found, data_time=at, namespaces=(item,))


def decided(given: Dataset, policy: ExportPolicy) -> tuple[dict[tuple[str, str], str], Dataset]:
    plan = plan_exports(given, policy, now=NOW)
    plan.after.check()
    found = {
        (one.export[:10], one.partition): ("kept: " if one.keep else "goes: ") + "; ".join(one.reasons)
        for one in plan.decisions
    }
    assert len(found) == len(plan.decisions)
    return found, plan.after


def test_exports_go_by_the_age_of_their_data() -> None:
    given = dataset(export(400), export(300), export(10), export(0))
    found, after = decided(given, ExportPolicy(export_days=300))
    assert found == {
        ("2026-03-06", ""): "kept: younger than 300 days; one of the newest 1, which are never removed",
        ("2026-02-24", ""): "kept: younger than 300 days",
        ("2025-05-10", ""): "goes: older than 300 days; not one of the newest 1",
        ("2025-01-30", ""): "goes: older than 300 days; not one of the newest 1",
    }
    assert [one.export[:10] for one in after.exports] == ["2026-02-24", "2026-03-06"]
    assert (after.version, after.by, after.written) == (2, "prune", NOW)


def test_the_newest_exports_are_never_removed() -> None:
    given = dataset(export(900), export(800), export(-5))
    found, after = decided(given, ExportPolicy(export_days=10, at_least=1))
    # One of the future takes no place of a good one.
    assert found["2026-03-11", ""] == "kept: its data is of the future: a clock may be wrong"
    assert found["2023-12-27", ""] == "kept: one of the newest 1, which are never removed"
    assert len(after.exports) == 2
    assert decided(given, ExportPolicy(export_days=10, at_least=2))[1] is given
    months = dataset(export(0, partitions=("month=2001-01",)))
    assert decided(months, ExportPolicy(export_days=10))[0]["2026-03-06", "month=2001-01"] == (
        "kept: no rule is for partitions"
    )


def test_an_export_stays_while_changes_follow_it() -> None:
    given = dataset(export(500), export(400), export(300, since=400), export(5, since=300))
    found, after = decided(given, ExportPolicy(export_days=30))
    assert found["2025-05-10", ""] == "kept: the changes of 2026-03-01T04-00-00Z follow it"
    assert found["2025-01-30", ""] == "kept: the changes of 2025-05-10T04-00-00Z follow it"
    assert found["2024-10-22", ""].startswith("goes: ")
    assert len(after.exports) == 3


def test_partitions_go_when_their_time_is_over_for_long_enough() -> None:
    months = ("month=2016-01", "month=2016-03", "month=2026-03", "month=2027-01", f"month={NO_DATE}")
    given = dataset(export(1, partitions=months), export(0, partitions=("", "year=2015", "day=2016-03-07")))
    found, after = decided(given, ExportPolicy(partition_days=3652))
    assert {name: text for name, text in found.items() if name[1]} == {
        ("2026-03-06", "year=2015"): "goes: its time is over for 3652 days",
        ("2026-03-06", "day=2016-03-07"): "kept: its time is over less than 3652 days",
        ("2026-03-05", "month=2016-01"): "goes: its time is over for 3652 days",
        ("2026-03-05", "month=2016-03"): "kept: its time is over less than 3652 days",
        ("2026-03-05", "month=2026-03"): "kept: its time is not over",
        ("2026-03-05", "month=2027-01"): "kept: its time is not over",
        ("2026-03-05", f"month={NO_DATE}"): (
            "kept: its rows have no date that a partition could have: it goes with its export"
        ),
    }
    assert [one.partition for one in after.files] == ["month=2016-03", *months[2:], "", "day=2016-03-07"]
    assert after.exports[0].named(Namespace("mpg", "invoices")) is not None


@pytest.mark.parametrize(
    ("partition", "end"),
    [
        ("year=2016", datetime(2017, 1, 1)),
        ("month=2016-12", datetime(2017, 1, 1)),
        ("month=2016-02", datetime(2016, 3, 1)),
        ("day=2016-02-28", datetime(2016, 2, 29)),
        ("year=9999", None),
        ("day=9999-12-31", None),
        ("month=2016-13", None),
        ("day=2015-02-29", None),
        (f"month={NO_DATE}", None),
        ("", None),
        ("hour=1", None),
    ],
)
def test_the_end_of_a_partition(partition: str, end: datetime | None) -> None:
    assert partition_end(partition) == (end and end.replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "a retention of exports without any rule removes nothing"),
        ({"export_days": -1}, "retention of exports in days is out of range (rule='export_days', got=-1)"),
        ({"partition_days": 36_501}, "(rule='partition_days', got=36501)"),
        ({"export_days": 1, "at_least": 0}, "a retention that may remove the last export is refused (got=0)"),
    ],
)
def test_rules_that_make_no_sense_are_refused(fields: dict[str, int], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ExportPolicy(**fields)
    assert text in str(caught.value)


def test_the_page_says_what_goes_and_what_lives_on() -> None:
    given = dataset(export(400), export(0))
    plan = plan_exports(given, ExportPolicy(export_days=300), now=NOW)
    dry = PrunedExports("mpg", "s3://b", 1, 1, plan.decisions, Removal(), dry_run=True)
    rows = decision_rows(dry)
    assert [row["decision"] for row in rows] == ["would be removed", "kept"]
    assert rows[0]["reason"] == "older than 300 days; not one of the newest 1"
    assert "1 file, 1000 B, would be removed: this is a dry run." in pruned_page(dry)
    assert "… and 100 more." in pruned_page(dataclasses.replace(dry, decisions=plan.decisions * 300))
    kept = Removal(0, (Kept("a/b.parquet", "locked", NOW),))
    page = pruned_page(dataclasses.replace(dry, version_after=2, removal=kept, dry_run=False))
    assert "were removed, with all versions." in page
    assert "Version 1 of the data set in s3://b, now 2." in page
    assert "| a/b.parquet | locked | 2026-03-06 04:00 UTC |" in page
