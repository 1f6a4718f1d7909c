"""Finding the rows of one person in tables of an export.

A person is found by values, such as a customer number, in fields that are named, or in all fields whose pseudonyms are
of one domain. Columns say themselves what a rule has made of them, so an old file is read by the rules that it was
written with; the keys are asked all. What of a person has no column of its own, in JSON and in `_extra`, is found too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from flows.core.errors import ConfigurationError
from flows.core.parquet.actions import as_bytes
from flows.core.parquet.json_rules import readings
from flows.core.parquet.json_values import scalars_at
from flows.core.parquet.paths import FieldPath, parse_path, path_text
from flows.core.parquet.pseudonyms import Keys
from flows.core.parquet.ruled_columns import RULE, Shape, kind_of, name_of, shape_of, values_of, walk
from flows.core.parquet.rules import Action, NamespaceRules, Rule, RuleSet, rule_of_text
from flows.core.selection import compile_pattern

ID = "_id"
_Has = Callable[[str], bool]


@dataclass(frozen=True)
class Sought:
    """Who is sought, and where.

    Attributes:
        values: What fields hold for the person, as text; numbers as digits. Not shown anywhere.
        fields: Paths of fields, by pattern of the namespaces that have them.
        domain: Of pseudonyms; empty: only the fields.
        keys: That pseudonyms may have been made with.
        rules: That apply now: they say of what is in JSON which fields are of the domain. None: none do.
    """

    values: tuple[str, ...] = field(repr=False)
    fields: Mapping[str, tuple[str, ...]]
    domain: str = ""
    keys: Keys = field(default_factory=Keys)
    rules: RuleSet | None = None

    def check(self) -> None:
        """Refuse what finds nobody.

        Raises:
            ConfigurationError: There is no value or no field, a path or pattern is none, or a domain has no keys.
        """
        if not self.values or not (self.fields or self.domain):
            raise ConfigurationError(
                "nobody could be found by this",
                hint="Give values of the person, and fields to look into or the domain of their pseudonyms.",
                values=len(self.values),
                fields=dict(self.fields),
                domain=self.domain,
            )
        for pattern, paths in self.fields.items():
            compile_pattern(pattern)
            for text in paths:
                if parse_path(text, at=f"fields.{pattern}")[1]:
                    raise ConfigurationError(
                        "a person is found by single fields", hint="Name each of them.", at=pattern, got=text
                    )
        if self.domain and not self.keys.ids:
            raise ConfigurationError(
                "pseudonyms cannot be found without the key that made them",
                hint="Name the MongoDB Export Rules block that has the keys.",
                domain=self.domain,
            )

    @cached_property
    def clear(self) -> frozenset[bytes]:
        """The values as a column without a rule has them."""
        return frozenset(value.encode() for value in self.values)

    def paths(self, namespace: str) -> tuple[FieldPath, ...]:
        """The fields that were named for a namespace."""
        return tuple(
            parse_path(text, at=pattern)[0]
            for pattern, texts in self.fields.items()
            if compile_pattern(pattern).fullmatch(namespace)
            for text in texts
        )

    def wanted(self, rule: Rule | None, path: FieldPath, namespace: str) -> frozenset[bytes]:
        """The values as a field has them after a rule; None: without one.

        Raises:
            ConfigurationError: After this rule people cannot be told apart.
        """
        if rule is None or rule.action is Action.KEEP:
            return self.clear
        if rule.action is not Action.HMAC:
            raise ConfigurationError(
                "people cannot be found by a field of which the rules left too little",
                hint="Name a field that is kept, or one with pseudonyms.",
                namespace=namespace,
                path=path_text(path),
                rule=rule.text,
            )
        domain = NamespaceRules(namespace).domain(rule, path)
        return frozenset(
            self.keys.pseudonyms(domain, key).of(as_bytes(value, rule.normalize), rule.bits).encode()
            for key in self.keys.ids
            for value in self.values
        )


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
    rows = pa.array(range(table.num_rows), pa.int64())
    found = [
        hits
        for column, array in columns_of(table)
        if shape_of(column) not in (Shape.OWN, Shape.NULLS)
        for hits in _hits(column, array, (), rows, wanted)
    ]
    return pc.is_in(rows, value_set=pa.concat_arrays(found) if found else rows[:0])


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
