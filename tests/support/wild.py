"""Documents as nobody would want them: every type of BSON, fields that change their type, and odd names."""

from __future__ import annotations

import random
import struct
import uuid
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import bson
import pyarrow as pa
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS

OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
NAMES = (
    "a",
    "b",
    "A",
    "c.d",
    "e/f",
    "g~h",
    "$x",
    "",
    "ключ",
    "_extra",
    "a__json",
    "tab\there",
    "items",
    "total",
    "n" * 40,
)
DECIMALS = ("0", "1.10", "-0", "NaN", "-Infinity", "1E+6000", "0E-6176", "12345678901234567890123456789012.34")


class Wild:
    """Documents from a seed.

    Args:
        seed: The same gives the same documents.
        tame: How often a field has the type that it mostly has, from 0 to 1.
    """

    def __init__(self, seed: int, tame: float = 0.6) -> None:
        self.random = random.Random(seed)
        self.tame = tame

    def documents(self, count: int) -> list[bytes]:
        """Some of them."""
        return [encode(self._document(0)) for _ in range(count)]

    def _document(self, depth: int) -> dict[str, Any]:
        names = self.random.sample(NAMES, self.random.randrange(1, 9) if depth == 0 else self.random.randrange(5))
        return {name: self._value(name, depth + 1) for name in names}

    def _value(self, name: str, depth: int) -> Any:
        if self.random.random() < self.tame:
            return self._usual(name, depth)
        return self._any(depth)

    def _usual(self, name: str, depth: int) -> Any:
        """A value as the field mostly has them: by the letters of its name, so that they do not agree on anything."""
        r = self.random
        usual = {
            "a": lambda: r.randrange(-9, 2**31),
            "b": lambda: r.choice((None, f"text {r.randrange(99)} é")),
            "A": lambda: r.choice((1.5, -0.0, 3, float("nan"))),
            "c.d": lambda: self._document(depth) if depth < 6 else {},
            "e/f": lambda: [self._document(depth) for _ in range(r.randrange(3))] if depth < 6 else [],
            "g~h": lambda: Decimal128(f"{r.randrange(10**6)}.{r.randrange(100):02d}"),
            "$x": lambda: DatetimeMS(r.randrange(-(2**40), 2**41)),
            "ключ": lambda: ObjectId(r.randbytes(12)),
            "_extra": lambda: r.random() < 0.5,
            "items": lambda: [r.choice((1, 2.5, None)) for _ in range(r.randrange(4))],
            "total": lambda: r.choice((Decimal128("7.25"), 8)),
            "tab\there": lambda: Binary(r.randbytes(16), 4),
        }
        return usual.get(name, lambda: "text")()

    def _any(self, depth: int) -> Any:
        r = self.random
        choices: list[Any] = [
            lambda: None,
            lambda: r.choice((0, 1, -(2**31))),
            lambda: Int64(r.choice((2**53, 2**53 + 1, -(2**63), 2**63 - 1, 5))),
            lambda: r.choice((0.1, -0.0, float("nan"), float("inf"), 2.0**70)),
            lambda: r.choice(("", "é€🧾", "nul\0inside", '{"$oid": 1}')),
            lambda: Decimal128(r.choice(DECIMALS)),
            lambda: r.random() < 0.5,
            lambda: ObjectId(r.randbytes(12)),
            lambda: DatetimeMS(r.choice((0, -(2**62), 253402300800000, 10**14))),
            lambda: Binary(r.randbytes(r.choice((0, 3, 16))), r.choice((0, 2, 3, 4, 5, 128))),
            lambda: Binary(uuid.UUID(int=r.getrandbits(128)).bytes, 4),
            lambda: Regex("^a\\d", r.choice(("", "im"))),
            lambda: Code("f()"),
            lambda: Code("g()", {"x": [1]}),
            lambda: Timestamp(r.getrandbits(32), r.getrandbits(32)),
            lambda: r.choice((MinKey(), MaxKey())),
            lambda: DBRef("invoices", r.choice((7, "x", None)), r.choice((None, "db"))),
            lambda: raw(r.choice((0x06, 0x0C, 0x0E))),
        ]
        if depth < 9:
            choices += [
                lambda: self._document(depth),
                dict,
                list,
                lambda: [self._any(depth + 1) for _ in range(r.randrange(4))],
                lambda: [[self._value("a", depth + 2)] for _ in range(r.randrange(3))],
            ]
        return r.choice(choices)()


class Raw(bytes):
    """A type and a value that the driver cannot write."""


def raw(kind: int) -> Raw:
    """A value of a deprecated type."""
    text = b"\x04\0\0\0old\0"
    return Raw(bytes((kind,)) + {0x06: b"", 0x0C: text + b"x" * 12, 0x0E: text}[kind])


def encode(document: dict[str, Any]) -> bytes:
    """BSON of a document that may have values that the driver does not know."""
    body = b"".join(element(key, value) for key, value in document.items())
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def element(key: str, value: Any) -> bytes:
    """One field as BSON."""
    name = key.encode() + b"\0"
    if isinstance(value, Raw):
        return value[:1] + name + value[1:]
    if isinstance(value, dict):
        return b"\x03" + name + encode(value)
    if isinstance(value, list):
        return b"\x04" + name + encode({str(index): item for index, item in enumerate(value)})
    return bson.encode({key: value}, codec_options=OPTIONS)[4:-1]


def same(source: Any, got: Any) -> bool:
    """Whether a value came back, but for what the format page says is not kept."""
    if isinstance(source, DBRef):
        source = dict(source.as_doc())
    if isinstance(got, DBRef):
        got = dict(got.as_doc())
    if isinstance(source, dict):
        return (
            isinstance(got, dict) and source.keys() == got.keys() and all(same(source[key], got[key]) for key in source)
        )
    if isinstance(source, list):
        return isinstance(got, list) and len(source) == len(got) and all(map(same, source, got))
    if isinstance(source, bool) or source is None:
        return source is got
    if isinstance(source, int):
        return not isinstance(got, (bool, str)) and number(got) == source
    if isinstance(source, float):
        return type(got) is float and (struct.pack("<d", source) == struct.pack("<d", got) or source != source != got)
    if isinstance(source, Decimal128):
        one, other = source.to_decimal(), got.to_decimal() if isinstance(got, Decimal128) else None
        return other is not None and (one == other or (one.is_nan() and other.is_nan()))
    if isinstance(source, DatetimeMS):
        return int(source) == int(got if isinstance(got, DatetimeMS) else DatetimeMS(got))
    if isinstance(source, (bytes, Binary)):
        subtypes = [getattr(value, "subtype", 0) for value in (source, got)]
        return isinstance(got, bytes) and bytes(source) == bytes(got) and len(set(subtypes)) == 1
    return type(source) is type(got) and source == got


def number(value: Any) -> Any:
    """What a number is worth, whatever its type."""
    return (
        value.to_decimal() if isinstance(value, Decimal128) else Decimal(value) if isinstance(value, float) else value
    )


def same_documents(source: Iterable[bytes], got: Iterable[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """Pairs of documents that are not the same; empty is good."""
    decoded = [bson.decode(document, OPTIONS) for document in source]
    rows = list(got)
    if len(decoded) != len(rows):
        return [(len(decoded), len(rows))]
    return [(one, other) for one, other in zip(decoded, rows, strict=True) if not same(one, other)]


def contents(table: pa.Table) -> list[Any]:
    """All of a table as values that can be compared: NaN equals itself, and dates of all years are there."""
    return [_contents(column) for column in table.combine_chunks().columns]


def _contents(array: Any) -> Any:
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.nulls(0, array.type)
    valid = array.is_valid().to_pylist()
    if pa.types.is_struct(array.type):
        return [valid, [_contents(array.field(index)) for index in range(array.type.num_fields)]]
    if pa.types.is_list(array.type):
        return [valid, array.offsets.to_pylist(), _contents(array.values)]
    if pa.types.is_floating(array.type) or pa.types.is_timestamp(array.type):
        array = array.view(pa.int64())
    return array.to_pylist()
