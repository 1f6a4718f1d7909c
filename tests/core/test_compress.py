"""Compression: what is written opens again, with our code and with anybody's, and damage does not pass."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import zstandard

from flows.core.compress import Compression, compress_file, open_compressed
from flows.core.errors import FormatError, SpoolError, Stopped, Truncated

DATA = os.urandom(1000) * 9000 + os.urandom(100_000)  # several blocks, some of it incompressible


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain"
    path.write_bytes(DATA)
    return path


def unpack(data: bytes, compression: Compression) -> bytes:
    with open_compressed(io.BytesIO(data), compression, name="segment") as stream:
        return b"".join(iter(lambda: stream.read(100_000), b""))


def pack(plain: Path, compression: Compression) -> bytes:
    seen = []
    packed = compress_file(plain, plain.parent / "packed", compression, progress=seen.append)
    data = packed.path.read_bytes()
    assert sum(seen) == len(DATA)
    assert (packed.bytes, packed.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    return data


@pytest.mark.parametrize("compression", Compression)
def test_what_is_compressed_opens_again(plain: Path, compression: Compression) -> None:
    assert unpack(pack(plain, compression), compression) == DATA


@pytest.mark.parametrize("compression", Compression)
def test_the_same_archive_gives_the_same_bytes(plain: Path, compression: Compression) -> None:
    assert pack(plain, compression) == pack(plain, compression)


def test_gzip_opens_with_the_standard_library(plain: Path) -> None:
    assert gzip.decompress(pack(plain, Compression.GZIP)) == DATA


def test_gzip_opens_with_gunzip(plain: Path) -> None:
    assert shutil.which("gunzip"), "gunzip is part of every Linux; install the package gzip"
    out = subprocess.run(["gunzip"], input=pack(plain, Compression.GZIP), capture_output=True, check=True)
    assert out.stdout == DATA


def test_zstd_is_one_frame_with_a_checksum(plain: Path) -> None:
    data = pack(plain, Compression.ZSTD)
    assert zstandard.get_frame_parameters(data).has_checksum
    assert zstandard.ZstdDecompressor().decompressobj().decompress(data) == DATA


def test_several_gzip_members_are_read_as_one() -> None:
    assert unpack(gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two"), Compression.GZIP) == b"onetwo"


def test_several_zstd_frames_are_read_as_one() -> None:
    compressor = zstandard.ZstdCompressor()
    assert unpack(compressor.compress(b"one") + compressor.compress(b"two"), Compression.ZSTD) == b"onetwo"


def test_a_cut_gzip_is_truncated(plain: Path) -> None:
    data = pack(plain, Compression.GZIP)
    for cut in (1, 4, 9, len(data) // 2, len(data) - 9):
        with pytest.raises((Truncated, FormatError)):
            unpack(data[:-cut], Compression.GZIP)


def test_a_flipped_byte_in_gzip_does_not_pass(plain: Path) -> None:
    data = pack(plain, Compression.GZIP)
    # Behind the header, whose time and system mean nothing, to the CRC at the end.
    for place in range(10, len(data), len(data) // 200):
        with pytest.raises((FormatError, Truncated)):
            unpack(data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :], Compression.GZIP)


def test_a_flipped_byte_in_zstd_does_not_pass(plain: Path) -> None:
    data = bytearray(pack(plain, Compression.ZSTD))
    data[-1] ^= 0x40
    with pytest.raises(FormatError):
        unpack(bytes(data), Compression.ZSTD)


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD])
def test_what_was_never_compressed_is_told(compression: Compression) -> None:
    with pytest.raises(FormatError) as caught:
        unpack(DATA, compression)
    assert caught.value.message == "the bytes are not what the compression writes"
    assert caught.value.facts["at"] == "segment"


def test_a_stop_leaves_no_file(plain: Path) -> None:
    def stop(_: int) -> None:
        raise Stopped("stop")

    with pytest.raises(Stopped):
        compress_file(plain, plain.parent / "packed", Compression.GZIP, progress=stop)
    assert sorted(p.name for p in plain.parent.iterdir()) == ["plain"]


def test_a_full_disk_leaves_no_file(plain: Path) -> None:
    target = plain.parent / "packed"
    target.symlink_to("/dev/full")
    with pytest.raises(SpoolError, match="the spool disk is full"):
        compress_file(plain, target, Compression.GZIP, progress=lambda _: None)
    assert not target.is_symlink()
