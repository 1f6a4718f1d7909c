"""What GDPR asks for, held against the records of a period: no more is called shown than was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from flows.core.evidence import ChainedRecord, Check, EvidenceKind, Result
from flows.core.evidence_report import Control, EvidenceReport, Status, share
from flows.core.report import format_duration


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
            _counted(drills, "drills") + " Each of these restored a backup into a scratch target and compared it.",
            f"Their longest time to restore (RTO): {_longest(item.record.figures.rto_ms for item in passed)}. "
            f"Their oldest data (RPO): {_longest(item.record.figures.rpo_ms for item in passed)}.",
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
        if len(records) == 1:
            lacks.append(f"One {what} in the period is a test, and no regular one.")
        lacks += _newest_failed(records, what)
    failed = [item for item in (*drills, *tests) if item.record.result is Result.FAILED]
    if failed:
        shows.append(f"{len(failed)} of them failed; the findings are below.")
    lacks.append("Which interval is regular enough is for the controller to say.")
    regular = min(len(drills), len(tests)) > 1
    status = Status.SHOWN if regular else Status.PARTLY if drills or tests else Status.NOT_SHOWN
    return Control("Resilience testing", "Art. 32(1)(d)", status, tuple(shows), tuple(lacks), _numbers(drills, tests))


def _pause(report: EvidenceReport, records: Sequence[ChainedRecord]) -> str:
    """The longest time without a test, from the start of the period to its end, or until now."""
    moments = [item.record.finished for item in records]
    end = min(report.period.end, report.made)
    longest = max(after - before for before, after in pairwise([report.period.start, *moments, max(end, moments[-1])]))
    return f"the longest time without one was {format_duration(longest)}"
