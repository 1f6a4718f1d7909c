"""Documents that are as a schema expects, read straight from their bytes: without values in between, in half the time.

Their fields have to come in the order of the columns, though some may be missing or null, and have the types of these.
Of any other document nothing is taken.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from flows.core.parquet.decimals import factor
from flows.core.parquet.observing import EXACT_IN_DOUBLE, UUID_SIZE, UUID_SUBTYPE
from flows.core.parquet.scalars import null_pointers, scalars
from flows.core.parquet.schema import Column, ExportSchema, Kind, escaped

_INT32, _INT64, _DOUBLE = (struct.Struct(code).unpack_from for code in ("<i", "<q", "<d"))
_WORDS = struct.Struct("<QQ").unpack_from
_OBJECT_ID = 12  # [bytes]
_NULL = 0x0A
_KEYS = tuple(b"%d\0" % index for index in range(1000))  # of the elements of arrays

# Reads a value at a position, keeps it, and returns where it ends.
_Value = Callable[[bytes, int], int]


class _Otherwise(Exception):
    """The document is not as expected."""


class Rows:
    """Rows of a schema that are being collected.

    Args:
        schema: Their columns.
    """

    def __init__(self, schema: ExportSchema) -> None:
        self._schema = schema
        self._spaces: list[list[list[Any]]] = []  # lists that have one entry for each row, or element of one list
        self._nulls: list[tuple[int, str]] = []
        self._indexes: list[int] = []  # of the elements that are being read, outer ones first
        self.count = 0
        root = _Struct(self, self._space(), schema.columns, ("",))
        self._read, self._fields = root.value, root.fields

    def add(self, document: bytes) -> bool:
        """Take a document; False where it is not as the schema expects, and then nothing of it stays."""
        before = [len(space[0]) for space in self._spaces]
        nulls = len(self._nulls)
        try:
            if self._read(document, 0) == len(document):
                self.count += 1
                return True
        except (_Otherwise, IndexError, struct.error):
            self._indexes.clear()
        for space, length in zip(self._spaces, before, strict=True):
            for values in space:
                del values[length:]
        del self._nulls[nulls:]
        return False

    def batch(self) -> pa.RecordBatch:
        """All rows, to begin with none again.

        Raises:
            ArrowInvalid: A text is not UTF-8; then they are gone.
        """
        rows, nulls = self.count, self._nulls.copy()
        try:
            arrays = list(self._fields(self._schema.arrow, rows))
        finally:
            for values in itertools.chain(*self._spaces, [self._nulls]):
                values.clear()
            self.count = 0
        pointers: dict[int, list[str]] = {}
        for row, pointer in nulls:
            pointers.setdefault(row, []).append(pointer)
        arrays += [null_pointers(pointers, rows), pa.nulls(rows, pa.string())]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema.arrow)

    def _space(self) -> list[list[Any]]:
        self._spaces.append([])
        return self._spaces[-1]

    def _null(self, pointer: tuple[str, ...]) -> None:
        """Note an explicit null; a pointer is cut where the index of an element stands."""
        parts = (f"{part}{index}" for part, index in zip(pointer[:-1], self._indexes, strict=True))
        self._nulls.append((self.count, "".join(parts) + pointer[-1]))


class _Leaf:
    """Values of one kind.

    Attributes:
        options: How to read a value, by its type in BSON.
        missing: Called where there is none.
    """

    def __init__(self, space: list[list[Any]], column: Column) -> None:
        self._kind = column.kind
        self._values: list[Any] = []
        space.append(self._values)
        self.options = {kind: make(self._values.append, column) for kind, make in _READERS.get(column.kind, {}).items()}
        self.missing: Callable[[], None] = partial(self._values.append, None)

    def build(self, kind: pa.DataType, length: int) -> pa.Array:
        """The array of the values so far."""
        if self._kind in _READERS:
            return scalars(self._kind, kind, self._values)
        return pa.nulls(length, kind)


class _Struct:
    """Documents, with their fields."""

    def __init__(self, rows: Rows, space: list[list[Any]], columns: Sequence[Column], pointer: tuple[str, ...]) -> None:
        self._there: list[bool] = []
        space.append(self._there)
        self.options = {0x03: self.value}
        self._columns: list[tuple[Column, _Leaf | _Struct | _List]] = []
        self._read: list[_Value] = []
        for column in columns:
            here = (*pointer[:-1], f"{pointer[-1]}/{escaped(column.key)}")
            inner = _reader(rows, space, column, here)
            self._columns.append((column, inner))
            self._read.append(_field(column.key, inner, partial(rows._null, here)))

    def value(self, data: bytes, at: int) -> int:
        """Read one."""
        end = at + _INT32(data, at)[0] - 1
        if end < at + 4 or data[end]:
            raise _Otherwise
        at += 4
        for read in self._read:
            at = read(data, at)
        if at != end:
            raise _Otherwise
        self._there.append(True)
        return end + 1

    def missing(self) -> None:
        """None is there, and so none of its fields."""
        self._there.append(False)
        for _column, inner in self._columns:
            inner.missing()

    def fields(self, fields: Iterable[pa.Field], length: int) -> Iterator[pa.Array]:
        """The arrays of the columns and of their companions, which have nothing."""
        following = iter(fields)
        for column, inner in self._columns:
            yield inner.build(next(following).type, length)
            if column.companion is not None:
                yield pa.nulls(length, next(following).type)

    def build(self, kind: pa.DataType, length: int) -> pa.Array:
        """The array of the documents so far."""
        mask = pa.array([not there for there in self._there], pa.bool_())
        return pa.StructArray.from_arrays(list(self.fields(iter(kind), length)), fields=list(kind), mask=mask)


class _List:
    """Arrays, with their elements."""

    def __init__(self, rows: Rows, space: list[list[Any]], column: Column, pointer: tuple[str, ...]) -> None:
        assert column.element is not None  # noqa: S101 - a list has one
        self._lengths: list[int | None] = []
        space.append(self._lengths)
        self._indexes = rows._indexes
        self._inner = _reader(rows, rows._space(), column.element, (*pointer[:-1], f"{pointer[-1]}/", ""))
        self.options = {0x04: self.value}
        self.missing: Callable[[], None] = partial(self._lengths.append, None)

    def value(self, data: bytes, at: int) -> int:
        """Read one."""
        end = at + _INT32(data, at)[0] - 1
        if end < at + 4 or data[end]:
            raise _Otherwise
        at += 4
        count = 0
        options, indexes = self._inner.options, self._indexes
        indexes.append(0)
        while at < end:
            kind, key = data[at], _KEYS[count]
            if not data.startswith(key, at + 1):
                raise _Otherwise
            at += 1 + len(key)
            indexes[-1] = count
            if kind in options:
                at = options[kind](data, at)
            elif kind == _NULL:
                self._inner.missing()
            else:
                raise _Otherwise
            count += 1
        indexes.pop()
        if at != end:
            raise _Otherwise
        self._lengths.append(count)
        return end + 1

    def build(self, kind: pa.DataType, _length: int) -> pa.Array:
        """The array of the lists so far."""
        starts = list(itertools.accumulate((length or 0 for length in self._lengths), initial=0))
        mask = pa.array([length is None for length in self._lengths], pa.bool_())
        elements = self._inner.build(kind.value_type, starts[-1])
        return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), elements, type=kind, mask=mask)


def _reader(rows: Rows, space: list[list[Any]], column: Column, pointer: tuple[str, ...]) -> _Leaf | _Struct | _List:
    if column.kind is Kind.STRUCT:
        return _Struct(rows, space, column.children, pointer)
    return _List(rows, space, column, pointer) if column.element else _Leaf(space, column)


def _field(key: str, inner: _Leaf | _Struct | _List, null: Callable[[], None]) -> _Value:
    name = key.encode() + b"\0"
    size = 1 + len(name)
    options = [(bytes((kind,)) + name, read) for kind, read in inner.options.items()]
    missing, nothing = inner.missing, bytes((_NULL,)) + name
    if not options:
        # All values of it are for Python; without one the next field follows here.
        options = [(b"\0" + name, _refused)]
    (first, read_first), others = options[0], options[1:]

    def read(data: bytes, at: int) -> int:
        if data.startswith(first, at):
            return read_first(data, at + size)
        for header, read_other in others:
            if data.startswith(header, at):
                return read_other(data, at + size)
        missing()
        if data.startswith(nothing, at):
            null()
            return at + size
        return at

    return read


def _refused(_data: bytes, _at: int) -> int:
    raise _Otherwise


_Keep = Callable[[Any], None]


def _text(keep: _Keep, _column: Column) -> _Value:
    def read(data: bytes, at: int) -> int:
        at += 4
        end = at + _INT32(data, at - 4)[0]
        if end <= at or data[end - 1]:
            raise _Otherwise
        keep(data[at : end - 1])
        return end

    return read


def _integer(size: int, unpack: Callable[[bytes, int], tuple[Any, ...]]) -> Callable[[_Keep, Column], _Value]:
    def make(keep: _Keep, _column: Column) -> _Value:
        def read(data: bytes, at: int) -> int:
            keep(unpack(data, at)[0])
            return at + size

        return read

    return make


def _widened(size: int, unpack: Callable[[bytes, int], tuple[Any, ...]]) -> Callable[[_Keep, Column], _Value]:
    def make(keep: _Keep, _column: Column) -> _Value:
        def read(data: bytes, at: int) -> int:
            value = unpack(data, at)[0]
            if not -EXACT_IN_DOUBLE <= value <= EXACT_IN_DOUBLE:
                raise _Otherwise
            keep(float(value))
            return at + size

        return read

    return make


def _joined(size: int, unpack: Callable[[bytes, int], tuple[Any, ...]]) -> Callable[[_Keep, Column], _Value]:
    def make(keep: _Keep, column: Column) -> _Value:
        power = 10**column.scale
        limit = 10**38 // power

        def read(data: bytes, at: int) -> int:
            value = unpack(data, at)[0]
            if not -limit < value < limit:
                raise _Otherwise
            keep(value * power)
            return at + size

        return read

    return make


def _decimal(keep: _Keep, column: Column) -> _Value:
    factors: dict[int, int] = {}  # by the upper word, of which there are few

    def read(data: bytes, at: int) -> int:
        low, high = _WORDS(data, at)
        if high not in factors:
            factors[high] = factor(high, column.scale)
        if not factors[high]:
            raise _Otherwise
        keep(low * factors[high])
        return at + 16

    return read


def _boolean(keep: _Keep, _column: Column) -> _Value:
    def read(data: bytes, at: int) -> int:
        if data[at] > 1:
            raise _Otherwise
        keep(data[at] == 1)
        return at + 1

    return read


def _object_id(keep: _Keep, _column: Column) -> _Value:
    def read(data: bytes, at: int) -> int:
        keep(data[at : at + _OBJECT_ID])
        return at + _OBJECT_ID

    return read


def _binary(subtype: int, size: int | None) -> Callable[[_Keep, Column], _Value]:
    def make(keep: _Keep, _column: Column) -> _Value:
        def read(data: bytes, at: int) -> int:
            length = _INT32(data, at)[0]
            at += 5
            if length < 0 or data[at - 1] != subtype or size not in (None, length):
                raise _Otherwise
            keep(data[at : at + length])
            return at + length

        return read

    return make


_READERS: dict[Kind, dict[int, Callable[[_Keep, Column], _Value]]] = {
    Kind.INTEGER: {0x10: _integer(4, _INT32), 0x12: _integer(8, _INT64)},
    Kind.DOUBLE: {0x01: _integer(8, _DOUBLE), 0x10: _widened(4, _INT32), 0x12: _widened(8, _INT64)},
    Kind.DECIMAL: {0x13: _decimal, 0x10: _joined(4, _INT32), 0x12: _joined(8, _INT64)},
    Kind.BOOLEAN: {0x08: _boolean},
    Kind.TEXT: {0x02: _text},
    Kind.DATE: {0x09: _integer(8, _INT64)},
    Kind.OBJECT_ID: {0x07: _object_id},
    Kind.UUID: {0x05: _binary(UUID_SUBTYPE, UUID_SIZE)},
    Kind.BINARY: {0x05: _binary(0, None)},
}
