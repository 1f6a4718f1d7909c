"""Values of one kind to an array of Arrow; those that do not fit are no longer among them."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pyarrow as pa
from bson.datetime_ms import DatetimeMS

from flows.core.parquet.decimals import PRECISION
from flows.core.parquet.schema import Kind

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the driver's are naive, in UTC
_MILLISECOND = timedelta(milliseconds=1)
_OBJECT_ID = 12  # [bytes]


def scalars(kind: Kind, arrow: pa.DataType, values: list[Any]) -> pa.Array:
    """The array of a column that holds neither documents nor arrays.

    Args:
        kind: Of the column.
        arrow: Its type.
        values: As the driver gives them, decimals as integers at the scale of the column; None where there is none.
            ObjectIds, UUIDs and texts may be bytes, and dates integers.

    Raises:
        ArrowInvalid: The bytes of a text are not UTF-8.
    """
    return _BUILDERS[kind](arrow, values)


def null_pointers(nulls: Mapping[int, Sequence[str]], rows: int) -> pa.Array:
    """The column `_nulls`, from the pointers by row in any order."""
    return pa.array([sorted(nulls[row]) if row in nulls else () for row in range(rows)], pa.list_(pa.string()))


def _plain(arrow: pa.DataType, values: list[Any]) -> pa.Array:
    return pa.array(values, arrow)


def _dates(arrow: pa.DataType, values: list[Any]) -> pa.Array:
    if any(type(value) is DatetimeMS for value in values):
        numbers = [
            (value - _EPOCH) // _MILLISECOND if type(value) is datetime else value and int(value) for value in values
        ]
        return pa.array(numbers, pa.int64()).cast(arrow)
    return pa.array(values, arrow)


def _validity(values: list[Any]) -> pa.Buffer | None:
    present = [value is not None for value in values]
    return None if all(present) else pa.array(present, pa.bool_()).buffers()[1]


def _object_ids(_arrow: pa.DataType, values: list[Any]) -> pa.Array:
    binaries = [value if type(value) is bytes else value.binary for value in values if value is not None]
    digits = b"".join(binaries).hex().encode()  # of all of them at once
    size = 2 * _OBJECT_ID
    if len(binaries) == len(values):
        starts = array("i", range(0, len(digits) + 1, size))
    else:
        starts = array("i", itertools.accumulate((size * (value is not None) for value in values), initial=0))
    buffers = [_validity(values), pa.py_buffer(starts), pa.py_buffer(digits)]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def _uuids(_arrow: pa.DataType, values: list[Any]) -> pa.Array:
    return pa.array([value and str(UUID(bytes=bytes(value))) for value in values], pa.string())


def _decimals(arrow: pa.DataType, values: list[Any]) -> pa.Array:
    try:
        integers = pa.array(values, pa.int64()).cast(pa.decimal128(PRECISION, 0))
    except (pa.ArrowInvalid, OverflowError):
        data = b"".join([(value or 0).to_bytes(16, "little", signed=True) for value in values])
        return pa.Array.from_buffers(arrow, len(values), [_validity(values), pa.py_buffer(data)])
    # The same bits with another scale: a cast would multiply.
    return pa.Array.from_buffers(arrow, len(integers), integers.buffers())


def _decimal_texts(_arrow: pa.DataType, values: list[Any]) -> pa.Array:
    return pa.array([value and str(value) for value in values], pa.string())


_BUILDERS: dict[Kind, Callable[[pa.DataType, list[Any]], pa.Array]] = {
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
