"""Control totals: what was written into a file and what is read from it again are compared column by column.

Of every column two streams are hashed: which values are there, or how long they are, and their bytes. A hash does not
depend on how the rows are cut into chunks, so the same rows give the same totals before a file is written and after.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128

_OFFSETS: dict[pa.DataType, Literal["i", "q"]] = {
    pa.string(): "i",
    pa.binary(): "i",
    pa.large_string(): "q",
    pa.large_binary(): "q",
}


@dataclass(slots=True)
class _Column:
    values: int = 0
    shape: xxh3_128 = field(default_factory=xxh3_128)
    content: xxh3_128 = field(default_factory=xxh3_128)


class Control:
    """Totals of the rows that were added, in their order."""

    def __init__(self) -> None:
        self.rows = 0
        self._columns: dict[str, _Column] = {}

    def add(self, table: pa.Table | pa.RecordBatch) -> None:
        """Count rows."""
        self.rows += table.num_rows
        for name, column in zip(table.schema.names, table.columns, strict=True):
            for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else (column,):
                self._add(name, chunk)

    def totals(self) -> dict[str, tuple[int, str, str]]:
        """Of each column that has values or nulls: number of values, hash of their places and lengths, of their bytes.

        A column within a struct or a list has the path of its names; an element of a list is `[]`.
        """
        return {
            path: (column.values, column.shape.hexdigest(), column.content.hexdigest())
            for path, column in self._columns.items()
        }

    def differs(self, other: Control) -> str:
        """The first column in which another differs; `rows` where their number does; empty: in none."""
        if self.rows != other.rows:
            return "rows"
        mine, others = self.totals(), other.totals()
        return next((path for path in sorted(mine.keys() | others.keys()) if mine.get(path) != others.get(path)), "")

    def _add(self, path: str, array: pa.Array) -> None:
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        column = self._columns.setdefault(path, _Column())
        column.values += len(array) - array.null_count
        kind = array.type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            column.shape.update(_lengths(pc.list_value_length(array)))
            self._add(f"{path}/[]", array.flatten())
        elif kind in _OFFSETS:
            column.shape.update(_lengths(pc.binary_length(array)))
            column.content.update(_text(array.drop_null()))
        else:
            column.shape.update(_fixed(array.is_valid()))
            if pa.types.is_struct(kind):
                for part, child in zip(kind, array.flatten(), strict=True):
                    self._add(f"{path}/{part.name}", child)
            elif not pa.types.is_null(kind):
                column.content.update(_fixed(array.drop_null()))


def _lengths(lengths: pa.Array) -> memoryview:
    return _fixed(lengths.cast(pa.int64()).fill_null(-1))


def _text(array: pa.Array) -> memoryview:
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return memoryview(b"")
    edges = memoryview(offsets).cast(_OFFSETS[array.type])
    return memoryview(data)[edges[array.offset] : edges[array.offset + len(array)]]


def _fixed(array: pa.Array) -> memoryview:
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    width = array.type.bit_width // 8
    data = array.buffers()[1]
    return memoryview(data if data is not None else b"")[array.offset * width : (array.offset + len(array)) * width]
