"""Rows of a whole export and of the changes after it, as the collection was at the last of them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from flows.core.parquet.views import DELETED, EXPORT, OP

_NOTHING = pa.scalar("", pa.large_string())


class Newest:
    """Keeps of each document the newest row. Tables are given from the newest export to the oldest.

    What is remembered is `_id` of all rows in files of changes, so memory grows with these and not with the collection.

    Args:
        id_columns: The columns that hold `_id`.
        schema: Of the rows that come out: that of the newest file without the columns of changes.
    """

    def __init__(self, id_columns: Sequence[str], schema: pa.Schema) -> None:
        self._id_columns = id_columns
        self._schema = schema
        self._seen = pa.array([], pa.large_string())

    def rows(self, table: pa.Table) -> pa.Table:
        """Those of a table that no newer one replaces, and that do not say that a document is gone."""
        ids = id_texts(table, self._id_columns)
        stays = pc.invert(pc.is_in(ids, value_set=self._seen))
        if OP in table.schema.names:
            self._seen = pa.concat_arrays([self._seen, ids])
            stays = pc.and_(stays, pc.not_equal(table[OP], DELETED).combine_chunks())
        return widened(table.filter(stays), self._schema)


def base_schema(schema: pa.Schema) -> pa.Schema:
    """A schema without the columns of changes, and without what a file says of itself."""
    return pa.schema([field for field in schema if field.name not in (OP, EXPORT)])


def id_texts(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """For each row a text that is the same for the same `_id`, whatever columns were added since it was written."""
    parts = [
        pc.binary_join_element_wise(pa.scalar(f"{number}:", pa.large_string()), _text(table[name]), _NOTHING)
        for number, name in enumerate(columns)
        if name in table.schema.names
    ]
    joined = pc.coalesce(*parts, _NOTHING)
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        texts = [None if value is None else _json(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.large_string())])
    return column.cast(pa.large_string())


def _json(value: object) -> str:
    # Fields that came later are null in older rows, and not there in older files.
    return json.dumps(_without_nulls(value), sort_keys=True, default=repr)


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nulls(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_without_nulls(part) for part in value]
    return value


def widened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with the columns of a later version of their schema, which has all of theirs."""
    columns = []
    for field in schema:
        if field.name in table.schema.names:
            column = table[field.name]
            arrays = [_widened(chunk, field.type) for chunk in column.chunks]
            columns.append(pa.chunked_array(arrays, field.type))
        else:
            columns.append(pa.nulls(table.num_rows, field.type))
    return pa.table(columns, schema=schema)


def _widened(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type.equals(kind, check_metadata=True):
        return array
    if pa.types.is_struct(kind):
        names = [field.name for field in array.type]
        parts = dict(zip(names, array.flatten(), strict=True))
        children = [
            _widened(parts[field.name], field.type) if field.name in parts else pa.nulls(len(array), field.type)
            for field in kind
        ]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=array.is_null())
    if pa.types.is_list(kind):
        lengths = pc.list_value_length(array).fill_null(0)
        ends = pc.cumulative_sum(lengths.cast(pa.int32()))
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
        values = _widened(array.flatten(), kind.value_type)
        return pa.ListArray.from_arrays(offsets, values, type=kind, mask=array.is_null())
    return array.cast(kind)
