"""BSON values that the driver has no type for, and the canonical Extended JSON of all values, both ways."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import bson
from bson import json_util
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS

from flows.core.extjson import double_text


class Symbol(str):
    """A deprecated type: text."""

    __slots__ = ()


class Undefined:
    """A deprecated type: another null."""

    __slots__ = ()


class Pointer(NamedTuple):
    """A deprecated type: a namespace and an id."""

    namespace: str
    id: bson.ObjectId


class Expression(NamedTuple):
    """A regular expression with its options as they are, in any order."""

    pattern: str
    options: str


class Scoped(NamedTuple):
    """JavaScript with its scope, which has values of these types in turn."""

    code: str
    scope: dict[str, Any]


def plain_reference(value: bson.DBRef) -> dict[str, Any]:
    """The document that a DBRef is in BSON."""
    return dict(value.as_doc())


def json_text(value: Any) -> str:
    """Canonical Extended JSON, compact.

    Raises:
        RecursionError: It is nested too deeply.
    """
    return compact(json_value(value))


def compact(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def json_value(value: Any) -> Any:
    """A decoded BSON value as what `json.dumps` writes as canonical Extended JSON."""
    if value is None or type(value) in (bool, str):
        return value
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_value(item) for item in value]
    if special := _SPECIAL.get(type(value)):
        return special(value)
    if isinstance(value, bson.Code) and value.scope is not None:
        return {"$code": str(value), "$scope": json_value(value.scope)}
    return json_util.default(value, json_util.CANONICAL_JSON_OPTIONS)


_SPECIAL: dict[type, Callable[[Any], Any]] = {
    float: lambda value: {"$numberDouble": double_text(value)},
    bson.DBRef: lambda value: json_value(plain_reference(value)),
    Symbol: lambda value: {"$symbol": str(value)},
    Undefined: lambda _value: {"$undefined": True},
    Pointer: lambda value: {"$dbPointer": {"$ref": value.namespace, "$id": {"$oid": str(value.id)}}},
    Expression: lambda value: {"$regularExpression": {"pattern": value.pattern, "options": value.options}},
    Scoped: lambda value: {"$code": value.code, "$scope": json_value(value.scope)},
}


def value_of(text: str) -> Any:
    """The value that canonical Extended JSON says, in the driver's types where it has one.

    Raises:
        ValueError: It is not JSON.
    """
    return json.loads(text, object_pairs_hook=_from_pairs)


def _from_pairs(pairs: list[tuple[str, Any]]) -> Any:
    fields = dict(pairs)
    read = _WRAPPERS.get(frozenset(fields))
    if read is None:
        return fields
    try:
        return read(fields)
    except (bson.errors.BSONError, ArithmeticError, ValueError, TypeError, KeyError, AttributeError):
        # A document of the source may have such keys with other values: then it is one.
        return fields


def _integer(text: Any) -> int:
    if not isinstance(text, str):
        raise TypeError("not text")
    return int(text)


def _binary(inner: Mapping[str, Any]) -> Any:
    data, subtype = base64.b64decode(inner["base64"], validate=True), int(inner["subType"], 16)
    return Binary(data, subtype) if subtype else data


def _date(value: Any) -> DatetimeMS:
    if not isinstance(value, bson.Int64):
        raise TypeError("not a number of milliseconds")
    return DatetimeMS(int(value))


def _regex(inner: Mapping[str, Any]) -> bson.Regex[str]:
    return bson.Regex(inner["pattern"], inner["options"])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


_WRAPPERS: dict[frozenset[str], Callable[[dict[str, Any]], Any]] = {
    frozenset(keys.split()): read
    for keys, read in {
        "$numberInt": lambda fields: _integer(fields["$numberInt"]),
        "$numberLong": lambda fields: bson.Int64(_integer(fields["$numberLong"])),
        "$numberDouble": lambda fields: float(_text(fields["$numberDouble"])),
        "$numberDecimal": lambda fields: bson.Decimal128(_text(fields["$numberDecimal"])),
        "$oid": lambda fields: bson.ObjectId(_text(fields["$oid"])),
        "$date": lambda fields: _date(fields["$date"]),
        "$timestamp": lambda fields: bson.Timestamp(fields["$timestamp"]["t"], fields["$timestamp"]["i"]),
        "$binary": lambda fields: _binary(fields["$binary"]),
        "$regularExpression": lambda fields: _regex(fields["$regularExpression"]),
        "$code": lambda fields: bson.Code(_text(fields["$code"])),
        "$code $scope": lambda fields: bson.Code(_text(fields["$code"]), fields["$scope"]),
        "$minKey": lambda _fields: bson.MinKey(),
        "$maxKey": lambda _fields: bson.MaxKey(),
        "$symbol": lambda fields: _text(fields["$symbol"]),
        "$undefined": lambda _fields: None,
        "$dbPointer": lambda fields: bson.DBRef(fields["$dbPointer"]["$ref"], fields["$dbPointer"]["$id"]),
    }.items()
}
