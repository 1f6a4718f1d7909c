from __future__ import annotations

import struct

import bson
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from flows.core.errors import FormatError, Truncated
from flows.core.tally import MAX_DOCUMENT, Content, Tally, combine

MASK = (1 << 64) - 1


def crc64_xz(data: bytes) -> int:
    """CRC-64/XZ from its catalogue entry: reflected polynomial, all ones in and out."""
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0xC96C5795D7870F42 if value & 1 else 0)
        table.append(value)
    crc = MASK
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ MASK


documents = st.lists(st.binary(max_size=80).map(lambda data: bson.encode({"d": data})), max_size=12)


def tally_of(*parts: bytes, digest: bool = True) -> Tally:
    tally = Tally(digest=digest)
    for part in parts:
        tally.add(part)
    return tally


def test_the_reference_crc_has_the_catalogued_check_value() -> None:
    assert crc64_xz(b"123456789") == 0x995DC9BBDF1939FA


@given(documents)
def test_the_crc_is_crc_64_xz_however_the_bytes_are_cut(parts: list[bytes]) -> None:
    joined = b"".join(parts)
    assert tally_of(*parts).crc == tally_of(joined).crc == crc64_xz(joined)


@given(documents)
def test_the_digest_is_the_sum_of_the_documents_xxh3(parts: list[bytes]) -> None:
    total = sum(int(xxhash.xxh3_128(part).hexdigest(), 16) for part in parts) % 2**128
    assert tally_of(b"".join(parts)).digest == f"{total:032x}"


def test_the_hash_is_the_published_one() -> None:
    """`xxhsum -H2` of nothing, as its documentation has it: another seed or variant would never match old backups."""
    assert xxhash.xxh3_128(b"").hexdigest() == "99aa06d3014798d86001c324468d497f"


@given(documents, st.randoms(use_true_random=False))
def test_the_content_does_not_depend_on_the_order(parts: list[bytes], random: object) -> None:
    before = tally_of(*parts).totals()
    random.shuffle(parts)  # type: ignore[attr-defined]
    assert tally_of(*parts).totals().content == before.content


@given(documents, documents)
def test_the_contents_of_segments_add_up_to_the_content_of_all(first: list[bytes], second: list[bytes]) -> None:
    whole = tally_of(*first, *second).totals().content
    assert combine([tally_of(*second).totals(), tally_of(*first).totals()]) == whole


def test_one_changed_byte_changes_the_digest() -> None:
    assert tally_of(bson.encode({"a": 1})).digest != tally_of(bson.encode({"a": 2})).digest


def test_two_equal_documents_do_not_cancel_out() -> None:
    document = bson.encode({"a": 1})
    assert tally_of(document, document, document).digest != tally_of(document).digest


def test_nothing_at_all_has_content_too() -> None:
    assert combine([]) == Tally().totals().content == Content(0, 0, "0" * 32)


def test_counts_documents_bytes_and_the_largest() -> None:
    tally = Tally()
    assert tally.add(bson.encode({"a": "x" * 50}) + bson.encode({})) == 2
    assert tally.add(b"") == 0
    assert tally.add(memoryview(bson.encode({"a": 1}))) == 1
    assert (tally.documents, tally.bytes, tally.largest) == (3, 80, 63)


def test_a_tally_without_digest_says_so_and_cannot_be_mixed_with_one_that_has_it() -> None:
    bare = tally_of(bson.encode({}), digest=False).totals()
    assert (bare.documents, bare.digest) == (1, "")
    assert combine([bare, bare]) == Content(2, 10, "")
    with pytest.raises(FormatError, match="content with a digest and content without cannot be added"):
        combine([bare, Tally().totals()])


def test_a_document_of_exactly_16_mib_is_counted_and_one_byte_more_is_refused() -> None:
    def document(size: int) -> bytes:
        return struct.pack("<I", size) + bytes(size - 4)

    assert tally_of(document(MAX_DOCUMENT)).largest == MAX_DOCUMENT
    with pytest.raises(
        FormatError, match=r"impossible document length \(offset=0, expected='5..16777216', got=16777217\)"
    ):
        Tally().add(document(MAX_DOCUMENT + 1))


@pytest.mark.parametrize(
    ("tail", "kind", "text"),
    [
        (b"\4\0\0\0\0", FormatError, "impossible document length (offset=5, expected='5..16777216', got=4)"),
        (b"\0\0\0\0\0", FormatError, "impossible document length (offset=5, expected='5..16777216', got=0)"),
        (
            b"\xff\xff\xff\xff",
            FormatError,
            "impossible document length (offset=5, expected='5..16777216', got=4294967295)",
        ),
        (b"\5\0\0\0\1", FormatError, "document does not end with a NUL byte (offset=5, expected=0, got=1)"),
        (b"\6\0\0\0\0", Truncated, "data ends inside a document (offset=5, expected=6, got=5)"),
        (b"\6\0\0", Truncated, "data ends inside a document's length (offset=5, expected=4, got=3)"),
    ],
)
def test_a_buffer_with_wrong_framing_is_refused_and_changes_nothing(tail: bytes, kind: type, text: str) -> None:
    tally = tally_of(bson.encode({"before": 1}))
    before = tally.totals()
    with pytest.raises(FormatError) as caught:
        tally.add(bson.encode({}) + tail)
    assert (type(caught.value), str(caught.value)) == (kind, text)
    assert tally.totals() == before
