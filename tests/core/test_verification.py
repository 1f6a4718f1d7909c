"""One stored segment is verified in a stream: memory, samples, errors on the way, and many findings."""

from __future__ import annotations

import dataclasses
import hashlib
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import bson
import pytest

from flows.core.compress import Compression, compress_file
from flows.core.encryption import Identity
from flows.core.errors import Stopped, StoreUnavailable
from flows.core.manifest import Manifest, SegmentRecord
from flows.core.verification import WALKED_OF, SegmentCheck, Walk, verify_segment
from tests.support.samples import archive, collection, entry, manifest

INVOICES, OTHERS = collection("mpg.invoices"), collection("mpg.others")
ALICE = Identity.generate()
MIB = 1024 * 1024


@dataclasses.dataclass
class Packed:
    backup: Manifest
    record: SegmentRecord
    data: bytes

    def pieces(self, size: int = MIB) -> Iterator[bytes]:
        return (self.data[start : start + size] for start in range(0, len(self.data), size))

    def verify(
        self, pieces: Iterator[bytes] | None = None, *, phase: int = 0, walk: Walk = Walk.SAMPLE
    ) -> SegmentCheck:
        return verify_segment(
            pieces or self.pieces(),
            self.backup,
            self.record,
            identity=ALICE if self.record.recipients else None,
            phase=phase,
            walk=walk,
            progress=lambda _: None,
        )


def pack(
    folder: Path, contents: dict[str, bytes], compression: Compression = Compression.GZIP, *, encrypted: bool = False
) -> Packed:
    infos = {name: collection(name) for name in contents}
    plain = folder / "plain"
    plain.write_bytes(archive({infos[name]: documents for name, documents in contents.items()}))
    recipients = (ALICE.public,) if encrypted else ()
    packed = compress_file(plain, folder / "packed", compression, recipients=recipients, progress=lambda _: None)
    record = SegmentRecord(
        name="segment-00000.archive",
        bytes=packed.bytes,
        sha256=packed.sha256,
        archive_bytes=plain.stat().st_size,
        compression=compression.value,
        recipients=recipients,
        confirmed="read back",
        entries=tuple(entry(infos[name], documents) for name, documents in contents.items()),
    )
    backup = manifest(list(infos.values()), [record])
    return Packed(backup.opened(ALICE) if encrypted else backup, record, packed.path.read_bytes())


def documents(count: int, size: int = 20) -> bytes:
    return b"".join(bson.encode({"_id": i, "text": f"{i:0{size}}"}) for i in range(count))


@pytest.mark.parametrize("encrypted", [False, True], ids=["open", "encrypted"])
@pytest.mark.parametrize("compression", Compression)
def test_a_sound_segment_has_no_finding_however_its_bytes_come(
    tmp_path: Path, compression: Compression, encrypted: bool
) -> None:
    held = documents(200)
    packed = pack(tmp_path, {"mpg.invoices": held, "mpg.others": b""}, compression, encrypted=encrypted)
    for size in (7, 1000, MIB):
        check = packed.verify(packed.pieces(size))
        assert check.findings == ()
        assert (check.bytes, check.sha256) == (len(packed.data), hashlib.sha256(packed.data).hexdigest())
        assert (check.opened, check.documents, check.bson_bytes) == (True, 200, len(held))
        assert check.archive_bytes == packed.record.archive_bytes


def test_memory_does_not_grow_with_the_segment(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        packed = pack(tmp_path, {"mpg.invoices": documents(count, size=20_000)}, encrypted=True)
        tracemalloc.start()
        try:
            assert packed.verify().documents == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small, large = peak(300), peak(2400)  # 6 and 48 MB
    assert large < 1.5 * small < 24 * MIB


def test_as_many_days_as_a_sample_has_parts_walk_every_document(tmp_path: Path) -> None:
    packed = pack(tmp_path, {"mpg.invoices": documents(1000), "mpg.others": documents(7)})
    walked = [packed.verify(phase=phase).walked for phase in range(WALKED_OF)]
    assert sum(walked) == 1007
    assert max(walked) - min(walked) <= 2
    assert packed.verify(walk=Walk.ALL).walked == 1007


@pytest.mark.parametrize("encrypted", [False, True], ids=["open", "encrypted"])
@pytest.mark.parametrize("error", [StoreUnavailable, Stopped])
def test_what_the_store_or_a_cancellation_says_is_no_finding(
    tmp_path: Path, error: type[Exception], encrypted: bool
) -> None:
    packed = pack(tmp_path, {"mpg.invoices": documents(5000)}, Compression.NONE, encrypted=encrypted)

    def broken() -> Iterator[bytes]:
        yield packed.data[: len(packed.data) // 2]
        raise error("not now")

    with pytest.raises(error, match="not now"):
        packed.verify(broken())


def test_of_many_findings_the_first_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    broken = b"".join(b"\x0c\0\0\0\x55x\0\0\0\0\0\0" for _ in range(100))
    packed = pack(tmp_path, {"mpg.invoices": broken})
    check = packed.verify(walk=Walk.ALL)
    assert len(check.findings) == 21
    assert check.findings[-1].what == "and 80 more findings in this object"
    first, second = check.findings[:2]
    assert first.offset is not None
    assert second.offset == first.offset + 12


def test_a_wrong_crc_of_one_namespace_does_not_hide_the_next(tmp_path: Path) -> None:
    packed = pack(tmp_path, {"mpg.invoices": documents(10), "mpg.others": documents(10)}, Compression.NONE)
    for text in (b"00003\0", b"00007\0"):
        assert packed.data.count(text) == 2
        packed.data = packed.data.replace(text, b"9" + text[1:])
    assert {finding.namespace for finding in packed.verify().findings} == {"mpg.invoices", "mpg.others", ""}
