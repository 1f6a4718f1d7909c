"""Reading an archive, and proving on the way that it is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from flows.core.archive.format import (
    MAGIC,
    TERMINATOR,
    ArchiveHeader,
    BlockHeader,
    PreludeEntry,
    data_namespaces,
    decode_block_header,
    decode_entry,
    decode_header,
)
from flows.core.archive.hazards import Hazards
from flows.core.errors import FormatError, IntegrityError, Truncated
from flows.core.extjson import CollectionMetadata, loads_metadata
from flows.core.names import Namespace
from flows.core.tally import MAX_DOCUMENT, MIN_DOCUMENT, Tally, Totals, misfit, walk

# A batch is at most this, save for a single larger document. Large enough that the cost of a batch vanishes beside
# that of its documents; above it the three copies of each byte leave the processor's cache, and reading takes twice
# as long at 4 MiB.
READ_BYTES = 1024 * 1024  # [bytes]


class Input(Protocol):
    """Where the plain bytes come from; whoever opened it maps the errors of decompression."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole documents of one namespace, as they are in the archive."""

    namespace: Namespace  # the name that the documents have: buckets for time-series of servers before 8.3
    buffer: bytes  # the documents, one after the other
    starts: list[int]  # where each begins in the buffer; it ends where the next begins, the last with the buffer
    offset: int  # [bytes] of the buffer in the archive

    def documents(self) -> Iterator[bytes]:
        """Each document by itself."""
        buffer = self.buffer
        return (buffer[i:j] for i, j in zip(self.starts, [*self.starts[1:], len(buffer)], strict=True))


@dataclass(frozen=True, slots=True)
class End:
    """All documents of a namespace were read and their CRC is the recorded one, or `report` was told that it is not."""

    namespace: Namespace
    totals: Totals
    offset: int  # [bytes] of the EOF block in the archive


@dataclass(frozen=True, slots=True)
class ArchiveSummary:
    """What a whole and sound archive holds."""

    header: ArchiveHeader
    entries: tuple[PreludeEntry, ...]
    totals: dict[Namespace, Totals]  # by the names that the documents have
    warnings: tuple[str, ...]


class ArchiveReader:
    """Reads an archive once, from front to end, in bounded memory.

    The prelude is read at construction. Iterating gives batches of documents, and an `End` after each namespace. That
    the loop came to its end without an error means that the archive is whole; until then nothing is certain.

    What mongorestore tolerates is tolerated: namespaces that take turns, an EOF block without a data block, missing
    `type`, `size`, `EOF` and `CRC`. What it refuses, or hangs on, is refused or is among the warnings.

    Args:
        stream: The plain bytes.
        digest: Whether the totals have a content digest.
        report: Takes the error of a CRC that does not match, and reading goes on; None: it is raised.

    Raises:
        FormatError: The bytes are not an archive; offsets count decompressed bytes.
        Truncated: They end too early.
        IntegrityError: While iterating: the documents are not those that were written.
    """

    def __init__(
        self, stream: Input, *, digest: bool = True, report: Callable[[IntegrityError], None] | None = None
    ) -> None:
        self._stream = stream
        self._digest = digest
        self._report = report
        self._buffer = b""
        self._position = 0  # in the buffer
        self._base = 0  # [bytes] offset of the buffer in the archive
        self._started = False
        self.warnings: list[str] = []
        if self._fill(len(MAGIC)) == 0:
            raise Truncated("an empty file is not an archive")
        if not self._skip(MAGIC):
            raise FormatError(
                "not a mongodump archive",
                hint="Look whether the file is compressed or encrypted in another way than its name says.",
                offset=0,
                expected=MAGIC.hex(),
                got=self._buffer[: len(MAGIC)].hex(),
            )
        offset = self._offset
        self.header = decode_header(self._document(), offset)
        self.metadata: dict[Namespace, CollectionMetadata] = {}  # by the names in the prelude
        self.entries = self._read_entries()
        self._entry_of = data_namespaces(self.header, self.entries)
        self._hazards = Hazards(self.header, self.metadata)
        self._tallies: dict[Namespace, Tally] = {}  # of namespaces that are open
        self._totals: dict[Namespace, Totals] = {}  # of namespaces that had their EOF block

    def __iter__(self) -> Iterator[Batch | End]:
        if self._started:
            raise FormatError("an archive can be read only once")
        self._started = True
        while self._fill(1):
            offset = self._offset
            block = decode_block_header(self._document(), offset)
            tally = self._open(block.namespace, offset)
            if block.eof:
                yield self._end(block, tally, offset)
            else:
                yield from self._data(block.namespace, tally)
        missing = [str(namespace) for namespace in self._entry_of if namespace not in self._totals]
        if missing:
            raise Truncated(
                "archive ends before all its namespaces were complete",
                hint="The dump was cut off: use another backup.",
                offset=self._offset,
                missing=missing,
            )
        self.warnings += self._hazards.found(self._totals)

    @property
    def _offset(self) -> int:
        return self._base + self._position

    def _read_entries(self) -> tuple[PreludeEntry, ...]:
        entries: dict[Namespace, PreludeEntry] = {}
        while not self._skip(TERMINATOR):
            offset = self._offset
            entry = decode_entry(self._document(), offset)
            if entry.namespace in entries:
                self.warnings.append(f"{entry.namespace} is twice in the prelude; the first entry counts")
                continue
            try:
                self.metadata[entry.namespace] = loads_metadata(entry.metadata)
            except FormatError as error:
                facts = {"namespace": str(entry.namespace), "offset": offset, **error.facts}
                raise FormatError(error.message, **facts) from error
            entries[entry.namespace] = entry
        return tuple(entries.values())

    def _open(self, namespace: Namespace, offset: int) -> Tally:
        """The tally of a namespace for which a header was read."""
        tally = self._tallies.get(namespace)
        if tally is None:
            if namespace not in self._entry_of:
                raise FormatError("namespace is not in the prelude", namespace=str(namespace), offset=offset)
            if namespace in self._totals:
                raise FormatError("namespace goes on after its end", namespace=str(namespace), offset=offset)
            tally = self._tallies[namespace] = Tally(digest=self._digest)
            self._hazards.opened(namespace, len(self._tallies))
        return tally

    def _end(self, block: BlockHeader, tally: Tally, offset: int) -> End:
        namespace = block.namespace
        totals = tally.totals()
        if totals.crc != block.crc:
            differs = IntegrityError(
                "CRC of a namespace in the archive does not match its documents",
                hint="The archive is damaged: use another backup.",
                namespace=str(namespace),
                offset=offset,
                expected=f"{block.crc:016x}",
                got=f"{totals.crc:016x}",
            )
            if self._report is None:
                raise differs
            self._report(differs)
        if not self._skip(TERMINATOR):
            if self._fill(len(TERMINATOR)) < len(TERMINATOR):
                raise misfit(self._buffer, self._position, base=self._base, namespace=str(namespace))
            raise FormatError("documents in an EOF block", namespace=str(namespace), offset=self._offset)
        del self._tallies[namespace]
        self._totals[namespace] = totals
        return End(namespace, totals, offset)

    def _data(self, namespace: Namespace, tally: Tally) -> Iterator[Batch]:
        """The documents up to the terminator."""
        while not self._skip(TERMINATOR):
            ends: list[int] = []
            begin = self._position
            stop = walk(self._buffer, begin, ends)
            if not ends:
                self._await_document(str(namespace))
                continue
            buffer, offset = self._buffer[begin:stop], self._base + begin
            if begin:
                ends = [end - begin for end in ends]
            tally.count(buffer, ends)
            self._position = stop
            # From ends to starts.
            ends.pop()
            ends.insert(0, 0)
            batch = Batch(namespace, buffer, ends, offset)
            self._hazards.passed(batch.namespace, batch.documents())
            yield batch

    def _document(self) -> bytes:
        """The next document, where one must come."""
        offset = self._offset
        if self._skip(TERMINATOR):
            raise FormatError("terminator where a header must be", offset=offset)
        length = self._await_document()
        begin = self._position
        self._position += length
        return self._buffer[begin : self._position]

    def _await_document(self, namespace: str = "") -> int:
        """Have one whole document ahead in the buffer, and return its length [bytes]."""
        ahead = self._fill(MIN_DOCUMENT)
        length = int.from_bytes(self._buffer[self._position : self._position + 4], "little")
        # Memory is given out for bytes that are there, never for those that a length promises.
        if ahead >= MIN_DOCUMENT and MIN_DOCUMENT <= length <= MAX_DOCUMENT:
            ahead = self._fill(length)
            if ahead >= length and self._buffer[self._position + length - 1] == 0:
                return length
        raise misfit(self._buffer, self._position, base=self._base, namespace=namespace)

    def _skip(self, expected: bytes) -> bool:
        """Step over these bytes if they come next."""
        self._fill(len(expected))
        found = self._buffer.startswith(expected, self._position)
        if found:
            self._position += len(expected)
        return found

    def _fill(self, need: int) -> int:
        """Read until `need` bytes are ahead in the buffer, or the stream ends; returns how many are."""
        ahead = len(self._buffer) - self._position
        if ahead >= need:
            return ahead
        pieces = [self._buffer[self._position :]]
        # A large document is read to its end and no further, so that it becomes a batch by itself.
        want = max(need, READ_BYTES)
        while ahead < want:
            piece = self._stream.read(min(want - ahead, READ_BYTES))
            if not piece:
                break
            pieces.append(piece)
            ahead += len(piece)
        self._base += self._position
        self._position = 0
        self._buffer = b"".join(pieces)
        return ahead


def verify_archive(stream: Input, *, digest: bool = True) -> ArchiveSummary:
    """Read a whole archive and say what it holds; the errors are those of `ArchiveReader`."""
    reader = ArchiveReader(stream, digest=digest)
    totals = {event.namespace: event.totals for event in reader if isinstance(event, End)}
    return ArchiveSummary(reader.header, reader.entries, totals, tuple(reader.warnings))
