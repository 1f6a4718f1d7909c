"""What a watch calls late, missing or damaged, from what is in the store alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flows.core.errors import ConfigurationError, StoreUnavailable
from flows.core.evidence import Finding
from flows.core.keys import backup_id
from flows.core.results import Standing
from flows.core.watch import Attempt, Drills, Kind, Limits, Severity, Sighting
from flows.core.watch_judge import failed_drill, unreadable_store
from tests.support.watches import DAY, HOUR, NOW, contents, judged, kinds, seen, sighting

MINUTE = timedelta(minutes=1)
NEWEST = backup_id(NOW - 12 * HOUR)


def test_all_is_well_with_what_was_backed_up_verified_and_drilled_lately() -> None:
    watched = judged(sighting())
    assert watched.facts == ()
    assert (watched.listed, watched.good, watched.newest) == (2, 2, NEWEST)
    assert watched.taken == NOW - 12 * HOUR
    assert watched.attempted == watched.taken
    assert (watched.verified, watched.drilled) == (NOW - 4 * HOUR, NOW - 9 * DAY)
    assert (watched.stored_bytes, watched.bson_bytes, watched.documents) == (1000, 4000, 500)


def test_no_backup_at_all_is_one_fact_and_not_three() -> None:
    (fact,) = judged(Sighting("s3://bucket/prefix")).facts
    assert (fact.kind, fact.severity, fact.key) == (Kind.BACKUP_NEVER, Severity.ALARM, "backup_never")
    assert fact.what == "no backup of this plan is in the store"


@pytest.mark.parametrize(
    ("ago", "late"), [(26 * HOUR, False), (26 * HOUR + MINUTE, True), (-4 * MINUTE, False), (40 * DAY, True)]
)
def test_the_age_of_the_newest_good_backup_has_a_limit(ago: timedelta, late: bool) -> None:
    watched = judged(sighting(seen(ago), seen(60 * DAY)), verification=None)
    assert kinds(watched) == ([Kind.BACKUP_LATE] if late else [])


def test_a_late_backup_says_how_old_it_is_and_what_the_limit_was() -> None:
    (fact,) = judged(sighting(seen(75 * HOUR)), verification=None).facts
    assert fact.what == "the newest good backup is 3 d 3 h old, at most 26 h"
    assert fact.todo.startswith("Run the flow `backup` now.")
    (fact,) = judged(sighting(seen(9 * DAY)), backup=8 * DAY, verification=None).facts
    assert fact.what == "the newest good backup is 9 d 0 h old, at most 8 d"


def test_an_attempt_that_left_no_backup_is_told_where_the_backup_is_late() -> None:
    attempt = Attempt(NOW - 10 * HOUR, 3)
    late = judged(sighting(seen(34 * HOUR), attempt=attempt))
    assert late.facts[0].what.endswith(
        "; an attempt of 2026-03-06 06:00 UTC has left 3 objects so far: it is under way, or it failed"
    )
    assert late.attempted == attempt.began
    assert judged(sighting(attempt=attempt)).facts == ()
    older = judged(sighting(seen(34 * HOUR), attempt=Attempt(NOW - 40 * HOUR, 1)))
    assert "attempt" not in older.facts[0].what


def test_the_newest_backup_damaged_is_told_at_once_though_it_is_young() -> None:
    damage = "the verification of 2026-03-06 12:00 UTC found it damaged"
    watched = judged(sighting(seen(36 * HOUR), seen(damage=damage)), backup=48 * HOUR)
    (fact,) = watched.facts
    assert fact.kind is Kind.BACKUP_DAMAGED
    assert fact.what == f"the newest backup {NEWEST} is no good copy: {damage}"
    assert fact.key == f"backup_damaged:{NEWEST}"
    assert watched.newest == backup_id(NOW - 36 * HOUR)
    assert kinds(judged(sighting(seen(36 * HOUR), seen(damage=damage)))) == [Kind.BACKUP_LATE, Kind.BACKUP_DAMAGED]


def test_an_older_damaged_backup_is_told_too_and_where_none_is_good_nothing_can_be_restored() -> None:
    watched = judged(sighting(seen(36 * HOUR, damage="x"), seen()))
    assert [fact.what for fact in watched.facts] == [f"backup {backup_id(NOW - 36 * HOUR)} is no good copy: x"]
    watched = judged(sighting(seen(damage="x")), verification=None)
    assert watched.facts[0].what == "none of the backups in the store, 1 in all, is a good copy"
    assert kinds(watched) == [Kind.BACKUP_LATE, Kind.BACKUP_DAMAGED]


def test_a_manifest_that_cannot_be_used_is_told_and_does_not_count() -> None:
    watched = judged(sighting(seen(36 * HOUR), unreadable=((NEWEST, "the manifest is not JSON"),)))
    assert kinds(watched) == [Kind.BACKUP_LATE, Kind.MANIFEST_UNREADABLE]
    assert (
        watched.facts[1].what == f"the manifest of the newest backup {NEWEST} cannot be used: the manifest is not JSON"
    )
    assert (watched.listed, watched.good) == (2, 1)


def test_a_backup_from_the_future_is_told_and_keeps_no_alarm_silent() -> None:
    future = seen(-2 * DAY)
    watched = judged(sighting(seen(36 * HOUR), future))
    assert kinds(watched) == [Kind.BACKUP_LATE, Kind.BACKUP_IN_FUTURE]
    assert watched.newest == backup_id(NOW - 36 * HOUR)
    assert watched.attempted == NOW - 36 * HOUR
    unusable = judged(sighting(unreadable=((backup_id(NOW + DAY), "x"),)))
    assert Kind.BACKUP_IN_FUTURE in kinds(unusable)


def test_with_trusted_signers_only_their_backups_count() -> None:
    backups = (seen(36 * HOUR, signer="ed25519:a"), seen(signer="ed25519:eve"))
    watched = judged(sighting(*backups), trusted=("ed25519:a",))
    assert kinds(watched) == [Kind.BACKUP_LATE, Kind.SIGNER_UNKNOWN]
    assert "is signed by ed25519:eve, and no trusted signer vouches for it" in watched.facts[1].what
    assert judged(sighting(*backups)).facts == ()
    # Signing was turned on today: the old ones are no alarm.
    assert judged(sighting(seen(36 * HOUR), seen(signer="ed25519:a")), trusted=("ed25519:a",)).facts == ()


def test_a_verification_that_never_ran_or_is_late() -> None:
    unread = (seen(36 * HOUR, verified=False), seen(verified=False))
    assert kinds(judged(sighting(*unread, verified=None))) == [Kind.VERIFICATION_NEVER]
    late = judged(sighting(*unread, verified=NOW - 51 * HOUR))
    assert [fact.what for fact in late.facts] == ["the last verification was 2 d 3 h ago, at most 50 h"]
    assert judged(sighting(*unread, verified=NOW - 49 * HOUR)).facts == ()
    assert judged(sighting(*unread, verified=None), verification=None).facts == ()


def test_results_beside_backups_count_for_the_last_verification_also_those_that_found_damage() -> None:
    marked = seen(36 * HOUR, damage="x")
    looked = NOW - 3 * HOUR
    marked = type(marked)(marked.facts, "x", Standing(marks=("x",), looked=looked))
    watched = judged(sighting(marked, seen(verified=False), verified=None))
    assert watched.verified == looked
    assert kinds(watched) == [Kind.BACKUP_DAMAGED]


def test_verifications_that_leave_the_newest_backup_out_are_no_verifications() -> None:
    watched = judged(sighting(seen(60 * HOUR, verified=False)), backup=None)
    assert kinds(watched) == [Kind.VERIFICATION_LATE]
    assert "no verification has read all of the newest good backup" in watched.facts[0].what


def test_a_verification_from_the_future_keeps_no_alarm_silent() -> None:
    assert kinds(judged(sighting(seen(verified=False), verified=NOW + DAY))) == [Kind.VERIFICATION_NEVER]


def test_a_drill_that_never_ran_is_late_or_failed() -> None:
    assert kinds(judged(sighting(drills=Drills()))) == [Kind.DRILL_NEVER]
    assert kinds(judged(sighting(drills=Drills(passed=NOW - 36 * DAY)))) == [Kind.DRILL_LATE]
    assert judged(sighting(drills=Drills()), drill=None).facts == ()
    why = (Finding("the content digest is another one", namespace="mpg.a"), Finding("b"))
    failed = judged(sighting(drills=Drills(NOW - 9 * DAY, NOW - HOUR, why)))
    (fact,) = failed.facts
    assert fact.what == (
        "the drill of 2026-03-06 15:00 UTC failed: the content digest is another one (mpg.a), and 1 more finding"
    )
    assert fact == failed_drill("mpg", "backups", NOW - HOUR, why)
    assert kinds(judged(sighting(drills=Drills(None, NOW - HOUR, why)))) == [Kind.DRILL_FAILED]
    both = judged(sighting(drills=Drills(NOW - 36 * DAY, NOW - HOUR, why)))
    assert kinds(both) == [Kind.DRILL_FAILED, Kind.DRILL_LATE]


def test_evidence_that_cannot_be_used_is_told_by_its_number() -> None:
    key = "mpg/evidence/00000042-2026-03-06T12-00-00Z-drill-abc.json"
    (fact,) = judged(sighting(unusable=((key, "the record was changed after it was written"),))).facts
    assert (fact.kind, fact.about) == (Kind.EVIDENCE_UNREADABLE, "00000042")
    assert key in fact.what


def test_suspicions_come_last_and_are_no_alarms() -> None:
    newest, before = contents(12 * HOUR, {"mpg.a": 10}, size=100), contents(36 * HOUR, {"mpg.a": 1000, "mpg.b": 5})
    watched = judged(sighting(contents=(newest, before)))
    assert kinds(watched) == [Kind.NAMESPACE_VANISHED, Kind.DOCUMENTS_FEWER, Kind.BACKUP_SMALLER]
    assert {fact.severity for fact in watched.facts} == {Severity.SUSPICION}
    assert {fact.about for fact in watched.facts} == {NEWEST}
    assert all(f"keep backup {before.backup} from retention" in fact.todo for fact in watched.facts)
    assert watched.seconds == 60.0


def test_a_store_that_cannot_be_read_is_an_alarm_with_its_reason() -> None:
    error = StoreUnavailable("the store does not answer", hint="Run it again.", store="s3://b/p")
    watched = unreadable_store("mpg", "offsite", error, at=NOW)
    (fact,) = watched.facts
    assert fact.what == "the store cannot be read: the store does not answer (s3://b/p)"
    assert fact.todo == "Run it again. Until it can be, nobody knows whether there is a backup."
    assert not watched.readable


def test_limits_have_units_and_zero_turns_them_off() -> None:
    given = {"verification_hours": 50, "drill_days": 35, "smaller_percent": 50, "fewer_percent": 50}
    assert Limits.of(backup_hours=26, **given) == Limits()
    assert Limits.of(backup_hours=0, **{**given, "drill_days": 0}).backup is None
    assert Limits.of(backup_hours=0.5, **given).backup == timedelta(minutes=30)
    for wrong in (
        {"backup_hours": -1},
        {"backup_hours": float("nan")},
        {"backup_hours": 1e12},
        {"smaller_percent": 100},
        {"fewer_percent": -1},
        {"ignore": ("$x",)},
    ):
        with pytest.raises(ConfigurationError):
            Limits.of(**{"backup_hours": 26, **given, **wrong})  # type: ignore[arg-type]
