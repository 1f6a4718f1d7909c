"""A year of backups under six policies, as text that people can check: `tests/golden/retention-*.txt`.

python -m tests.support.retention_tables     writes them anew; look at the difference before you commit it
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.core.keys import backup_id, backup_time
from flows.core.retention import Candidate, RetentionPolicy, plan_retention

GOLDEN = Path(__file__).parents[1] / "golden"
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
FIVE_RULES = {"last": 3, "daily": 7, "weekly": 5, "monthly": 12, "yearly": 3}


@dataclass(frozen=True)
class Case:
    """A year of backups and a policy."""

    name: str
    now: datetime
    every: timedelta
    rules: dict[str, int | str]
    remarks: str = ""
    change: Callable[[Candidate], Candidate] = field(default=lambda candidate: candidate)

    def candidates(self) -> list[Candidate]:
        """One backup each hour or day for a year, the last an hour ago."""
        times = [self.now - HOUR - i * self.every for i in range(timedelta(days=365) // self.every)]
        return [self.change(Candidate(backup_id(time))) for time in times]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def troubled(candidate: Candidate) -> Candidate:
    """On Sundays and on the last day of a month something went wrong; one day is held, another pinned."""
    started = backup_time(candidate.backup)
    damaged = started.isoweekday() == 7 or (started + DAY).day == 1
    held = {"2025-07-15": "legal hold by Anna: case 42", "2025-10-03": "pin by Ben: before the migration"}
    reason = held.get(f"{started:%Y-%m-%d}")
    return Candidate(candidate.backup, verified=not damaged, held=(reason,) if reason else ())


CASES = (
    Case("days-7", utc("2026-03-06T05:00"), DAY, {"days": 7}, "What the operators' guide means by a retention of 7."),
    Case("days-30-monthly", utc("2026-03-06T05:00"), DAY, {"days": 30, "monthly": 12}),
    Case("hourly-utc", utc("2026-03-06T05:00"), HOUR, {"days": 0, "hourly": 24, **FIVE_RULES}),
    Case(
        "hourly-berlin",
        utc("2026-10-25T12:30"),
        HOUR,
        {"days": 1, "hourly": 30, **FIVE_RULES, "time_zone": "Europe/Berlin"},
        "The night before, the hour from 2 to 3 came twice.",
    ),
    Case(
        "weekly-new-york",
        utc("2027-01-05T05:30"),
        DAY,
        {"days": 0, "weekly": 53, "yearly": 2, "time_zone": "America/New_York"},
        "04:30 UTC is the evening before in New York, and in summer half past midnight. 2026 has 53 weeks.",
    ),
    Case(
        "troubled-kolkata",
        utc("2026-03-06T05:00"),
        DAY,
        {"days": 0, "at_least": 5, "daily": 14, "monthly": 6, "time_zone": "Asia/Kolkata"},
        "Sundays and last days of a month are damaged; one day is held, another pinned.",
        troubled,
    ),
)


def table(case: Case) -> str:
    """The golden text of a case."""
    policy = RetentionPolicy(**case.rules)  # type: ignore[arg-type]
    plan = plan_retention(case.candidates(), policy, now=case.now)
    months = Counter(backup[:7] for backup in plan.remove)
    lines = [
        f"policy   {', '.join(f'{name}={value}' for name, value in case.rules.items())}",
        f"backups  {len(plan.decisions)}, {'hourly' if case.every == HOUR else 'daily'}, "
        f"{plan.decisions[-1].backup} to {plan.decisions[0].backup}",
        f"now      {case.now:%Y-%m-%d %H:%M} UTC",
        *([f"remarks  {case.remarks}"] if case.remarks else []),
        "",
        f"kept: {len(plan.keep)}",
        *(f"  {d.backup}  {d.reason}" for d in plan.decisions if d.keep),
        "",
        f"removed: {len(plan.remove)}",
        *(f"  {month}  {count}" for month, count in sorted(months.items(), reverse=True)),
    ]
    return "\n".join(lines) + "\n"


def path(case: Case) -> Path:
    """Where its golden text is."""
    return GOLDEN / f"retention-{case.name}.txt"


if __name__ == "__main__":
    for each in CASES:
        path(each).write_text(table(each))
