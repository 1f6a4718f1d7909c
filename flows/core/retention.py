"""Which backups to keep and which to remove: a decision of its arguments, with a reason for each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.core.errors import ConfigurationError
from flows.core.keys import backup_time

_MOST_DAYS = 36_500  # a century; more is a typing error, and timedelta would overflow


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """The rules.

    Attributes:
        days: A backup is kept until it is this old [days].
        at_least: So many of the newest backups are never removed, however old they are.
    """

    days: int = 7
    at_least: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.days <= _MOST_DAYS:
            raise ConfigurationError(
                "retention in days is out of range",
                hint=f"Give 1 to {_MOST_DAYS} days: how old a backup may get before it is removed.",
                got=self.days,
            )
        if self.at_least < 1:
            raise ConfigurationError(
                "a retention that may remove the last backup is refused",
                hint="Set `at_least` to 1 or more: so many of the newest backups are never removed.",
                got=self.at_least,
            )


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to one backup, and why."""

    backup: str
    keep: bool
    reason: str


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """The decision for every backup of a plan, newest first."""

    decisions: tuple[Decision, ...]

    @property
    def keep(self) -> tuple[str, ...]:
        """Ids of the backups that stay, newest first."""
        return tuple(d.backup for d in self.decisions if d.keep)

    @property
    def remove(self) -> tuple[str, ...]:
        """Ids of the backups to remove, oldest first: a crash in between leaves the newer ones."""
        return tuple(d.backup for d in reversed(self.decisions) if not d.keep)


def plan_retention(backups: Iterable[str], policy: RetentionPolicy, *, now: datetime) -> RetentionPlan:
    """Decide for every backup whether it stays.

    A backup dated after `now` is kept and takes no place in the floor: a clock that was wrong must not push out
    good backups.

    Args:
        backups: Ids of all listed backups.
        policy: The rules.
        now: Time of the decision, aware.
    """
    newest_first = sorted(backups, reverse=True)
    decisions = []
    place = 0
    for backup in newest_first:
        age = now - backup_time(backup)
        if age < timedelta(0):
            decisions.append(Decision(backup, True, "dated in the future: check the clocks"))
            continue
        place += 1
        if age < timedelta(days=policy.days):
            decisions.append(Decision(backup, True, f"{_days(age)} old, kept until {policy.days} days"))
        elif place <= policy.at_least:
            decisions.append(Decision(backup, True, f"one of the newest {policy.at_least}, which are never removed"))
        else:
            decisions.append(Decision(backup, False, f"{_days(age)} old, kept until {policy.days} days"))
    return RetentionPlan(tuple(decisions))


def _days(age: timedelta) -> str:
    return f"{age / timedelta(days=1):.1f} days"
