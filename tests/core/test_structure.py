"""A document is walked to its innermost element, and the first thing that is not BSON is named with its place."""

from __future__ import annotations

import datetime as dt
import random
import struct

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

from flows.core.structure import Misfit, find_misfit
from tests.support.archives import GOLDEN, golden, read

RICH = bson.encode(
    {
        "double": 1.5,
        "text": "grüße",
        "inner": {"list": [1, "x", None, {"deep": [[], {}]}], "flag": True},
        "binary": Binary(b"\x00\xff", 0),
        "id": ObjectId("65e7f0000000000000000001"),
        "at": dt.datetime(2026, 3, 6, tzinfo=dt.UTC),
        "pattern": Regex("^a\\d+$", "im"),
        "code": Code("f()"),
        "scoped": Code("f(x)", {"x": {"y": "z"}}),
        "stamp": Timestamp(5, 6),
        "long": Int64(7),
        "money": Decimal128("1.19"),
        "ends": [MinKey(), MaxKey()],
    }
)


def document(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def text(value: bytes, *, length: int | None = None, kind: bytes = b"\x02") -> bytes:
    return kind + b"s\0" + struct.pack("<i", len(value) if length is None else length) + value


@pytest.mark.parametrize(
    "sound",
    [
        RICH,
        document(),
        document(b"\x06u\0", text(b"s\0", kind=b"\x0e"), b"\x0cp\0\x02\0\0\0c\0" + b"i" * 12),
        document(
            text(b"not \xff UTF-8\0"), text(b"with \0 inside\0"), b"\x08b\0\x02", b"\x0a\0", b"\x0aa\0", b"\x0aa\0"
        ),
        document(b"\x09y\0" + struct.pack("<q", 2**62)),  # a year that Python has not
        bson.encode({"ref": {"$ref": 1, "$id": 2}}),  # which the driver cannot decode
    ],
    ids=["every type", "empty", "deprecated types", "odd values", "far date", "no DBRef"],
)
def test_what_mongodb_takes_is_sound(sound: bytes) -> None:
    assert find_misfit(sound) is None


def test_all_documents_of_the_official_archives_are_sound() -> None:
    archives = [path.name for path in GOLDEN.glob("*.archive.gz")]
    documents = [one for name in archives for many in read(golden(name)).values() for one in many]
    assert len(documents) > 100
    assert [misfit for one in documents if (misfit := find_misfit(one))] == []


@pytest.mark.parametrize(
    ("broken", "misfit"),
    [
        (
            document(b"\x14x\0"),
            Misfit(7, "a type of element that BSON does not know", "0x01..0x13, 0x7f, 0xff", "0x14"),
        ),
        (document(b"\x10x\0\1\0\0"), Misfit(7, "an element is longer than the document around it", "at most 3", "4")),
        (document(b"\x10xyz"), Misfit(4, "the name of an element does not end", "a NUL byte", "none")),
        (document(text(b"a\0", length=3)), Misfit(7, "impossible length of a string", "1..2", "3")),
        (document(text(b"", length=0)), Misfit(7, "impossible length of a string", "1..0", "0")),
        (document(text(b"a\0", length=-1)), Misfit(7, "impossible length of a string", "1..2", "-1")),
        (document(text(b"ab")), Misfit(7, "a string does not end with a NUL byte", "0", "98")),
        (document(b"\x02s\0\1\0"), Misfit(7, "a length is cut off", "4", "2")),
        (document(b"\x03d\0\4\0\0\0"), Misfit(7, "impossible length of a document", "5", "4")),
        (
            document(b"\x03d\0" + document()[:-1] + b"\1"),
            Misfit(11, "a document does not end with a NUL byte", "0", "1"),
        ),
        (
            document(b"\x04d\0\x07\0\0\0\0"),
            Misfit(7, "an element is longer than the document around it", "at most 5", "7"),
        ),
        (document(b"\x05b\0\xff\xff\xff\xff\0"), Misfit(7, "impossible length of binary data", "0", "-1")),
        (
            document(b"\x05b\0\1\0\0\0\0"),
            Misfit(7, "an element is longer than the document around it", "at most 5", "6"),
        ),
        (document(b"\x0br\0a\0b"), Misfit(7, "a regular expression does not end", "two NUL bytes", "fewer")),
        (document(b"\x0br\0a"), Misfit(7, "a regular expression does not end", "two NUL bytes", "fewer")),
        (
            document(b"\x0fc\0" + struct.pack("<ii", 15, 1) + b"\0" + document() + b"\0"),
            Misfit(16, "impossible length of a scope", "6", "5"),
        ),
        (
            document(b"\x0fc\0" + struct.pack("<ii", 10, 2) + b"a\0"),
            Misfit(17, "impossible length of a scope", "5", "0"),
        ),
    ],
)
def test_what_is_not_bson_is_named_with_its_place(broken: bytes, misfit: Misfit) -> None:
    assert find_misfit(broken) == misfit
    nested = document(b"\x03in\0" + broken) if misfit.what != "the name of an element does not end" else None
    if nested is not None:
        found = find_misfit(nested)
        assert found is not None
        assert (found.what, found.offset) == (misfit.what, misfit.offset + 8)


def test_no_damage_makes_the_walk_fail_or_run_on() -> None:
    """And what it takes for sound, the driver can measure too."""
    chance = random.Random(7)
    for _ in range(5000):
        data = bytearray(RICH)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(4, len(data) - 1)] = chance.randrange(256)
        found = find_misfit(bytes(data))
        assert found is None or 4 <= found.offset < len(data)
