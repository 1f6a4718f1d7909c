"""Looking for traces of a person in everything that an export has, wherever it may stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from flows.core.parquet.actions import as_bytes
from flows.core.parquet.erasure import columns_of
from flows.core.parquet.paths import FieldPath, path_text
from flows.core.parquet.ruled_columns import Shape, kind_of, name_of, shape_of, values_of

# A shorter text is in everything; it is sought as the whole of a value alone.
_LEAST = 6


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
    for column, array in columns_of(table):
        shape = shape_of(column)
        if shape in (Shape.OWN, Shape.EXTRA, Shape.NULLS):
            values = array.flatten() if shape is Shape.NULLS else array
            found[column.name] += _count(values, [_in_text(text, needles) for text in _texts(values)])
            continue
        for path, part, values in _leaves(column, array, ()):
            if shape_of(part) is Shape.VALUE:
                encoded = values.dictionary_encode()
                hits = [_in_text(as_bytes(value), needles) for value in values_of(encoded.dictionary, kind_of(part))]
            else:
                hits = [_in_text(text, needles) for text in _texts(values)]
            found[path_text(path)] += _count(values, hits)
    return +found


def _texts(values: pa.Array) -> list[bytes]:
    return [str(text).encode() for text in values.dictionary_encode().dictionary.to_pylist()]


def _in_text(text: bytes, needles: frozenset[bytes]) -> bool:
    return text in needles or text.strip(b'"') in needles or holds(text, needles)


def _count(values: pa.Array, hits: list[bool]) -> int:
    """How many values are one of those that were hit."""
    return int(pc.sum(pa.array(hits, pa.bool_()).take(values.dictionary_encode().indices)).as_py() or 0)


def _leaves(field: pa.Field, array: pa.Array, above: FieldPath) -> Iterator[tuple[FieldPath, pa.Field, pa.Array]]:
    path = above or (name_of(field),)
    match shape_of(field):
        case Shape.DOCUMENT:
            for child, part in zip(field.type, array.flatten(), strict=True):
                yield from _leaves(child, part, (*path, name_of(child)))
        case Shape.ARRAY:
            yield from _leaves(field.type.value_field, array.flatten(), (*path, None))
        case _:
            yield path, field, array
