"""What the pages of evidence have in common, whatever they are written in: the same words and numbers in each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from flows.core.charts import BYTES, SECONDS, SHARE, Day, Mark, Point, Scale
from flows.core.evidence import ChainedRecord, EvidenceKind, EvidenceRecord, Result
from flows.core.evidence_chain import ChainReport
from flows.core.evidence_report import EvidenceReport, KnownBackup, share
from flows.core.report import format_bytes, format_count, format_duration

Rows = list[dict[str, str]]
PASSED, FAILED = "✓ passed", "✕ FAILED"


def moment(at: datetime, where: ZoneInfo) -> str:
    """`2026-03-06 05:00 CET`."""
    return f"{at.astimezone(where):%Y-%m-%d %H:%M %Z}"


def length(milliseconds: int | None) -> str:
    """A length of time, or `-` where it was not measured."""
    return "-" if milliseconds is None else format_duration(timedelta(milliseconds=milliseconds))


def result(record: EvidenceRecord) -> str:
    """What came of it; by a sign too, for those who do not see colours."""
    return PASSED if record.result is Result.PASSED else FAILED


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in order: `1-22, 24`."""
    ends: list[list[int]] = []
    for number in numbers:
        if ends and number == ends[-1][1] + 1:
            ends[-1][1] = number
        else:
            ends.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ends) or "none"


def findings_of(record: EvidenceRecord) -> int:
    """How many there were."""
    return len(record.findings) + record.findings_left_out


def verdict(chain: ChainReport) -> str:
    """What the proof of the chain came to, in a sentence."""
    if not chain.records and chain.whole:
        return "There is no evidence yet."
    if chain.whole:
        return f"The chain of {format_count(chain.records)} records is whole."
    return f"THE CHAIN IS NOT WHOLE: {format_count(len(chain.faults))} faults were found."


def chain_text(chain: ChainReport) -> str:
    """The proof for a terminal."""
    head = f"{chain.head.sha256} (record {chain.head.sequence})" if chain.head is not None else "none"
    signers = [f"  {number} by {signer}" for signer, number in chain.signers]
    return "\n".join([verdict(chain), f"Signatures: {chain.signatures}.", *signers, f"Head: {head}"])


def summary_rows(report: EvidenceReport) -> list[tuple[str, str]]:
    """The few numbers that everybody looks for: name and value."""
    drills, tests = report.of_kind(EvidenceKind.DRILL), report.of_kind(EvidenceKind.VERIFICATION)
    measured = next((item.record.figures for item in reversed(drills) if item.record.result is Result.PASSED), None)
    read, stored = report.covered
    gaps, days = len(report.days_without), len([day for day in report.period.days if day <= _today(report)])
    return [
        ("Newest drill", _newest(report, drills)),
        ("RTO of the newest passed drill", length(measured.rto_ms if measured else None)),
        ("RPO of the newest passed drill", length(measured.rpo_ms if measured else None)),
        ("Newest verification", _newest(report, tests)),
        ("Read again, of what is listed", f"{share(read, stored)} of {format_bytes(stored)}"),
        ("Days without a known backup", f"{gaps} of {days}"),
    ]


def _newest(report: EvidenceReport, records: list[ChainedRecord]) -> str:
    if not records:
        return "none in this period"
    record = records[-1].record
    return f"{result(record)}, {moment(record.finished, report.period.zone)}"


def _today(report: EvidenceReport) -> date:
    return report.period.day(report.made)


def drill_rows(report: EvidenceReport) -> Rows:
    """Drills and restores."""
    return [
        {
            "finished": moment(item.record.finished, report.period.zone),
            "record": str(item.sequence),
            "what": item.record.kind.value,
            "backup": ", ".join(backup.backup for backup in item.record.backups) or "-",
            "result": result(item.record),
            "RTO": length(item.record.figures.rto_ms),
            "RPO": length(item.record.figures.rpo_ms),
            "findings": format_count(findings_of(item.record)),
        }
        for item in report.records
        if item.record.kind is not EvidenceKind.VERIFICATION
    ]


def verification_rows(report: EvidenceReport) -> Rows:
    """Verifications."""
    return [
        {
            "finished": moment(item.record.finished, report.period.zone),
            "record": str(item.sequence),
            "result": result(item.record),
            "backups read": f"{len(item.record.backups)} of {_known(item.record.figures.listed_backups)}",
            "bytes read": format_bytes(_checked(item.record)),
            "of what was listed": _coverage(item.record),
            "findings": format_count(findings_of(item.record)),
        }
        for item in report.of_kind(EvidenceKind.VERIFICATION)
    ]


def _known(number: int | None) -> str:
    return "?" if number is None else format_count(number)


def _checked(record: EvidenceRecord) -> int:
    return sum(backup.checked_bytes for backup in record.backups)


def _coverage(record: EvidenceRecord) -> str:
    listed = record.figures.listed_bytes
    return "-" if listed is None else share(min(_checked(record), listed), listed)


def compared_rows(report: EvidenceReport) -> Rows:
    """What was compared, and who started it: the same for most records, so each once."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    for item in report.records:
        compared = ", ".join(item.record.compared) or "nothing"
        groups.setdefault((item.record.kind.value, compared, item.record.operator), []).append(item.sequence)
    return [
        {"what": kind, "compared": compared, "operator": operator, "records": ranges(numbers)}
        for (kind, compared, operator), numbers in groups.items()
    ]


def finding_rows(report: EvidenceReport) -> Rows:
    """What was found wrong, in the order of the records."""
    return [
        {
            "record": str(item.sequence),
            "found": finding.what,
            "where": finding.where or "-",
            "expected": finding.expected or "-",
            "got": finding.got or "-",
        }
        for item in report.records
        for finding in item.record.findings
    ]


def backup_rows(report: EvidenceReport) -> Rows:
    """Backups, with when each was last proven."""

    def when(at: datetime | None) -> str:
        return "not in this period" if at is None else moment(at, report.period.zone)

    return [
        {
            "backup": item.backup,
            "in the store": "listed" if item.listed else "no longer listed",
            "stored": format_bytes(item.stored_bytes),
            "read again": share(item.read_bytes, item.stored_bytes),
            "verification passed": when(item.verified),
            "drill passed": when(item.drilled),
            "problem": item.damage or "-",
        }
        for item in report.backups
    ]


def record_rows(report: EvidenceReport) -> Rows:
    """The place of each record in the chain."""
    return [
        {
            "record": str(item.sequence),
            "finished": moment(item.record.finished, report.period.zone),
            "kind": item.record.kind.value,
            "signer": f"{item.signature.signer[:16]}…" if item.signature is not None else "not signed",
            "SHA-256": item.sha256,
        }
        for item in report.records
    ]


def calendar_days(report: EvidenceReport) -> dict[date, Day]:
    """What is known of each day of the period until today."""
    zone_, made = report.period, _today(report)
    taken: dict[date, list[KnownBackup]] = {}
    for item in report.backups:
        taken.setdefault(zone_.day(item.taken), []).append(item)
    tests: dict[date, list[EvidenceRecord]] = {}
    for chained in report.records:
        tests.setdefault(zone_.day(chained.record.finished), []).append(chained.record)
    return {day: _day(taken.get(day, []), tests.get(day, [])) for day in zone_.days if day <= made}


def _day(backups: list[KnownBackup], records: list[EvidenceRecord]) -> Day:
    good = [item for item in backups if item.listed and not item.damage]
    removed, damaged = sum(not item.listed for item in backups), sum(bool(item.damage) for item in backups)
    counted = ((len(good), "listed"), (removed, "no longer listed"), (damaged, "with a problem"))
    tells = [f"{'a backup' if count == 1 else f'{count} backups'} {what}" for count, what in counted if count]
    if not backups:
        tells.append("no backup known")
    drills = [record for record in records if record.kind is EvidenceKind.DRILL]
    failed = [record.kind.value for record in records if record.result is Result.FAILED]
    if drills:
        tells.append(f"{len(drills)} drills" if len(drills) > 1 else "a drill")
    if failed:
        tells.append(f"FAILED: {', '.join(failed)}")
    note = "✕" if failed else "D" if drills else ""
    mark = Mark.FULL if good else Mark.KNOWN if backups else Mark.GAP
    return Day(mark, note, "; ".join(tells))


def day_rows(report: EvidenceReport) -> Rows:
    """The calendar as a table."""
    return [{"day": f"{day:%Y-%m-%d %a}", "known of it": what.tells} for day, what in calendar_days(report).items()]


def series(report: EvidenceReport) -> list[tuple[str, str, str, list[Point], Scale]]:
    """The charts over time: name, title, what it says below, values, scale."""
    drills, tests = report.of_kind(EvidenceKind.DRILL), report.of_kind(EvidenceKind.VERIFICATION)

    def points(of: str) -> list[Point]:
        measured = ((item.record, getattr(item.record.figures, of)) for item in drills)
        return [Point(r.finished, ms / 1000, r.result is Result.PASSED) for r, ms in measured if ms is not None]

    sizes = [
        Point(item.taken, item.stored_bytes, not item.damage)
        for item in report.backups
        if report.period.has(item.taken) and (item.stored_bytes or not item.damage)
    ]
    coverage = [
        Point(r.finished, min(_checked(r) / r.figures.listed_bytes, 1.0), r.result is Result.PASSED)
        for r in (item.record for item in tests)
        if r.figures.listed_bytes
    ]
    return [
        ("rto", "Time to restore (RTO)", "Of each drill, from its start to the end of the comparison.",
         points("rto_ms"), SECONDS),
        ("rpo", "Age of the data (RPO)", "Of each drill: how old the data was when it began.",
         points("rpo_ms"), SECONDS),
        ("sizes", "Size of backups", "As stored, at the time when each was taken.", sizes, BYTES),
        ("coverage", "Coverage of verification", "Share of all listed bytes that each verification read again.",
         coverage, SHARE),
    ]  # fmt: skip
