"""Rows back to documents: what shows that nothing was lost, and how an export is read without MongoDB."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Context
from typing import Any, Final
from uuid import UUID

import bson
import pyarrow as pa
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS

from flows.core.errors import FormatError
from flows.core.parquet.decimals import PRECISION
from flows.core.parquet.schema import EXTRA, NULLS, Column, ExportSchema, Kind
from flows.core.parquet.values import value_of

_MISSING: Final = object()
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - as the driver gives dates
_UUID = 4  # the subtype
_DIGITS = Context(prec=PRECISION)


def documents_of(schema: ExportSchema, table: pa.Table) -> Iterator[dict[str, Any]]:
    """The documents of rows, with MongoDB's values; what differs from the source is in `EXPORT.md`.

    Args:
        schema: The version that the rows were written with, or a later one.
        table: With the columns of the schema; one that is not there counts as missing in every document.

    Raises:
        FormatError: `_nulls` or `_extra` name a place that is not there.
    """
    for batch in table.to_batches():
        columns = {name: batch.column(index) for index, name in enumerate(batch.schema.names)}
        rows = _documents(schema.columns, columns, batch.num_rows)
        nulls = columns[NULLS].to_pylist() if NULLS in columns else [None] * batch.num_rows
        extra = columns[EXTRA].to_pylist() if EXTRA in columns else [None] * batch.num_rows
        for row, pointers, text in zip(rows, nulls, extra, strict=True):
            # Shorter pointers first: nothing is put into what is not there yet.
            for pointer in pointers or ():
                _put(row, pointer, None)
            if text is not None:
                for pointer, value in json.loads(text).items():
                    _put(row, pointer, value_of(json.dumps(value)))
            yield row


def _documents(columns: Sequence[Column], arrays: dict[str, pa.Array], rows: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{} for _ in range(rows)]
    for column in columns:
        if column.name in arrays:
            values = _values(column, arrays[column.name])
            if column.companion is not None and column.companion in arrays:
                others = arrays[column.companion].to_pylist()
                values = [
                    value if other is None else value_of(other) for value, other in zip(values, others, strict=True)
                ]
            for document, value in zip(found, values, strict=True):
                if value is not _MISSING:
                    document[column.key] = value
    return found


def _values(column: Column, array: pa.Array) -> list[Any]:
    """The values of a column; `_MISSING` where it is null."""
    present = array.is_valid().to_pylist()
    if column.kind is Kind.STRUCT:
        arrays = {field.name: array.field(index) for index, field in enumerate(array.type)}
        inner: list[Any] = _documents(column.children, arrays, len(array))
    elif column.kind is Kind.LIST and column.element:
        elements = [None if value is _MISSING else value for value in _values(column.element, array.values)]
        starts = array.offsets.to_pylist()
        inner = [elements[start:end] for start, end in itertools.pairwise(starts)]
    else:
        if column.kind is Kind.DATE:
            array = array.cast(pa.int64())
        read = _READ.get(column.kind, lambda value: value)
        inner = [None if value is None else read(value) for value in array.to_pylist()]
    return [value if there else _MISSING for value, there in zip(inner, present, strict=True)]


def _date(milliseconds: int) -> datetime | DatetimeMS:
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return DatetimeMS(milliseconds)


_READ: dict[Kind, Any] = {
    Kind.INTEGER: bson.Int64,
    Kind.DATE: _date,
    Kind.OBJECT_ID: bson.ObjectId,
    Kind.UUID: lambda text: Binary(UUID(text).bytes, _UUID),
    Kind.DECIMAL: lambda value: bson.Decimal128(_DIGITS.normalize(value)),
    Kind.DECIMAL_TEXT: bson.Decimal128,
    Kind.JSON: value_of,
}


def _put(document: Any, pointer: str, value: Any) -> None:
    holder = document
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    try:
        for part in parts[:-1]:
            holder = holder[int(part) if isinstance(holder, list) else part]
        holder[int(parts[-1]) if isinstance(holder, list) else parts[-1]] = value
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise FormatError("a row names a place that its document does not have", pointer=pointer) from error
