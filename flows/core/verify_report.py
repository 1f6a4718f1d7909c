"""What a verification found: of each backup, and of a run. Values, the object that is stored, and the page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flows.core import evidence
from flows.core.errors import BackupDamaged, BackupUnopened
from flows.core.evidence import (
    BackupEvidence,
    Check,
    EvidenceKind,
    EvidenceRecord,
    Figures,
    ObjectEvidence,
    Result,
    limited,
)
from flows.core.keys import backup_prefix
from flows.core.manifest import Manifest
from flows.core.report import format_bytes, format_count, format_duration, markdown_table
from flows.core.results import NO_MANIFEST, Outcome, ResultName, Scope
from flows.core.verification import LENGTH_DIFFERS, WALKED_OF, Finding, SegmentCheck, Walk

FORMAT_VERSION = 1
_MOST_ROWS = 500


@dataclass(frozen=True, slots=True)
class Opened:
    """A backup whose manifest was read, before its segments are."""

    plan: str
    backup: str
    at: datetime  # aware, when this began
    manifest_sha256: str = ""  # of its bytes; empty: it is not there
    trusted: bool = False  # whether the manifest can be relied on: then segments are held against it
    signature: str = ""  # by whom it is signed and who says so, for people
    opener: str = ""  # what opens it, for people; empty: nothing does, or it is not encrypted
    findings: tuple[Finding, ...] = ()
    not_checked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BackupVerification:
    """What was found out about one backup."""

    opened: Opened
    scope: Scope
    segments: int  # that the manifest names
    checks: tuple[SegmentCheck, ...] = ()  # of the segments that were read
    missing: tuple[Finding, ...] = ()  # of objects that a listing shows to be missing or of another length

    @property
    def backup(self) -> str:
        """Its id."""
        return self.opened.backup

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them."""
        return (*self.opened.findings, *self.missing, *(one for check in self.checks for one in check.findings))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is no damage, one line for all objects of which the same is said."""
        names: dict[str, list[str]] = {}
        for check in self.checks:
            if check.warning:
                names.setdefault(check.warning, []).append(check.name)
        return tuple(
            f"{first} {said}" + (f"; so {'is' if len(more) == 1 else 'are'} {len(more)} more" if more else "")
            for said, (first, *more) in names.items()
        )

    @property
    def outcome(self) -> Outcome:
        """In one word."""
        if any(finding.damage for finding in self.findings):
            return Outcome.DAMAGED
        if self.findings:
            return Outcome.UNOPENED
        return Outcome.SOUND if all(check.opened for check in self.checks) else Outcome.SEALED

    @property
    def stored_bytes(self) -> int:
        """That were read [bytes]."""
        return sum(check.bytes for check in self.checks)

    @property
    def bson_bytes(self) -> int:
        """That were read and compared [bytes]."""
        return sum(check.bson_bytes for check in self.checks)

    @property
    def documents(self) -> int:
        """That were read and compared."""
        return sum(check.documents for check in self.checks)

    def to_json(self) -> bytes:
        """As it is stored: canonical JSON, see `FORMAT.md`."""
        opened = self.opened
        value = {
            "format": FORMAT_VERSION,
            "plan": opened.plan,
            "backup": opened.backup,
            "at": opened.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "scope": str(self.scope),
            "outcome": self.outcome.value,
            "manifest_sha256": opened.manifest_sha256,
            "signature": opened.signature,
            "opener": opened.opener,
            "segments": self.segments,
            "read": [
                {
                    "name": check.name,
                    "bytes": check.bytes,
                    "sha256": check.sha256,
                    "opened": check.opened,
                    "archive_bytes": check.archive_bytes,
                    "documents": check.documents,
                    "bson_bytes": check.bson_bytes,
                    "walked": check.walked,
                }
                for check in self.checks
            ],
            "findings": [
                {
                    "what": finding.what,
                    "key": finding.key,
                    "namespace": finding.namespace,
                    "offset": finding.offset,
                    "expected": finding.expected,
                    "got": finding.got,
                    "damage": finding.damage,
                }
                for finding in (found.for_store for found in self.findings)
            ],
            "not_checked": list(opened.not_checked),
            "warnings": list(self.warnings),
        }
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode(errors="surrogatepass") + b"\n"

    def name(self, data: bytes) -> ResultName:
        """The name of what is stored.

        Args:
            data: As `to_json` gives it.
        """
        # A mark that is about the manifest has to be cleared by another one.
        manifest = self.opened.manifest_sha256[:12] if self.opened.trusted else NO_MANIFEST
        at = self.opened.at.astimezone(UTC).replace(microsecond=0)
        return ResultName(at, self.scope, self.outcome, manifest, hashlib.sha256(data).hexdigest()[:12])


@dataclass(frozen=True, slots=True)
class VerifiedBackup:
    """One backup in the report of a run: what was found, without the single segments."""

    backup: str
    scope: str  # `all`, or `3of7`
    outcome: Outcome
    manifest_sha256: str
    signature: str
    opener: str
    segments: int  # that the manifest names
    segments_read: int
    stored_bytes: int  # [bytes] that were read
    documents: int
    bson_bytes: int
    walked: int  # documents that were walked to their innermost element
    findings: tuple[Finding, ...]
    not_checked: tuple[str, ...]
    warnings: tuple[str, ...]
    result_key: str  # of the stored result, which has the SHA-256 of every segment
    result_sha256: str
    evidence: BackupEvidence
    objects: tuple[ObjectEvidence, ...]  # segments that were read

    @classmethod
    def of(
        cls, found: BackupVerification, manifest: Manifest | None, *, result_key: str, result_sha256: str
    ) -> VerifiedBackup:
        """Of a verification whose result is stored.

        Args:
            found: What was found.
            manifest: Of the backup; None where it cannot be relied on.
            result_key: Where the result is stored.
            result_sha256: Of it.
        """
        folder = backup_prefix(found.opened.plan, found.backup)
        return cls(
            found.backup,
            str(found.scope),
            found.outcome,
            found.opened.manifest_sha256,
            found.opened.signature,
            found.opened.opener,
            found.segments,
            len(found.checks),
            found.stored_bytes,
            found.documents,
            found.bson_bytes,
            sum(check.walked for check in found.checks),
            found.findings,
            found.opened.not_checked,
            found.warnings,
            result_key,
            result_sha256,
            BackupEvidence(
                found.backup,
                Result.FAILED if found.findings else Result.PASSED,
                found.opened.manifest_sha256,
                documents=manifest.documents if manifest else 0,
                bson_bytes=manifest.bson_bytes if manifest else 0,
                stored_bytes=manifest.stored_bytes if manifest else 0,
                checked_bytes=found.stored_bytes,
                encrypted=bool(manifest and manifest.recipients),
                signed=bool(manifest and manifest.signature),
            ),
            tuple(ObjectEvidence(folder + check.name, check.bytes, check.sha256) for check in found.checks),
        )


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
            if len(self.findings) > _MOST_ROWS:
                lines += [f"… and {len(self.findings) - _MOST_ROWS} more; the stored results have them all.", ""]
        notes = [(one.backup, note) for one in self.backups for note in one.not_checked]
        if notes:
            lines += ["Not checked:", "", *(f"* {backup}: {note}" for backup, note in notes[:_MOST_ROWS]), ""]
        lines.append(markdown_table([_row(one) for one in sorted(self.backups, key=_worst_first)[:_MOST_ROWS]]))
        if len(self.backups) > _MOST_ROWS:
            lines += ["", f"… and {len(self.backups) - _MOST_ROWS} more, all without a finding or further down."]
        return "\n".join(lines)


WHAT_TO_DO = (
    "Do not rely on a damaged backup: pruning no longer counts it as a good copy, and the inventory shows it. Take a "
    "new backup now, and find out what changed the objects: a disk, or somebody who can write to the bucket. Where the "
    "bucket keeps versions, bring the old version of the object back, and verify that backup again by its id."
)


def sizes_finding(key: str, expected: int, got: int | None) -> Finding | None:
    """What a listing says of a segment; None where it is there in full size [bytes]."""
    if got is None:
        return Finding("an object of this backup is missing", key, expected=f"{expected} bytes", got="no object")
    if got != expected:
        return Finding(LENGTH_DIFFERS, key, expected=str(expected), got=str(got))
    return None


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
        for finding in findings[:_MOST_ROWS]
    ]


def _number(items: Sequence[object], one: str, many: str) -> str:
    return f"{len(items)} {one if len(items) == 1 else many}"
