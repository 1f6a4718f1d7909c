"""What a run of verifications found: the record of it, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flows.core import evidence
from flows.core.errors import BackupDamaged, BackupUnopened
from flows.core.evidence import (
    Check,
    EvidenceKind,
    EvidenceRecord,
    Figures,
    Result,
    limited,
)
from flows.core.report import MOST_ROWS, format_bytes, format_count, format_duration, markdown_table
from flows.core.results import Outcome
from flows.core.verification import WALKED_OF, Finding, Walk
from flows.core.verified import VerifiedBackup


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What the verify flow returns."""

    plan: str
    store: str  # where the backups are
    share: str  # of the backups, as it was asked for
    walk: Walk
    by: str  # who started it, and where it ran
    started: datetime
    finished: datetime
    listed: int  # backups of the plan
    listed_bytes: int | None  # [bytes] stored of all of them; None where only one was asked for
    backups: tuple[VerifiedBackup, ...]
    gone: tuple[str, ...] = ()  # ids of backups that were removed meanwhile
    stopped: str = ""  # why not all that was due was read; empty: it was
    evidence_key: str = ""  # of the record of it; empty: there is none

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Of all backups."""
        return tuple(finding for one in self.backups for finding in one.findings)

    @property
    def stored_bytes(self) -> int:
        """That were read [bytes]."""
        return sum(one.stored_bytes for one in self.backups)

    def record(self, *, signers: bool, time_zone: str, versions: dict[str, str]) -> EvidenceRecord:
        """The same for the chain of evidence.

        Args:
            signers: Whether manifests had to be signed by trusted signers.
            time_zone: IANA name of the zone that people are shown times in.
            versions: Of this project and of what it uses.
        """
        found = [
            evidence.Finding(f.what, one.backup, f.key, f.namespace, f.offset, f.expected, f.got)
            for one in self.backups
            for f in (finding.for_store for finding in one.findings)
        ]
        if self.stopped:
            found.append(evidence.Finding(f"not all that was due was read: {self.stopped}"))
        findings, left_out = limited(found)
        opened = all(one.outcome not in {Outcome.SEALED, Outcome.UNOPENED} for one in self.backups)
        encrypted = any(one.evidence.encrypted for one in self.backups)
        compared = (
            Check.LENGTH,
            Check.SHA256,
            *([Check.SIGNATURE] if signers else []),
            *([Check.DECRYPTION] if encrypted and opened else []),
            *([Check.CRC, Check.COUNTS, Check.CONTENT, Check.BSON, Check.INDEXES, Check.OPTIONS] if opened else []),
        )
        return EvidenceRecord(
            kind=EvidenceKind.VERIFICATION,
            plan=self.plan,
            operator=self.by,
            started=self.started,
            finished=self.finished,
            time_zone=time_zone,
            result=Result.FAILED if findings else Result.PASSED,
            compared=tuple(check.value for check in compared),
            backups=tuple(one.evidence for one in self.backups),
            objects=tuple(item for one in self.backups for item in one.objects),
            figures=Figures()
            if self.listed_bytes is None
            else Figures(listed_backups=self.listed, listed_bytes=self.listed_bytes),
            findings=findings,
            findings_left_out=left_out,
            versions=versions,
            details={
                "store": self.store,
                "share": self.share,
                "documents": "every one" if self.walk is Walk.ALL else f"one in {WALKED_OF} to the innermost element",
                **{
                    f"backup {one.backup}": f"{one.outcome.value}; {one.signature or 'no signature known'}; "
                    f"{one.opener or 'not opened by a key'}"
                    for one in self.backups
                },
            },
        )

    def check(self) -> None:
        """Fail where anything was found.

        Raises:
            BackupDamaged: A backup is damaged.
            BackupUnopened: None is damaged, and one could not be opened.
        """
        damaged = [one.backup for one in self.backups if one.outcome is Outcome.DAMAGED]
        unopened = [one.backup for one in self.backups if one.outcome is Outcome.UNOPENED]
        facts = {"plan": self.plan, "store": self.store, "findings": len(self.findings)}
        if damaged:
            first = next(f for one in self.backups if one.backup == damaged[0] for f in one.findings if f.damage)
            raise BackupDamaged(
                f"{_number(damaged, 'backup is', 'backups are')} damaged",
                hint=WHAT_TO_DO,
                **facts,
                backups=damaged,
                first=str(first),
            )
        if unopened:
            raise BackupUnopened(
                f"{_number(unopened, 'backup', 'backups')} could not be opened with the identities given",
                hint="Add the secret key or passphrase that belongs to them to the MongoDB Backup Identities block, "
                "and verify them again. If it is lost, nobody can read them: take a new backup now.",
                **facts,
                backups=unopened,
                first=str(self.findings[0]),
            )

    def page(self) -> str:
        """The report, as Markdown."""
        read = sum(one.segments_read for one in self.backups)
        bad = [one for one in self.backups if one.findings]
        done = (
            f"FAILED: {_number(bad, 'backup is', 'backups are')} not as the manifest says"
            if bad
            else "Sound: all that was read is as the manifests say"
            if self.backups
            else "Nothing was read: the plan has no backups"
        )
        took = self.finished - self.started
        sampled = f"one document in {WALKED_OF}" if self.walk is Walk.SAMPLE else "every document"
        lines = [
            f"# Verification of plan {self.plan}",
            "",
            f"* **{done}**",
            *([f"* **Stopped before all was read**: {self.stopped}"] if self.stopped else []),
            f"* **Read again**: {len(self.backups)} of {self.listed} backups, {read} segments, "
            f"{format_bytes(self.stored_bytes)}, in {format_duration(took)}; share: {self.share}",
            f"* **Compared**: length and SHA-256 of each object; CRC, count and content digest of each namespace, "
            f"options and indexes, over {format_count(sum(one.documents for one in self.backups))} documents of "
            f"{format_bytes(sum(one.bson_bytes for one in self.backups))}; {sampled} to the innermost element",
            f"* **Store**: {self.store}",
            f"* **Started**: {self.started:%Y-%m-%d %H:%M:%S} UTC by {self.by}",
            f"* **Evidence**: {f'`{self.evidence_key}`' if self.evidence_key else 'none was written'}",
            *(f"* **Warning**: {one.backup}: {warning}" for one in self.backups for warning in one.warnings),
            *(f"* **Gone meanwhile**: {backup}" for backup in self.gone),
            "",
        ]
        if bad:
            lines += [WHAT_TO_DO, "", "Findings:", "", markdown_table(_finding_rows(self.findings)), ""]
            if len(self.findings) > MOST_ROWS:
                lines += [f"… and {len(self.findings) - MOST_ROWS} more; the stored results have them all.", ""]
        notes = [(one.backup, note) for one in self.backups for note in one.not_checked]
        if notes:
            lines += ["Not checked:", "", *(f"* {backup}: {note}" for backup, note in notes[:MOST_ROWS]), ""]
        lines.append(markdown_table([_row(one) for one in sorted(self.backups, key=_worst_first)[:MOST_ROWS]]))
        if len(self.backups) > MOST_ROWS:
            lines += ["", f"… and {len(self.backups) - MOST_ROWS} more, all without a finding or further down."]
        return "\n".join(lines)


WHAT_TO_DO = (
    "Do not rely on a damaged backup: pruning no longer counts it as a good copy, and the inventory shows it. Take a "
    "new backup now, and find out what changed the objects: a disk, or somebody who can write to the bucket. Where the "
    "bucket keeps versions, bring the old version of the object back, and verify that backup again by its id."
)


def _worst_first(one: VerifiedBackup) -> tuple[bool, bool]:
    return not one.findings, one.outcome is not Outcome.SEALED


def _row(one: VerifiedBackup) -> dict[str, str]:
    return {
        "backup": one.backup,
        "result": one.outcome.value,
        "read": f"{one.segments_read} of {one.segments} segments, {format_bytes(one.stored_bytes)}",
        "documents": format_count(one.documents),
        "signature": one.signature or "-",
        "opened by": one.opener or "-",
    }


def _finding_rows(findings: Sequence[Finding]) -> list[dict[str, str]]:
    return [
        {
            "finding": finding.what,
            "key": finding.key,
            "namespace": finding.namespace or "-",
            "offset": "-" if finding.offset is None else str(finding.offset),
            "expected": finding.expected or "-",
            "got": finding.got or "-",
        }
        for finding in findings[:MOST_ROWS]
    ]


def _number(items: Sequence[object], one: str, many: str) -> str:
    return f"{len(items)} {one if len(items) == 1 else many}"
