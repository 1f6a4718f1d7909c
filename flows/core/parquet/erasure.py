"""Finding the rows of one person in tables of an export.

Columns say themselves what a rule has made of them, so an old file is read by the rules that it was written with. What
of a person has no column of its own, in JSON and in `_extra`, is found too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from flows.core.parquet.actions import as_bytes
from flows.core.parquet.json_rules import readings
from flows.core.parquet.json_values import scalars_at
from flows.core.parquet.paths import FieldPath
from flows.core.parquet.ruled_columns import RULE, Shape, kind_of, name_of, shape_of, values_of, walk
from flows.core.parquet.rules import Action, rule_of_text
from flows.core.parquet.sought import Sought

ID = "_id"
_Has = Callable[[str], bool]


def targets(schema: pa.Schema, namespace: str, sought: Sought) -> dict[FieldPath, frozenset[bytes]]:
    """The fields of a file in which a person is sought, and what they hold for that person.

    Raises:
        ConfigurationError: A field that was named does not tell people apart.
    """
    named = sought.paths(namespace)
    found: dict[FieldPath, frozenset[bytes]] = {}
    for path, column in walk(schema):
        text = column.metadata.get(RULE, b"").decode()
        rule = rule_of_text(text, path) if text else None
        if rule is None or shape_of(column) not in (Shape.VALUE, Shape.MISFITS):
            continue
        if path in named or (rule.action is Action.HMAC and sought.domain and rule.domain == sought.domain):
            found[path] = sought.wanted(rule, path, namespace)
    for path in named:
        if path not in found:
            found[path] = sought.clear
    # Fields that only JSON has, as far as today's rules know them.
    for rule in sought.rules.shares(namespace, sought.domain) if sought.rules and sought.domain else ():
        found.setdefault(rule.path, sought.wanted(rule, rule.path, namespace))
    return found


def rows_of(table: pa.Table, wanted: Mapping[FieldPath, frozenset[bytes]]) -> pa.Array:
    """Which rows of a table are the person's: a boolean for each.

    Args:
        table: As a file has it.
        wanted: As `targets` gives it.
    """
    rows = row_numbers(table)
    found = [
        hits
        for column, array in columns_of(table)
        if shape_of(column) not in (Shape.OWN, Shape.NULLS)
        for hits in _hits(column, array, (), rows, wanted)
    ]
    return pc.is_in(rows, value_set=pa.concat_arrays(found) if found else rows[:0])


def row_numbers(table: pa.Table) -> pa.Array:
    """The numbers of its rows, from 0."""
    return pa.array(range(table.num_rows), pa.int64())


def columns_of(table: pa.Table) -> Iterator[tuple[pa.Field, pa.Array]]:
    """The columns of a table, each as one array."""
    for column, chunked in zip(table.schema, table.columns, strict=True):
        yield column, pa.concat_arrays(chunked.chunks) if chunked.num_chunks else pa.nulls(0, column.type)


def identities(table: pa.Table) -> tuple[str, pa.Array] | None:
    """What tells the documents of a table apart: the rule of `_id`, and a text for each row.

    None where `_id` did not leave, or only a part of it that many documents may have.
    """
    found: list[pa.Array] = []
    rule = ""
    for column, array in columns_of(table):
        shape = shape_of(column)
        if shape in (Shape.OWN, Shape.NULLS, Shape.EXTRA) or name_of(column) != ID:
            continue
        rule = column.metadata.get(RULE, b"").decode()
        if rule and rule_of_text(rule, (ID,)).action not in (Action.KEEP, Action.HMAC):
            return None
        if shape in (Shape.DOCUMENT, Shape.ARRAY):
            texts = [None if value is None else json.dumps(value, default=str) for value in array.to_pylist()]
            found.append(pa.array(texts, pa.string()))
        else:
            encoded = array.dictionary_encode()
            values = values_of(encoded.dictionary, kind_of(column)) if shape is Shape.VALUE else None
            texts = (
                [as_bytes(value).hex() for value in values] if values is not None else encoded.dictionary.to_pylist()
            )
            found.append(pa.array(texts, pa.string()).take(encoded.indices))
    return (rule, pc.coalesce(*found)) if found else None


def _hits(
    column: pa.Field,
    array: pa.Array,
    above: FieldPath,
    rows: pa.Array,
    wanted: Mapping[FieldPath, frozenset[bytes]],
    *,
    element: bool = False,
) -> Iterator[pa.Array]:
    """The rows that have a wanted value in a column; `rows` says of each of its values to which row it belongs."""
    shape = shape_of(column)
    if shape is Shape.EXTRA:
        yield _by_text(array, rows, lambda text: _extra_has(text, wanted))
        return
    path = (*above, None if element else name_of(column))
    below = {at: values for at, values in wanted.items() if at[: len(path)] == path}
    if not below:
        return
    if shape is Shape.DOCUMENT:
        for child, part in zip(column.type, array.flatten(), strict=True):
            yield from _hits(child, part, path, rows, below)
    elif shape is Shape.ARRAY:
        inner = rows.take(pc.list_parent_indices(array))
        yield from _hits(column.type.value_field, array.flatten(), path, inner, below, element=True)
    elif shape in (Shape.JSON, Shape.MISFITS):
        yield _by_text(array, rows, lambda text: _json_has(json.loads(text), path, below))
    elif path in below:
        encoded = array.dictionary_encode()
        values = values_of(encoded.dictionary, kind_of(column))
        yield _where(encoded, [as_bytes(value) in below[path] for value in values], rows)


def _by_text(array: pa.Array, rows: pa.Array, has: _Has) -> pa.Array:
    encoded = array.dictionary_encode()
    return _where(encoded, [has(text) for text in encoded.dictionary.to_pylist()], rows)


def _where(encoded: pa.DictionaryArray, hits: list[bool], rows: pa.Array) -> pa.Array:
    return rows.filter(pc.fill_null(pa.array(hits, pa.bool_()).take(encoded.indices), False))


def _json_has(value: object, path: FieldPath, wanted: Mapping[FieldPath, frozenset[bytes]]) -> bool:
    return any(
        as_bytes(scalar) in values
        for at, values in wanted.items()
        if at[: len(path)] == path
        for scalar in scalars_at(value, at[len(path) :])
    )


def _extra_has(text: str, wanted: Mapping[FieldPath, frozenset[bytes]]) -> bool:
    return any(
        _json_has(value, path, wanted) for pointer, value in json.loads(text).items() for path in readings(pointer)
    )
