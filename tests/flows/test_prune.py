"""The prune flow: the plan as a table with reasons, and what it then removes."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from prefect.utilities.callables import parameter_schema

from flows.backup import backup
from flows.core.errors import Refused
from flows.core.retention import RetentionPolicy
from flows.prune import prune
from flows.tasks.settings import Retention
from tests.flows.conftest import Repo
from tests.support.flow_runs import run_flow, table
from tests.support.repositories import backup_at, plant

NIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAILY_14 = {"days": 0, "at_least": 1, "daily": 14, "monthly": 1, "time_zone": "Europe/Berlin"}


@pytest.fixture
def nights(repo: Repo) -> list[str]:
    """Thirty nightly backups in the store of the test, newest first: ids."""
    made = [dataclasses.replace(backup_at(NIGHT - timedelta(days=i), segments=1), plan="default") for i in range(30)]
    plant(repo.block.open(), *made)
    return [one.backup for one in made]


def test_a_dry_run_shows_the_plan_and_a_run_does_what_it_showed(nights: list[str], repo: Repo) -> None:
    before = repo.files
    shown = run_flow(prune, retention=DAILY_14)  # as from the form: a dry run unless it is turned off
    assert repo.files == before
    rows = table(shown.id)
    assert list(rows[0]) == ["backup", "age", "stored", "decision", "reason"]
    assert {row["backup"] for row in rows} == set(nights)
    gone = [row for row in rows if row["decision"] == "would be removed"]
    # What would go is on top.
    assert rows[: len(gone)] == gone
    assert [row["backup"] for row in gone] == nights[14:]
    newest = next(row for row in rows if row["backup"] == nights[0])
    assert newest["decision"] == "kept"
    assert newest["stored"] == "6 B"
    assert newest["reason"].split("; ")[0].startswith("newest of the day ")
    assert newest["reason"].endswith("one of the newest 1, which are never removed")
    assert gone[0]["age"].startswith("14 d ")
    assert "is before the newest 14 with a backup; the month " in gone[0]["reason"]

    done = run_flow(prune, retention=DAILY_14, dry_run=False)
    assert repo.repository.backup_ids() == nights[13::-1]
    assert [(row["backup"], row["reason"]) for row in table(done.id)] == [
        (row["backup"], row["reason"]) for row in rows
    ]
    assert {row["decision"] for row in table(done.id)} == {"removed", "kept"}
    assert done.value.plan.remove == tuple(nights[:13:-1])


def test_a_backup_prunes_by_the_rules_that_it_is_given(nights: list[str], invoices: str, repo: Repo) -> None:
    run = run_flow(backup, databases=[invoices], retention={"days": 0, "last": 3, "at_least": 1})
    assert repo.repository.backup_ids() == [nights[1], nights[0], run.value.backup]
    assert run.value.stores[0].pruned == tuple(nights[:1:-1])
    assert [row["decision"] for row in table(run.id)] == ["removed"] * 28 + ["kept"] * 3


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_unreadable_manifest_is_told_and_nothing_goes(nights: list[str], repo: Repo, dry_run: bool) -> None:
    (repo.folder / "default" / "backups" / nights[20] / "manifest.json").write_text("{}")
    before = repo.files
    run = run_flow(prune, retention={"days": 7}, dry_run=dry_run)
    assert isinstance(run.error, Refused)
    assert str(run.error).startswith(
        f"a manifest in this repository cannot be read, so nothing is pruned (plan='default', backups=['{nights[20]}'])"
    )
    assert repo.files == before
    if dry_run:
        reasons = {row["backup"]: row["reason"] for row in table(run.id)}
        assert reasons[nights[20]].startswith("its manifest cannot be read: a field is missing")
        assert reasons[nights[25]].endswith("; stays while a manifest of this plan cannot be read")


def test_a_long_table_is_cut_and_says_so(repo: Repo) -> None:
    made = [dataclasses.replace(backup_at(NIGHT - timedelta(hours=i), segments=1), plan="default") for i in range(520)]
    plant(repo.block.open(), *made)
    rows = table(run_flow(prune, retention={"days": 0, "last": 10}).id)
    assert len(rows) == 501
    assert rows[-1]["backup"] == "… and 20 more: 10 would be removed, 10 kept"


def test_the_form_explains_every_rule() -> None:
    schema = parameter_schema(prune).model_dump()
    fields = schema["definitions"]["Retention"]["properties"]
    assert fields.keys() == Retention.model_fields.keys()
    assert fields.keys() - {"garbage_after_hours"} == {field.name for field in dataclasses.fields(RetentionPolicy)}
    for field in fields.values():
        assert field["title"]
        assert field["description"].endswith(".")
    off = {name for name, field in fields.items() if field["default"] == 0}
    assert off == {"last", "hourly", "daily", "weekly", "monthly", "yearly"}
    # What is not given is as in the operators' guide: seven days.
    assert Retention().policy() == RetentionPolicy(days=7, at_least=3)
