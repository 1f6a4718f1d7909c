"""Archives that are refused: damaged, malformed or hostile, and each with the place in its message."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import bson
import pytest

from flows.core.archive import ArchiveHeader, ArchiveReader, PreludeEntry, reader, verify_archive
from flows.core.archive.format import MAGIC, TERMINATOR, encode_entry, encode_header
from flows.core.errors import FormatError, IntegrityError, Truncated, UnsupportedVersion
from flows.core.tally import Tally
from tests.support.archives import BODY, MINIMAL, ONE, A, B, block, data, end, golden, prelude

# --- damage -----------------------------------------------------------------------------------------------------------


def test_an_archive_cut_off_at_any_byte_is_an_error() -> None:
    for size in range(len(MINIMAL)):
        # In the first four bytes it isn't an archive yet.
        with pytest.raises(Truncated if size == 0 or size >= len(MAGIC) else FormatError):
            verify_archive(io.BytesIO(MINIMAL[:size]))


def test_the_zoo_cut_off_beside_any_block_is_an_error() -> None:
    whole = golden("zoo.archive.gz")
    cuts = set()
    position = len(MAGIC)
    while position < len(whole):
        length = struct.unpack_from("<I", whole, position)[0]
        position += 4 if length == 0xFFFFFFFF else length
        if length == 0xFFFFFFFF:
            cuts |= {position - 1, position, position + 1}
    cuts -= {len(whole), len(whole) + 1}
    assert len(cuts) > 100
    for cut in cuts:
        with pytest.raises(Truncated):
            verify_archive(io.BytesIO(whole[:cut]), digest=False)


# Where mongorestore is lenient, a flipped byte may pass: in the values and names of fields of the prelude (its header
# and entries have no checksum), and in the CRC of a data header, which means nothing.
LENIENT = {*range(0x004, 0x1A8), *range(0x1D7, 0x1DF), *range(0x26D, 0x275)}


def test_a_flipped_byte_is_an_error_outside_the_prelude_and_never_changes_documents_inside_it() -> None:
    whole = verify_archive(io.BytesIO(MINIMAL))
    for position in range(len(MINIMAL)):
        for mask in (0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF):
            damaged = bytearray(MINIMAL)
            damaged[position] ^= mask
            try:
                summary = verify_archive(io.BytesIO(bytes(damaged)))
            except (FormatError, IntegrityError):
                continue
            assert position in LENIENT, (position, mask)
            assert summary.totals == whole.totals, (position, mask)


def test_a_flipped_byte_in_a_document_names_the_namespace_and_both_crcs() -> None:
    damaged = bytearray(MINIMAL)
    damaged[MINIMAL.index(b"\xc3\xa9")] ^= 1
    with pytest.raises(IntegrityError) as caught:
        verify_archive(io.BytesIO(bytes(damaged)))
    got = Tally()
    got.add(bytes(damaged[0x1E0:0x206]))
    assert str(caught.value) == (
        "CRC of a namespace in the archive does not match its documents "
        f"(namespace='d.c', offset=522, expected='fc693c16b2b56740', got='{got.crc:016x}')\n"
        "HINT: The archive is damaged: use another backup."
    )


@pytest.mark.parametrize(
    ("damaged", "text"),
    [
        (
            MINIMAL[:0x242],
            "archive ends before all its namespaces were complete (offset=578, missing=['d.e'])\n"
            "HINT: The dump was cut off: use another backup.",
        ),
        (MINIMAL[:0x200], "data ends inside a document (namespace='d.c', offset=504, expected=14, got=8)"),
        (MINIMAL[:0x206], "data ends inside a document's length (namespace='d.c', offset=518, expected=4, got=0)"),
        (MINIMAL[:0x23E], "data ends inside a document's length (namespace='d.c', offset=574, expected=4, got=0)"),
        (MINIMAL + b"\5", "data ends inside a document's length (offset=690, expected=4, got=1)"),
        (MINIMAL + TERMINATOR, "terminator where a header must be (offset=690)"),
        (
            MINIMAL + ONE,
            "unknown field in a namespace header (offset=690, expected='db, collection, EOF, CRC', got='_id')",
        ),
        (b"", "an empty file is not an archive"),
        (
            b"\x1f\x8b\x08\x00",
            "not a mongodump archive (offset=0, expected='6de29981', got='1f8b0800')\n"
            "HINT: Look whether the file is compressed or encrypted in another way than its name says.",
        ),
        (MAGIC, "data ends inside a document's length (offset=4, expected=4, got=0)"),
        (MAGIC + TERMINATOR, "terminator where a header must be (offset=4)"),
    ],
)
def test_damage_is_named_with_its_offset(damaged: bytes, text: str) -> None:
    with pytest.raises(FormatError) as caught:
        verify_archive(io.BytesIO(damaged))
    assert str(caught.value) == text


# --- what mongorestore refuses ----------------------------------------------------------------------------------------

WRONG_TYPE = "field in an archive has the wrong type"
UNKNOWN_FIELD = "unknown field in a namespace header (offset={start}, expected='db, collection, EOF, CRC', got='x')"


def wrong_type(offset: str, field: str, expected: str, got: str) -> str:
    return f"{WRONG_TYPE} (offset={offset}, field={field!r}, expected={expected!r}, got={got!r})"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (data(A, ONE), "archive ends before all its namespaces were complete (offset={end}, missing=['d.a'])"),
        (data(B), "namespace is not in the prelude (namespace='d.b', offset={start})"),
        (
            data(A) + end(A) + data(A),
            f"namespace goes on after its end (namespace='d.a', offset={{start}}+{len(data(A) + end(A))})",
        ),
        (
            end(A)[:-4] + ONE + TERMINATOR,
            f"documents in an EOF block (namespace='d.a', offset={{start}}+{len(end(A)) - 4})",
        ),
        (block({**BODY, "x": 1}), UNKNOWN_FIELD),
        (block({**BODY, "CRC": 0}), wrong_type("{start}", "CRC", "Int64", "int")),
        (block({**BODY, "CRC": 0.0}), wrong_type("{start}", "CRC", "Int64", "float")),
        (block({**BODY, "EOF": 1}), wrong_type("{start}", "EOF", "bool", "int")),
        (block({**BODY, "db": None}), wrong_type("{start}", "db", "str", "NoneType")),
        (block({**BODY, "db": bson.Code("d")}), wrong_type("{start}", "db", "str", "Code")),
        (block({**BODY, "collection": ""}), "namespace header has no collection (offset={start})"),
        (block({}), "namespace header has no collection (offset={start})"),
        (b"\6\0\0\0\1\0", "header in an archive is not BSON (offset={start}, got="),
    ],
)
def test_a_body_that_mongorestore_refuses_is_refused(body: bytes, text: str) -> None:
    start = prelude(A)
    with pytest.raises(FormatError) as caught:
        verify_archive(io.BytesIO(start + body))
    text = text.format(start=len(start), end=len(start + body))
    if "+" in text:
        first, second = text.rstrip(")").rsplit("=", 1)[1].split("+")
        text = text.replace(f"{first}+{second}", str(int(first) + int(second)))
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"server_version": "7.0"}, UnsupportedVersion, "the server version is not three numbers"),
        ({}, UnsupportedVersion, "the server version is not three numbers"),
        ({"server_version": 7}, FormatError, WRONG_TYPE),
        ({"server_version": "7.0.1", "version": 1}, FormatError, WRONG_TYPE),
        ({"server_version": "7.0.1", "concurrent_collections": "4"}, FormatError, WRONG_TYPE),
        ({"server_version": "7.0.1", "concurrent_collections": 4.5}, FormatError, WRONG_TYPE),
    ],
)
def test_a_header_that_mongorestore_refuses_is_refused(fields: dict[str, Any], kind: type, text: str) -> None:
    with pytest.raises(kind) as caught:
        ArchiveReader(io.BytesIO(prelude(A, header=bson.encode(fields))))
    assert caught.value.message == text  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"db": "d"}, "entry of the prelude has no collection (offset=108, got=['db'])"),
        ({"db": 1, "collection": "a"}, wrong_type("108", "db", "str", "int")),
        ({"db": "d", "collection": "a", "size": "0"}, wrong_type("108", "size", "int", "str")),
        (
            {"db": "d", "collection": "a", "metadata": "{"},
            "metadata of a collection is not JSON (namespace='d.a', offset=108, got=",
        ),
    ],
)
def test_an_entry_that_mongorestore_refuses_is_refused(fields: dict[str, Any], text: str) -> None:
    header = encode_header(ArchiveHeader("7.0.14", "100.18.0"))
    assert len(MAGIC + header) == 108
    start = prelude(header=header, entries=[bson.encode(fields)])
    with pytest.raises(FormatError) as caught:
        ArchiveReader(io.BytesIO(start))
    assert str(caught.value).startswith(text)


def test_buckets_belong_to_a_time_series_entry_only() -> None:
    with pytest.raises(FormatError, match=r"namespace is not in the prelude \(namespace='d.system.buckets.a'"):
        verify_archive(io.BytesIO(prelude(A) + data(A.buckets)))


# --- hostile archives -------------------------------------------------------------------------------------------------


class Watched(io.BytesIO):
    """Remembers the largest read that it was asked for."""

    largest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size > 0
        self.largest = max(self.largest, size)
        return super().read(size)


@pytest.mark.parametrize("length", [0, 4, 2**24, 2**24 + 1, 2**31 - 1, 2**31, 2**32 - 2])
@pytest.mark.parametrize("place", [MAGIC, prelude(A)[:-4], prelude(A), prelude(A) + data(A)[:-4], prelude(A) + end(A)])
def test_a_promised_length_takes_no_memory(place: bytes, length: int) -> None:
    stream = Watched(place + struct.pack("<I", length) + b"\1")
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            verify_archive(stream)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert stream.largest <= reader.READ_BYTES
    assert peak < 2 * reader.READ_BYTES


def nested(levels: int) -> bytes:
    """A document in a document, and so on, all under empty keys: each level adds 7 bytes."""
    opening = b"".join(struct.pack("<I", 5 + 7 * inside) + b"\3\0" for inside in range(levels, 0, -1))
    return opening + bson.encode({}) + b"\0" * levels


@pytest.mark.parametrize(
    "attack",
    [
        lambda bomb: prelude(A, header=bomb),
        lambda bomb: prelude(entries=[bomb]),
        lambda bomb: prelude(A) + bomb + TERMINATOR,
    ],
)
def test_a_header_of_a_hundred_thousand_levels_is_an_error_and_not_a_crash(attack: Callable[[bytes], bytes]) -> None:
    bomb = nested(100_000)
    with pytest.raises(FormatError):
        verify_archive(io.BytesIO(attack(bomb)))


def test_metadata_of_a_hundred_thousand_levels_is_an_error_and_not_a_crash() -> None:
    metadata = '{"options":' + '{"a":' * 100_000 + "1" + "}" * 100_001
    with pytest.raises(FormatError):
        verify_archive(io.BytesIO(prelude(entries=[encode_entry(PreludeEntry(A, metadata, ""))])))
