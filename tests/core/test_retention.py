"""Which backups stay: the rules, their edges, and what holds for any input."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.errors import ConfigurationError
from flows.core.keys import backup_id
from flows.core.retention import RetentionPolicy, plan_retention

NOW = datetime(2026, 3, 6, 4, 0, 0, tzinfo=UTC)


def ids(*days_old: float) -> list[str]:
    return [backup_id(NOW - timedelta(days=days)) for days in days_old]


def test_a_backup_goes_on_the_day_that_it_reaches_the_age() -> None:
    plan = plan_retention(ids(0, 1, 2, 6.99, 7, 8), RetentionPolicy(days=7, at_least=1), now=NOW)
    assert plan.remove == tuple(ids(8, 7))
    assert plan.keep == tuple(ids(0, 1, 2, 6.99))


def test_the_newest_are_never_removed_however_old() -> None:
    plan = plan_retention(ids(100, 200, 300, 400), RetentionPolicy(days=7, at_least=3), now=NOW)
    assert plan.remove == tuple(ids(400))
    assert [d.reason for d in plan.decisions if d.keep] == ["one of the newest 3, which are never removed"] * 3


def test_a_backup_from_the_future_is_kept_and_takes_no_place() -> None:
    plan = plan_retention(ids(-1, 100, 200), RetentionPolicy(days=7, at_least=1), now=NOW)
    assert plan.keep == tuple(ids(-1, 100))
    assert plan.decisions[0].reason == "dated in the future: check the clocks"


def test_every_decision_has_its_reason() -> None:
    plan = plan_retention(ids(1, 9), RetentionPolicy(days=7, at_least=1), now=NOW)
    assert [d.reason for d in plan.decisions] == ["1.0 days old, kept until 7 days", "9.0 days old, kept until 7 days"]


@pytest.mark.parametrize("days", [0, -1, 36_501])
def test_a_senseless_number_of_days_is_refused(days: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RetentionPolicy(days=days)
    assert str(caught.value) == (
        f"retention in days is out of range (got={days})\n"
        "HINT: Give 1 to 36500 days: how old a backup may get before it is removed."
    )


def test_a_retention_without_a_floor_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="may remove the last backup"):
        RetentionPolicy(at_least=0)


@given(
    st.lists(st.integers(-50, 1000), unique=True, max_size=60),
    st.integers(1, 400),
    st.integers(1, 10),
)
def test_any_plan_divides_the_backups_keeps_the_floor_and_is_stable(hours: list[int], days: int, at_least: int) -> None:
    backups = [backup_id(NOW - timedelta(hours=h * 7)) for h in hours]
    policy = RetentionPolicy(days=days, at_least=at_least)
    plan = plan_retention(backups, policy, now=NOW)
    assert sorted(plan.keep + plan.remove) == sorted(backups)
    past = [b for b in backups if b <= backup_id(NOW)]
    assert set(sorted(past, reverse=True)[:at_least]) <= set(plan.keep)
    # What is removed is older than everything that is kept.
    assert not plan.remove or max(plan.remove) < min(plan.keep)
    again = plan_retention(plan.keep, policy, now=NOW)
    assert again.remove == ()
