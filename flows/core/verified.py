"""What a verification found of one backup: the values, and the object that is stored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from flows.core.evidence import (
    BackupEvidence,
    ObjectEvidence,
    Result,
)
from flows.core.keys import backup_prefix
from flows.core.manifest import Manifest
from flows.core.results import NO_MANIFEST, Outcome, ResultName, Scope
from flows.core.verification import LENGTH_DIFFERS, Finding, SegmentCheck

FORMAT_VERSION = 1


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


def sizes_finding(key: str, expected: int, got: int | None) -> Finding | None:
    """What a listing says of a segment; None where it is there in full size [bytes]."""
    if got is None:
        return Finding("an object of this backup is missing", key, expected=f"{expected} bytes", got="no object")
    if got != expected:
        return Finding(LENGTH_DIFFERS, key, expected=str(expected), got=str(got))
    return None
