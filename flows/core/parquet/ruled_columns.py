"""What the columns of a table hold, as far as rules look at it: values, documents, arrays or JSON."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pyarrow as pa

from flows.core.errors import IntegrityError
from flows.core.parquet.actions import Moment, Value
from flows.core.parquet.paths import FieldPath, unescape
from flows.core.parquet.schema import COMPANION, FIELD_ID, KIND, PATH, RESERVED, Kind

RULE = b"mongo.rule"
# Besides those of the engine: of which export a change is, and the hashes of identities.
_OWN = (*RESERVED, "_export", "_key", "_hash")
_DIGITS = 38


class Shape(StrEnum):
    """How rules go into a column."""

    VALUE = "value"
    DOCUMENT = "document"
    ARRAY = "array"
    JSON = "json"
    MISFITS = "misfits"  # JSON beside a column
    NULLS = "nulls"
    EXTRA = "extra"
    OWN = "own"  # of this project, and not of a document


_SHAPES = {
    Kind.STRUCT.encode(): Shape.DOCUMENT,
    Kind.LIST.encode(): Shape.ARRAY,
    Kind.JSON.encode(): Shape.JSON,
    COMPANION: Shape.MISFITS,
    b"nulls": Shape.NULLS,
    b"extra": Shape.EXTRA,
}
_TEXTS = {Kind.TEXT, Kind.OBJECT_ID, Kind.UUID}
_NUMBERS = {Kind.INTEGER, Kind.DOUBLE, Kind.DECIMAL, Kind.DECIMAL_TEXT}


def shape_of(field: pa.Field) -> Shape:
    """What a column is to the rules.

    Raises:
        IntegrityError: It does not say which field of a document it holds, so no rule could be found for it.
    """
    metadata = field.metadata or {}
    if KIND in metadata and PATH in metadata:
        return _SHAPES.get(metadata[KIND], Shape.VALUE)
    if field.name in _OWN:
        return Shape.OWN
    raise IntegrityError(
        "a column does not say which field of a document it holds",
        hint="Nothing of it was written. This is an error in this program: please report it.",
        column=field.name,
    )


def name_of(field: pa.Field) -> str:
    """The name that a field has in documents."""
    return unescape(field.metadata[PATH].decode().rpartition("/")[2])


def kind_of(field: pa.Field) -> Kind:
    """How a column of single values holds them."""
    return Kind(field.metadata[KIND].decode())


def is_text(field: pa.Field) -> bool:
    """Whether a column of single values has texts."""
    return kind_of(field) in _TEXTS


def is_number(field: pa.Field) -> bool:
    """Whether a column of single values has numbers."""
    return kind_of(field) in _NUMBERS


def walk(fields: Iterator[pa.Field] | pa.Schema, above: FieldPath = ()) -> Iterator[tuple[FieldPath, pa.Field]]:
    """All fields of documents with their paths, outer ones before what is in them; elements are fields too."""
    for field in fields:
        if shape_of(field) not in (Shape.OWN, Shape.NULLS, Shape.EXTRA):
            yield from _within((*above, name_of(field)), field)


def _within(path: FieldPath, field: pa.Field) -> Iterator[tuple[FieldPath, pa.Field]]:
    yield path, field
    match shape_of(field):
        case Shape.DOCUMENT:
            yield from walk(iter(field.type), path)
        case Shape.ARRAY:
            yield from _within((*path, None), field.type.value_field)


def ruled(field: pa.Field, kind: pa.DataType, *, rule: str = "", now: Kind | None = None) -> pa.Field:
    """A column after a rule.

    Args:
        field: As it was.
        kind: Its type now.
        rule: The text of the rule; empty: it has rules only within.
        now: How it holds values now; None: as before.
    """
    metadata = {name: value for name, value in field.metadata.items() if name in (PATH, KIND, FIELD_ID)}
    if now is not None:
        metadata[KIND] = now.encode()
    if rule:
        metadata[RULE] = rule.encode()
    return pa.field(field.name, kind, metadata=metadata)


def values_of(array: pa.Array, kind: Kind) -> list[Value]:
    """The values of an array without nulls, in the types that actions know."""
    if kind is Kind.DATE:
        # Not as `datetime`, which does not have all years.
        return [Moment(value) for value in array.cast(pa.int64()).to_pylist()]
    if kind is Kind.DECIMAL_TEXT:
        return [Decimal(value) for value in array.to_pylist()]
    found: list[Value] = array.to_pylist()
    return found


def array_of(values: list[Value | None], kind: pa.DataType) -> pa.Array:
    """The other way; what a column of this type cannot hold becomes null."""
    if pa.types.is_decimal(kind):
        return pa.array([value if value is not None and _fits(value, kind) else None for value in values], kind)
    return pa.array([_written(value) for value in values], kind)


def _fits(value: Any, kind: pa.DataType) -> bool:
    return bool(value.adjusted() + 1 + kind.scale <= _DIGITS)


def _written(value: Value | None) -> Any:
    if isinstance(value, Moment):
        return value.milliseconds
    return str(value) if isinstance(value, Decimal) else value
