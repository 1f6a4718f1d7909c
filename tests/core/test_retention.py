"""Which backups stay: the rules, their edges, and the words of the reasons."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flows.core.errors import ConfigurationError, IntegrityError, Refused
from flows.core.keys import backup_id
from flows.core.retention import Candidate, RetentionPlan, RetentionPolicy, plan_retention

NOW = datetime(2026, 3, 6, 4, 0, 0, tzinfo=UTC)


def ids(*days_old: float) -> list[str]:
    return [backup_id(NOW - timedelta(days=days)) for days in days_old]


def decide(backups: list[str], now: datetime = NOW, damaged: tuple[str, ...] = (), **rules: int | str) -> RetentionPlan:
    policy = RetentionPolicy(**{"days": 0, "at_least": 1, **rules})  # type: ignore[arg-type]
    return plan_retention([Candidate(b, verified=b not in damaged) for b in backups], policy, now=now)


def kept(*hours: str, rule: str, count: int, zone: str = "UTC", now: str = "2027-06-01T00:00") -> list[str]:
    """Of backups at these times in UTC, written as `2026-03-06T04:00`, those that a rule keeps (the floor is 1)."""
    backups = [hour.replace(":", "-") + "-00Z" for hour in hours]
    plan = decide(backups, datetime.fromisoformat(now).replace(tzinfo=UTC), **{rule: count, "time_zone": zone})
    return [backup[:13] + ":" + backup[14:16] for backup in reversed(plan.keep)]


def reasons(plan: RetentionPlan) -> dict[str, str]:
    return {decision.backup: decision.reason for decision in plan.decisions}


# Days and the floor


def test_a_backup_goes_on_the_day_that_it_reaches_the_age() -> None:
    plan = decide(ids(0, 1, 2, 6.99, 7, 8), days=7)
    assert plan.remove == tuple(ids(8, 7))
    assert plan.keep == tuple(ids(0, 1, 2, 6.99))


def test_days_alone_say_what_they_always_said() -> None:
    assert RetentionPolicy() == RetentionPolicy(days=7, at_least=3)
    plan = plan_retention(map(Candidate, ids(1, 2, 3, 4, 9)), RetentionPolicy(), now=NOW)
    assert [d.keep for d in plan.decisions] == [True, True, True, True, False]
    assert [d.reason for d in plan.decisions][3:] == [
        "4.0 days old, kept until 7 days",
        "9.0 days old, kept until 7 days",
    ]


def test_the_newest_are_never_removed_however_old() -> None:
    plan = decide(ids(100, 200, 300, 400), days=7, at_least=3)
    assert plan.remove == tuple(ids(400))
    assert [d.reason for d in plan.decisions if d.keep] == ["one of the newest 3, which are never removed"] * 3


def test_the_floor_counts_verified_backups() -> None:
    old = ids(100, 200, 300, 400, 500)
    plan = decide(old, days=7, at_least=2, damaged=(old[0], old[2]))
    assert reasons(plan) == {
        old[0]: "one of the newest 2, which are never removed",
        old[1]: "one of the newest 2, which are never removed",
        old[2]: "300.0 days old, kept until 7 days",
        old[3]: "one of the newest 2 verified, which are never removed",
        old[4]: "500.0 days old, kept until 7 days",
    }
    assert plan.relied_on == (old[1], old[3])


def test_where_nothing_is_verified_the_newest_stay_all_the_same() -> None:
    old = ids(100, 200, 300)
    assert decide(old, days=7, at_least=2, damaged=tuple(old)).remove == tuple(ids(300))


def test_days_are_of_24_hours_and_calendar_days_are_not() -> None:
    # On 2026-03-29 Berlin has 23 hours. Both backups are of that day there; the older is a day old to the second.
    now = datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
    backups = ["2026-03-28T23-30-00Z", "2026-03-29T00-30-00Z", "2026-03-29T00-30-01Z"]
    assert decide(backups, now, days=1).keep == (backups[2],)
    plan = decide(backups, now, daily=1, time_zone="Europe/Berlin")
    assert plan.keep == (backups[2],)
    assert reasons(plan)[backups[0]] == "the day 2026-03-29 has a newer one"


# The calendar


def test_the_newest_of_a_period_takes_its_place_and_periods_without_a_backup_take_none() -> None:
    hours = "2026-03-01T04:00", "2026-03-01T16:00", "2026-03-02T04:00", "2026-03-06T03:00", "2026-03-06T04:00"
    assert kept(*hours, rule="daily", count=3) == ["2026-03-01T16:00", "2026-03-02T04:00", "2026-03-06T04:00"]
    assert kept(*hours, rule="hourly", count=2) == ["2026-03-06T03:00", "2026-03-06T04:00"]
    assert kept(*hours, rule="monthly", count=9) == ["2026-03-06T04:00"]


def test_the_hour_that_comes_twice_is_two() -> None:
    # Berlin, 2026-10-25: 02:00 to 03:00 with +0200, and then again with +0100.
    hours = "2026-10-24T23:10", "2026-10-25T00:10", "2026-10-25T00:50", "2026-10-25T01:10", "2026-10-25T01:50"
    two = kept(*hours, rule="hourly", count=2, zone="Europe/Berlin")
    assert two == ["2026-10-25T00:50", "2026-10-25T01:50"]
    plan = decide(
        [h.replace(":", "-") + "-00Z" for h in hours], hourly=2, time_zone="Europe/Berlin", now=NOW.replace(year=2027)
    )
    assert reasons(plan)["2026-10-25T00-10-00Z"] == "the hour 2026-10-25 02:00 +0200 has a newer one"
    assert reasons(plan)["2026-10-25T01-50-00Z"].startswith("newest of the hour 2026-10-25 02:00 +0100; ")
    # In UTC they are what they are, and in New York that night is like any other.
    assert kept(*hours, rule="hourly", count=2) == two


def test_the_hour_that_is_left_out_takes_no_place() -> None:
    # Berlin, 2026-03-29: from 01:59 +0100 to 03:00 +0200.
    hours = "2026-03-28T23:30", "2026-03-29T00:30", "2026-03-29T01:30"
    assert kept(*hours, rule="hourly", count=3, zone="Europe/Berlin") == list(hours)


def test_hours_begin_where_the_zone_says() -> None:
    # Kolkata is 5:30 ahead: an hour there begins at half past one of UTC.
    hours = "2026-03-06T04:20", "2026-03-06T04:40", "2026-03-06T05:20"
    assert kept(*hours, rule="hourly", count=1, zone="Asia/Kolkata") == ["2026-03-06T05:20"]
    assert kept(*hours, rule="hourly", count=2, zone="Asia/Kolkata") == ["2026-03-06T04:20", "2026-03-06T05:20"]
    assert kept(*hours, rule="hourly", count=2) == ["2026-03-06T04:40", "2026-03-06T05:20"]


def test_a_day_is_that_of_the_zone() -> None:
    # 13:00 UTC is the next day in Kiritimati (+14) and the same in Los Angeles.
    hours = "2026-03-06T09:00", "2026-03-06T13:00"
    assert kept(*hours, rule="daily", count=2, zone="Pacific/Kiritimati") == list(hours)
    assert kept(*hours, rule="daily", count=2, zone="America/Los_Angeles") == ["2026-03-06T13:00"]


def test_a_day_that_never_was_takes_no_place() -> None:
    # Samoa went from 2011-12-29 to 2011-12-31.
    hours = "2011-12-29T10:30", "2011-12-30T09:30", "2011-12-30T10:30"
    assert kept(*hours, rule="daily", count=3, zone="Pacific/Apia") == ["2011-12-30T09:30", "2011-12-30T10:30"]


def test_a_day_that_is_left_and_entered_again_is_one() -> None:
    # St. John's went back from 00:01 to 23:01 of the day before: the new day begins twice.
    hours = "2010-11-07T02:00", "2010-11-07T02:30", "2010-11-07T03:00", "2010-11-07T03:40"
    assert kept(*hours, rule="daily", count=9, zone="America/St_Johns", now="2011-01-01T00:00") == [
        "2010-11-07T03:00",
        "2010-11-07T03:40",
    ]


def test_weeks_are_those_of_iso_8601_over_new_year() -> None:
    # 2026-W53 is from Monday 2026-12-28 to Sunday 2027-01-03.
    hours = "2026-12-27T12:00", "2026-12-28T12:00", "2026-12-31T12:00", "2027-01-01T12:00", "2027-01-03T12:00"
    later = "2027-01-04T12:00"
    assert kept(*hours, later, rule="weekly", count=9) == ["2026-12-27T12:00", "2027-01-03T12:00", later]
    assert kept(*hours, later, rule="yearly", count=9) == ["2026-12-31T12:00", later]
    # And 2024-12-30 is in the first week of 2025, of which no backup of the end of 2025 may take the place.
    assert kept("2024-12-30T12:00", "2025-12-28T12:00", "2025-12-29T12:00", rule="weekly", count=9) == [
        "2024-12-30T12:00",
        "2025-12-28T12:00",
        "2025-12-29T12:00",
    ]


# Several rules, damaged and future backups


def test_a_reason_names_all_rules_that_hold() -> None:
    plan = decide(
        ["2026-02-27T04-00-00Z", "2026-02-28T04-00-00Z", "2026-03-05T04-00-00Z", "2026-03-06T04-00-00Z"],
        days=2, at_least=1, last=1, daily=3, monthly=12,
    )  # fmt: skip
    assert reasons(plan) == {
        "2026-03-06T04-00-00Z": "0.0 days old, kept until 2 days; one of the last 1; newest of the day 2026-03-06; "
        "newest of the month 2026-03; one of the newest 1, which are never removed",
        "2026-03-05T04-00-00Z": "1.0 days old, kept until 2 days; newest of the day 2026-03-05",
        "2026-02-28T04-00-00Z": "newest of the day 2026-02-28; newest of the month 2026-02",
        "2026-02-27T04-00-00Z": "7.0 days old, kept until 2 days; not one of the last 1; "
        "the day 2026-02-27 is before the newest 3 with a backup; the month 2026-02 has a newer one",
    }


def test_a_damaged_backup_takes_no_place_from_a_good_one() -> None:
    good, damaged, before = "2026-03-05T04-00-00Z", "2026-03-05T16-00-00Z", "2026-03-04T04-00-00Z"
    plan = decide([before, good, damaged], daily=1, damaged=(damaged,))
    assert reasons(plan) == {
        damaged: "newest of the day 2026-03-05; one of the newest 1, which are never removed",
        good: "newest verified of the day 2026-03-05; one of the newest 1 verified, which are never removed",
        before: "the day 2026-03-04 is before the newest 1 with a backup",
    }
    assert plan.relied_on == (good,)


def test_a_backup_from_the_future_is_kept_and_takes_no_place() -> None:
    plan = decide(ids(-1, 100, 200), last=1, daily=1, yearly=1)
    assert plan.keep == tuple(ids(-1, 100))
    assert plan.decisions[0].reason == "dated in the future: check the clocks"
    assert plan.decisions[0].age == timedelta(days=-1)


def test_what_is_held_stays_and_takes_its_place() -> None:
    old, held, new = ids(3, 2, 1)
    policy = RetentionPolicy(days=0, at_least=1, last=2)
    plan = plan_retention([Candidate(old), Candidate(held, held=("case 42",)), Candidate(new)], policy, now=NOW)
    assert plan.remove == (old,)
    plan = plan_retention([Candidate(old, held=("case 42",)), Candidate(held), Candidate(new)], policy, now=NOW)
    assert reasons(plan)[old] == "case 42"


def test_while_a_manifest_cannot_be_read_nothing_goes() -> None:
    old, damaged, new = ids(30, 20, 1)
    backups = [Candidate(old), Candidate(damaged, unreadable="not JSON"), Candidate(new)]
    plan = plan_retention(backups, RetentionPolicy(days=7, at_least=1), now=NOW)
    assert plan.remove == ()
    assert reasons(plan) == {
        old: "30.0 days old, kept until 7 days; stays while a manifest of this plan cannot be read",
        damaged: "its manifest cannot be read: not JSON",
        new: "1.0 days old, kept until 7 days; one of the newest 1, which are never removed",
    }
    assert plan.relied_on == (new,)
    with pytest.raises(Refused) as caught:
        plan.check_readable("mpg")
    assert str(caught.value) == (
        f"a manifest in this repository cannot be read, so nothing is pruned (plan='mpg', backups=['{damaged}'])\n"
        "HINT: Find out what damaged it; when its backup is given up, delete its objects by hand."
    )


def test_a_backup_that_is_listed_twice_is_not_two() -> None:
    with pytest.raises(IntegrityError, match=r"listed twice \(backups=\['2026-03-05T04-00-00Z'\]\)"):
        decide(ids(1, 2, 1), days=7, at_least=2)


# Policies that are refused


@pytest.mark.parametrize("days", [-1, 36_501])
def test_a_senseless_number_of_days_is_refused(days: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RetentionPolicy(days=days)
    assert str(caught.value) == (
        f"retention in days is out of range (got={days})\n"
        "HINT: Give 1 to 36500 days: how old a backup may get before it is removed; 0 is no such rule."
    )


@pytest.mark.parametrize("rule", ["last", "hourly", "daily", "weekly", "monthly", "yearly"])
def test_a_negative_number_is_refused_and_each_rule_is_enough(rule: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RetentionPolicy(**{rule: -1})  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"a number of backups to keep is negative (rule='{rule}', got=-1)\n"
        "HINT: Give how many are kept by this rule; 0 is no such rule."
    )
    RetentionPolicy(days=0, **{rule: 1})  # type: ignore[arg-type]


def test_a_policy_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        RetentionPolicy(days=0)
    assert str(caught.value) == (
        "a retention without any rule is refused: it would keep nothing but the newest few\n"
        "HINT: Set at least one of days, last, hourly, daily, weekly, monthly, yearly."
    )


def test_a_retention_without_a_floor_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="may remove the last backup"):
        RetentionPolicy(at_least=0)


@pytest.mark.parametrize("zone", ["Europe/Bonn", "Europe", "", "../../etc/passwd", "/usr/share/zoneinfo/UTC", "a\0b"])
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RetentionPolicy(time_zone=zone)
    assert str(caught.value) == (
        f"not a time zone (got={zone!r})\nHINT: Give a name of the IANA database, such as Europe/Berlin, or UTC."
    )
