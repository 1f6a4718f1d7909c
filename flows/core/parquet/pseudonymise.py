"""Rules applied to tables of Arrow: what comes out is all that a file, its statistics and its dictionary ever see.

The rules are held against a schema first, and that gives the schema of what leaves; a table only follows. A rule that
does not fit the type of its field is refused there, before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from flows.core.errors import ConfigurationError
from flows.core.parquet.actions import Change, change
from flows.core.parquet.json_rules import JsonRules
from flows.core.parquet.paths import FieldPath, path_text
from flows.core.parquet.pseudonyms import Keys
from flows.core.parquet.ruled_columns import (
    Shape,
    array_of,
    is_number,
    is_text,
    kind_of,
    name_of,
    ruled,
    shape_of,
    values_of,
    walk,
)
from flows.core.parquet.rules import Action, Extra, NamespaceRules, Rule
from flows.core.parquet.schema import Kind


def transformed(schema: pa.Schema, rules: NamespaceRules) -> pa.Schema:
    """What leaves of a schema. Its own metadata does not: that may speak of fields that do not leave.

    Raises:
        ConfigurationError: A rule does not fit its field, or no field leaves.
    """
    return pa.schema([node.field for _, node in _plan(schema, rules)])


def apply(table: pa.Table, rules: NamespaceRules, keys: Keys) -> pa.Table:
    """What leaves of a table; its rows and their order stay as they are.

    Args:
        table: With the columns of an export.
        rules: Of its collection.
        keys: For pseudonyms.

    Returns:
        A table with the schema that `transformed` gives.

    Raises:
        ConfigurationError: As for `transformed`, or there is no key and a rule needs one.
    """
    run = _Run(rules, keys)
    nodes = _plan(table.schema, rules)
    columns = [
        pa.chunked_array([node.run(chunk, run) for chunk in table.column(index).chunks], type=node.field.type)
        for index, node in nodes
    ]
    made = pa.Table.from_arrays(columns, schema=pa.schema([node.field for _, node in nodes]))
    made.validate(full=True)
    return made


def unused(schema: pa.Schema, rules: NamespaceRules) -> tuple[str, ...]:
    """The rules that no field of a schema has, as paths: no such field was seen yet, or the path is misspelt."""
    fields = list(walk(schema))
    # What is in JSON has no fields here: a rule for that may have something to do.
    open_ended = [path for path, field in fields if shape_of(field) is Shape.JSON]

    def used(rule: Rule) -> bool:
        length = len(rule.path)
        exact = any(path[:length] == rule.path and len(path) - length >= rule.below for path, _ in fields)
        return exact or any(rule.path[: len(path)] == path for path in open_ended)

    return tuple(rule.where for rule in rules.rules if not used(rule))


_NEAR = 253_402_300_800_000  # [ms] from 1970 to the end of the year 9999
# Columns that are of the row as a whole, and of no field.
_OF_ROWS = (Shape.OWN, Shape.NULLS, Shape.EXTRA)


class _Run:
    """What nodes need to run."""

    def __init__(self, rules: NamespaceRules, keys: Keys) -> None:
        self._rules, self._keys = rules, keys
        self.json = JsonRules(rules, keys)

    def change(self, rule: Rule, path: FieldPath) -> Change:
        return change(rule, path, self._rules, self._keys)


class _Node(Protocol):
    """What happens to one column, at any depth."""

    @property
    def field(self) -> pa.Field:
        """What leaves."""

    def run(self, array: pa.Array, run: _Run) -> pa.Array:
        """The values that leave."""


@dataclass(frozen=True)
class _Same:
    field: pa.Field

    def run(self, array: pa.Array, run: _Run) -> pa.Array:
        del run
        return array


@dataclass(frozen=True)
class _Values:
    field: pa.Field
    kind: Kind  # before
    rule: Rule
    path: FieldPath

    def run(self, array: pa.Array, run: _Run) -> pa.Array:
        if self.rule.action is Action.DATE and _is_near(array):
            return pc.floor_temporal(array, unit=self.rule.unit.value)
        function = run.change(self.rule, self.path)
        return _each(
            array,
            lambda found: array_of([function(value) for value in values_of(found, self.kind)], self.field.type),
        )


@dataclass(frozen=True)
class _Json:
    field: pa.Field
    path: FieldPath

    def run(self, array: pa.Array, run: _Run) -> pa.Array:
        return _texts(array, lambda text: run.json.value(text, self.path))


@dataclass(frozen=True)
class _Extra:
    field: pa.Field
    drop: bool

    def run(self, array: pa.Array, run: _Run) -> pa.Array:
        return pa.nulls(len(array), array.type) if self.drop else _texts(array, run.json.extra)


@dataclass(frozen=True)
class _Nulls:
    field: pa.Field

    def run(self, array: pa.Array, run: _Run) -> pa.Array:
        """Leave the pointers out that nobody may see."""
        values = array.flatten()
        stays = _each(values, lambda found: pa.array([run.json.leaves(text) for text in found.to_pylist()], pa.bool_()))
        # How many have stayed before each place, read at the places where lists begin and end.
        before = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(stays.cast(pa.int32()))])
        offsets = before.take(_offsets(array))
        return pa.ListArray.from_arrays(offsets, values.filter(stays), type=array.type, mask=array.is_null())


@dataclass(frozen=True)
class _Document:
    field: pa.Field
    children: tuple[tuple[int, _Node], ...]

    def run(self, array: pa.Array, run: _Run) -> pa.Array:
        # `flatten` makes null what is below a null, so nothing stays there that no reader sees.
        parts = array.flatten()
        made = [node.run(parts[index], run) for index, node in self.children]
        return pa.StructArray.from_arrays(made, fields=list(self.field.type), mask=array.is_null())


@dataclass(frozen=True)
class _Array:
    field: pa.Field
    element: _Node

    def run(self, array: pa.Array, run: _Run) -> pa.Array:
        values = self.element.run(array.flatten(), run)
        return pa.ListArray.from_arrays(_offsets(array), values, type=self.field.type, mask=array.is_null())


def _offsets(array: pa.Array) -> pa.Array:
    """Where each list begins in what `flatten` gives, and where the last one ends."""
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    return pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])


def _is_near(array: pa.Array) -> bool:
    """Whether all dates are so near that Arrow knows their calendar: it is wrong of years with five digits."""
    ends = pc.min_max(array.cast(pa.int64()))
    least, most = ends["min"].as_py(), ends["max"].as_py()
    return least is None or (least > -_NEAR and most < _NEAR)


def _each(array: pa.Array, function: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Run a function over the values that are different; null stays null."""
    encoded = array.dictionary_encode()
    return function(encoded.dictionary).take(encoded.indices)


def _texts(array: pa.Array, function: Callable[[str], str | None]) -> pa.Array:
    return _each(array, lambda found: pa.array([function(text) for text in found.to_pylist()], array.type))


def _plan(schema: pa.Schema, rules: NamespaceRules) -> list[tuple[int, _Node]]:
    nodes = [(index, node) for index, field in enumerate(schema) if (node := _node(field, (), rules)) is not None]
    # Of an empty collection there is nothing that could leave, and nothing to refuse.
    if any(walk(schema)) and all(shape_of(node.field) in _OF_ROWS for _, node in nodes):
        raise ConfigurationError(
            "the rules let no field of the collection leave",
            hint="Leave the collection out of the export, or list the fields that are needed of it.",
            namespace=rules.namespace,
        )
    return nodes


def _node(field: pa.Field, above: FieldPath, rules: NamespaceRules, *, element: bool = False) -> _Node | None:
    """What happens to a column; None: it does not leave."""
    shape = shape_of(field)
    if shape in _OF_ROWS:
        return _of_row(shape, field, rules)
    path = (*above, None if element else name_of(field))
    match shape:
        case Shape.JSON | Shape.MISFITS:
            return _json(shape, field, path, rules)
        case Shape.DOCUMENT | Shape.ARRAY:
            _check_container(shape, path, rules)
            return _document(field, path, rules) if shape is Shape.DOCUMENT else _array(field, path, rules)
    return _values(field, path, rules)


def _of_row(shape: Shape, field: pa.Field, rules: NamespaceRules) -> _Node:
    if shape is Shape.NULLS:
        return _Nulls(field)
    return _Extra(field, drop=rules.extra is Extra.DROP) if shape is Shape.EXTRA else _Same(field)


def _json(shape: Shape, field: pa.Field, path: FieldPath, rules: NamespaceRules) -> _Node | None:
    if (shape is Shape.MISFITS and rules.extra is Extra.DROP) or not rules.may_leave(path):
        return None
    return _Json(ruled(field, field.type, rule=rules.decide(path).text), path)


def _document(field: pa.Field, path: FieldPath, rules: NamespaceRules) -> _Node | None:
    children = [
        (index, node) for index, child in enumerate(field.type) if (node := _node(child, path, rules)) is not None
    ]
    if not children:  # nor could Parquet write it
        return None
    return _Document(ruled(field, pa.struct([node.field for _, node in children])), tuple(children))


def _array(field: pa.Field, path: FieldPath, rules: NamespaceRules) -> _Node | None:
    inner = _node(field.type.value_field, path, rules, element=True)
    return None if inner is None else _Array(ruled(field, pa.list_(inner.field)), inner)


def _values(field: pa.Field, path: FieldPath, rules: NamespaceRules) -> _Node | None:
    rule = rules.decide(path)
    kind = kind_of(field)
    match rule.action:
        case Action.DROP:
            return None
        case Action.KEEP:
            return _Same(ruled(field, field.type, rule=rule.text))
        case Action.HMAC:
            return _Values(ruled(field, pa.string(), rule=rule.text, now=Kind.TEXT), kind, rule, path)
    expected = _unfit(rule, field, kind)
    if expected:
        raise ConfigurationError(
            "a rule does not fit the values of its field",
            hint="Choose another action for it; `drop` and `hmac` fit all values.",
            namespace=rules.namespace,
            path=path_text(path),
            action=rule.text,
            expected=expected,
            got=kind.value,
        )
    now = Kind.TEXT if kind in (Kind.OBJECT_ID, Kind.UUID) else kind
    return _Values(ruled(field, field.type, rule=rule.text, now=now), kind, rule, path)


def _unfit(rule: Rule, field: pa.Field, kind: Kind) -> str:
    """What a rule would need instead of the values of a column; empty: it fits."""
    match rule.action:
        case Action.MASK | Action.TRUNCATE:
            return "" if is_text(field) else "text"
        case Action.DATE:
            return "" if kind is Kind.DATE else "dates"
    if not is_number(field):
        return "numbers"
    digits = -int(rule.step.normalize().as_tuple().exponent)  # behind the point
    if kind is Kind.INTEGER and digits > 0:
        return "numbers with digits behind the point, or a whole number as the step"
    if kind is Kind.DECIMAL and digits > field.type.scale:
        return f"{digits} digits behind the point, or a step with {field.type.scale}"
    return ""


def _check_container(shape: Shape, path: FieldPath, rules: NamespaceRules) -> None:
    """Refuse a rule for a value where the field has documents or arrays: it would do less than it seems to say."""
    rule = rules.rule(path)
    if rule is None or rule.below or rule.path != path or rule.action is Action.DROP:
        return
    if rule.action is Action.KEEP and rules.unlisted is Action.KEEP:
        return
    text = path_text(path)
    raise ConfigurationError(
        f"a rule for values has {'documents' if shape is Shape.DOCUMENT else 'arrays'} before it",
        hint=f"Name the fields within it, or write {_join(text, '*')} for all of them."
        if shape is Shape.DOCUMENT
        else f"Write {_join(text, '[]')} for its elements, or {_join(text, '*')} for all that is in it.",
        namespace=rules.namespace,
        path=text,
        action=rule.text,
    )


def _join(text: str, part: str) -> str:
    if text.startswith("/"):
        return f"{text}/{part}"
    return text + (part if part == "[]" else f".{part}")
