"""Documents that are as a schema expects, read straight from their bytes: without values in between, in half the time.

Their fields have to come in the order of the columns, though some may be missing or null, and have the types of these.
Of any other document nothing is taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from flows.core.parquet.decimals import PRECISION, factor
from flows.core.parquet.generated import UNEXPECTED, Code, Otherwise
from flows.core.parquet.observing import EXACT_IN_DOUBLE
from flows.core.parquet.scalars import null_pointers, scalars
from flows.core.parquet.schema import Column, ExportSchema, Kind, escaped

_NULL = 0x0A

# How a value at `at` is kept, by kind of column and type: `{keep}` keeps it, `{name}` is how the column is called.
_INT32, _INT64 = "value = int32(data, at)[0]\nat += 4\n", "value = int64(data, at)[0]\nat += 8\n"
_AS_IT_IS = "{keep}(value)"
_WIDEN = f"if not {-EXACT_IN_DOUBLE} <= value <= {EXACT_IN_DOUBLE}:\n    raise otherwise\n{{keep}}(float(value))"
_JOIN = "if not -limit_{name} < value < limit_{name}:\n    raise otherwise\n{keep}(value * power_{name})"
_CODE: dict[Kind, dict[int, str]] = {
    Kind.INTEGER: {0x10: _INT32 + _AS_IT_IS, 0x12: _INT64 + _AS_IT_IS},
    Kind.DOUBLE: {
        0x01: "{keep}(double(data, at)[0])\nat += 8",
        0x10: _INT32 + _WIDEN,
        0x12: _INT64 + _WIDEN,
    },
    Kind.DECIMAL: {
        0x13: "low, high = words(data, at)\n{keep}(low * factors_{name}[high])\nat += 16",
        0x10: _INT32 + _JOIN,
        0x12: _INT64 + _JOIN,
    },
    Kind.BOOLEAN: {0x08: "if data[at] > 1:\n    raise otherwise\n{keep}(data[at] == 1)\nat += 1"},
    Kind.TEXT: {
        0x02: "start = at + 4\nat = start + int32(data, at)[0]\n"
        "if at <= start or data[at - 1]:\n    raise otherwise\n"
        "{keep}(data[start : at - 1])",
    },
    Kind.DATE: {0x09: _INT64 + _AS_IT_IS},
    Kind.OBJECT_ID: {0x07: "{keep}(data[at : at + 12])\nat += 12"},
    Kind.UUID: {0x05: "if not here(uuid, at):\n    raise otherwise\n{keep}(data[at + 5 : at + 21])\nat += 21"},
    Kind.BINARY: {
        0x05: "start = at + 5\nat = start + int32(data, at)[0]\n"
        "if at < start or data[start - 1]:\n    raise otherwise\n"
        "{keep}(data[start:at])"
    },
}


class _Factors(dict[int, int]):
    """What the lower words of decimals are multiplied by, by their upper words, of which there are few."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self._scale = scale

    def __missing__(self, high: int) -> int:
        found = factor(high, self._scale)
        if not found:
            raise Otherwise
        self[high] = found
        return found


class Rows:
    """Rows of a schema that are being collected.

    Args:
        schema: Their columns.
    """

    def __init__(self, schema: ExportSchema) -> None:
        self._schema = schema
        self._spaces: list[list[list[Any]]] = []  # lists that have one entry for each row, or element of one list
        self._nulls: list[tuple[int, str]] = []
        self.count = 0
        code = Code({"null": self._nulls.append})
        root = _Struct(self._spaces, code, self._space(), schema.columns)
        root.write_fields(code, 1, ("",), ())
        root.keep_row(code)
        self._read, self._fields = code.function(), root.fields

    def add(self, document: bytes) -> bool:
        """Take a document; False where it is not as the schema expects, and then nothing of it stays."""
        before = [len(space[0]) for space in self._spaces]
        nulls = len(self._nulls)
        try:
            self._read(document, self.count)
        except UNEXPECTED:
            for space, length in zip(self._spaces, before, strict=True):
                for values in space:
                    del values[length:]
            del self._nulls[nulls:]
            return False
        self.count += 1
        return True

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


class _Leaf:
    """Values of one kind."""

    def __init__(self, code: Code, space: list[list[Any]], column: Column) -> None:
        self._kind = column.kind
        self._values: list[Any] = []
        space.append(self._values)
        self._keep = code.constant(self._values.append)
        self.missing: Callable[[], None] = partial(self._values.append, None)
        if column.kind is Kind.DECIMAL:
            code.names[f"factors_{self._keep}"] = _Factors(column.scale)
            code.names[f"power_{self._keep}"] = 10**column.scale
            code.names[f"limit_{self._keep}"] = 10 ** (PRECISION - column.scale)
        self.types = tuple(_CODE.get(column.kind, ()))

    def write_value(
        self, code: Code, depth: int, kind: int, _pointer: tuple[str, ...], _around: tuple[str, ...]
    ) -> None:
        """Code that reads a value of a type."""
        code.line(depth, _CODE[self._kind][kind].format(keep=self._keep, name=self._keep))

    def build(self, arrow: pa.DataType, length: int) -> pa.Array:
        """The array of the values so far."""
        return scalars(self._kind, arrow, self._values) if self.types else pa.nulls(length, arrow)


class _Struct:
    """Documents, with their fields."""

    types = (0x03,)

    def __init__(
        self, spaces: list[list[list[Any]]], code: Code, space: list[list[Any]], columns: Sequence[Column]
    ) -> None:
        self._there: list[bool] = []
        space.append(self._there)
        self._keep = code.constant(self._there.append)
        self._columns = [(column, _reader(spaces, code, space, column)) for column in columns]

    def missing(self) -> None:
        """None is there, and so none of its fields."""
        self._there.append(False)
        for _column, inner in self._columns:
            inner.missing()

    def keep_row(self, code: Code) -> None:
        """Code for the end of the document itself."""
        code.line(1, f"{self._keep}(True)")

    def write_value(
        self, code: Code, depth: int, _kind: int, pointer: tuple[str, ...], around: tuple[str, ...]
    ) -> None:
        """Code that reads one."""
        code.begin(depth)
        self.write_fields(code, depth, pointer, around)
        code.end(depth)
        code.line(depth, f"{self._keep}(True)")

    def write_fields(self, code: Code, depth: int, pointer: tuple[str, ...], around: tuple[str, ...]) -> None:
        """Code that reads the fields."""
        for column, inner in self._columns:
            name = column.key.encode() + b"\0"
            here = (*pointer[:-1], f"{pointer[-1]}/{escaped(column.key)}")
            word = "if"
            for kind in inner.types:
                code.line(depth, f"{word} here({code.constant(bytes((kind,)) + name)}, at):\n    at += {1 + len(name)}")
                inner.write_value(code, depth + 1, kind, here, around)
                word = "elif"
            code.line(depth, "else:" if inner.types else "if True:")
            code.line(depth + 1, f"{code.constant(inner.missing)}()")
            code.line(depth + 1, f"if here({code.constant(bytes((_NULL,)) + name)}, at):")
            code.line(depth + 2, f"at += {1 + len(name)}\nnull((row, {_text_of(code, here, around)}))")

    def fields(self, fields: Iterable[pa.Field], length: int) -> Iterator[pa.Array]:
        """The arrays of the columns and of their companions, which have nothing."""
        following = iter(fields)
        for column, inner in self._columns:
            yield inner.build(next(following).type, length)
            if column.companion is not None:
                yield pa.nulls(length, next(following).type)

    def build(self, arrow: pa.DataType, length: int) -> pa.Array:
        """The array of the documents so far."""
        mask = pa.array([not there for there in self._there], pa.bool_())
        return pa.StructArray.from_arrays(list(self.fields(iter(arrow), length)), fields=list(arrow), mask=mask)


class _List:
    """Arrays, with their elements."""

    types = (0x04,)

    def __init__(self, spaces: list[list[list[Any]]], code: Code, space: list[list[Any]], element: Column) -> None:
        self._lengths: list[int | None] = []
        space.append(self._lengths)
        self._keep = code.constant(self._lengths.append)
        self.missing: Callable[[], None] = partial(self._lengths.append, None)
        elements: list[list[Any]] = []
        spaces.append(elements)
        self._inner = _reader(spaces, code, elements, element)

    def write_value(
        self, code: Code, depth: int, _kind: int, pointer: tuple[str, ...], around: tuple[str, ...]
    ) -> None:
        """Code that reads one."""
        index = f"index{depth}"
        code.begin(depth)
        code.elements(depth)
        word = "if"
        for kind in self._inner.types:
            code.line(depth + 1, f"{word} kind == {kind}:")
            here = (*pointer[:-1], f"{pointer[-1]}/", "")
            self._inner.write_value(code, depth + 2, kind, here, (*around, index))
            word = "elif"
        code.line(depth + 1, f"{word} kind == {_NULL}:\n    {code.constant(self._inner.missing)}()")
        code.line(depth + 1, f"else:\n    raise otherwise\n{index} += 1")
        code.end(depth)
        code.line(depth, f"{self._keep}({index})")

    def build(self, arrow: pa.DataType, _length: int) -> pa.Array:
        """The array of the lists so far."""
        starts = list(itertools.accumulate((length or 0 for length in self._lengths), initial=0))
        mask = pa.array([length is None for length in self._lengths], pa.bool_())
        elements = self._inner.build(arrow.value_type, starts[-1])
        return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), elements, type=arrow, mask=mask)


def _reader(
    spaces: list[list[list[Any]]], code: Code, space: list[list[Any]], column: Column
) -> _Leaf | _Struct | _List:
    if column.kind is Kind.STRUCT:
        return _Struct(spaces, code, space, column.children)
    return _List(spaces, code, space, column.element) if column.element else _Leaf(code, space, column)


def _text_of(code: Code, pointer: tuple[str, ...], around: tuple[str, ...]) -> str:
    """The expression for a pointer that is cut where the indexes of elements stand."""
    parts = [f"{code.constant(part)} + str({index}) + " for part, index in zip(pointer[:-1], around, strict=True)]
    return "".join(parts) + code.constant(pointer[-1])
