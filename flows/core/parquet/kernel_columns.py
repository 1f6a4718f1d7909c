"""What a walk has noted, as columns."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from flows.core.parquet import kernel, reading
from flows.core.parquet import kernel_buffers as buffers
from flows.core.parquet.columns import extra_text
from flows.core.parquet.decimals import unscaled
from flows.core.parquet.kernel_batch import Batch
from flows.core.parquet.kernel_tables import SchemaPlan
from flows.core.parquet.schema import Column, ExportSchema, Kind
from flows.core.parquet.values import json_text, json_value

_WORDS = struct.Struct("<QQ")
_TEXT = pa.string()
_BINARY_HEADER, _TEXT_HEADER = 5, 4  # [bytes] before the content
_OBJECT_ID, _UUID = 12, 16  # [bytes]


@dataclass(frozen=True, slots=True)
class _Leftovers:
    """What Python has made of values that the kernel has only found.

    Args:
        texts: By node, the slots and texts.
        numbers: By node, the slots and 128 bits of decimals.
        extra: By row, pointers and values as JSON.
    """

    texts: dict[int, list[tuple[int, str]]]
    numbers: dict[int, list[tuple[int, int]]]
    extra: dict[int, dict[str, Any]]


def converted(schema: ExportSchema, plan: SchemaPlan, batch: Batch) -> tuple[pa.RecordBatch, kernel.Logs]:
    """The rows of documents that are as the schema expects, and the logs, which say which these are."""
    logs, leftovers = batch.walk(plan.tables, lambda batch, logs: _leftovers(plan, batch, logs))
    used, _raw, nulls, _hard, _unknown, rows = logs.used.tolist()
    slots, values, starts = buffers.by_node(logs.place, logs.value, used, len(plan.pointers))
    columns = _Columns(plan, batch.source, slots, values, starts.tolist(), logs.elements.tolist(), leftovers)
    arrays = [
        *columns.fields(schema.columns, schema.arrow, rows),
        _null_pointers(plan, logs.nulls[:nulls], rows),
        _extra(leftovers.extra, rows),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow), logs


def _leftovers(plan: SchemaPlan, batch: Batch, logs: kernel.Logs) -> tuple[_Leftovers, set[int]]:
    texts: dict[int, list[tuple[int, str]]] = {}
    numbers: dict[int, list[tuple[int, int]]] = {}
    extra: dict[int, dict[str, Any]] = {}
    bad: set[int] = set()
    for node, slot, kind, at, end, document, row, *indexes in logs.raw[: logs.used[1]].tolist():
        value = batch.value(kind, at, end)
        if value is reading.UNREADABLE:
            bad.add(document)
        elif node < 0:
            extra.setdefault(row, {})[_pointer(plan.pointers[~node], indexes)] = json_value(value)
        else:
            texts.setdefault(node, []).append((slot, str(value) if node in plan.decimal_texts else json_text(value)))
    scales = plan.tables.scale
    for node, slot, at, document in logs.hard[: logs.used[3]].tolist():
        low, high = _WORDS.unpack_from(batch.documents, at)
        number = unscaled(high, low, int(scales[node]))
        if number is None:
            bad.add(document)
        else:
            numbers.setdefault(node, []).append((slot, number))
    return _Leftovers(texts, numbers, extra), bad


@dataclass(frozen=True, slots=True)
class _Columns:
    plan: SchemaPlan
    source: kernel.Input
    slots: Any
    values: Any
    starts: list[int]
    elements: list[int]
    leftovers: _Leftovers

    def fields(self, columns: Sequence[Column], fields: Iterator[pa.Field] | pa.Schema, length: int) -> list[pa.Array]:
        arrays = []
        following = iter(fields)
        for column in columns:
            arrays.append(self._array(column, next(following).type, length))
            if column.companion is not None:
                next(following)
                arrays.append(self._texts(self.plan.numbers[column.companion_id], length))
        return arrays

    def _array(self, column: Column, kind: pa.DataType, length: int) -> pa.Array:
        number = self.plan.numbers[column.id]
        if column.kind in (Kind.JSON, Kind.DECIMAL_TEXT):
            return self._texts(number, length)
        slots = self.slots[self.starts[number] : self.starts[number + 1]]
        values = self.values[self.starts[number] : self.starts[number + 1]]
        full = len(slots) == length
        validity = None if full else pa.py_buffer(buffers.bitmap(slots, length))
        if column.kind is Kind.STRUCT:
            children = self.fields(column.children, iter(kind), length)
            return pa.Array.from_buffers(kind, length, [validity], children=children)
        if column.element:
            count = self.elements[number]
            starts = buffers.list_starts(slots, values, length, count)
            inner = self._array(column.element, kind.value_type, count)
            return pa.Array.from_buffers(kind, length, [validity, pa.py_buffer(starts)], children=[inner])
        content = self._content(column.kind, number, slots, values, length, full=full)
        return pa.Array.from_buffers(kind, length, [validity, *map(pa.py_buffer, content)])

    def _content(self, kind: Kind, number: int, slots: Any, values: Any, length: int, *, full: bool) -> tuple[Any, ...]:
        found: Any
        if kind in (Kind.TEXT, Kind.BINARY):
            header, trailer = (_TEXT_HEADER, 1) if kind is Kind.TEXT else (_BINARY_HEADER, 0)
            found = buffers.texts(self.source.data, self.source.halves, slots, values, length, header, trailer)
        elif kind in (Kind.OBJECT_ID, Kind.UUID):
            header, size = (0, _OBJECT_ID) if kind is Kind.OBJECT_ID else (_BINARY_HEADER, _UUID)
            found = buffers.hexadecimals(self.source.data, slots, values, length, header, size, kind is Kind.UUID)
        elif kind is Kind.BOOLEAN:
            found = (buffers.true_bits(slots, values, length),)
        elif kind is Kind.DECIMAL:
            words = buffers.wide(slots, values, length)
            for slot, value in self.leftovers.numbers.get(number, ()):
                words[slot] = np.frombuffer(value.to_bytes(16, "little", signed=True), np.int64)
            found = (words,)
        else:
            found = (values.copy() if full else buffers.spread(slots, values, length),)
        return tuple(found)

    def _texts(self, number: int, length: int) -> pa.Array:
        found = self.leftovers.texts.get(number)
        if found is None:
            return pa.nulls(length, _TEXT)
        texts: list[str | None] = [None] * length
        for slot, text in found:
            texts[slot] = text
        return pa.array(texts, _TEXT)


def _extra(extra: dict[int, dict[str, Any]], rows: int) -> pa.Array:
    if not extra:
        return pa.nulls(rows, _TEXT)
    return pa.array([extra_text(extra[row]) if row in extra else None for row in range(rows)], _TEXT)


def _null_pointers(plan: SchemaPlan, nulls: Any, rows: int) -> pa.Array:
    """The column `_nulls`: pointers in order, for every row."""
    nodes = np.unique(nulls[:, 0])
    cut = [plan.pointers[node] for node in nodes.tolist()]
    if all(len(parts) == 1 for parts in cut):
        # No array is around any of them: their pointers are the same in all rows.
        texts = sorted(parts[0] for parts in cut)
        rank = np.zeros(len(plan.pointers), np.int64)
        rank[nodes] = [texts.index(parts[0]) for parts in cut]
        ranks = rank[nulls[:, 0]]
        order = np.lexsort((ranks, nulls[:, 1]))
        values = pa.array(texts, _TEXT).take(pa.array(ranks[order]))
        counts = np.bincount(nulls[:, 1], minlength=rows)
    else:
        found = sorted((row, _pointer(plan.pointers[node], indexes)) for node, row, *indexes in nulls.tolist())
        values = pa.array([pointer for _row, pointer in found], _TEXT)
        counts = np.bincount([row for row, _pointer in found], minlength=rows)
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _pointer(parts: tuple[str, ...], indexes: list[int]) -> str:
    return "".join(f"{part}{index}" for part, index in zip(parts[:-1], indexes, strict=False)) + parts[-1]
