"""The metadata of a collection as mongodump writes it: canonical Extended JSON v2, compact, in a fixed order of keys.

The driver's own parser is not used: it turns `{"$regex": ..., "$options": ...}` and `{"$ref": ..., "$id": ...}`,
which are plain documents in a validator or a view, into other types. Here only the wrappers of canonical Extended JSON
are special, and only where they are the first key, as in the Go driver that mongorestore reads with.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import bson
from bson import json_util
from bson.binary import Binary
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument

from flows.core.errors import FormatError

Document = dict[str, Any]

# Dates stay a number of milliseconds: BSON has years that `datetime` does not.
_EXACT: CodecOptions[Document] = CodecOptions(document_class=dict, datetime_conversion=DatetimeConversion.DATETIME_MS)
# Raw documents are the only ones that the driver decodes without taking `{"$ref": ..., "$id": ...}` for a `DBRef`.
_RAW = CodecOptions(document_class=RawBSONDocument, datetime_conversion=DatetimeConversion.DATETIME_MS)
# All that `bson` raises for values or bytes that it cannot convert.
_BSON_ERRORS = (bson.errors.BSONError, ValueError, TypeError, OverflowError, RecursionError)

_INTEGER = re.compile(r"-?[0-9]+")
_DOUBLE = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|-?Infinity|NaN")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UUID_HEX = re.compile(r"[0-9a-f]{32}")
_REGEX_OPTIONS = re.compile(r"i?l?m?s?u?x?")  # alphabetical, as BSON wants them


@dataclass(frozen=True, slots=True)
class CollectionMetadata:
    """What an archive knows of a collection besides its documents.

    Values are as the driver decodes BSON, with dates as `DatetimeMS`; they encode to the bytes that the server gave.
    """

    options: Document = field(default_factory=dict)
    indexes: list[Document] = field(default_factory=list)
    uuid: str | None = None  # 32 hex digits
    collection_name: str = ""
    type: str = ""


def dumps_metadata(
    *,
    options: bytes | Mapping[str, Any] | None,
    indexes: Sequence[bytes | Mapping[str, Any]],
    uuid: str | None,
    collection_name: str,
    type: str,  # noqa: A002 - the field's name in the format
) -> str:
    """Build the metadata text of a collection, and prove that reading it gives the same BSON again.

    Args:
        options: The `options` of listCollections, as raw BSON or decoded; none and empty are the same.
        indexes: The documents of listIndexes, untouched, in the server's order.
        uuid: The collection's uuid as 32 lower-case hex digits; none for a view.
        collection_name: Raw; for a time-series collection the logical one.
        type: The `type` of listCollections: collection, view or timeseries.

    Raises:
        FormatError: Something is not BSON, or would not be the same after a restore.
    """
    raw_options = encode_exactly(options or {})
    raw_indexes = [encode_exactly(index) for index in indexes]
    if uuid is not None and not _UUID_HEX.fullmatch(uuid):
        raise FormatError("uuid of a collection is not 32 hex digits", collection=collection_name, got=uuid)
    fields: Document = {}
    if json_options := _raw_to_json(raw_options):
        fields["options"] = json_options
    fields["indexes"] = [_raw_to_json(index) for index in raw_indexes]
    if uuid is not None:
        fields["uuid"] = uuid
    fields["collectionName"] = collection_name
    if type:
        fields["type"] = type
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    # Two characters that the official tools escape although JSON does not ask for it.
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")

    try:
        again = loads_metadata(text)
        same = (
            encode_exactly(again.options) == raw_options
            and [encode_exactly(index) for index in again.indexes] == raw_indexes
            and (again.uuid, again.collection_name, again.type) == (uuid, collection_name, type)
        )
    except FormatError:
        same = False
    if not same:
        raise FormatError(
            "options or indexes of a collection would not be the same after a restore",
            hint="Look for keys that read as Extended JSON, as $oid or $date, and for deprecated BSON types.",
            collection=collection_name,
        )
    return text


def loads_metadata(text: str) -> CollectionMetadata:
    """Read the metadata text of a collection, from new and old versions of mongodump.

    What mongorestore accepts is accepted: no text at all, missing or null fields, unknown fields, plain JSON numbers,
    and the older forms of binary values. Key order is kept.

    Raises:
        FormatError: It isn't JSON, a wrapper is malformed, or a value has no BSON form.
    """
    if not text:
        return CollectionMetadata()
    try:
        fields = json.loads(text, object_pairs_hook=_from_pairs, parse_float=_float, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError("metadata of a collection is not JSON", got=str(error)) from error
    if not isinstance(fields, dict):
        raise FormatError("metadata of a collection is not a document", got=type(fields).__name__)
    options = _field(fields, "options", dict) or {}
    indexes = _field(fields, "indexes", list) or []
    for index in indexes:
        if not isinstance(index, dict):
            raise FormatError("index in the metadata of a collection is not a document", got=type(index).__name__)
    # Text can hold what BSON can't: numbers beyond 64 bits, NUL in keys, half surrogates.
    encode_exactly({"options": options, "indexes": indexes})
    return CollectionMetadata(
        options,
        indexes,
        _field(fields, "uuid", str) or None,
        _field(fields, "collectionName", str) or "",
        _field(fields, "type", str) or "",
    )


def loads_document(text: str) -> bytes:
    """Read a document that a person wrote, as canonical or relaxed Extended JSON, into BSON.

    Relaxed means plain JSON numbers, and dates as `{"$date": "2026-03-06T04:00:00Z"}`, which need a zone. Operators
    such as `$regex` stay what they are: keys of a document.

    Raises:
        FormatError: It isn't a JSON object, a wrapper is malformed, or a value has no BSON form.
    """
    hook = partial(_from_pairs, wrappers=_RELAXED)
    try:
        document = json.loads(text, object_pairs_hook=hook, parse_float=_float, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError("not JSON", because=str(error)) from error
    if not isinstance(document, dict):
        raise FormatError("not a document", because=f"{type(document).__name__} is not a JSON object")
    return encode_exactly(document)


def dumps_document(document: bytes) -> str:
    """Write BSON as canonical Extended JSON, compact.

    Raises:
        FormatError: It is not BSON.
    """
    return json.dumps(_raw_to_json(document), ensure_ascii=False, separators=(",", ":"))


def encode_exactly(document: bytes | Mapping[str, Any]) -> bytes:
    """The BSON of a document with its keys in their order; raw BSON is passed on.

    Raises:
        FormatError: It has no BSON form.
    """
    if isinstance(document, bytes):
        return document
    try:
        # The driver moves a top-level `_id` to the front, and leaves nested documents as they are: so it gets one.
        # The wrapping is an int32, the type, an empty key before, and a NUL after.
        return bson.encode({"": document}, codec_options=_EXACT)[6:-1]
    except _BSON_ERRORS as error:
        raise FormatError("a value has no BSON form", got=str(error)) from error


def decode_exactly(document: bytes) -> Document:
    """Decode BSON with dates of all years.

    Raises:
        FormatError: It is not BSON.
    """
    try:
        return bson.decode(document, codec_options=_EXACT)
    except _BSON_ERRORS as error:
        raise FormatError("not a BSON document", got=str(error)) from error


def _field(fields: Document, key: str, kind: type) -> Any:
    value = fields.get(key)
    if value is not None and not isinstance(value, kind):
        raise FormatError(
            "field in the metadata of a collection has the wrong type",
            field=key,
            expected=kind.__name__,
            got=type(value).__name__,
        )
    return value


def _raw_to_json(document: bytes) -> Document:
    try:
        fields: Document = _to_json(RawBSONDocument(document, _RAW))
    except _BSON_ERRORS as error:
        raise FormatError("not a BSON document", got=str(error)) from error
    return fields


def _to_json(value: Any) -> Any:
    """A decoded BSON value as what `json.dumps` writes as canonical Extended JSON."""
    if value is None or isinstance(value, bool) or type(value) is str:
        return value
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if isinstance(value, float):
        return {"$numberDouble": double_text(value)}
    if isinstance(value, bson.Code) and value.scope is not None:
        return {"$code": str(value), "$scope": _to_json(value.scope)}
    return json_util.default(value, json_util.CANONICAL_JSON_OPTIONS)


def double_text(value: float) -> str:
    """The text that Go gives a double (`%G`, shortest): exponents from 1E-05 down and from 1E+06 up."""
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    power = len(digits) - 1 + int(exponent)
    if value and not -5 < power < 6:
        mantissa = "".join(map(str, digits))
        point = "." if len(mantissa) > 1 else ""
        return f"{'-' if sign else ''}{mantissa[0]}{point}{mantissa[1:]}E{power:+03d}"
    return repr(value) if "e" not in repr(value) else f"{Decimal(repr(value)):f}"


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"number is too large for a double: {text}")
    return number


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _from_pairs(pairs: list[tuple[str, Any]], wrappers: Mapping[str, Callable[[Document], Any]] | None = None) -> Any:
    """A JSON object as a document, or as the value that it wraps: its first key decides."""
    wrappers = _WRAPPERS if wrappers is None else wrappers
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise FormatError("key appears twice in a document of the metadata", got=[key for key, _ in pairs])
    if not pairs or pairs[0][0] not in wrappers:
        return fields
    try:
        value = wrappers[pairs[0][0]](fields)
    except (bson.errors.BSONError, ValueError, TypeError, ArithmeticError) as error:
        raise FormatError("malformed Extended JSON value", got=repr(fields), because=str(error)) from error
    return value


def _take(fields: Document, *keys: str) -> Any:
    """The values of exactly these keys."""
    if set(fields) != set(keys):
        raise ValueError(f"expected the keys {', '.join(keys)}")
    values = [fields[key] for key in keys]
    return values[0] if len(values) == 1 else values


def _text(value: Any, pattern: re.Pattern[str] | None = None) -> str:
    if not isinstance(value, str) or (pattern is not None and not pattern.fullmatch(value)):
        raise ValueError(f"unexpected value {value!r}")
    return value


def _integer(text: Any, bits: int) -> int:
    number = int(_text(text, _INTEGER))
    if not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
        raise ValueError(f"does not fit in {bits} bits")
    return number


def _binary(fields: Document) -> Any:
    if isinstance(fields["$binary"], dict):
        data, subtype = _take(_take(fields, "$binary"), "base64", "subType")
    else:  # dumps of the 3.x tools
        data, subtype = _take(fields, "$binary", "$type")
    number = int(_text(subtype, re.compile(r"[0-9a-fA-F]{1,2}")), 16)
    content = base64.b64decode(_text(data), validate=True)
    return content if number == 0 else Binary(content, number)


def _date(fields: Document) -> DatetimeMS:
    milliseconds = _take(fields, "$date")
    # The inner wrapper was converted before; `{"$date": "2020-01-01T..."}` is refused by mongorestore as well.
    if not isinstance(milliseconds, bson.Int64):
        raise TypeError('expected {"$numberLong": "..."}')
    return DatetimeMS(int(milliseconds))


def _relaxed_date(fields: Document) -> DatetimeMS:
    value = _take(fields, "$date")
    if not isinstance(value, str):
        return _date(fields)
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError(f"the date {value!r} has no zone; add Z for UTC")
    return DatetimeMS((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))


def _code(fields: Document) -> bson.Code:
    if "$scope" not in fields:
        return bson.Code(_text(_take(fields, "$code")))
    code, scope = _take(fields, "$code", "$scope")
    if not isinstance(scope, dict):
        raise TypeError("$scope is not a document")
    return bson.Code(_text(code), scope)


def _regex(fields: Document) -> bson.Regex[str]:
    pattern, options = _take(_take(fields, "$regularExpression"), "pattern", "options")
    return bson.Regex(_text(pattern), _text(options, _REGEX_OPTIONS))


def _timestamp(fields: Document) -> bson.Timestamp:
    seconds, increment = _take(_take(fields, "$timestamp"), "t", "i")
    for part in (seconds, increment):
        if type(part) is not int:
            raise ValueError(f"unexpected value {part!r}")
    return bson.Timestamp(seconds, increment)


def _bound(key: str, value: bson.MinKey | bson.MaxKey) -> Callable[[Document], Any]:
    def convert(fields: Document) -> Any:
        if _take(fields, key) != 1:
            raise ValueError("expected 1")
        return value

    return convert


def _deprecated(_fields: Document) -> Any:
    # The driver decodes these as other types and can't write them: better no restore than another collection.
    raise ValueError("a deprecated BSON type that the driver cannot carry")


_WRAPPERS: dict[str, Callable[[Document], Any]] = {
    "$numberInt": lambda fields: _integer(_take(fields, "$numberInt"), 32),
    "$numberLong": lambda fields: bson.Int64(_integer(_take(fields, "$numberLong"), 64)),
    "$numberDouble": lambda fields: float(_text(_take(fields, "$numberDouble"), _DOUBLE)),
    "$numberDecimal": lambda fields: bson.Decimal128(_text(_take(fields, "$numberDecimal"))),
    "$oid": lambda fields: bson.ObjectId(_text(_take(fields, "$oid"))),
    "$date": _date,
    "$timestamp": _timestamp,
    "$binary": _binary,
    "$uuid": lambda fields: Binary(bytes.fromhex(_text(_take(fields, "$uuid"), _UUID).replace("-", "")), 4),
    "$regularExpression": _regex,
    "$code": _code,
    "$scope": _code,
    "$minKey": _bound("$minKey", bson.MinKey()),
    "$maxKey": _bound("$maxKey", bson.MaxKey()),
    "$symbol": _deprecated,
    "$dbPointer": _deprecated,
    "$undefined": _deprecated,
}
# What people write, and mongorestore would not take in the metadata of a collection.
_RELAXED = {**_WRAPPERS, "$date": _relaxed_date}
