"""BSON is taken apart at its top level without changing a byte."""

from __future__ import annotations

import datetime as dt
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

from flows.core.elements import array_of, document_of, elements, id_of, nested
from flows.core.errors import FormatError

VALUES: list[Any] = [
    1.5,
    "grüße",
    {"a": {"b": 1}},
    [1, "x", None],
    Binary(b"\x00\xff", 0),
    Binary(b"k" * 16, 4),
    ObjectId("65e7f0000000000000000001"),
    True,
    dt.datetime(2026, 3, 6, tzinfo=dt.UTC),
    None,
    Regex("^a\\d+$", "im"),
    Code("f()"),
    Code("f(x)", {"x": 1}),
    7,
    Timestamp(5, 6),
    Int64(7),
    Decimal128("1.19"),
    MinKey(),
    MaxKey(),
]
# Types that the driver cannot write: undefined, symbol, DBPointer.
DEPRECATED = [b"\x06", b"\x0e\x02\x00\x00\x00s\x00", b"\x0c\x02\x00\x00\x00c\x00" + b"i" * 12]


def test_every_type_is_measured() -> None:
    document = {f"f{i}": value for i, value in enumerate(VALUES)}
    raw = bson.encode(document)
    found = list(elements(raw))
    assert [name.decode() for name, _ in found] == list(document)
    assert [document_of(name, value) for name, value in found] == [bson.encode({n: v}) for n, v in document.items()]


@pytest.mark.parametrize("value", DEPRECATED)
def test_deprecated_types_are_measured_too(value: bytes) -> None:
    assert list(elements(document_of(b"a", value))) == [(b"a", value)]


def test_an_array_is_the_one_that_the_driver_makes() -> None:
    values = [value for _, value in elements(bson.encode({f"f{i}": value for i, value in enumerate(VALUES)}))]
    made = document_of(b"_id", nested(document_of(b"$in", array_of(values))))
    assert made == bson.encode({"_id": {"$in": VALUES}})


def test_an_id_is_found_wherever_it_stands() -> None:
    raw = bson.encode({"": {"a": 1, "_id": Int64(5)}})[6:-1]
    assert raw.index(b"_id") > raw.index(b"a\0")
    assert document_of(b"_id", id_of(raw)) == bson.encode({"_id": Int64(5)})


@pytest.mark.parametrize(
    "raw",
    [
        bson.encode({"a": 1}),
        bson.encode({"_id": "text"})[:-3] + b"\0",
        b"\x0a\x00\x00\x00\x20_id\x00\x00",
        b"\x0f\x00\x00\x00\x02_id\x00\xff\xff\xff\xff\x00\x00",
    ],
)
def test_what_has_no_id_or_is_no_document_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError):
        id_of(raw)
