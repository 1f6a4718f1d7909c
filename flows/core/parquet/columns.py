"""Decoded documents to Arrow, one column at a time, with a place for everything that no column can hold."""

from __future__ import annotations

import itertools
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import bson
import pyarrow as pa
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS

from flows.core.parquet.decimals import factor, unscaled
from flows.core.parquet.observing import EXACT_IN_DOUBLE, is_uuid
from flows.core.parquet.reading import Reject
from flows.core.parquet.scalars import null_pointers, scalars
from flows.core.parquet.schema import Column, ExportSchema, Kind, escaped
from flows.core.parquet.values import compact, json_text, json_value, plain_reference

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Converted:
    """Rows in the order of the documents, and the documents that cannot be rows."""

    table: pa.Table
    rejects: tuple[Reject, ...]


_Where = Callable[[int], tuple[int, str]]  # from the position of a value to its row, and its JSON pointer

_NONE: Final = type(None)
_NO_FIELDS: Document = {}
_MISFIT: Final = object()

# Types of which every value fits, as it is.
_FITS: dict[Kind, frozenset[type]] = {
    Kind.INTEGER: frozenset({int, bson.Int64}),
    Kind.DOUBLE: frozenset({float}),
    Kind.BOOLEAN: frozenset({bool}),
    Kind.TEXT: frozenset({str}),
    Kind.DATE: frozenset({datetime}),
    Kind.OBJECT_ID: frozenset({bson.ObjectId}),
    Kind.BINARY: frozenset({bytes}),
    Kind.DECIMAL_TEXT: frozenset({bson.Decimal128}),
    Kind.STRUCT: frozenset({dict}),
    Kind.LIST: frozenset({list}),
}


def record_batch(schema: ExportSchema, documents: Sequence[Document]) -> pa.RecordBatch:
    """The rows of decoded documents, by a schema."""
    batch = _Batch()
    arrays = batch.fields(schema.columns, schema.arrow, documents, lambda position: (position, ""))
    rows = len(documents)
    extra = [extra_text(batch.extra[row]) if row in batch.extra else None for row in range(rows)]
    arrays += [null_pointers(batch.nulls, rows), pa.array(extra, pa.string())]
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow)


def extra_text(values: dict[str, Any]) -> str:
    """The value of `_extra` for a row: JSON values by their pointers, in order."""
    return compact(dict(sorted(values.items())))


class _Batch:
    """Some documents on their way to columns.

    Attributes:
        nulls: Pointers of explicit nulls, by row.
        extra: JSON values by their pointers, by row.
    """

    def __init__(self) -> None:
        self.nulls: dict[int, list[str]] = {}
        self.extra: dict[int, dict[str, Any]] = {}

    def fields(
        self, columns: Iterable[Column], fields: Iterable[pa.Field], documents: Sequence[Document], where: _Where
    ) -> list[pa.Array]:
        """The arrays of these columns and their companions."""
        left = sum(map(len, documents))  # values that no column has taken yet
        arrays: list[pa.Array] = []
        incomplete: list[tuple[str, list[Any]]] = []
        following = iter(fields)
        for column in columns:
            key = column.key
            values = [document.get(key) for document in documents]
            kinds = set(map(type, values))
            missing = sum(value is None for value in values) if _NONE in kinds else 0
            left -= len(values) - missing
            if missing:
                incomplete.append((key, values))
            arrays += self._with_companion(column, following, values, kinds, where)
        if left:
            left -= self._explicit_nulls(incomplete, documents, where)
        if left:
            self._unknown({column.key for column in columns}, documents, where)
        return arrays

    def _explicit_nulls(
        self, incomplete: Sequence[tuple[str, list[Any]]], documents: Sequence[Document], where: _Where
    ) -> int:
        found = 0
        for key, values in incomplete:
            for position, value in enumerate(values):
                if value is None and key in documents[position]:
                    found += 1
                    self._null(where, position, key)
        return found

    def _unknown(self, known: set[str], documents: Sequence[Document], where: _Where) -> None:
        for position, document in enumerate(documents):
            for key in document.keys() - known:
                if document[key] is None:
                    self._null(where, position, key)
                else:
                    row, pointer = where(position)
                    self._extra(row, f"{pointer}/{escaped(key)}", document[key])

    def _null(self, where: _Where, position: int, key: str) -> None:
        row, pointer = where(position)
        self.nulls.setdefault(row, []).append(f"{pointer}/{escaped(key)}")

    def _extra(self, row: int, pointer: str, value: Any) -> None:
        self.extra.setdefault(row, {})[pointer] = json_value(value)

    def _with_companion(
        self, column: Column, fields: Iterator[pa.Field], values: list[Any], kinds: set[type], where: _Where
    ) -> list[pa.Array]:
        suffix = f"/{escaped(column.key)}"

        def inside(position: int) -> tuple[int, str]:
            row, pointer = where(position)
            return row, pointer + suffix

        result, misfits = self._array(column, next(fields).type, values, kinds, inside)
        if column.companion is not None:
            next(fields)
            if not misfits:
                return [result, pa.nulls(len(values), pa.string())]
            texts = [json_text(misfits[row]) if row in misfits else None for row in range(len(values))]
            return [result, pa.array(texts, pa.string())]
        self._misfits(misfits, inside)
        return [result]

    def _misfits(self, misfits: dict[int, Any], where: _Where) -> None:
        for position, value in misfits.items():
            self._extra(*where(position), value)

    def _array(
        self, column: Column, arrow: pa.DataType, values: list[Any], kinds: set[type], where: _Where
    ) -> tuple[pa.Array, dict[int, Any]]:
        """The array of a column, and by position the values that do not fit it."""
        kind = column.kind
        misfits: dict[int, Any] = {}
        if kind is Kind.JSON:
            return pa.array([None if value is None else json_text(value) for value in values], pa.string()), misfits
        at_once = (
            _unscaled_at_once(values, column.scale)
            if kind is Kind.DECIMAL and kinds <= {_NONE, bson.Decimal128}
            else None
        )
        if at_once is not None:
            values = at_once
        elif not kinds - {_NONE} <= _FITS.get(kind, frozenset()):
            fit = _FIT.get(kind, _never)
            good, values = _FITS.get(kind, frozenset()), list(values)
            for position, value in enumerate(values):
                if value is None or type(value) in good:
                    continue
                values[position] = fit(value, column.scale)
                if values[position] is _MISFIT:
                    misfits[position], values[position] = value, None
        if kind is Kind.STRUCT:
            return self._struct(column, arrow, values, where), misfits
        if kind is Kind.LIST:
            return self._list(column, arrow, values, where), misfits
        return scalars(kind, arrow, values), misfits

    def _struct(self, column: Column, arrow: pa.DataType, values: list[Any], where: _Where) -> pa.Array:
        documents = [_NO_FIELDS if value is None else value for value in values]
        arrays = self.fields(column.children, arrow, documents, where)
        mask = pa.array([value is None for value in values], pa.bool_())
        return pa.StructArray.from_arrays(arrays, fields=list(arrow), mask=mask)

    def _list(self, column: Column, arrow: pa.DataType, values: list[Any], where: _Where) -> pa.Array:
        element = column.element
        assert element is not None  # noqa: S101 - a list has one
        starts = list(itertools.accumulate((len(value) if value else 0 for value in values), initial=0))
        elements = list(itertools.chain.from_iterable(filter(None, values)))

        def inside(position: int) -> tuple[int, str]:
            holder = bisect_right(starts, position) - 1
            row, pointer = where(holder)
            return row, f"{pointer}/{position - starts[holder]}"

        inner, misfits = self._array(element, arrow.value_type, elements, set(map(type, elements)), inside)
        self._misfits(misfits, inside)
        mask = pa.array([value is None for value in values], pa.bool_())
        return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), inner, type=arrow, mask=mask)


def _never(_value: Any, _scale: int) -> Any:
    return _MISFIT


def _as_double(value: Any, _scale: int) -> Any:
    exact = type(value) in (int, bson.Int64) and -EXACT_IN_DOUBLE <= value <= EXACT_IN_DOUBLE
    return float(value) if exact else _MISFIT


def _as_date(value: Any, _scale: int) -> Any:
    return value if type(value) is DatetimeMS else _MISFIT


def _as_uuid(value: Any, _scale: int) -> Any:
    return value if type(value) is Binary and is_uuid(value) else _MISFIT


def _as_document(value: Any, _scale: int) -> Any:
    return plain_reference(value) if type(value) is bson.DBRef else _MISFIT


def _as_decimal(value: Any, scale: int) -> Any:
    if type(value) is bson.Decimal128:
        low, high = struct.unpack("<QQ", value.bid)
        number = unscaled(high, low, scale)
    elif type(value) in (int, bson.Int64):
        number = value * 10**scale
        number = number if -(10**38) < number < 10**38 else None
    else:
        number = None
    return _MISFIT if number is None else number


# From a value that may fit, and the scale of the column, to what the column holds.
_FIT: dict[Kind, Callable[[Any, int], Any]] = {
    Kind.DOUBLE: _as_double,
    Kind.DATE: _as_date,
    Kind.UUID: _as_uuid,
    Kind.DECIMAL: _as_decimal,
    Kind.STRUCT: _as_document,
}


def _unscaled_at_once(values: list[Any], scale: int) -> list[int | None] | None:
    """The integers of decimals and None; None where one of them wants a look of its own."""
    present = [value.bid for value in values if value is not None]
    words = struct.unpack(f"<{2 * len(present)}Q", b"".join(present))
    # Few, as they have only sign and exponent where 64 bits are enough for the rest.
    factors = {high: factor(high, scale) for high in set(words[1::2])}
    if 0 in factors.values():
        return None
    numbers = [low * factors[high] for low, high in zip(words[::2], words[1::2], strict=True)]
    if len(numbers) == len(values):
        return numbers
    following = iter(numbers)
    return [None if value is None else next(following) for value in values]
