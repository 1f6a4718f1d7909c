"""Verifying one stored segment without a server: every byte is read once, in a stream, with bounded memory.

Of each segment: length and SHA-256 as stored; then, where it can be opened, that it decrypts and decompresses, that it
is a whole archive, that the archive has the namespaces, options and indexes of the manifest, and of each namespace the
CRC, the number and size of its documents and their content digest. Of each document the length, its place between its
neighbours and its last byte; and of one in `WALKED_OF` all elements to the innermost one (see `flows.core.structure`),
another one with each `phase`. To walk over all would take as long as all the rest four times over, and what it could
find beyond the digests is only what MongoDB itself sent, or what somebody made who could write a manifest too.

Findings are values. After one, what can still be read is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, BinaryIO, cast

from flows.core.archive import ArchiveReader, Batch, End
from flows.core.compress import Compression, Readable, open_compressed
from flows.core.encryption import Identity, open_encrypted
from flows.core.errors import BackupError, FormatError, IntegrityError
from flows.core.manifest import Manifest, NamespaceRecord, SegmentRecord
from flows.core.names import Namespace
from flows.core.structure import find_misfit
from flows.core.tally import Totals

LENGTH_DIFFERS = "the object is not as long as it was when it was stored"
NOT_SHOWN = "not shown here, because it is encrypted"
WALKED_OF = 32  # documents, of which one is walked
_MOST_FINDINGS = 20  # of one segment: a damaged one could have millions

Progress = Callable[[int], None]  # stored bytes since the last call; raises to stop


class Walk(StrEnum):
    """Which documents are walked to their innermost element."""

    SAMPLE = "sample"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact that is not as it should be."""

    what: str  # a lower-case fact
    key: str  # of the object
    namespace: str = ""
    offset: int | None = None  # [bytes] in the archive, unpacked; None where it is about the object as a whole
    expected: str = ""
    got: str = ""
    damage: bool = True  # False: the bytes may be sound, and were not opened
    sealed: bool = False  # expected and got tell what is encrypted in the store

    @property
    def for_store(self) -> Finding:
        """The same as it is kept in the store, where more people read than have a key."""
        return dataclasses.replace(self, expected=NOT_SHOWN, got=NOT_SHOWN) if self.sealed else self

    @classmethod
    def of(cls, error: BackupError, *, key: str, damage: bool = True) -> Finding:
        """The finding that an error tells of."""
        facts = dict(error.facts)
        named = {name: facts.pop(name, None) for name in ("namespace", "offset", "expected", "got")}
        facts = {name: value for name, value in facts.items() if name not in {"key", "segment", "store"}}
        more = f" ({', '.join(f'{name}: {value}' for name, value in facts.items())})" if facts else ""
        return cls(
            error.message + more,
            key,
            named["namespace"] or "",
            named["offset"],
            _text(named["expected"]),
            _text(named["got"]),
            damage,
        )

    def __str__(self) -> str:
        place = ", ".join(
            f"{name} {value}"
            for name, value in (("in", self.namespace), ("at byte", self.offset))
            if value not in ("", None)
        )
        compared = f": expected {self.expected}, got {self.got}" if self.expected or self.got else ""
        return f"{self.key}{', ' if place else ''}{place}: {self.what}{compared}"


@dataclass(frozen=True, slots=True)
class SegmentCheck:
    """What became of one segment."""

    name: str
    bytes: int  # [bytes] that the store gave
    sha256: str  # of them
    opened: bool  # whether the archive within was read, as far as it goes
    archive_bytes: int = 0  # [bytes] unpacked
    documents: int = 0
    bson_bytes: int = 0
    walked: int = 0  # documents that were walked to their innermost element
    findings: tuple[Finding, ...] = ()
    warning: str = ""  # what is no damage: found at first and not again, or not encrypted by the store as it was asked


def verify_segment(
    pieces: Iterator[bytes],
    manifest: Manifest,
    record: SegmentRecord,
    *,
    identity: Identity | None,
    phase: int,
    walk: Walk,
    progress: Progress,
) -> SegmentCheck:
    """Hold what is stored as one segment against the manifest.

    Args:
        pieces: The stored bytes, as the store gives them.
        manifest: Of the backup.
        record: Of the segment.
        identity: What opens it; None: an encrypted one is compared as it is stored, and not opened.
        phase: Which documents of a sample are walked: those whose number, counted from 0 in their namespace, leaves
            this remainder.
        walk: Whether only a sample is.
        progress: Called for each piece.

    Raises:
        StoreError: What the store says while it is read, but that an object was replaced, which is a finding.
    """
    return _Verification(manifest, record, phase=phase, every=1 if walk is Walk.ALL else WALKED_OF).run(
        pieces, identity, progress
    )


class _Verification:
    def __init__(self, manifest: Manifest, record: SegmentRecord, *, phase: int, every: int) -> None:
        self._manifest = manifest
        self._record = record
        self._phase, self._every = phase % every, every
        self._key = manifest.segment_key(record)
        self._findings: list[Finding] = []
        self._more = 0
        self._documents = self._bytes = self._walked = 0
        self._seen: dict[Namespace, int] = {}  # documents, for the sample

    def run(self, pieces: Iterator[bytes], identity: Identity | None, progress: Progress) -> SegmentCheck:
        record, stored = self._record, _Stored(pieces, progress)
        opens = identity is not None or not record.recipients
        plain = _Counted()
        try:
            if opens:
                self._read(stored, plain, identity)
            stored.drain()
        except (FormatError, IntegrityError) as error:
            self._add(Finding.of(error, key=self._key))
            # What else is wrong with the object is worth knowing: all of it is read.
            self._drain(stored)
        self._compare(LENGTH_DIFFERS, record.bytes, stored.bytes)
        self._compare("the SHA-256 of the object is not the one in the manifest", record.sha256, stored.sha256)
        if self._more:
            self._findings.append(Finding(f"and {self._more} more findings in this object", self._key))
        return SegmentCheck(
            record.name,
            stored.bytes,
            stored.sha256,
            opens,
            plain.bytes,
            self._documents,
            self._bytes,
            self._walked,
            tuple(self._findings),
        )

    def _drain(self, stored: _Stored) -> None:
        try:
            stored.drain()
        except IntegrityError as error:  # replaced while it was read
            self._add(Finding.of(error, key=self._key))

    def _read(self, stored: _Stored, plain: _Counted, identity: Identity | None) -> None:
        record = self._record
        with ExitStack() as stack:
            file = cast(BinaryIO, stored)
            if identity is not None and record.recipients:
                file = stack.enter_context(open_encrypted(file, identity, key=self._key, segment=record.name))
            plain.stream = stack.enter_context(open_compressed(file, Compression(record.compression), name=record.name))
            reader = ArchiveReader(plain, report=lambda error: self._add(Finding.of(error, key=self._key)))
            self._compare_prelude(reader)
            expected = {entry.namespace: entry.totals for entry in record.entries}
            for event in reader:
                if isinstance(event, Batch):
                    self._look(event)
                else:
                    self._compare_totals(event, expected.get(event.namespace))
        self._compare("the archive is not as long as it was when it was stored", record.archive_bytes, plain.bytes)

    def _look(self, batch: Batch) -> None:
        """Walk the documents of a batch whose turn it is."""
        count = len(batch.starts)
        self._documents += count
        self._bytes += len(batch.buffer)
        seen = self._seen.get(batch.namespace, 0)
        self._seen[batch.namespace] = seen + count
        for number in range((self._phase - seen) % self._every, count, self._every):
            start = batch.starts[number]
            end = batch.starts[number + 1] if number + 1 < count else len(batch.buffer)
            self._walked += 1
            misfit = find_misfit(batch.buffer[start:end])
            if misfit is not None:
                place = batch.offset + start + misfit.offset
                self._add(Finding(misfit.what, self._key, str(batch.namespace), place, misfit.expected, misfit.got))

    def _compare_prelude(self, reader: ArchiveReader) -> None:
        """The archive says what the manifest does of its namespaces, their options and indexes, and of the server."""
        records = {record.data_namespace: record for record in self._manifest.namespaces}
        found = {reader.header.data_namespace(entry): entry for entry in reader.entries}
        named = {entry.namespace for entry in self._record.entries}
        self._compare(
            "the archive names another server version than the manifest",
            self._manifest.source.server_version,
            reader.header.server_version,
        )
        for namespace in sorted(named - found.keys()):
            self._add(Finding("a namespace is not in the archive", self._key, str(namespace), 0, "in it", "missing"))
        for namespace, entry in found.items():
            record: NamespaceRecord | None = records.get(namespace)
            if namespace not in named or record is None:
                self._add(
                    Finding("the manifest names no such namespace", self._key, str(namespace), 0, "none", "there")
                )
                continue
            self._compare(
                "options and indexes differ",
                record.metadata,
                entry.metadata,
                namespace,
                0,
                sealed=bool(self._record.recipients),
            )
            if entry.type:
                self._compare("the kind of a collection differs", record.kind.value, entry.type, namespace, 0)

    def _compare_totals(self, end: End, expected: Totals | None) -> None:
        if expected is None or expected == end.totals:
            return  # one that the manifest does not name is a finding of the prelude
        for what, one, other in (
            ("the number of documents differs", expected.documents, end.totals.documents),
            ("the size of the documents differs", expected.bytes, end.totals.bytes),
            ("the CRC of the documents differs", f"{expected.crc:016x}", f"{end.totals.crc:016x}"),
            ("the content digest of the documents differs", expected.digest, end.totals.digest),
        ):
            self._compare(what, one, other, end.namespace, end.offset)

    def _compare(
        self,
        what: str,
        expected: object,
        got: object,
        namespace: Namespace | None = None,
        offset: int | None = None,
        *,
        sealed: bool = False,
    ) -> None:
        if expected != got:
            one, other = _parted(_text(expected), _text(got))
            place = str(namespace) if namespace else ""
            self._add(Finding(what, self._key, place, offset, one, other, sealed=sealed))

    def _add(self, finding: Finding) -> None:
        if len(self._findings) < _MOST_FINDINGS:
            self._findings.append(finding)
        else:
            self._more += 1


class _Stored(io.RawIOBase):
    """The stored bytes as a file that is read once, hashed and counted on the way."""

    def __init__(self, pieces: Iterator[bytes], progress: Progress) -> None:
        self._pieces = pieces
        self._progress = progress
        self._rest = memoryview(b"")
        self._hash = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._count(piece)
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def drain(self) -> None:
        """Read what nobody wanted."""
        for piece in self._pieces:
            self._count(piece)

    def _count(self, piece: bytes) -> None:
        self._hash.update(piece)
        self.bytes += len(piece)
        self._progress(len(piece))


class _Counted:
    """The archive, counted as it is read."""

    def __init__(self) -> None:
        self.stream: Readable | None = None
        self.bytes = 0

    def read(self, size: int, /) -> bytes:
        assert self.stream is not None, "opened before it is read"  # noqa: S101 - a promise to the type checker
        data = self.stream.read(size)
        self.bytes += len(data)
        return data


_MOST_LETTERS = 200  # of what was expected or got


def _text(value: Any) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _parted(expected: str, got: str) -> tuple[str, str]:
    """Both cut to what differs, where they are long: options and indexes are whole pages."""
    if max(len(expected), len(got)) <= _MOST_LETTERS:
        return expected, got
    pairs = zip(expected, got, strict=False)
    start = next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(expected), len(got)))
    begin = max(0, start - _MOST_LETTERS // 4)
    return tuple(  # type: ignore[return-value]
        ("…" if begin else "")
        + text[begin : begin + _MOST_LETTERS]
        + ("…" if len(text) > begin + _MOST_LETTERS else "")
        for text in (expected, got)
    )
