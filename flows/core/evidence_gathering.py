"""Going through the records of a period once, and keeping of them what its document needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from flows.core.evidence import ChainedRecord, EvidenceKind, ObjectEvidence, Result
from flows.core.evidence_chain import ChainReport
from flows.core.evidence_controls import controls
from flows.core.evidence_report import EvidenceReport, KnownBackup, Period
from flows.core.index import BackupFacts
from flows.core.keys import SEGMENT_PREFIX, backup_prefix, backup_time, backups_prefix

_Segment = tuple[str, str, int]  # id of the backup, name, size [bytes]


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
