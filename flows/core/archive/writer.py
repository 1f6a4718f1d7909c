"""Writing an archive, one namespace after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from flows.core.archive.format import (
    FORMAT_VERSION,
    MAGIC,
    OPLOG,
    TERMINATOR,
    ArchiveHeader,
    BlockHeader,
    PreludeEntry,
    data_namespaces,
    encode_block_header,
    encode_entry,
    encode_header,
    is_users,
)
from flows.core.errors import FormatError, SpoolError
from flows.core.extjson import loads_metadata
from flows.core.names import Namespace
from flows.core.tally import MAX_DOCUMENT, Tally, Totals


class Output(Protocol):
    """Where the bytes go."""

    def write(self, data: bytes | memoryview, /) -> int | None:
        """Take some or all of the bytes and say how many; None means all."""


class ArchiveWriter:
    """Writes what mongorestore takes, and refuses everything else.

    The order is `begin`, `write` any number of times, `end` for each namespace of the prelude, then `finish`. After any
    error the writer is dead: what it has written lacks an EOF block, so that no reader takes it for complete.

    Args:
        out: A file or anything with `write`; unbuffered is fine. It is neither flushed nor closed.
        header: With a server version of three numbers.
        entries: One for each namespace; for time-series with the logical name.
        digest: Whether the totals have a content digest.

    Raises:
        FormatError: Such an archive could not be restored.
    """

    def __init__(
        self, out: Output, header: ArchiveHeader, entries: Sequence[PreludeEntry], *, digest: bool = True
    ) -> None:
        self._out = out
        self._digest = digest
        self._waiting = data_namespaces(header, entries)
        self._totals: dict[Namespace, Totals] = {}
        self._open: Namespace | None = None
        self._tally = Tally(digest=digest)
        self._alive = True
        with self._step():
            self._put(_prelude(header, entries))

    def begin(self, namespace: Namespace) -> None:
        """Open a namespace, by the name that its documents have: `system.buckets.x` for time-series before 8.3.

        Raises:
            FormatError: It isn't in the prelude, was written before, another is open, or it is not its turn.
        """
        with self._step():
            if self._open is not None:
                raise FormatError("another namespace is open", namespace=str(namespace), open=str(self._open))
            if namespace in self._totals:
                raise FormatError("namespace is written twice", namespace=str(namespace))
            if namespace not in self._waiting:
                raise FormatError("namespace is not in the prelude", namespace=str(namespace))
            self._check_turn(namespace)
            self._put(encode_block_header(BlockHeader(namespace)))
            self._open = namespace
            self._tally = Tally(digest=self._digest)

    def write(self, batch: bytes) -> int:
        """Pass whole documents on as they are, and return how many they are.

        Raises:
            FormatError: They are not whole documents, or one is above 16 MiB.
        """
        with self._step():
            self._opened()
            documents = self._tally.add(batch)
            self._put(batch)
        return documents

    def end(self) -> Totals:
        """Close the namespace that is open, with the CRC of its documents."""
        with self._step():
            namespace = self._opened()
            totals = self._tally.totals()
            header = encode_block_header(BlockHeader(namespace, eof=True, crc=totals.crc))
            self._put(TERMINATOR + header + TERMINATOR)
            self._totals[namespace] = totals
            del self._waiting[namespace]
            self._open = None
        return totals

    def finish(self) -> dict[Namespace, Totals]:
        """Return what was written, by the names that the documents have. Nothing can be written afterwards.

        Raises:
            FormatError: A namespace of the prelude is open or was not written.
        """
        with self._step():
            if self._open is not None:
                raise FormatError("a namespace is still open", namespace=str(self._open))
            if self._waiting:
                raise FormatError("namespaces of the prelude were not written", got=sorted(map(str, self._waiting)))
        self._alive = False
        return dict(self._totals)

    def _check_turn(self, namespace: Namespace) -> None:
        # mongorestore caches users and roles until the first collection, and replays the oplog when all is there.
        if not is_users(namespace) and any(map(is_users, self._waiting)):
            raise FormatError("users and roles must come before all collections", namespace=str(namespace))
        if namespace == OPLOG and len(self._waiting) > 1:
            raise FormatError("the oplog must come after all collections", namespace=str(namespace))

    def _opened(self) -> Namespace:
        if self._open is None:
            raise FormatError("no namespace is open")
        return self._open

    @contextmanager
    def _step(self) -> Iterator[None]:
        # Dead until proven alive: this holds for KeyboardInterrupt as well.
        if not self._alive:
            raise FormatError("archive is finished, or an earlier step has failed")
        self._alive = False
        yield
        self._alive = True

    def _put(self, data: bytes | memoryview) -> None:
        # An unbuffered file may take only a part at a time.
        written = self._out.write(data)
        while written is not None and written < len(data):
            if written == 0:
                raise SpoolError("output takes no more bytes", got=len(data))
            data = memoryview(data)[written:]
            written = self._out.write(data)


def _prelude(header: ArchiveHeader, entries: Sequence[PreludeEntry]) -> bytes:
    if header.version != FORMAT_VERSION or header.concurrent_collections < 1:
        raise FormatError(
            "header of an archive is not valid", expected=f"version {FORMAT_VERSION}, at least one", got=header
        )
    if not header.tool_version:
        raise FormatError("header of an archive has no tool version")
    documents = [encode_header(header)]
    for entry in entries:
        if not entry.namespace.collection or (not entry.namespace.database and entry.namespace != OPLOG):
            raise FormatError("entry of the prelude has no name", namespace=str(entry.namespace))
        loads_metadata(entry.metadata)
        document = encode_entry(entry)
        if len(document) > MAX_DOCUMENT:
            raise FormatError(
                "metadata of a collection is too large for an archive",
                namespace=str(entry.namespace),
                expected=MAX_DOCUMENT,
                got=len(document),
            )
        documents.append(document)
    return MAGIC + b"".join(documents) + TERMINATOR
