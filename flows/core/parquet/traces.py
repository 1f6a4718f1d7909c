"""Looking for traces of a person in everything that an export has, wherever it may stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from flows.core.parquet.actions import as_bytes
from flows.core.parquet.erasure import columns_of, row_numbers
from flows.core.parquet.paths import FieldPath, path_text
from flows.core.parquet.ruled_columns import Shape, kind_of, name_of, shape_of, values_of

# A shorter text is in everything; it is sought as the whole of a value alone.
_LEAST = 6
_OF_ROWS = (Shape.OWN, Shape.EXTRA, Shape.NULLS)


def holds(data: bytes, needles: frozenset[bytes]) -> bool:
    """Whether one of some texts stands in bytes; short ones are not sought."""
    return any(needle in data for needle in needles if len(needle) >= _LEAST)


def traces(table: pa.Table, needles: frozenset[bytes]) -> Counter[str]:
    """In how many values of each column one of some texts stands.

    Args:
        table: As a file has it.
        needles: What is sought.
    """
    found: Counter[str] = Counter()
    for name, hits in _hits(table, needles):
        found[name] += len(hits)
    return +found


def rows_with(table: pa.Table, needles: frozenset[bytes]) -> pa.Array:
    """In which rows one of some texts stands, in whatever column: a boolean for each."""
    found = [hits for _, hits in _hits(table, needles)]
    rows = row_numbers(table)
    return pc.is_in(rows, value_set=pa.concat_arrays(found) if found else rows[:0])


def _hits(table: pa.Table, needles: frozenset[bytes]) -> Iterator[tuple[str, pa.Array]]:
    """The name of each column, and for each of its values that is hit the number of the row."""
    rows = row_numbers(table)
    for column, array in columns_of(table):
        shape = shape_of(column)
        if shape is Shape.NULLS:
            yield column.name, _where(array.flatten(), None, needles, rows.take(pc.list_parent_indices(array)))
        elif shape in _OF_ROWS:
            yield column.name, _where(array, None, needles, rows)
        else:
            for path, part, values, of in _leaves(column, array, (), rows):
                yield path_text(path), _where(values, part, needles, of)


def _where(values: pa.Array, field: pa.Field | None, needles: frozenset[bytes], rows: pa.Array) -> pa.Array:
    encoded = values.dictionary_encode()
    if field is not None and shape_of(field) is Shape.VALUE:
        texts = [as_bytes(value) for value in values_of(encoded.dictionary, kind_of(field))]
    else:
        texts = [str(text).encode() for text in encoded.dictionary.to_pylist()]
    hits = pa.array(
        [text in needles or text.strip(b'"') in needles or holds(text, needles) for text in texts], pa.bool_()
    )
    return rows.filter(pc.fill_null(hits.take(encoded.indices), False))


def _leaves(
    field: pa.Field, array: pa.Array, above: FieldPath, rows: pa.Array
) -> Iterator[tuple[FieldPath, pa.Field, pa.Array, pa.Array]]:
    path = above or (name_of(field),)
    match shape_of(field):
        case Shape.DOCUMENT:
            for child, part in zip(field.type, array.flatten(), strict=True):
                yield from _leaves(child, part, (*path, name_of(child)), rows)
        case Shape.ARRAY:
            inner = rows.take(pc.list_parent_indices(array))
            yield from _leaves(field.type.value_field, array.flatten(), (*path, None), inner)
        case _:
            yield path, field, array, rows
