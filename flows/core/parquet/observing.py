"""A profile in pure Python: one field of many documents at a time."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

import bson
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS

from flows.core.parquet import profile, reading
from flows.core.parquet.decimals import digits, is_special, parts
from flows.core.parquet.profile import MAX_DEPTH, Node, Profile
from flows.core.parquet.values import Expression, Pointer, Scoped, Symbol, Undefined, plain_reference

EXACT_IN_DOUBLE = 2**53  # the largest integer up to which a double has all
UUID_SUBTYPE, UUID_SIZE = 4, 16

_NAMES: dict[type, str] = {
    type(None): profile.NULL,
    float: profile.DOUBLE,
    str: "string",
    dict: profile.OBJECT,
    list: profile.ARRAY,
    bytes: "binData",
    bson.ObjectId: "objectId",
    bool: "bool",
    datetime: "date",
    DatetimeMS: "date",
    bson.Timestamp: "timestamp",
    bson.MinKey: "minKey",
    bson.MaxKey: "maxKey",
    bson.Regex: "regex",
    Expression: "regex",
    Symbol: "symbol",
    Undefined: "undefined",
    Pointer: "dbPointer",
    Scoped: "javascriptWithScope",
}


def observe(found: Profile, documents: Sequence[bytes]) -> None:
    """Add some documents to a profile."""
    values, rejects = reading.decoded(documents)
    found.documents += len(values)
    found.rejects += len(rejects)
    if values:
        found.root.saw(profile.OBJECT, len(values))
    _fields(found.root, values, 0)


def is_uuid(value: Binary) -> bool:
    """Whether it is one that has a text form: subtype 4, and 16 bytes."""
    return value.subtype == UUID_SUBTYPE and len(value) == UUID_SIZE


def _fields(node: Node, documents: Sequence[dict[str, Any]], depth: int) -> None:
    if depth == MAX_DEPTH or node.dynamic:
        return
    for key, times in Counter(chain.from_iterable(documents)).items():
        child = node.child(key)
        if child is None:
            return
        everywhere = times == len(documents)
        _values(child, [item[key] for item in documents if everywhere or key in item], depth + 1)


def _values(node: Node, values: Sequence[Any], depth: int) -> None:
    kinds = Counter(map(type, values))
    for kind, times in kinds.items():
        alike: Sequence[Any] = values if times == len(values) else [value for value in values if type(value) is kind]
        if look := _LOOKS.get(kind):
            look(node, alike)
        else:
            node.saw(_NAMES[kind], times)
        if kind is list and depth < MAX_DEPTH:
            elements = list(chain.from_iterable(alike))
            if elements:
                node.element = node.element or Node()
                _values(node.element, elements, depth + 1)
    if dict in kinds or bson.DBRef in kinds:
        # Together, so that fields come in the order in which they first were there.
        _fields(node, [_document(value) for value in values if type(value) in (dict, bson.DBRef)], depth)


def _document(value: Any) -> dict[str, Any]:
    return plain_reference(value) if type(value) is bson.DBRef else value


def _binaries(node: Node, values: Sequence[Binary]) -> None:
    for value in values:
        node.saw("uuid" if is_uuid(value) else f"binData{value.subtype}", 1)


def _codes(node: Node, values: Sequence[bson.Code]) -> None:
    for value in values:
        node.saw("javascript" if value.scope is None else "javascriptWithScope", 1)


def _integers(name: str) -> Callable[[Node, Sequence[int]], None]:
    def look(node: Node, values: Sequence[int]) -> None:
        node.saw(name, len(values))
        if max(values) > EXACT_IN_DOUBLE or min(values) < -EXACT_IN_DOUBLE:
            node.wide += sum(abs(value) > EXACT_IN_DOUBLE for value in values)

    return look


def _decimals(node: Node, values: Sequence[bson.Decimal128]) -> None:
    node.saw(profile.DECIMAL, len(values))
    observe_decimals(node, [value.bid for value in values])


def observe_decimals(node: Node, values: Sequence[bytes]) -> None:
    """Note the digits of decimals, whose type was counted, from their 16 bytes."""
    words = struct.unpack(f"<{2 * len(values)}Q", b"".join(values))
    largest: dict[int, int] = {}  # lower word by upper word: few of these, as they have sign and exponent
    for low, high in zip(words[::2], words[1::2], strict=True):
        if low > largest.get(high, -1):
            largest[high] = low
    odd = set()
    for high, low in largest.items():
        if is_special(high):
            odd.add(high)
            continue
        coefficient, exponent = parts(high, low)
        if not coefficient:
            continue
        if sizes := digits(coefficient, exponent):
            node.whole, node.scale = max(node.whole, sizes[0]), max(node.scale, sizes[1])
        else:
            odd.add(high)
    if odd:
        for low, high in zip(words[::2], words[1::2], strict=True):
            if high in odd:
                observe_decimal(node, high, low)


def observe_decimal(node: Node, high: int, low: int) -> None:
    """Note the digits of one decimal, whose type was counted."""
    if is_special(high):
        node.odd += 1
        return
    coefficient, exponent = parts(high, low)
    if not coefficient:
        return
    if sizes := digits(coefficient, exponent):
        node.whole, node.scale = max(node.whole, sizes[0]), max(node.scale, sizes[1])
    else:
        node.odd += 1


# For types of which more is noted than how many there were.
_LOOKS: dict[type, Callable[[Node, Sequence[Any]], None]] = {
    Binary: _binaries,
    bson.Code: _codes,
    bson.DBRef: lambda node, values: node.saw(profile.OBJECT, len(values)),
    int: _integers(profile.INT),
    bson.Int64: _integers(profile.LONG),
    bson.Decimal128: _decimals,
}
