"""What the evidence of a period shows, and what it does not: for an auditor. It claims no more than was measured."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from flows.core.errors import ConfigurationError
from flows.core.evidence import ChainedRecord, EvidenceKind
from flows.core.evidence_chain import ChainReport

_MOST_DAYS = 1_100  # three years; a page with more is not read


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days of a time zone, both ends included."""

    first: date
    last: date
    zone: ZoneInfo

    @classmethod
    def of(cls, first: date | None, last: date | None, zone: ZoneInfo, *, now: datetime, days: int = 30) -> Period:
        """The period that somebody asked for.

        Args:
            first: None: so many `days` until the last.
            last: None: today.
            zone: Whose days.
            now: Aware.
            days: How many, where `first` is None.

        Raises:
            ConfigurationError: It ends before it begins, begins in the future, or is too long.
        """
        today = now.astimezone(zone).date()
        end = last or today
        start = first or end - timedelta(days=days - 1)
        if end < start or start > today or (end - start).days >= _MOST_DAYS:
            raise ConfigurationError(
                "not a period for a report",
                hint=f"Give a first and a last day, not in the future, at most {_MOST_DAYS} days.",
                first=start.isoformat(),
                last=end.isoformat(),
                today=today.isoformat(),
            )
        return cls(start, end, zone)

    @property
    def days(self) -> list[date]:
        """All of them."""
        return [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]

    @property
    def start(self) -> datetime:
        """Its first moment, UTC."""
        return datetime.combine(self.first, time.min, self.zone).astimezone(UTC)

    @property
    def end(self) -> datetime:
        """The first moment after it, UTC."""
        return datetime.combine(self.last + timedelta(days=1), time.min, self.zone).astimezone(UTC)

    def has(self, moment: datetime) -> bool:
        """Whether an aware time is in it."""
        return self.start <= moment < self.end

    def day(self, moment: datetime) -> date:
        """The day of an aware time."""
        return moment.astimezone(self.zone).date()


@dataclass(frozen=True, slots=True)
class KnownBackup:
    """A backup of the period: listed in the store now, or named by a record.

    Attributes:
        backup: Its id.
        taken: When it was started, UTC.
        stored_bytes: Size of its segments [bytes].
        listed: Whether the store lists it now.
        damage: Why it does not count as a good one, as far as is known; empty where it does.
        read_bytes: Of its segments that were read again in the period [bytes], each counted once.
        verified: When it last passed a verification in the period, aware; None: it did not.
        drilled: When it last passed a drill in the period, aware.
    """

    backup: str
    taken: datetime
    stored_bytes: int
    listed: bool
    damage: str = ""
    read_bytes: int = 0
    verified: datetime | None = None
    drilled: datetime | None = None


class Status(StrEnum):
    """How far a control is shown."""

    SHOWN = "shown"
    PARTLY = "partly shown"
    NOT_SHOWN = "not shown"


@dataclass(frozen=True, slots=True)
class Control:
    """One thing that GDPR asks for.

    Attributes:
        name: In a word or two.
        article: Where it is asked for.
        status: How far it is shown.
        shows: What the records show, as sentences.
        lacks: What they do not show, as sentences.
        records: Sequence numbers of the records that show it.
    """

    name: str
    article: str
    status: Status
    shows: tuple[str, ...]
    lacks: tuple[str, ...]
    records: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EvidenceReport:
    """All that the document says."""

    plan: str
    store: str
    period: Period
    made: datetime  # aware
    by: str
    chain: ChainReport
    records: tuple[ChainedRecord, ...]  # of the period that can be relied on, oldest first; without their objects
    left_out: int  # records of the period that cannot be relied on
    backups: tuple[KnownBackup, ...]  # oldest first; those listed now, whenever taken, and those taken in the period
    controls: tuple[Control, ...]

    def of_kind(self, kind: EvidenceKind) -> list[ChainedRecord]:
        """The records of one kind."""
        return [item for item in self.records if item.record.kind is kind]

    @property
    def covered(self) -> tuple[int, int]:
        """Of the segments of the backups that are listed now: how much was read again in the period, of how much."""
        listed = [item for item in self.backups if item.listed]
        return sum(item.read_bytes for item in listed), sum(item.stored_bytes for item in listed)

    @property
    def days_without(self) -> list[date]:
        """Days of the period until today of which no backup is known."""
        today = self.period.day(self.made)
        days = {self.period.day(item.taken) for item in self.backups}
        return [day for day in self.period.days if day not in days and day <= today]


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """What the report flow returns."""

    plan: str
    first: date
    last: date
    key: str  # of the HTML file in the store
    sha256: str  # of the HTML file
    head: str  # of the chain; empty where there is no record
    whole: bool  # whether the chain is
    records: int  # of the period
    controls: dict[str, Status]  # how far each is shown

    @classmethod
    def of(cls, report: EvidenceReport, *, key: str, sha256: str) -> ReportSummary:
        """That of a report which was stored."""
        return cls(
            plan=report.plan,
            first=report.period.first,
            last=report.period.last,
            key=key,
            sha256=sha256,
            head=report.chain.head.sha256 if report.chain.head is not None else "",
            whole=report.chain.whole,
            records=len(report.records),
            controls={control.name: control.status for control in report.controls},
        )


def share(part: int, whole: int) -> str:
    """`1` of `3` to `33.3 %`; only all of it is 100 %, and only nothing 0 %."""
    if whole <= 0:
        return "-"
    tenths = round(1000 * part / whole)
    if 0 < part < whole:
        tenths = min(max(tenths, 1), 999)
    return f"{tenths // 10}.{tenths % 10} %" if tenths % 10 else f"{tenths // 10} %"
