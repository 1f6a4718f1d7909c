"""Evidence records that tests start from, and thirty days of an invented history."""

from __future__ import annotations

from datetime import datetime, timedelta

from flows.core.evidence import (
    BackupEvidence,
    Check,
    EvidenceKind,
    EvidenceRecord,
    Figures,
    Finding,
    ObjectEvidence,
    Result,
)
from flows.core.keys import backup_id, backup_prefix
from flows.core.signing import SigningKey
from flows.storage import evidence
from flows.storage.store import ObjectStore
from tests.support.repositories import INVOICES, ONE
from tests.support.samples import STARTED, entry, manifest, segment

KEY, STRANGER = SigningKey("ed25519-secret:" + "11" * 32), SigningKey("ed25519-secret:" + "22" * 32)
_VERIFIED = (Check.LENGTH, Check.SHA256, Check.CRC, Check.COUNTS, Check.BSON)
_DRILLED = (Check.NAMESPACES, Check.COUNTS, Check.CONTENT, Check.INDEXES, Check.OPTIONS)


def record(
    kind: EvidenceKind = EvidenceKind.VERIFICATION,
    *,
    at: datetime = STARTED,
    findings: tuple[Finding, ...] = (),
    backups: tuple[BackupEvidence, ...] = (),
    objects: tuple[ObjectEvidence, ...] = (),
    figures: Figures | None = None,
    operator: str = "Jörg on worker-1",
    plan: str = "mpg",
    compared: tuple[str, ...] = _VERIFIED,
) -> EvidenceRecord:
    """A record that ended at a time."""
    return EvidenceRecord(
        kind=kind,
        plan=plan,
        operator=operator,
        started=at - timedelta(minutes=3),
        finished=at,
        time_zone="Europe/Berlin",
        result=Result.FAILED if findings else Result.PASSED,
        compared=compared,
        backups=backups,
        objects=objects,
        figures=figures or Figures(),
        findings=findings,
        versions={"mongo-backup-flows": "0.1.0"},
        details={"target": "embedded mongod 6.0.5"},
    )


def looked_at(
    started: datetime,
    *,
    size: int,
    read: int = 0,
    encrypted: bool = True,
    result: Result = Result.PASSED,
) -> BackupEvidence:
    """What a record says of the backup that began at a time."""
    return BackupEvidence(backup_id(started), result, "ab" * 32, 1_496_125, 4 * size, size, read, encrypted, True)


def _plant(store: ObjectStore, started: datetime, size: int) -> None:
    made = manifest([INVOICES], [segment(0, entry(INVOICES, ONE), data=bytes(size))], started=started)
    store.put(made.segment_key(made.segments[0]), bytes(size))
    store.put(made.key, made.to_json())


def history(
    store: ObjectStore,
    *,
    days: int = 30,
    gap: range = range(11, 13),
    failed: int = 18,
    kept: int = 14,
    key: SigningKey | None = KEY,
    operator: str = "Jörg on worker-1",
) -> datetime:
    """Thirty days of a plan: a backup each night but in a gap, verifications that take turns, a drill each third day.

    Args:
        store: Where it is written.
        days: How many, from `STARTED`.
        gap: Days without a backup.
        failed: The day whose drill failed.
        kept: So many days before the end are listed still.
        key: Signs the evidence.
        operator: Who did all that.

    Returns:
        The evening of the last day.
    """
    nights = [(day, STARTED + timedelta(days=day)) for day in range(days) if day not in gap]
    sizes = {started: (180 + 4 * day + 7 * (day % 3)) * 1024 for day, started in nights}
    for day, started in nights:
        at = started + timedelta(hours=2, minutes=7 * day)
        listed = [one for other, one in nights if day - kept < other <= day]
        read = [one for number, one in enumerate(reversed(listed)) if number % 7 == day % 7 or number == 0]
        figures = Figures(listed_backups=len(listed), listed_bytes=sum(sizes[one] for one in listed))
        backups = tuple(looked_at(one, size=sizes[one], read=sizes[one]) for one in read)
        objects = tuple(
            ObjectEvidence(f"{backup_prefix('mpg', backup_id(one))}segment-00000.archive.gz", sizes[one], "cd" * 32)
            for one in read
        )
        made = record(at=at, backups=backups, objects=objects, figures=figures, operator=operator)
        evidence.append(store, "mpg", made, key, now=at)
        if day % 3 == 0:
            at += timedelta(hours=1)
            wrong = day == failed
            findings = (
                Finding(
                    "the content digest is another one",
                    backup=backup_id(started),
                    namespace="mpg.invoices",
                    expected="5f0c" * 8,
                    got="77aa" * 8,
                ),
            )
            made = record(
                EvidenceKind.DRILL,
                at=at,
                backups=(looked_at(started, size=sizes[started], result=Result.FAILED if wrong else Result.PASSED),),
                figures=Figures(rto_ms=(240 + 9 * day + 120 * (day % 2)) * 1000, rpo_ms=(3 * 3600 + 420 * day) * 1000),
                findings=findings if wrong else (),
                operator=operator,
                compared=_DRILLED,
            )
            evidence.append(store, "mpg", made, key, now=at)
    for day, started in nights:
        if day >= days - kept:
            _plant(store, started, sizes[started])
    return STARTED + timedelta(days=days - 1, hours=14)
