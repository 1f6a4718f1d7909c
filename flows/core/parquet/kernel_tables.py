"""Schemas and profiles as the tables of nodes that a walk knows."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from flows.core.parquet import kernel
from flows.core.parquet.kernel import Logs, Tables
from flows.core.parquet.kernel_batch import Batch
from flows.core.parquet.profile import MAX_DEPTH, Node
from flows.core.parquet.schema import Column, ExportSchema, Kind, escaped

_WORD = 8  # [bytes] of which names are compared at a time
_NULL, _OBJECT, _ARRAY, _DECIMAL, _DOUBLE, _INT, _LONG = 0x0A, 0x03, 0x04, 0x13, 0x01, 0x10, 0x12
_KNOWN = (*range(0x01, 0x14), 0x7F, 0xFF, kernel.UUID, kernel.OTHER_BINARY)
# What a column of this kind does with a type; every other one is a misfit.
_ACTIONS: dict[Kind, dict[int, int]] = {
    Kind.INTEGER: {_INT: kernel.EMIT, _LONG: kernel.EMIT},
    Kind.DOUBLE: {_DOUBLE: kernel.EMIT, _INT: kernel.WIDEN, _LONG: kernel.WIDEN},
    Kind.DECIMAL: {_DECIMAL: kernel.DECIMAL, _INT: kernel.JOIN, _LONG: kernel.JOIN},
    Kind.DECIMAL_TEXT: {_DECIMAL: kernel.RAW},
    Kind.BOOLEAN: {0x08: kernel.EMIT},
    Kind.TEXT: {0x02: kernel.EMIT},
    Kind.DATE: {0x09: kernel.EMIT},
    Kind.OBJECT_ID: {0x07: kernel.EMIT},
    Kind.UUID: {kernel.UUID: kernel.EMIT},
    Kind.BINARY: {0x05: kernel.EMIT},
    Kind.JSON: dict.fromkeys(_KNOWN, kernel.RAW),
    Kind.STRUCT: {_OBJECT: kernel.STRUCT},
    Kind.LIST: {_ARRAY: kernel.LIST},
}
# In a profile every type has a place; Python looks whether these are well-formed.
_NOTED = (0x0B, 0x0C, 0x0D, 0x0E, 0x0F, kernel.OTHER_BINARY)


@dataclass(slots=True)
class _Row:
    """A node; its children have numbers in a row."""

    name: str
    actions: dict[int, int]
    otherwise: int
    scale: int = 0
    first: int = 0
    children: int = 0
    element: int = -1
    companion: int = -1


@dataclass(frozen=True, slots=True)
class SchemaPlan:
    """A schema for a walk.

    Args:
        tables: For the kernel.
        numbers: The node of each column by its field id; companions by theirs.
        pointers: The JSON pointer of each node, cut where the index of an element stands.
        decimal_texts: Nodes of decimals that are written as text.
        parents: The field id of each struct by its node; 0 for the document.
        others: Fields without a column: the field id of what holds them, and the name.
    """

    tables: Tables
    numbers: dict[int, int]
    pointers: list[tuple[str, ...]]
    decimal_texts: frozenset[int]
    parents: dict[int, int]
    others: frozenset[tuple[int, str]]

    def unknown(self, batch: Batch, logs: Logs) -> set[tuple[int, str]]:
        """Names that a walk did not know, with the field id of what holds them, like `others`."""
        names = set()
        for node, at, _document in logs.unknown[: logs.used[4]].tolist():
            name = batch.documents[at : batch.documents.index(0, at)]
            with suppress(UnicodeDecodeError):
                names.add((self.parents[node], name.decode()))
        return names


@dataclass(frozen=True, slots=True)
class ProfilePlan:
    """A profile for a walk: its nodes in the order of the tables."""

    tables: Tables
    nodes: list[Node]


def schema_plan(schema: ExportSchema, others: frozenset[tuple[int, str]] = frozenset()) -> SchemaPlan:
    """The tables of a schema.

    Args:
        schema: The columns.
        others: Fields that a walk should know besides.
    """
    rows = [_Row("", {}, kernel.LEAVE)]
    numbers: dict[int, int] = {}
    pointers: list[tuple[str, ...]] = [("",)]
    texts: set[int] = set()
    parents: dict[int, int] = {}
    without = defaultdict(list)
    for holder, key in sorted(others):
        without[holder].append(key)
    waiting: deque[tuple[int, int, tuple[Column, ...]]] = deque([(0, 0, schema.columns)])

    def add(column: Column, pointer: tuple[str, ...]) -> None:
        numbers[column.id] = len(rows)
        if column.kind is Kind.DECIMAL_TEXT:
            texts.add(len(rows))
        rows.append(_Row(column.key, _column_actions(column.kind), kernel.MISFIT, scale=column.scale))
        pointers.append(pointer)

    def finish(column: Column) -> None:
        number = numbers[column.id]
        if column.companion is not None:
            numbers[column.companion_id] = rows[number].companion = len(rows)
            rows.append(_Row("", {}, kernel.LEAVE))
            pointers.append(())
        if column.kind is Kind.STRUCT:
            waiting.append((number, column.id, column.children))
        elif column.element:
            rows[number].element = len(rows)
            add(column.element, (*pointers[number][:-1], pointers[number][-1] + "/", ""))
            finish(column.element)

    while waiting:
        parent, field_id, columns = waiting.popleft()
        parents[parent] = field_id
        keys = without[field_id]
        rows[parent].first, rows[parent].children = len(rows), len(columns) + len(keys)
        *before, last = pointers[parent]
        for column in columns:
            add(column, (*before, f"{last}/{escaped(column.key)}"))
        for key in keys:
            rows.append(_Row(key, {_NULL: kernel.NOTHING}, kernel.MISFIT))
            pointers.append((*before, f"{last}/{escaped(key)}"))
        for column in columns:
            finish(column)
    return SchemaPlan(_tables(rows), numbers, pointers, frozenset(texts), parents, others)


def profile_plan(root: Node) -> ProfilePlan:
    """The tables of what a profile has seen so far."""
    rows = [_Row("", {}, kernel.LEAVE)]
    nodes = [root]
    waiting: deque[tuple[int, int]] = deque([(0, 0)])  # numbers and levels
    while waiting:
        number, depth = waiting.popleft()
        node = nodes[number]
        rows[number].first, rows[number].children = len(rows), len(node.children)
        for key, child in node.children.items():
            waiting.append((len(rows), depth + 1))
            rows.append(_Row(key, _node_actions(child, depth + 1), kernel.LEAVE))
            nodes.append(child)
        if node.element:
            rows[number].element = len(rows)
            waiting.append((len(rows), depth + 1))
            rows.append(_Row("", _node_actions(node.element, depth + 1), kernel.LEAVE))
            nodes.append(node.element)
    return ProfilePlan(_tables(rows), nodes)


def _column_actions(kind: Kind) -> dict[int, int]:
    return {**_ACTIONS[kind], _NULL: kernel.NOTHING}


def _node_actions(node: Node, depth: int) -> dict[int, int]:
    below = depth < MAX_DEPTH
    return {
        **dict.fromkeys(_KNOWN, kernel.EMIT),
        **dict.fromkeys(_NOTED, kernel.NOTED),
        _OBJECT: kernel.STRUCT if below and not node.dynamic else kernel.NOTED,
        _ARRAY: kernel.LIST if below else kernel.NOTED,
    }


def _tables(rows: Sequence[_Row]) -> Tables:
    action = np.full((len(rows), kernel.TYPES), kernel.LEAVE, np.uint8)
    for number, row in enumerate(rows):
        action[number, list(_KNOWN)] = row.otherwise
        for kind, what in row.actions.items():
            action[number, kind] = what
    names = [row.name.encode() + b"\0" for row in rows]
    sizes = [-(-len(name) // _WORD) for name in names]
    starts = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
    words = _joined(names, sizes)
    masks = _joined([b"\xff" * len(name) for name in names], sizes)
    places, table_masks, table = _hash_tables(rows, names)
    return Tables(
        action=action,
        scale=np.array([row.scale for row in rows], np.int64),
        first=np.array([row.first for row in rows], np.int64),
        children=np.array([row.children for row in rows], np.int64),
        element=np.array([row.element for row in rows], np.int64),
        companion=np.array([row.companion for row in rows], np.int64),
        length=np.array([len(name) - 1 for name in names], np.int64),
        name=words[starts],
        mask=masks[starts],
        rest=starts + 1,
        names=words,
        masks=masks,
        table_start=places,
        table_mask=table_masks,
        table=table,
    )


def _joined(texts: Sequence[bytes], sizes: Sequence[int]) -> Any:
    padded = (text.ljust(size * _WORD, b"\0") for text, size in zip(texts, sizes, strict=True))
    return np.frombuffer(b"".join(padded), np.int64)


def _hash_tables(rows: Sequence[_Row], names: Sequence[bytes]) -> tuple[Any, Any, Any]:
    """The children of each node by their names: where each table starts, its size less one, and all tables."""
    places, masks = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    table: list[int] = []
    for number, row in enumerate(rows):
        size = 1 << (2 * row.children).bit_length()  # half of it stays free, so that a search ends
        slots = [-1] * size
        for child in range(row.first, row.first + row.children):
            text = np.frombuffer(names[child], np.uint8)
            probe = int(kernel.name_hash(text, 0, len(text) - 1)) & (size - 1)
            while slots[probe] >= 0:
                probe = (probe + 1) & (size - 1)
            slots[probe] = child
        places[number], masks[number] = len(table), size - 1
        table += slots
    return places, masks, np.array(table, np.int64)
