"""Evidence: what a verification, a drill or a restore has shown, as a record that an auditor can check.

The records of a plan form a hash chain: each names those that it found before it by their SHA-256. `FORMAT.md`
describes what is stored, and what the chain can show and what not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum

from flows.core.canonical import canonical, plain, read_signature, signed_bytes
from flows.core.errors import ConfigurationError, FormatError, IntegrityError
from flows.core.fields import Fields, parse_versioned
from flows.core.keys import check_plan_name, is_backup_id
from flows.core.signing import Signature, SigningKey
from flows.core.zones import time_zone

FORMAT_VERSION = 1
SIGNED_AS = "evidence"
EVIDENCE_LIMIT_BYTES = 16 * 1024 * 1024  # tens of thousands of objects stay below it
MOST_FINDINGS = 1_000  # of one record; damage that goes on and on is told by its beginning
# A record names those of so many sequence numbers before it. One would do for a chain; more of them take in a record
# that another writer was just about to write, and tie what is missing down from several sides.
LINKED = 4

_LAST = 99_999_999
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIME = "%Y-%m-%dT%H-%M-%SZ"
_KEY = re.compile(r"([0-9]{8})-([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}Z)-([a-z]+)-([0-9a-f]{64})\.json")


class EvidenceKind(StrEnum):
    """What was done."""

    VERIFICATION = "verification"  # stored backups were read again
    DRILL = "drill"  # one was restored into a scratch target and compared
    RESTORE = "restore"  # one was restored for use


class Result(StrEnum):
    """What came of it."""

    PASSED = "passed"
    FAILED = "failed"


class Check(StrEnum):
    """What can have been compared."""

    LENGTH = "length"  # of stored objects, with the manifest
    SHA256 = "SHA-256"  # of stored objects, with the manifest
    CRC = "CRC"  # of each namespace in the archives, with the manifest
    COUNTS = "document counts"
    BSON = "BSON structure"
    SIGNATURE = "manifest signature"  # made by a trusted signer
    DECRYPTION = "decryption"  # an identity opened it
    NAMESPACES = "namespaces"
    CONTENT = "content digests"
    INDEXES = "indexes"
    OPTIONS = "options"
    VALIDATORS = "validators"
    VIEWS = "views"
    ASSERTIONS = "assertions"  # the operator's own


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. What does not apply is empty."""

    what: str  # a lower-case fact, as the message of an error
    backup: str = ""  # its id
    key: str = ""  # of the object in the store
    namespace: str = ""
    offset: int | None = None  # [bytes] in the object or the archive, as `what` says
    expected: str = ""
    got: str = ""

    @property
    def where(self) -> str:
        """The place in one line."""
        parts = (self.key or self.backup, self.namespace, "" if self.offset is None else f"offset {self.offset}")
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class BackupEvidence:
    """One backup that was looked at."""

    backup: str  # its id
    result: Result
    manifest_sha256: str  # of the manifest as stored; empty where it could not be read
    documents: int
    bson_bytes: int  # [bytes]
    stored_bytes: int  # [bytes] in all segments, as the manifest says
    checked_bytes: int  # [bytes] of segments that were really read this time
    encrypted: bool  # by this project, as the manifest says
    signed: bool  # whether its manifest has a signature, which has been checked


@dataclass(frozen=True, slots=True)
class ObjectEvidence:
    """One stored object that was read, and what was read."""

    key: str
    bytes: int
    sha256: str  # of what was read


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured; None where it was not."""

    rto_ms: int | None = None  # [ms] recovery time: from the start of a restore to the end of its comparison
    rpo_ms: int | None = None  # [ms] recovery point: how old the data was when the drill or restore began
    listed_backups: int | None = None  # that the plan had in the store at that time
    listed_bytes: int | None = None  # [bytes] stored of all of them


@dataclass(frozen=True, slots=True)
class EvidenceRecord:
    """What was done and what came of it, before it becomes part of a chain.

    Attributes:
        kind: What was done.
        plan: Whose backups.
        operator: Who started it, as Prefect knows them.
        started: Aware.
        finished: Aware.
        time_zone: IANA name of the zone that people are shown times in.
        result: Passed where and only where there is no finding.
        compared: What was compared; `Check` has the usual words.
        backups: Those that were looked at.
        objects: Those that were read in full.
        figures: What was measured.
        findings: At most `MOST_FINDINGS`: see `limited`.
        findings_left_out: How many there were beyond those.
        versions: Of this project, of libraries and servers.
        details: What else people should know, in a word and a sentence each: the target, the rule, the id of the run.
    """

    kind: EvidenceKind
    plan: str
    operator: str
    started: datetime
    finished: datetime
    time_zone: str
    result: Result
    compared: tuple[str, ...]
    backups: tuple[BackupEvidence, ...]
    objects: tuple[ObjectEvidence, ...]
    figures: Figures = field(default_factory=Figures)
    findings: tuple[Finding, ...] = ()
    findings_left_out: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """See that it can be stored and does not contradict itself.

        Raises:
            ConfigurationError: No such time zone, or no name for a plan.
            FormatError: It contradicts itself.
        """
        check_plan_name(self.plan)
        time_zone(self.time_zone)
        if (self.result is Result.FAILED) != bool(self.findings):
            raise FormatError(
                "evidence has findings where and only where it failed",
                at="evidence.result",
                expected=Result.FAILED.value if self.findings else Result.PASSED.value,
                got=self.result.value,
            )
        if self.finished < self.started:
            raise FormatError("evidence ends before it begins", at="evidence.finished", got=self.finished.isoformat())
        for backup in self.backups:
            if not is_backup_id(backup.backup):
                raise FormatError("not the id of a backup", at="evidence.backups", got=backup.backup)

    def same_as(self, other: EvidenceRecord) -> bool:
        """Whether both are stored as the same."""
        return canonical(plain(self)) == canonical(plain(other))


def limited(findings: Iterable[Finding]) -> tuple[tuple[Finding, ...], int]:
    """As many findings as a record takes, and the number of the others."""
    found = tuple(findings)
    return found[:MOST_FINDINGS], max(0, len(found) - MOST_FINDINGS)


def evidence_prefix(plan: str) -> str:
    """Where the evidence of a plan is."""
    return f"{check_plan_name(plan)}/evidence/"


def report_key(plan: str, first: date, last: date, made: datetime) -> str:
    """Where the document of a period is stored; `made` is aware."""
    return f"{check_plan_name(plan)}/reports/{first}-to-{last}-made-{made.astimezone(UTC).strftime(_TIME)}.html"


@dataclass(frozen=True, slots=True)
class EvidenceKey:
    """What the key of a record says: enough to put the next one behind it without reading it."""

    plan: str
    sequence: int  # from 1
    finished: datetime  # to the second, UTC
    kind: str
    sha256: str  # of the whole object

    def __str__(self) -> str:
        name = f"{self.sequence:08d}-{self.finished.astimezone(UTC).strftime(_TIME)}-{self.kind}-{self.sha256}"
        return f"{evidence_prefix(self.plan)}{name}.json"

    @classmethod
    def parse(cls, plan: str, key: str) -> EvidenceKey | None:
        """Read a key; None for what is not the key of a record of this plan."""
        match = _KEY.fullmatch(key.removeprefix(evidence_prefix(plan)))
        if match is None:
            return None
        try:
            finished = datetime.strptime(match[2], _TIME).replace(tzinfo=UTC)
        except ValueError:
            return None
        return cls(plan, int(match[1]), finished, match[3], match[4])


@dataclass(frozen=True, slots=True)
class Link:
    """A record that another one names."""

    sequence: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ChainedRecord:
    """A record in its place."""

    record: EvidenceRecord
    sequence: int  # from 1; two writers at once may have the same
    before: tuple[Link, ...]  # the records of the `LINKED` numbers before it that were there, in order
    recorded: datetime  # aware: when it was written, by the clock of the worker
    signature: Signature | None = None  # of all the rest; it has been checked, and says nothing of who may sign
    sha256: str = ""  # of the object as stored

    @property
    def key(self) -> EvidenceKey:
        """Where it is stored."""
        finished = self.record.finished.astimezone(UTC).replace(microsecond=0)
        return EvidenceKey(self.record.plan, self.sequence, finished, self.record.kind.value, self.sha256)

    @classmethod
    def from_json(cls, data: bytes) -> ChainedRecord:
        """Read a record, and check its signature if it has one.

        Raises:
            UnsupportedVersion: For a format version or a kind of signature that this project does not know.
            FormatError: For anything else that is no record; names the field.
            IntegrityError: Where it was changed after it was signed.
        """
        top = parse_versioned(data, "evidence", version=FORMAT_VERSION)
        signature = read_signature(top)
        if signature is not None:
            # Over all that is there, so also over fields that are not known here.
            signature.check(signed_bytes(top.value), domain=SIGNED_AS)
        chained = cls(
            record=_record(top),
            sequence=top.integer("sequence"),
            before=tuple(Link(item.integer("sequence"), _sha256(item, "sha256")) for item in top.items("before")),
            recorded=top.time("recorded"),
            signature=signature,
            sha256=hashlib.sha256(data).hexdigest(),
        )
        try:
            chained.record.check()
        except ConfigurationError as error:
            raise FormatError(error.message, **error.facts) from error
        newest = max((link.sequence for link in chained.before), default=0)
        if chained.sequence != newest + 1:
            raise FormatError(
                "a record does not follow those that it names",
                at="evidence.sequence",
                expected=newest + 1,
                got=chained.sequence,
            )
        return chained


@dataclass(frozen=True, slots=True)
class StoredEvidence:
    """What is at one key: a record, or why there is none to be read."""

    key: str
    name: EvidenceKey | None  # what the key says; None where it is not the key of a record
    sha256: str  # of the bytes that are there; empty where they cannot be read
    record: ChainedRecord | None
    problem: str = ""


def chain(
    record: EvidenceRecord, existing: Iterable[EvidenceKey], *, key: SigningKey | None, now: datetime
) -> tuple[ChainedRecord, bytes]:
    """Put a record behind those that exist: the record in its place, and its bytes.

    Args:
        record: What is to be kept.
        existing: Keys of all records of the plan.
        key: Signs it; None: it is not signed.
        now: Aware.

    Raises:
        ConfigurationError, FormatError: See `EvidenceRecord.check`; or it is too large.
        IntegrityError: There is no number left.
    """
    record.check()
    found = list(existing)
    newest = max((item.sequence for item in found), default=0)
    if newest >= _LAST:
        raise IntegrityError(
            "the chain of evidence has come to its last number, which only a forger reaches",
            hint="Prove the chain, and remove the records that it calls forged.",
            plan=record.plan,
            got=newest,
        )
    before = sorted((item.sequence, item.sha256) for item in found if item.sequence > newest - LINKED)
    chained = ChainedRecord(record, newest + 1, tuple(Link(*link) for link in before), now)
    value = _plain(chained)
    if key is not None:
        signature = key.sign(signed_bytes(value), domain=SIGNED_AS)
        value["signature"] = plain(signature)
        chained = dataclasses.replace(chained, signature=signature)
    data = canonical(value)
    if len(data) > EVIDENCE_LIMIT_BYTES:
        raise FormatError("evidence is too large for a record", limit=EVIDENCE_LIMIT_BYTES, got=len(data))
    return dataclasses.replace(chained, sha256=hashlib.sha256(data).hexdigest()), data


def _plain(chained: ChainedRecord) -> dict[str, object]:
    place = {
        "sequence": chained.sequence,
        "before": plain(chained.before),
        "recorded": plain(chained.recorded),
        "signature": None,
    }
    return {"format": FORMAT_VERSION, **plain(chained.record), **place}


def _record(top: Fields) -> EvidenceRecord:
    figures = top.inner("figures")
    return EvidenceRecord(
        kind=top.member("kind", EvidenceKind),
        plan=top.text("plan"),
        operator=top.text("operator"),
        started=top.time("started"),
        finished=top.time("finished"),
        time_zone=top.text("time_zone"),
        result=top.member("result", Result),
        compared=tuple(top.texts("compared")),
        backups=tuple(_backup(item) for item in top.items("backups")),
        objects=tuple(
            ObjectEvidence(item.text("key"), item.integer("bytes"), _sha256(item, "sha256"))
            for item in top.items("objects")
        ),
        figures=Figures(**{item.name: _number(figures, item.name) for item in dataclasses.fields(Figures)}),
        findings=tuple(_finding(item) for item in top.items("findings")),
        findings_left_out=top.integer("findings_left_out"),
        versions=top.text_map("versions"),
        details=top.text_map("details"),
    )


def _backup(item: Fields) -> BackupEvidence:
    return BackupEvidence(
        backup=item.text("backup"),
        result=item.member("result", Result),
        manifest_sha256=item.text("manifest_sha256") and _sha256(item, "manifest_sha256"),
        documents=item.integer("documents"),
        bson_bytes=item.integer("bson_bytes"),
        stored_bytes=item.integer("stored_bytes"),
        checked_bytes=item.integer("checked_bytes"),
        encrypted=item.boolean("encrypted"),
        signed=item.boolean("signed"),
    )


def _finding(item: Fields) -> Finding:
    return Finding(
        what=item.text("what"),
        backup=item.text("backup"),
        key=item.text("key"),
        namespace=item.text("namespace"),
        offset=_number(item, "offset"),
        expected=item.text("expected"),
        got=item.text("got"),
    )


def _number(item: Fields, name: str) -> int | None:
    return None if item.is_null(name) else item.integer(name)


def _sha256(item: Fields, name: str) -> str:
    return item.matching(name, _SHA256)
