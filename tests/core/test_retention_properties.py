"""What holds for any backups, any policy, any clock and any time zone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from flows.core.keys import backup_id, backup_time
from flows.core.retention import Candidate, RetentionPolicy, plan_retention

# The machine may be busy.
UNHURRIED = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# With halves and quarters of hours, changes at midnight or within a day, and the ends of the world.
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Asia/Beirut",
    "America/St_Johns", "Pacific/Apia", "Pacific/Kiritimati", "Pacific/Pago_Pago",
)  # fmt: skip
# Around new year, and the nights on which clocks change.
ANCHORS = (
    datetime(2010, 11, 7, 2), datetime(2011, 12, 30), datetime(2024, 12, 30), datetime(2026, 1, 1),
    datetime(2026, 3, 6), datetime(2026, 3, 29, 1), datetime(2026, 10, 25, 1), datetime(2027, 1, 3),
)  # fmt: skip

PERIODS: dict[str, Callable[[datetime], Any]] = {
    "last": lambda local: local.astimezone(UTC),
    "hourly": lambda local: (local.replace(minute=0, second=0, fold=0, tzinfo=None), local.utcoffset()),
    "daily": lambda local: local.date(),
    "weekly": lambda local: local.isocalendar()[:2],
    "monthly": lambda local: (local.year, local.month),
    "yearly": lambda local: local.year,
}


@st.composite
def moments(draw: st.DrawFn) -> datetime:
    """Seconds, minutes, days or years from an anchor, so that backups share hours, days and months."""
    unit = draw(st.sampled_from((1, 60, 1_200, 3_600, 86_400, 86_400 * 29)))
    return (draw(st.sampled_from(ANCHORS)) + timedelta(seconds=unit * draw(st.integers(-40, 40)))).replace(tzinfo=UTC)


@st.composite
def candidates(draw: st.DrawFn, *, readable: bool = True) -> list[Candidate]:
    seldom = st.sampled_from((False, False, False, True))
    return [
        Candidate(
            backup,
            verified=not draw(seldom),
            held=("case 42",) if draw(seldom) else (),
            unreadable="" if readable or not draw(seldom) else "not JSON",
        )
        for backup in draw(st.lists(moments().map(backup_id), unique=True, max_size=40))
    ]


@st.composite
def policies(draw: st.DrawFn) -> RetentionPolicy:
    numbers = {name: draw(st.sampled_from((0, 0, 1, 2, 3, 8))) for name in PERIODS}
    days = draw(st.sampled_from((0, 1, 7, 400)))
    assume(days or any(numbers.values()))
    return RetentionPolicy(
        days=days, at_least=draw(st.integers(1, 4)), time_zone=draw(st.sampled_from(ZONES)), **numbers
    )


def past(given_: Iterable[Candidate], now: datetime) -> list[Candidate]:
    """Newest first."""
    return sorted((c for c in given_ if backup_time(c.backup) <= now), key=lambda c: c.backup, reverse=True)


def stays(given_: list[Candidate], policy: RetentionPolicy, now: datetime) -> set[str]:
    """What should stay, by the words of the policy and not by the way of the code."""
    zone = ZoneInfo(policy.time_zone)
    keep = {c.backup for c in given_ if c.held or backup_time(c.backup) > now}
    before = past(given_, now)
    keep |= {c.backup for c in before if now - backup_time(c.backup) < timedelta(days=policy.days)}
    for some in (before, [c for c in before if c.verified]):
        keep |= {c.backup for c in some[: policy.at_least]}
        for name, period in PERIODS.items():
            newest: dict[Any, str] = {}
            for c in reversed(some):
                newest[period(backup_time(c.backup).astimezone(zone))] = c.backup
            ranked = sorted(newest.values(), reverse=True)
            keep |= set(ranked[: getattr(policy, name)])
    return keep


@given(candidates(), policies(), moments())
@settings(UNHURRIED, max_examples=200)
def test_what_stays_is_what_the_policy_says(given_: list[Candidate], policy: RetentionPolicy, now: datetime) -> None:
    plan = plan_retention(given_, policy, now=now)
    assert set(plan.keep) == stays(given_, policy, now)
    # Each backup once, newest first, with a reason.
    assert [d.backup for d in plan.decisions] == sorted((c.backup for c in given_), reverse=True)
    assert sorted(plan.keep + plan.remove) == sorted(c.backup for c in given_)
    assert all(d.reasons and all(d.reasons) for d in plan.decisions)


@given(candidates(readable=False), policies(), moments())
@settings(UNHURRIED, max_examples=200)
def test_the_floor_and_what_is_held_or_to_come_stay(
    given_: list[Candidate], policy: RetentionPolicy, now: datetime
) -> None:
    plan = plan_retention(given_, policy, now=now)
    gone = set(plan.remove)
    assert not gone & {c.backup for c in given_ if c.held or c.unreadable or backup_time(c.backup) > now}
    good = [c.backup for c in past(given_, now) if c.verified and not c.unreadable]
    assert not gone & set(good[: policy.at_least])
    assert len(good) - len(gone & set(good)) >= min(len(good), policy.at_least)
    assert not any(c.unreadable for c in given_) or not gone


@given(candidates(), policies(), moments())
@UNHURRIED
def test_pruning_again_at_the_same_time_removes_nothing_more(
    given_: list[Candidate], policy: RetentionPolicy, now: datetime
) -> None:
    keep = set(plan_retention(given_, policy, now=now).keep)
    assert plan_retention([c for c in given_ if c.backup in keep], policy, now=now).remove == ()


@given(candidates(), policies(), moments(), st.data())
@UNHURRIED
def test_a_more_generous_policy_never_removes_more(
    given_: list[Candidate], policy: RetentionPolicy, now: datetime, data: st.DataObject
) -> None:
    names = ["days", "at_least", *PERIODS]
    more = {name: getattr(policy, name) + data.draw(st.integers(0, 5), label=name) for name in names}
    generous = dataclasses.replace(policy, **more)
    removed = plan_retention(given_, generous, now=now).remove
    assert set(removed) <= set(plan_retention(given_, policy, now=now).remove)


@given(candidates(), policies(), moments(), st.data())
@UNHURRIED
def test_a_backup_that_turns_out_damaged_or_is_held_costs_no_other_one(
    given_: list[Candidate], policy: RetentionPolicy, now: datetime, data: st.DataObject
) -> None:
    assume(given_)
    changed = data.draw(st.sampled_from(given_))
    other = data.draw(st.sampled_from([{"verified": False}, {"held": ("case 43",)}]))
    after = [dataclasses.replace(c, **other) if c is changed else c for c in given_]
    removed = set(plan_retention(after, policy, now=now).remove) - {changed.backup}
    assert removed <= set(plan_retention(given_, policy, now=now).remove)


@given(candidates(), policies(), moments(), st.data())
@UNHURRIED
def test_only_what_is_relied_on_has_to_be_as_good_as_was_said(
    given_: list[Candidate], policy: RetentionPolicy, now: datetime, data: st.DataObject
) -> None:
    """So it is enough to look again at these before anything is removed."""
    plan = plan_retention(given_, policy, now=now)
    truth = [
        dataclasses.replace(c, verified=c.verified and (c.backup in plan.relied_on or data.draw(st.booleans())))
        for c in given_
    ]
    assert plan_retention(truth, policy, now=now).remove == plan.remove


@given(candidates(), st.integers(1, 400), st.integers(1, 5), moments())
@UNHURRIED
def test_days_and_the_floor_alone_are_what_they_always_were(
    given_: list[Candidate], days: int, at_least: int, now: datetime
) -> None:
    backups = [Candidate(c.backup) for c in given_]
    plan = plan_retention(backups, RetentionPolicy(days=days, at_least=at_least), now=now)
    expected = [
        c.backup
        for place, c in enumerate(past(backups, now))
        if now - backup_time(c.backup) >= timedelta(days=days) and place >= at_least
    ]
    assert list(plan.remove) == expected[::-1]


@given(candidates(), policies(), moments(), st.randoms())
@UNHURRIED
def test_the_order_of_a_listing_does_not_matter(
    given_: list[Candidate], policy: RetentionPolicy, now: datetime, random: Any
) -> None:
    shuffled = list(given_)
    random.shuffle(shuffled)
    assert plan_retention(shuffled, policy, now=now) == plan_retention(given_, policy, now=now)
