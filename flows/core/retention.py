"""Which backups to keep and which to remove: a decision of its arguments, with the reasons for each.

The rules are those of restic and borg. A rule that counts hours, days, weeks, months or years looks at those in which
there is a backup, newest first, and keeps the newest backup of each. Every counting rule is asked twice, of all
backups and of the verified ones alone, so that a damaged backup takes no place from a good one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from flows.core.errors import ConfigurationError, IntegrityError, Refused
from flows.core.keys import backup_time
from flows.core.zones import time_zone

_MOST_DAYS = 36_500  # a century; more is a typing error, and timedelta would overflow
_COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """The rules. A backup that one of them keeps stays; a rule that is 0 is off.

    Attributes:
        days: A backup is kept until it is this old [days of 24 hours].
        at_least: So many of the newest verified backups are never removed, however old they are.
        last: So many of the newest backups are kept.
        hourly: The newest backup of each of the newest so many hours that have one. Hours, days, weeks, … are those of
            the clock and the calendar in `time_zone`; the hour that comes twice when the clocks go back is two.
        daily: The same for days.
        weekly: The same for weeks as ISO 8601 counts them: from Monday, the first of a year has its first Thursday.
        monthly: The same for months.
        yearly: The same for years.
        time_zone: Name of the IANA time zone in which hours, days, … begin.
    """

    days: int = 7
    at_least: int = 3
    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if not 0 <= self.days <= _MOST_DAYS:
            raise ConfigurationError(
                "retention in days is out of range",
                hint=f"Give 1 to {_MOST_DAYS} days: how old a backup may get before it is removed; 0 is no such rule.",
                got=self.days,
            )
        for name in _COUNTS:
            if getattr(self, name) < 0:
                raise ConfigurationError(
                    "a number of backups to keep is negative",
                    hint="Give how many are kept by this rule; 0 is no such rule.",
                    rule=name,
                    got=getattr(self, name),
                )
        if self.at_least < 1:
            raise ConfigurationError(
                "a retention that may remove the last backup is refused",
                hint="Set `at_least` to 1 or more: so many of the newest verified backups are never removed.",
                got=self.at_least,
            )
        if not self.days and not any(getattr(self, name) for name in _COUNTS):
            raise ConfigurationError(
                "a retention without any rule is refused: it would keep nothing but the newest few",
                hint=f"Set at least one of days, {', '.join(_COUNTS)}.",
            )
        time_zone(self.time_zone)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A listed backup, as far as retention looks at it.

    Attributes:
        backup: Its id.
        stored_bytes: Its size in the store [bytes], for the report; None where it is not known.
        verified: Its manifest could be read, every segment was confirmed, and nothing marks it as damaged.
        held: Why it stays whatever the rules say, as lower-case facts: legal holds and pins.
        unreadable: Why its manifest cannot be read; empty: it can.
    """

    backup: str
    stored_bytes: int | None = None
    verified: bool = True
    held: tuple[str, ...] = ()
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to one backup, and why.

    Attributes:
        backup: Its id.
        keep: Whether it stays.
        reasons: Of what keeps it, all; of what goes, why no rule keeps it.
        age: Since its start; negative for a backup from the future.
        stored_bytes: As given.
        relied_on: Whether a rule counts it as verified: others may go because it stays.
    """

    backup: str
    keep: bool
    reasons: tuple[str, ...]
    age: timedelta
    stored_bytes: int | None
    relied_on: bool

    @property
    def reason(self) -> str:
        """All reasons, for people."""
        return "; ".join(self.reasons)


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """The decision for every backup of a plan, newest first.

    Attributes:
        decisions: One for each backup.
        unreadable: Ids of the backups whose manifest cannot be read; if there is one, nothing is removed.
    """

    decisions: tuple[Decision, ...]
    unreadable: tuple[str, ...] = ()

    @property
    def keep(self) -> tuple[str, ...]:
        """Ids of the backups that stay, newest first."""
        return tuple(d.backup for d in self.decisions if d.keep)

    @property
    def remove(self) -> tuple[str, ...]:
        """Ids of the backups to remove, oldest first: a crash in between leaves the newer ones."""
        return tuple(d.backup for d in reversed(self.decisions) if not d.keep)

    @property
    def relied_on(self) -> tuple[str, ...]:
        """Ids of the backups without which others would not go: they have to be as good as was said."""
        return tuple(d.backup for d in self.decisions if d.relied_on)

    def check_readable(self, plan: str) -> None:
        """Refuse to prune where nothing tells which backup is the last good one.

        Raises:
            Refused: Where a manifest cannot be read.
        """
        if self.unreadable:
            raise Refused(
                "a manifest in this repository cannot be read, so nothing is pruned",
                hint="Find out what damaged it; when its backup is given up, delete its objects by hand.",
                plan=plan,
                backups=list(self.unreadable),
            )


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule that counts: it keeps the newest backup of each of the newest `count` periods that have one."""

    count: int
    period: Callable[[_Case], str]  # its name; where the rule counts backups, each has its own
    kept: str  # why a backup stays; {period}, and {verified} where it is the newest of the verified ones alone
    second: str = ""  # why not, where the period has a newer one; empty where the rule says nothing of what goes
    late: str = ""  # why not, where the period is not one of the newest


def _rules(policy: RetentionPolicy) -> list[_Rule]:
    def own(case: _Case) -> str:
        return case.candidate.backup

    def calendar(name: str, count: int, form: str) -> _Rule:
        return _Rule(
            count,
            lambda case: case.local.strftime(form),
            kept=f"newest{{verified}} of the {name} {{period}}",
            second=f"the {name} {{period}} has a newer one",
            late=f"the {name} {{period}} is before the newest {count} with a backup",
        )

    of_last = f"one of the last {policy.last}"
    rules = [
        _Rule(policy.last, own, kept=of_last + "{verified}", second=f"not {of_last}", late=f"not {of_last}"),
        calendar("hour", policy.hourly, "%Y-%m-%d %H:00 %z"),  # the offset tells the two apart that have one name
        calendar("day", policy.daily, "%Y-%m-%d"),
        calendar("week", policy.weekly, "%G-W%V"),
        calendar("month", policy.monthly, "%Y-%m"),
        calendar("year", policy.yearly, "%Y"),
        _Rule(policy.at_least, own, kept=f"one of the newest {policy.at_least}{{verified}}, which are never removed"),
    ]
    return [rule for rule in rules if rule.count]


class _Case:
    """A backup while it is decided on."""

    def __init__(self, candidate: Candidate, zone: ZoneInfo, now: datetime) -> None:
        started = backup_time(candidate.backup)
        self.candidate = candidate
        self.local = started.astimezone(zone)
        self.age = now - started
        self.relied_on = False
        self.stays: list[str] = []  # why, of each rule that keeps it
        self.goes: list[str] = []  # why not, of each rule that does not

    def ask(self, policy: RetentionPolicy) -> None:
        """Ask all that can be said without a look at the other backups."""
        if self.age < timedelta(0):
            self.stays.append("dated in the future: check the clocks")
        if self.candidate.unreadable:
            self.stays.append(f"its manifest cannot be read: {self.candidate.unreadable}")
        self.stays += self.candidate.held
        if policy.days:
            in_days = timedelta(0) <= self.age < timedelta(days=policy.days)
            age = f"{self.age / timedelta(days=1):.1f} days old, kept until {policy.days} days"
            (self.stays if in_days else self.goes).append(age)

    def decide(self, *, blocked: bool) -> Decision:
        """Once all rules have been asked. Where pruning is blocked, what would go stays, and says so."""
        reasons = self.stays or self.goes
        if blocked and not self.stays:
            reasons = [*self.goes, "stays while a manifest of this plan cannot be read"]
        return Decision(
            self.candidate.backup,
            keep=blocked or bool(self.stays),
            reasons=tuple(reasons),
            age=self.age,
            stored_bytes=self.candidate.stored_bytes,
            relied_on=self.relied_on,
        )


def plan_retention(candidates: Iterable[Candidate], policy: RetentionPolicy, *, now: datetime) -> RetentionPlan:
    """Decide for every backup whether it stays.

    A backup dated after `now` is kept and takes no place in any rule: a clock that was wrong must not push out good
    backups. What is held takes its place as any other. While a manifest cannot be read, all backups stay.

    Args:
        candidates: All listed backups.
        policy: The rules.
        now: Time of the decision, aware.

    Raises:
        IntegrityError: Where a backup is given twice: rules would count it as two.
    """
    zone = time_zone(policy.time_zone)
    cases = [_Case(c, zone, now) for c in sorted(candidates, key=lambda c: c.backup, reverse=True)]
    twice = [a.candidate.backup for a, b in pairwise(cases) if a.candidate.backup == b.candidate.backup]
    if twice:
        raise IntegrityError("a backup is listed twice", hint="Find out what the store lists.", backups=twice)
    unreadable = tuple(case.candidate.backup for case in cases if case.candidate.unreadable)
    for case in cases:
        case.ask(policy)
    past = [case for case in cases if case.age >= timedelta(0)]
    for rule in _rules(policy):
        _count(rule, past)
    return RetentionPlan(tuple(case.decide(blocked=bool(unreadable)) for case in cases), unreadable)


def _count(rule: _Rule, past: Sequence[_Case]) -> None:
    """Ask a rule, of all backups and of the verified ones alone."""
    verified = [case for case in past if case.candidate.verified and not case.candidate.unreadable]
    of_all, of_verified = _first(rule, past), _first(rule, verified)
    for case in past:
        period = rule.period(case)
        if of_all.get(period) is case:
            case.stays.append(rule.kept.format(period=period, verified=""))
        elif of_verified.get(period) is case:
            case.stays.append(rule.kept.format(period=period, verified=" verified"))
        elif rule.second:
            has_newer = period in (of_verified if case.candidate.verified else of_all)
            case.goes.append((rule.second if has_newer else rule.late).format(period=period))
    for case in of_verified.values():
        case.relied_on = True


def _first(rule: _Rule, cases: Sequence[_Case]) -> dict[str, _Case]:
    """The newest of each of the newest periods; `cases` are newest first."""
    found: dict[str, _Case] = {}
    for case in cases:
        if len(found) == rule.count:
            break
        found.setdefault(rule.period(case), case)
    return found
