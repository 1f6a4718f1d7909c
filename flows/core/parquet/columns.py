"""Decoded documents to Arrow, one column at a time, with a place for everything that no column can hold."""

from __future__ import annotations

import itertools
import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import bson
import pyarrow as pa
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS

from flows.core.parquet.decimals import BIAS, COEFFICIENT, LARGE, PRECISION, unscaled
from flows.core.parquet.observing import EXACT_IN_DOUBLE, is_uuid
from flows.core.parquet.reading import Reject
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
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the driver's are naive, in UTC
_MILLISECOND = timedelta(milliseconds=1)
_MISFIT: Final = object()
_SHORT = 18  # digits that 64 bits can be multiplied by and stay below 38 digits

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
    arrays = batch.fields(schema.columns, documents, lambda position: (position, ""))
    rows = len(documents)
    return pa.RecordBatch.from_arrays([*arrays, *batch.leftovers(rows)], schema=schema.arrow)


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

    def leftovers(self, rows: int) -> tuple[pa.Array, pa.Array]:
        """The columns `_nulls` and `_extra`."""
        nulls, extra = self.nulls, self.extra
        return (
            pa.array([sorted(nulls[row]) if row in nulls else () for row in range(rows)], pa.list_(pa.string())),
            pa.array(
                [extra_text(extra[row]) if row in extra else None for row in range(rows)],
                pa.string(),
            ),
        )

    def fields(self, columns: Iterable[Column], documents: Sequence[Document], where: _Where) -> list[pa.Array]:
        """The arrays of these columns and their companions."""
        left = sum(map(len, documents))  # values that no column has taken yet
        arrays: list[pa.Array] = []
        incomplete: list[tuple[str, list[Any]]] = []
        for column in columns:
            key = column.key
            values = [document.get(key) for document in documents]
            kinds = set(map(type, values))
            missing = sum(value is None for value in values) if _NONE in kinds else 0
            left -= len(values) - missing
            if missing:
                incomplete.append((key, values))
            arrays += self._with_companion(column, values, kinds, where)
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

    def _with_companion(self, column: Column, values: list[Any], kinds: set[type], where: _Where) -> list[pa.Array]:
        suffix = f"/{escaped(column.key)}"

        def inside(position: int) -> tuple[int, str]:
            row, pointer = where(position)
            return row, pointer + suffix

        result, misfits = self._array(column, values, kinds, inside)
        if column.companion is not None:
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
        self, column: Column, values: list[Any], kinds: set[type], where: _Where
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
            return self._struct(column, values, where), misfits
        if kind is Kind.LIST:
            return self._list(column, values, where), misfits
        return _SCALARS[kind](column, values), misfits

    def _struct(self, column: Column, values: list[Any], where: _Where) -> pa.Array:
        arrays = self.fields(column.children, [_NO_FIELDS if value is None else value for value in values], where)
        mask = pa.array([value is None for value in values], pa.bool_())
        return pa.StructArray.from_arrays(arrays, fields=list(column.type), mask=mask)

    def _list(self, column: Column, values: list[Any], where: _Where) -> pa.Array:
        element = column.element
        assert element is not None  # noqa: S101 - a list has one
        starts = list(itertools.accumulate((len(value) if value else 0 for value in values), initial=0))
        elements = list(itertools.chain.from_iterable(filter(None, values)))

        def inside(position: int) -> tuple[int, str]:
            holder = bisect_right(starts, position) - 1
            row, pointer = where(holder)
            return row, f"{pointer}/{position - starts[holder]}"

        inner, misfits = self._array(element, elements, set(map(type, elements)), inside)
        self._misfits(misfits, inside)
        mask = pa.array([value is None for value in values], pa.bool_())
        return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), inner, type=column.type, mask=mask)


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


def _plain(column: Column, values: list[Any]) -> pa.Array:
    return pa.array(values, column.type)


def _dates(column: Column, values: list[Any]) -> pa.Array:
    if any(type(value) is DatetimeMS for value in values):
        numbers = [
            (value - _EPOCH) // _MILLISECOND if type(value) is datetime else value and int(value) for value in values
        ]
        return pa.array(numbers, pa.int64()).cast(column.type)
    return pa.array(values, column.type)


def _hexadecimal(values: list[Any], binaries: list[bytes], size: int) -> pa.Array:
    """Values of one size as hexadecimal digits: all of them at once."""
    digits = b"".join(binaries).hex().encode()
    if len(binaries) == len(values):
        starts = array("i", range(0, len(digits) + 1, 2 * size))
    else:
        starts = array("i", itertools.accumulate((2 * size * (value is not None) for value in values), initial=0))
    return pa.Array.from_buffers(
        pa.string(), len(values), [_validity(values), pa.py_buffer(starts), pa.py_buffer(digits)]
    )


def _validity(values: list[Any]) -> pa.Buffer | None:
    present = [value is not None for value in values]
    return None if all(present) else pa.array(present, pa.bool_()).buffers()[1]


def _object_ids(_column: Column, values: list[Any]) -> pa.Array:
    return _hexadecimal(values, [value.binary for value in values if value is not None], 12)


def _uuids(_column: Column, values: list[Any]) -> pa.Array:
    return pa.array([value and str(UUID(bytes=bytes(value))) for value in values], pa.string())


def _decimals(column: Column, values: list[Any]) -> pa.Array:
    try:
        integers = pa.array(values, pa.int64()).cast(pa.decimal128(PRECISION, 0))
    except (pa.ArrowInvalid, OverflowError):
        data = b"".join([(value or 0).to_bytes(16, "little", signed=True) for value in values])
        return pa.Array.from_buffers(column.type, len(values), [_validity(values), pa.py_buffer(data)])
    # The same bits with another scale: a cast would multiply.
    return pa.Array.from_buffers(column.type, len(integers), integers.buffers())


def _decimal_texts(_column: Column, values: list[Any]) -> pa.Array:
    return pa.array([value and str(value) for value in values], pa.string())


_SCALARS: dict[Kind, Callable[[Column, list[Any]], pa.Array]] = {
    Kind.INTEGER: _plain,
    Kind.DOUBLE: _plain,
    Kind.DECIMAL: _decimals,
    Kind.DECIMAL_TEXT: _decimal_texts,
    Kind.BOOLEAN: _plain,
    Kind.TEXT: _plain,
    Kind.DATE: _dates,
    Kind.OBJECT_ID: _object_ids,
    Kind.UUID: _uuids,
    Kind.BINARY: _plain,
}


def _unscaled_at_once(values: list[Any], scale: int) -> list[int | None] | None:
    """The integers of decimals and None; None where one of them wants a look of its own."""
    present = [value.bid for value in values if value is not None]
    words = struct.unpack(f"<{2 * len(present)}Q", b"".join(present))
    factors: dict[int, int] = {}
    for high in set(words[1::2]):  # few, as they have only sign and exponent where 64 bits are enough for the rest
        shift = scale + ((high >> 49) & 0x3FFF) - BIAS
        if high & LARGE == LARGE or high & COEFFICIENT or not 0 <= shift <= _SHORT:
            return None
        factors[high] = -(10**shift) if high >> 63 else 10**shift
    numbers = [low * factors[high] for low, high in zip(words[::2], words[1::2], strict=True)]
    if len(numbers) == len(values):
        return numbers
    following = iter(numbers)
    return [None if value is None else next(following) for value in values]
