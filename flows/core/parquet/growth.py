"""How a schema comes from a profile, and grows with the next ones: columns are added, and none is ever changed."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from flows.core.parquet import profile
from flows.core.parquet.decimals import PRECISION
from flows.core.parquet.profile import MAX_DEPTH, MAX_FIELDS, Node, Profile
from flows.core.parquet.schema import RESERVED, Column, ExportSchema, Kind, escaped

_FIRST_ID = 4  # the two columns at the end have those before, and the elements of one of them
_HEAD_ROOM = 2  # digits behind the point that later decimals may have more
_SPARE = 6  # digits before the point that are kept free for them all the same
_INTEGER_DIGITS = 19  # of an integer of 64 bits

_OF_ONE_TYPE: tuple[tuple[Kind, str], ...] = (
    (Kind.BOOLEAN, "bool"),
    (Kind.TEXT, "string"),
    (Kind.DATE, "date"),
    (Kind.OBJECT_ID, "objectId"),
    (Kind.UUID, "uuid"),
    (Kind.BINARY, "binData"),
    (Kind.STRUCT, profile.OBJECT),
    (Kind.LIST, profile.ARRAY),
)
_TYPED = {
    profile.NULL,
    profile.INT,
    profile.LONG,
    profile.DOUBLE,
    profile.DECIMAL,
    *(name for _kind, name in _OF_ONE_TYPE),
}


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """One thing that was added.

    Args:
        what: A column, or the companion of one that was there without.
        path: JSON pointer of the field; `[]` stands for all elements of an array.
        name: Of what was added, among its siblings.
        kind: Of the column, in words of the format.
    """

    what: Literal["column", "companion"]
    path: str
    name: str
    kind: str


def grown(schema: ExportSchema | None, found: Profile) -> tuple[ExportSchema, tuple[SchemaChange, ...]]:
    """The schema that has a place for what a profile has seen.

    Args:
        schema: The newest version; None for the first export of a namespace.
        found: The profile of all documents that are to be written.

    Returns:
        The schema itself where nothing has to be added; and what was added, outer columns before inner ones.
    """
    start = schema or ExportSchema(found.namespace, 0, (), _FIRST_ID)
    growing = _Growing(start.next_id)
    columns = growing.fields(start.columns, found.root, "", 1, RESERVED)
    if schema and not growing.changes:
        return schema, ()
    return start.next_version(columns, growing.next_id), tuple(growing.changes)


class _Growing:
    def __init__(self, next_id: int) -> None:
        self.next_id = next_id
        self.changes: list[SchemaChange] = []

    def _id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def fields(
        self, columns: tuple[Column, ...], node: Node, path: str, depth: int, reserved: Iterable[str] = ()
    ) -> tuple[Column, ...]:
        taken = {name.casefold() for name in reserved}
        for column in columns:
            taken |= {column.name.casefold(), (column.companion or column.name).casefold()}
        known = {column.key: column for column in columns}
        found = {
            column.key: self._grown(column, node.children[column.key], f"{path}/{escaped(column.key)}", depth, taken)
            if column.key in node.children
            else column
            for column in columns
        }
        for key, child in node.children.items():
            if key not in known and len(found) < MAX_FIELDS:
                new = self._new(key, child, f"{path}/{escaped(key)}", depth, taken)
                if new:
                    found[key] = new
        return tuple(found.values())

    def _new(self, key: str, node: Node, path: str, depth: int, taken: set[str]) -> Column | None:
        kind = kind_of(node, depth)
        if kind is None:
            return None
        column = self._column(key, _free(_clean(key), taken), kind, node)
        self.changes.append(SchemaChange("column", path, column.name, kind.value))
        return self._grown(column, node, path, depth, taken)

    def _column(self, key: str, name: str, kind: Kind, node: Node) -> Column:
        return Column(key, name, kind, self._id(), scale=scale_of(node) if kind is Kind.DECIMAL else 0)

    def _grown(self, column: Column, node: Node, path: str, depth: int, taken: set[str]) -> Column:
        column = self._inside(column, node, path, depth)
        if column.companion is None and has_misfits(column, node):
            name = _free(f"{column.name}__json", taken)
            self.changes.append(SchemaChange("companion", path, name, Kind.JSON.value))
            column = replace(column, companion=name, companion_id=self._id())
        return column

    def _inside(self, column: Column, node: Node, path: str, depth: int) -> Column:
        if column.kind is Kind.STRUCT:
            return replace(column, children=self.fields(column.children, node, path, depth + 1))
        if column.kind is Kind.LIST and node.element:
            kind = element_kind(node.element, depth + 1)
            element = column.element or (kind and self._column("", "element", kind, node.element))
            if element:
                return replace(column, element=self._inside(element, node.element, f"{path}/[]", depth + 1))
        return column


def kind_of(node: Node, depth: int) -> Kind | None:
    """How a new column holds the values of a field: the kind that fits most of them.

    Args:
        node: What was seen of the field.
        depth: Its level; 1 for fields of the document itself.

    Returns:
        None while nothing says: there were only nulls and empty arrays.
    """
    integers = node.count(profile.INT, profile.LONG)
    doubles, decimals = node.count(profile.DOUBLE), node.count(profile.DECIMAL)
    fits = {kind: node.count(name) for kind, name in _OF_ONE_TYPE}
    fits[Kind.JSON] = sum(times for name, times in node.types.items() if name not in _TYPED)
    fits[Kind.INTEGER] = integers
    fits[Kind.DOUBLE] = doubles and doubles + integers - node.wide
    plain = decimals - node.odd
    if node.whole + node.scale <= PRECISION and plain >= node.odd:
        fits[Kind.DECIMAL] = decimals and plain + integers
    else:
        fits[Kind.DECIMAL_TEXT] = decimals
    if depth == MAX_DEPTH:
        fits[Kind.JSON] += fits.pop(Kind.LIST)
    elif node.element is None or element_kind(node.element, depth + 1) is None:
        del fits[Kind.LIST]
    # Of two that fit as many, the one that stands first in `Kind`.
    kind = max(Kind, key=lambda kind: fits.get(kind, 0))
    if not fits.get(kind):
        return None
    if kind is Kind.STRUCT and all(kind_of(child, depth + 1) is None for child in node.children.values()):
        return Kind.JSON  # Parquet has no struct without a field
    return kind


def element_kind(node: Node, depth: int) -> Kind | None:
    """How a new list holds its elements: as JSON where one kind does not fit all, as they can have no companion."""
    kind = kind_of(node, depth)
    return Kind.JSON if kind and node.present - node.count(profile.NULL) > fitting(kind, scale_of(node), node) else kind


def scale_of(node: Node) -> int:
    """Digits behind the point of a new decimal column, with room for longer ones where there is."""
    whole = max(node.whole, _INTEGER_DIGITS if node.count(profile.INT, profile.LONG) else 0)
    room = whole + node.scale + _HEAD_ROOM + _SPARE <= PRECISION
    return node.scale + _HEAD_ROOM if room else node.scale


def has_misfits(column: Column, node: Node) -> bool:
    """Whether a column may not hold every value of its field."""
    return node.present - node.count(profile.NULL) > fitting(column.kind, column.scale, node)


def fitting(kind: Kind, scale: int, node: Node) -> int:
    """How many of the values that were seen surely fit a column."""
    integers = node.count(profile.INT, profile.LONG)
    if kind is Kind.JSON:
        return node.present
    if kind is Kind.INTEGER:
        return integers
    if kind is Kind.DOUBLE:
        return node.count(profile.DOUBLE) + integers - node.wide
    if kind is Kind.DECIMAL:
        fits = node.scale <= scale and node.whole + scale <= PRECISION
        return (node.count(profile.DECIMAL) - node.odd) * fits + integers * (_INTEGER_DIGITS + scale <= PRECISION)
    if kind is Kind.DECIMAL_TEXT:
        return node.count(profile.DECIMAL)
    return node.count(dict(_OF_ONE_TYPE)[kind])


def _clean(key: str) -> str:
    """A name that every reader takes: not empty, and without control characters."""
    return "".join("_" if unicodedata.category(char) == "Cc" else char for char in key) or "_empty"


def _free(name: str, taken: set[str]) -> str:
    """The name, or one with a number behind it: most readers do not tell upper and lower case apart."""
    names = itertools.chain((name,), (f"{name}_{number}" for number in itertools.count(2)))
    free = next(candidate for candidate in names if candidate.casefold() not in taken)
    taken.add(free.casefold())
    return free
