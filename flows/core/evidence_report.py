"""What the evidence of a period shows, and what it does not: for an auditor. It claims no more than was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise
from zoneinfo import ZoneInfo

from flows.core.errors import ConfigurationError
from flows.core.evidence import ChainedRecord, Check, EvidenceKind, ObjectEvidence, Result
from flows.core.evidence_chain import ChainReport
from flows.core.index import BackupFacts
from flows.core.keys import SEGMENT_PREFIX, backup_prefix, backup_time, backups_prefix
from flows.core.report import format_duration

_MOST_DAYS = 1_100  # three years; a page with more is not read
_Segment = tuple[str, str, int]  # id of the backup, name, size [bytes]


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


class Gathering:
    """Takes the records of a period one after the other and keeps what the report needs of them."""

    def __init__(self, plan: str, period: Period) -> None:
        self._plan, self._period = plan, period
        self._records: list[tuple[ChainedRecord, list[_Segment]]] = []  # with what each has read
        self._segments: dict[_Segment, _Segment] = {}  # each once, as most are read again and again

    def add(self, chained: ChainedRecord | None) -> None:
        """Take note of one, if it belongs to the period."""
        if chained is not None and self._period.has(chained.record.finished):
            found = (self._segment(item) for item in chained.record.objects)
            read = [self._segments.setdefault(item, item) for item in found if item is not None]
            self._records.append((replace(chained, record=replace(chained.record, objects=())), read))

    def _segment(self, item: ObjectEvidence) -> _Segment | None:
        backup, _, name = item.key.removeprefix(backups_prefix(self._plan)).partition("/")
        ours = item.key == f"{backup_prefix(self._plan, backup)}{name}" and name.startswith(SEGMENT_PREFIX)
        return (backup, name, item.bytes) if ours else None

    def report(
        self,
        chain: ChainReport,
        listed: Iterable[BackupFacts],
        damaged: Mapping[str, str],
        *,
        store: str,
        by: str,
        made: datetime,
    ) -> EvidenceReport:
        """What it comes to.

        Args:
            chain: The proof of the whole chain.
            listed: The backups that the store lists now.
            damaged: Why some of them do not count as good, by id; with those that cannot be read at all.
            store: Where all that is, for people.
            by: Who wants the report.
            made: Now, aware.
        """
        faulty = {fault.key for fault in chain.faults}
        sound = [(item, read) for item, read in self._records if str(item.key) not in faulty]
        records = tuple(item for item, _ in sound)
        sizes: Counter[str] = Counter()
        for backup, _, size in {segment for _, read in sound for segment in read}:
            sizes[backup] += size
        report = EvidenceReport(
            plan=self._plan,
            store=store,
            period=self._period,
            made=made,
            by=by,
            chain=chain,
            records=records,
            left_out=len(self._records) - len(sound),
            backups=self._backups(records, {item.backup: item.stored_bytes for item in listed}, damaged, sizes),
            controls=(),
        )
        return replace(report, controls=controls(report))

    def _backups(
        self,
        records: Sequence[ChainedRecord],
        listed: Mapping[str, int],
        damaged: Mapping[str, str],
        read: Mapping[str, int],
    ) -> tuple[KnownBackup, ...]:
        known = {
            backup: KnownBackup(backup, backup_time(backup), size, listed=True, damage=damaged.get(backup, ""))
            for backup, size in {**dict.fromkeys(damaged, 0), **listed}.items()
        }
        for chained in records:
            record = chained.record
            for item in record.backups:
                taken = backup_time(item.backup)
                found = known.get(item.backup) or KnownBackup(item.backup, taken, item.stored_bytes, listed=False)
                if item.result is Result.FAILED:
                    found = replace(found, damage=found.damage or f"record {chained.sequence} failed")
                elif record.kind is EvidenceKind.DRILL:
                    found = replace(found, drilled=record.finished)
                elif record.kind is EvidenceKind.VERIFICATION:
                    found = replace(found, verified=record.finished)
                known[item.backup] = found
        kept = (item for item in known.values() if item.listed or self._period.has(item.taken))
        return tuple(
            replace(item, read_bytes=min(read.get(item.backup, 0), item.stored_bytes))
            for item in sorted(kept, key=lambda item: item.backup)
        )


def controls(report: EvidenceReport) -> tuple[Control, ...]:
    """Hold the records of a period against what GDPR asks for."""
    found = (
        _availability(report),
        _integrity(report),
        _confidentiality(report),
        _lifecycle(),
        _testing(report),
    )
    if report.chain.whole:
        return found
    broken = "The chain of evidence has faults: records may be missing that would say something else."
    return tuple(
        replace(
            item,
            status=Status.PARTLY if item.status is Status.SHOWN else item.status,
            lacks=(broken, *item.lacks),
        )
        for item in found
    )


def _passed(records: Iterable[ChainedRecord]) -> list[ChainedRecord]:
    return [item for item in records if item.record.result is Result.PASSED]


def _numbers(*groups: Iterable[ChainedRecord]) -> tuple[int, ...]:
    return tuple(sorted({item.sequence for group in groups for item in group}))


def _status(tests: Sequence[ChainedRecord], *, complete: bool) -> Status:
    """Shown where all passed, and not where the newest failed."""
    if not tests or tests[-1].record.result is Result.FAILED:
        return Status.NOT_SHOWN
    return Status.SHOWN if complete and len(_passed(tests)) == len(tests) else Status.PARTLY


def _counted(records: Sequence[ChainedRecord], what: str) -> str:
    return f"{len(_passed(records))} of {len(records)} {what} passed."


def _newest_failed(tests: Sequence[ChainedRecord], what: str) -> list[str]:
    if tests and tests[-1].record.result is Result.FAILED:
        return [f"The newest {what}, record {tests[-1].sequence}, failed."]
    return []


def _longest(values: Iterable[int | None]) -> str:
    measured = [value for value in values if value is not None]
    return format_duration(timedelta(milliseconds=max(measured))) if measured else "not measured"


def _availability(report: EvidenceReport) -> Control:
    drills = report.of_kind(EvidenceKind.DRILL)
    passed, gaps, days = _passed(drills), report.days_without, report.period.days
    shows = []
    if passed:
        shows = [
            _counted(drills, "drills") + " Each restored a backup into a scratch target and compared it.",
            f"Longest time to restore (RTO): {_longest(item.record.figures.rto_ms for item in passed)}. "
            f"Oldest data (RPO): {_longest(item.record.figures.rpo_ms for item in passed)}.",
        ]
    lacks = [] if drills else ["No drill was recorded: nothing shows that a backup can be restored, or how fast."]
    lacks += _newest_failed(drills, "drill")
    if gaps:
        lacks.append(f"Of {len(gaps)} of {len(days)} days no backup is known.")
    lacks.append("A drill restores into a scratch target: it says nothing of the speed of the production machine.")
    status = _status(drills, complete=True)
    return Control("Availability", "Art. 32(1)(b) and (c)", status, tuple(shows), tuple(lacks), _numbers(passed))


def _integrity(report: EvidenceReport) -> Control:
    tests = [
        item
        for item in report.of_kind(EvidenceKind.VERIFICATION)
        if {Check.SHA256.value, Check.CRC.value} & set(item.record.compared)
    ]
    drills = [item for item in report.of_kind(EvidenceKind.DRILL) if Check.CONTENT.value in item.record.compared]
    read, stored = report.covered
    damaged = [item.backup for item in report.backups if item.listed and item.damage]
    shows = [_counted(tests, "verifications")] if tests else []
    if tests and stored:
        shows.append(
            f"{share(read, stored)} of the stored bytes of the backups listed now were read again and compared."
        )
    if drills:
        shows.append(_counted(drills, "drills that compared content digests"))
    lacks = [] if tests else ["No verification was recorded: nothing shows that what is stored is what was stored."]
    lacks += _newest_failed(tests, "verification")
    if tests and read < stored:
        lacks.append(f"{share(stored - read, stored)} of the stored bytes were not read again in this period.")
    if damaged:
        lacks.append(f"Something is wrong with these, which are still listed: {', '.join(damaged)}.")
    status = _status(tests, complete=bool(stored) and read >= stored and not damaged)
    return Control(
        "Integrity", "Art. 32(1)(b)", status, tuple(shows), tuple(lacks), _numbers(_passed(tests), _passed(drills))
    )


def _confidentiality(report: EvidenceReport) -> Control:
    looked = [item for item in report.records if item.record.backups]
    opened = [item for item in _passed(looked) if Check.DECRYPTION.value in item.record.compared]
    backups = {item.backup: item.encrypted for chained in looked for item in chained.record.backups}
    encrypted, number = sum(backups.values()), len(backups)
    shows = []
    if encrypted:
        shows.append(f"{encrypted} of {number} backups that were looked at are encrypted, as their manifests say.")
    if opened:
        shows.append(f"In {len(opened)} records an identity really opened what was encrypted.")
    lacks = []
    if not number:
        lacks.append("No record says of any backup whether it is encrypted.")
    elif encrypted < number:
        lacks.append(f"{number - encrypted} of {number} backups that were looked at are not encrypted by this project.")
    if encrypted and not opened:
        lacks.append("No record shows that an identity opens what is encrypted.")
    lacks.append("Who has the keys, who may read the bucket, and how the database itself is protected is not recorded.")
    status = Status.NOT_SHOWN
    if encrypted:
        status = Status.SHOWN if encrypted == number and opened else Status.PARTLY
    return Control("Confidentiality", "Art. 32(1)(a) and (b)", status, tuple(shows), tuple(lacks), _numbers(opened))


def _lifecycle() -> Control:
    return Control(
        "Data lifecycle",
        "Art. 5(1)(e) and 17, with Art. 32",
        Status.NOT_SHOWN,
        (),
        (
            "No record says that backups are removed when their time is over, or that an erasure reached them. "
            "The tables of the prune runs in Prefect say what retention decided; they are no part of this chain.",
        ),
        (),
    )


def _testing(report: EvidenceReport) -> Control:
    drills, tests = report.of_kind(EvidenceKind.DRILL), report.of_kind(EvidenceKind.VERIFICATION)
    shows, lacks = [], []
    for what, records in (("drill", drills), ("verification", tests)):
        if not records:
            lacks.append(f"No {what} was recorded in the period.")
            continue
        shows.append(f"{len(records)} {what}{'s' if len(records) > 1 else ''}; {_pause(report, records)}.")
        lacks += _newest_failed(records, what)
    failed = [item for item in (*drills, *tests) if item.record.result is Result.FAILED]
    if failed:
        shows.append(f"Tests find what is wrong: {len(failed)} failed, and their findings are below.")
    lacks.append("Which interval is regular enough is for the controller to say.")
    status = Status.SHOWN if drills and tests else Status.PARTLY if drills or tests else Status.NOT_SHOWN
    return Control("Resilience testing", "Art. 32(1)(d)", status, tuple(shows), tuple(lacks), _numbers(drills, tests))


def _pause(report: EvidenceReport, records: Sequence[ChainedRecord]) -> str:
    """The longest time without a test, from the start of the period to its end, or until now."""
    moments = [item.record.finished for item in records]
    end = min(report.period.end, report.made)
    longest = max(after - before for before, after in pairwise([report.period.start, *moments, max(end, moments[-1])]))
    return f"the longest time without one was {format_duration(longest)}"


def share(part: int, whole: int) -> str:
    """`1` of `3` to `33.3 %`; only all of it is 100 %, and only nothing 0 %."""
    if whole <= 0:
        return "-"
    tenths = round(1000 * part / whole)
    if 0 < part < whole:
        tenths = min(max(tenths, 1), 999)
    return f"{tenths // 10}.{tenths % 10} %" if tenths % 10 else f"{tenths // 10} %"
