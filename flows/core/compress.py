"""Compressing an archive for the store, and opening it again. Both sides work in a stream, with bounded memory.

Compressed bytes are pulled, because that is how the encryption behind it wants them.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import zstandard
from isal import igzip, igzip_lib, isal_zlib

from flows.core.encryption import encrypt
from flows.core.errors import FormatError, Truncated
from flows.core.spool import written_anew

# Large blocks let the compressor work for tens of milliseconds without the interpreter's lock, while other stages run.
_BLOCK_BYTES = 4 * 1024 * 1024
_GZIP_LEVEL = 1
_GZIP_WBITS = 16 + isal_zlib.MAX_WBITS  # with the header and the CRC of gzip
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

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self.sha256.update(data)
        self.bytes += len(data)


def compress_file(
    source: Path,
    target: Path,
    compression: Compression,
    *,
    recipients: Sequence[str] = (),
    progress: Callable[[int], None],
) -> PackedSegment:
    """Compress a file into another one, and encrypt it on the way; the first is removed by whoever made it.

    Args:
        source: What to compress.
        target: Where to write; overwritten, and removed where anything fails.
        compression: How.
        recipients: Public keys to encrypt to; none: not encrypted.
        progress: Called with the bytes read; may raise to stop.

    Raises:
        SpoolError: Where the disk is full.
    """
    with written_anew(target) as file, source.open("rb", buffering=0) as plain:
        out = _HashingFile(cast(BinaryIO, file))
        pieces = _compressed(plain, compression, progress)
        if recipients:
            encrypt(pieces, out.write, recipients)
        else:
            for piece in pieces:
                out.write(piece)
    return PackedSegment(target, out.bytes, out.sha256.hexdigest())


def _compressed(
    plain: FileIO, compression: Compression, progress: Callable[[int], None]
) -> Iterator[bytes | memoryview]:
    """The compressed bytes, piece by piece; each is used up before the next one is asked for."""
    block = memoryview(bytearray(_BLOCK_BYTES))  # one for all reads: the kernel need not find new pages each time
    compressor = _compressor(compression)
    while count := plain.readinto(block):
        yield compressor.compress(block[:count]) if compressor else block[:count]
        progress(count)
    if compressor:
        yield compressor.flush()


def _compressor(compression: Compression) -> Any:
    if compression is Compression.GZIP:
        # One member without name or time: the same bytes for the same archive.
        return isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WBITS)
    if compression is Compression.ZSTD:
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()
    return None


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
