"""What a drill decides before it restores anything, and what it makes of an error."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from flows.core.drill import (
    DefinitionFinding,
    check_apart,
    choose_backup,
    concerns_backup,
    finding_of,
    for_store,
    scratch_rename,
)
from flows.core.drill_checks import NewestCheck
from flows.core.drill_report import limit_findings
from flows.core.errors import (
    BackupNotFound,
    DefinitionsDiffer,
    IntegrityError,
    Refused,
    RestoreIncomplete,
    TargetUnavailable,
)
from flows.core.evidence import Finding
from flows.core.names import Namespace
from flows.core.source import SourceIdentity
from tests.support.samples import collection, entry, manifest, segment

DAY = date(2026, 3, 6)
BACKUPS = [f"2026-03-{day:02d}T04-00-00Z" for day in range(1, 8)]
NOON = datetime(2026, 3, 6, 12, tzinfo=UTC)


def choose(rule: str, *, backups: list[str] = BACKUPS, day: date = DAY, **drilled: datetime) -> str:
    found = {backups[int(name[1:])]: moment for name, moment in drilled.items()}
    return choose_backup(rule, backups, plan="mpg", day=day, drilled=found)[0]


def test_newest_oldest_and_an_id() -> None:
    assert choose("newest") == choose("latest") == BACKUPS[-1]
    assert choose("oldest") == BACKUPS[0]
    assert choose_backup("2025-01-01T04-00-00Z", BACKUPS, plan="mpg", day=DAY, drilled={}) == (
        "2025-01-01T04-00-00Z",
        "named",
    )


def test_random_is_the_same_all_day_and_gets_around() -> None:
    assert len({choose("random") for _ in range(10)}) == 1
    assert {choose("random", day=DAY + timedelta(days=days)) for days in range(200)} == set(BACKUPS)
    # A backup that goes changes the choice only where it was the choice.
    taken = choose("random")
    for gone in BACKUPS:
        left = [backup for backup in BACKUPS if backup != gone]
        assert (choose("random", backups=left) == taken) == (gone != taken)


def test_in_turn_takes_what_was_never_drilled_then_what_was_drilled_longest_ago() -> None:
    ages = {f"b{i}": NOON - timedelta(days=i) for i in range(7)}
    assert choose("in-turn") == BACKUPS[0]
    assert choose("in-turn", b0=NOON, b1=NOON) == BACKUPS[2]
    assert choose("in-turn", **ages) == BACKUPS[6]
    assert choose("in-turn", **(ages | {"b6": NOON})) == BACKUPS[5]


def test_no_backup() -> None:
    with pytest.raises(BackupNotFound, match="there is no backup of this plan to drill"):
        choose("random", backups=[])


def server(name: str | None, identifier: str | None) -> SourceIdentity:
    return SourceIdentity("6.0.5", "replica set" if name else "standalone", name, identifier)


@pytest.mark.parametrize(
    ("source", "target", "refused"),
    [
        (server("rs0", "a"), server("rs0", "a"), "the very MongoDB"),
        (server("rs0", "a"), server("renamed", "a"), "the very MongoDB"),
        (server("rs0", "a"), server("rs0", "b"), ""),
        (server("rs0", None), server("rs1", "b"), ""),
        (server("rs0", "a"), server("rs1", None), ""),
        (server("rs0", None), server("rs0", "b"), "nothing proves"),
        (server("rs0", "a"), server("rs0", None), "nothing proves"),
        (server("rs0", None), server("rs0", None), "nothing proves"),
        (server("rs0", "a"), server(None, None), ""),
        (server(None, None), server(None, None), "nothing proves"),
        (server(None, None), server("rs0", "b"), "nothing proves"),
    ],
)
def test_what_is_or_may_be_the_source_is_refused(source: SourceIdentity, target: SourceIdentity, refused: str) -> None:
    if refused:
        with pytest.raises(Refused, match=refused):
            check_apart(source, target)
    else:
        check_apart(source, target)
        with pytest.raises(Refused, match=r"the very MongoDB .*collection_with_the_same_uuid='mpg\.invoices'"):
            check_apart(source, target, shared=["mpg.invoices"])


def test_databases_get_names_that_fit() -> None:
    long = "d" * 50
    infos = [collection(name) for name in ("mpg.a", "mpg.b", f"{long}.c", "admin.d")]
    made = manifest(infos, [segment(0, *(entry(info, b"") for info in infos))])
    assert scratch_rename(made, "drill_0123456789ab") == {
        "admin": "drill_0123456789ab_admin",
        "mpg": "drill_0123456789ab_mpg",
        long: "drill_0123456789ab_1",
    }


def test_an_error_becomes_a_finding() -> None:
    facts: dict[str, Any] = {"segment": "segment-00000", "namespace": "mpg.a", "offset": 7, "expected": 1, "got": 2}
    error = RestoreIncomplete("the restore stopped: it is wrong; the target has …", **facts)
    error.__cause__ = IntegrityError("it is wrong", **facts)
    expected = Finding("it is wrong", "b", "segment-00000", "mpg.a", 7, "1", "2")
    assert finding_of(error, "b") == finding_of(error.__cause__, "b") == expected
    assert concerns_backup(error)
    assert not concerns_backup(TargetUnavailable("gone"))


def test_a_date_that_python_does_not_have_is_judged_too() -> None:
    check = NewestCheck("n", Namespace("mpg", "a"), 1, b"", "at", timedelta(hours=1))
    assert check.judge(-(2**62), taken=NOON, now=NOON)[0] is False
    assert check.judge(2**62, taken=NOON, now=NOON)[0] is True
    hour = 3_600_000
    exact = int(NOON.timestamp() * 1000) - hour
    assert check.judge(exact, taken=NOON, now=NOON)[0] is False
    assert check.judge(exact + 1, taken=NOON, now=NOON)[0] is True


def test_a_limit_that_is_just_kept_is_kept() -> None:
    limits = {"rto_limit_minutes": 1.0, "rpo_limit_hours": 1.0}
    assert limit_findings(rto_seconds=60, rpo_seconds=3600, **limits) == []
    assert len(limit_findings(rto_seconds=60.1, rpo_seconds=3600.1, **limits)) == 2
    assert limit_findings(rto_seconds=None, rpo_seconds=None, **limits) == []


def test_what_an_encrypted_backup_hides_is_not_told_in_the_store() -> None:
    secret = '{"$jsonSchema": {"name": "Anna Meier"}}'
    error = DefinitionsDiffer("other options", segment="segment-00000", namespace="mpg.a", expected=secret, got="{}")
    found = [
        finding_of(error, "b"),
        DefinitionFinding("index 'Anna Meier' differs", namespace="mpg.a", expected=secret, got="nothing"),
        Finding("another number of documents", namespace="mpg.a", expected="2", got="1"),
    ]
    assert found[0] == DefinitionFinding("other options", "b", "segment-00000", "mpg.a", None, secret, "{}")
    assert concerns_backup(error)
    assert for_store(found, encrypted=False) == found
    kept = for_store(found, encrypted=True)
    assert "Anna Meier" not in str(kept)
    assert [(item.namespace, item.key) for item in kept] == [("mpg.a", "segment-00000"), ("mpg.a", ""), ("mpg.a", "")]
    assert kept[2] == found[2]
