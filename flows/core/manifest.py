"""The manifest: the object whose presence means that a backup exists. `FORMAT.md` describes every field."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flows.core.canonical import canonical, plain, read_signature, signed_bytes
from flows.core.encryption import Identity, seal, unseal
from flows.core.errors import FormatError, IntegrityError
from flows.core.fields import Fields, parse_versioned
from flows.core.keys import ARCHIVE_SUFFIXES, ENCRYPTED_SUFFIX, backup_prefix, manifest_key
from flows.core.names import Namespace
from flows.core.selection import Selection
from flows.core.signing import Signature, SigningKey
from flows.core.source import ClusterTime, Consistency, Kind, SourceIdentity
from flows.core.tally import Content, Totals, combine
from flows.core.ttl import Ages

FORMAT_VERSION = 1
SIGNED_AS = "manifest"
SEALED = "sealed"  # in place of the metadata of a namespace: no metadata, so that whoever forgets to open it fails
# Ten thousand collections with long validators stay far below it; more is not a manifest of ours.
MANIFEST_LIMIT_BYTES = 256 * 1024 * 1024
_SEGMENT_NAME = re.compile(r"segment-[0-9]{5,9}\.archive(\.gz|\.zst)?(\.age)?")


@dataclass(frozen=True, slots=True)
class NamespaceRecord:
    """One namespace of the backup: all that is needed to create it and to prove its content."""

    namespace: Namespace
    kind: Kind
    # Options, indexes, uuid as canonical Extended JSON, the text that the archives carry too; or `SEALED`.
    metadata: str
    content: Content  # documents (for a time-series collection: buckets), bytes of BSON, content digest
    consistency: Consistency
    ages: tuple[Ages, ...] = ()  # of documents that a TTL rule may delete

    @property
    def data_namespace(self) -> Namespace:
        """Where the documents go."""
        return self.namespace.buckets if self.kind is Kind.TIMESERIES else self.namespace


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """What one segment holds of one namespace, named as in the archive (buckets for time-series collections)."""

    namespace: Namespace
    totals: Totals


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """One stored object."""

    name: str  # within the backup
    bytes: int  # [bytes] as stored
    sha256: str  # of the bytes as stored
    archive_bytes: int  # [bytes] unpacked
    compression: str
    recipients: tuple[str, ...]  # public keys that it is encrypted to; none: not encrypted
    confirmed: str  # how the store proved that it holds these bytes: "store checksum" or "read back"
    entries: tuple[SegmentEntry, ...]
    store_encryption: str = ""  # `sse-s3`, `sse-kms` or `sse-c` as the store said after the upload; empty: it said none
    store_key: str = ""  # with which key: for `sse-kms` its ARN, for `sse-c` its MD5 in base64


@dataclass(frozen=True, slots=True)
class Manifest:
    """One backup."""

    plan: str
    backup: str  # its id
    source: SourceIdentity
    consistency: Consistency
    cluster_time: ClusterTime | None
    started: datetime
    finished: datetime
    namespaces: tuple[NamespaceRecord, ...]
    segments: tuple[SegmentRecord, ...]
    users: bool  # whether users and roles were asked for
    warnings: tuple[str, ...]
    versions: dict[str, str]  # of this project and of what wrote the bytes
    identity: str | None = None  # where a passphrase was used: the secret key of the segments, encrypted with it
    sealed: str | None = None  # what is encrypted of the manifest itself: see `seal`
    selection: Selection | None = None  # what was asked for; None: an older release did not write it
    signature: Signature | None = None  # of all the rest; it has been checked, and says nothing of who may sign

    @property
    def documents(self) -> int:
        """Documents in all namespaces."""
        return sum(record.content.documents for record in self.namespaces)

    @property
    def bson_bytes(self) -> int:
        """BSON in all namespaces [bytes]."""
        return sum(record.content.bytes for record in self.namespaces)

    @property
    def stored_bytes(self) -> int:
        """Size of all segments in the store [bytes]."""
        return sum(segment.bytes for segment in self.segments)

    @property
    def recipients(self) -> tuple[str, ...]:
        """Public keys that the segments are encrypted to, by each alone; none: not encrypted."""
        return self.segments[0].recipients if self.segments else ()

    @property
    def described(self) -> dict[Namespace, str]:
        """Options and indexes of every namespace, as its archives have them too."""
        return {record.namespace: record.metadata for record in self.namespaces}

    @property
    def key(self) -> str:
        """Where the manifest is stored."""
        return manifest_key(self.plan, self.backup)

    def segment_key(self, segment: SegmentRecord) -> str:
        """Where a segment is stored."""
        return backup_prefix(self.plan, self.backup) + segment.name

    def check(self) -> None:
        """Hold the parts against each other: the segments are protected alike and add up to the namespaces.

        Raises:
            IntegrityError: With the first segment or namespace that differs.
        """
        for segment in self.segments:
            if segment.recipients != self.recipients:
                raise IntegrityError(
                    "the segments of a backup are not encrypted alike",
                    hint="The manifest contradicts itself: do not rely on this backup, take a new one.",
                    segment=segment.name,
                    expected=self.recipients,
                    got=segment.recipients,
                )
        sums: dict[Namespace, list[Totals]] = {}
        for segment in self.segments:
            for entry in segment.entries:
                sums.setdefault(entry.namespace, []).append(entry.totals)
        for record in self.namespaces:
            got = combine(sums.pop(record.data_namespace, []))
            if got != record.content:
                raise IntegrityError(
                    "the segments do not add up to the namespace",
                    hint="The manifest contradicts itself: do not rely on this backup, take a new one.",
                    namespace=str(record.namespace),
                    expected=record.content,
                    got=got,
                )
        if sums:
            raise IntegrityError(
                "a segment holds a namespace that the manifest does not list",
                hint="The manifest contradicts itself: do not rely on this backup, take a new one.",
                namespace=str(min(sums)),
            )

    def seal(self) -> Manifest:
        """The same with the metadata of its namespaces encrypted as the segments are; none of it where they are not.

        People write values into options and indexes: into validators, filters of indexes, pipelines of views. Who reads
        the bucket of an encrypted backup is not to read these either.
        """
        if not self.recipients:
            return self
        # With plan and id, so that nobody puts that of another backup in its place.
        value = {
            "format": FORMAT_VERSION,
            "plan": self.plan,
            "backup": self.backup,
            "metadata": [item.metadata for item in self.namespaces],
        }
        hidden = tuple(dataclasses.replace(item, metadata=SEALED) for item in self.namespaces)
        return dataclasses.replace(self, namespaces=hidden, sealed=seal(canonical(value), self.recipients))

    def opened(self, identity: Identity) -> Manifest:
        """The same as it was before it was sealed, to restore from. It is not the one to be stored again.

        Raises:
            IntegrityError: What is sealed was changed, or is that of another backup.
            FormatError: It is not what this project seals.
        """
        if self.sealed is None:
            return self
        data = unseal(self.sealed, identity, key=self.key)
        try:
            inner = parse_versioned(data, "manifest.sealed", version=FORMAT_VERSION)
            found = inner.text("plan"), inner.text("backup"), len(texts := inner.texts("metadata"))
        except FormatError as error:
            error.facts["key"] = self.key
            raise
        if found != (self.plan, self.backup, len(self.namespaces)):
            raise IntegrityError(
                "what is sealed in the manifest is not of this backup",
                hint="Restore an older backup, and find out who writes to the bucket.",
                key=self.key,
                expected=(self.plan, self.backup, len(self.namespaces)),
                got=found,
            )
        pairs = zip(self.namespaces, texts, strict=True)
        shown = tuple(dataclasses.replace(item, metadata=text) for item, text in pairs)
        return dataclasses.replace(self, namespaces=shown, sealed=None)

    def to_json(self) -> bytes:
        """Write the manifest as canonical JSON: keys sorted, no spaces, UTF-8, times as `2026-03-06T04:00:00.000Z`."""
        return canonical({"format": FORMAT_VERSION, **plain(self, _special)})

    def signed(self, key: SigningKey) -> Manifest:
        """The same with a signature over everything else in it."""
        value = {"format": FORMAT_VERSION, **plain(self, _special)}
        return dataclasses.replace(self, signature=key.sign(signed_bytes(value), domain=SIGNED_AS))

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read a manifest, check its signature if it has one, and hold its parts against each other.

        Raises:
            UnsupportedVersion: For a format version or a kind of signature that this project does not know.
            FormatError: For anything else that is not a manifest; names the field.
            IntegrityError: Where it was changed after it was signed, or contradicts itself.
        """
        top = parse_versioned(
            data, "manifest", version=FORMAT_VERSION, damaged="Restore an older backup; this manifest was damaged."
        )
        signature = read_signature(top)
        if signature is not None:
            # Over all that is there, so also over fields that are not known here.
            signature.check(signed_bytes(top.value), domain=SIGNED_AS)
        source = top.inner("source")
        manifest = cls(
            plan=top.text("plan"),
            backup=top.text("backup"),
            source=SourceIdentity(
                server_version=source.text("server_version"),
                topology=source.text("topology"),
                replica_set=source.text_or_none("replica_set"),
                replica_set_id=source.text_or_none("replica_set_id"),
            ),
            consistency=top.member("consistency", Consistency),
            cluster_time=_cluster_time(top),
            started=top.time("started"),
            finished=top.time("finished"),
            namespaces=tuple(_namespace(item) for item in top.items("namespaces")),
            segments=tuple(_segment(item) for item in top.items("segments")),
            users=top.boolean("users"),
            warnings=tuple(top.texts("warnings")),
            versions=top.text_map("versions"),
            identity=top.text_or_none("identity") if top.has("identity") else None,
            sealed=top.text_or_none("sealed") if top.has("sealed") else None,
            selection=_selection(top),
            signature=signature,
        )
        if manifest.sealed is not None and not manifest.recipients:
            raise FormatError("the manifest is sealed and its segments are not encrypted", at="manifest.sealed")
        for record in manifest.namespaces:
            if (record.metadata == SEALED) != (manifest.sealed is not None):
                raise FormatError(
                    "the metadata of a namespace is not sealed as that of the others", namespace=str(record.namespace)
                )
        manifest.check()
        return manifest


def _selection(top: Fields) -> Selection | None:
    if not top.has("selection") or top.is_null("selection"):
        return None
    inner = top.inner("selection")
    return Selection(*(tuple(inner.texts(name)) for name in ("databases", "include", "exclude")))


def _cluster_time(top: Fields) -> ClusterTime | None:
    if top.is_null("cluster_time"):
        return None
    inner = top.inner("cluster_time")
    return ClusterTime(inner.integer("seconds"), inner.integer("increment"))


def _namespace(item: Fields) -> NamespaceRecord:
    return NamespaceRecord(
        namespace=_name(item.inner("namespace")),
        kind=item.member("kind", Kind),
        metadata=item.text("metadata"),
        content=_content(item.inner("content")),
        consistency=item.member("consistency", Consistency),
        ages=tuple(_ages(found) for found in item.items("ages")) if item.has("ages") else (),
    )


def _ages(item: Fields) -> Ages:
    steps = item.items("steps")
    return Ages(item.text_or_none("index"), tuple((step.signed("before"), step.integer("documents")) for step in steps))


def _segment(item: Fields) -> SegmentRecord:
    record = SegmentRecord(
        # It becomes part of a key and of a file name.
        name=item.matching("name", _SEGMENT_NAME),
        bytes=item.integer("bytes"),
        sha256=item.text("sha256"),
        archive_bytes=item.integer("archive_bytes"),
        compression=item.text("compression"),
        recipients=tuple(item.texts("recipients")),
        confirmed=item.text("confirmed"),
        entries=tuple(_entry(entry) for entry in item.items("entries")),
        store_encryption=item.text_if_there("store_encryption"),
        store_key=item.text_if_there("store_key"),
    )
    suffix = ARCHIVE_SUFFIXES.get(record.compression, "") + (ENCRYPTED_SUFFIX if record.recipients else "")
    if f".{record.name.partition('.')[2]}" != suffix:
        raise FormatError(
            "a segment is not packed as its name says",
            segment=record.name,
            compression=record.compression,
            recipients=record.recipients,
        )
    return record


def _entry(item: Fields) -> SegmentEntry:
    totals = item.inner("totals")
    content = _content(totals)
    return SegmentEntry(
        _name(item.inner("namespace")),
        Totals(content.documents, content.bytes, totals.hexadecimal("crc", 16), content.digest),
    )


def _content(item: Fields) -> Content:
    item.hexadecimal("digest", 32)
    return Content(item.integer("documents"), item.integer("bytes"), item.text("digest"))


def _name(item: Fields) -> Namespace:
    return Namespace(item.text("database"), item.text("collection"))


def _special(value: Any) -> Any:
    if isinstance(value, Totals):
        # Readers of JSON in other languages keep 53 bits of a number.
        return {**plain(value.content), "crc": f"{value.crc:016x}"}
    if isinstance(value, Ages):
        steps = [{"before": before, "documents": documents} for before, documents in value.steps]
        return {"index": value.index, "steps": steps}
    return value
