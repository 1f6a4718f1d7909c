"""Compressing an archive for the store, and opening it again. Both sides work in a stream, with bounded memory."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import zstandard
from isal import igzip, igzip_lib

from flows.core.errors import FormatError, Truncated
from flows.core.spool import written_anew

# Large blocks let the compressor work for tens of milliseconds without the interpreter's lock, while other stages run.
_BLOCK_BYTES = 4 * 1024 * 1024
_GZIP_LEVEL = 1
_ZSTD_LEVEL = 1
_GzipFile: Any = igzip.IGzipFile  # the library has no types
_IsalError: Any = igzip_lib.IsalError


class Compression(StrEnum):
    """How segments are compressed. `mongorestore --gzip` reads the first, `zstd -d` comes before it for the second."""

    GZIP = "gzip"
    ZSTD = "zstd"
    NONE = "none"


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


class _Writable(Protocol):
    def write(self, data: memoryview, /) -> object: ...


@dataclass(frozen=True, slots=True)
class PackedSegment:
    """A file as it will be stored."""

    path: Path
    bytes: int
    sha256: str  # of the file


class _HashingFile:
    """Passes writes on and hashes them, so that the file need not be read once more."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes | memoryview) -> int:
        self._file.write(data)
        self.sha256.update(data)
        self.bytes += len(data)
        return len(data)

    def flush(self) -> None:
        pass


def compress_file(
    source: Path, target: Path, compression: Compression, *, progress: Callable[[int], None]
) -> PackedSegment:
    """Compress a file into another one; the first is removed by whoever made it.

    Args:
        source: What to compress.
        target: Where to write; overwritten, and removed where anything fails.
        compression: How.
        progress: Called with the bytes read; may raise to stop.

    Raises:
        SpoolError: Where the disk is full.
    """
    block = memoryview(bytearray(_BLOCK_BYTES))  # one for all reads: the kernel need not find new pages each time
    with written_anew(target) as file, source.open("rb", buffering=0) as plain:
        out = _HashingFile(cast(BinaryIO, file))
        with _compressor(out, compression) as sink:
            while count := plain.readinto(block):
                sink.write(block[:count])
                progress(count)
    return PackedSegment(target, out.bytes, out.sha256.hexdigest())


@contextlib.contextmanager
def _compressor(out: _HashingFile, compression: Compression) -> Iterator[_Writable]:
    if compression is Compression.GZIP:
        # One member without name or time: the same bytes for the same archive.
        with _GzipFile(filename="", fileobj=out, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0) as file:
            yield file
    elif compression is Compression.ZSTD:
        writer = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).stream_writer(
            cast(BinaryIO, out), closefd=False
        )
        with writer:
            yield writer
    else:
        yield out


@contextlib.contextmanager
def open_compressed(file: BinaryIO, compression: Compression, *, name: str) -> Iterator[Readable]:
    """Open what `compress_file` wrote; also several gzip members or zstd frames one after the other.

    Args:
        file: The stored bytes.
        compression: How they were compressed.
        name: For messages.

    Raises:
        FormatError: While reading, where the bytes are not what the compression writes.
        Truncated: While reading, where they end too early.
    """
    with _decompression_errors(name, compression):
        if compression is Compression.GZIP:
            with _GzipFile(fileobj=file, mode="rb") as stream:
                yield _Mapped(cast(Readable, stream), name, compression)
        elif compression is Compression.ZSTD:
            with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False) as reader:
                yield _Mapped(cast(Readable, reader), name, compression)
        else:
            yield cast(Readable, file)


class _Mapped:
    def __init__(self, stream: Readable, name: str, compression: Compression) -> None:
        self._stream = stream
        self._name = name
        self._compression = compression

    def read(self, size: int, /) -> bytes:
        with _decompression_errors(self._name, self._compression):
            return self._stream.read(size)


@contextlib.contextmanager
def _decompression_errors(name: str, compression: Compression) -> Iterator[None]:
    try:
        yield
    except EOFError as error:
        raise Truncated("the compressed bytes end too early", at=name, compression=compression.value) from error
    except (igzip.BadGzipFile, _IsalError, zstandard.ZstdError) as error:
        raise FormatError(
            "the bytes are not what the compression writes", at=name, compression=compression.value, got=str(error)
        ) from error
