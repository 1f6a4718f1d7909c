"""The engine with a compiled kernel: it reads raw BSON, and asks Python about what is not as the schema expects."""

from __future__ import annotations

import struct
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
import numpy as np
import pyarrow as pa
from bson.binary import Binary

from flows.core.parquet import kernel, observing, profile, reading
from flows.core.parquet import kernel_buffers as buffers
from flows.core.parquet.columns import Converted
from flows.core.parquet.growth import grown
from flows.core.parquet.kernel_batch import BATCH, Batch, batches_of
from flows.core.parquet.kernel_columns import converted
from flows.core.parquet.kernel_tables import ProfilePlan, SchemaPlan, profile_plan, schema_plan
from flows.core.parquet.profile import Profile
from flows.core.parquet.python_engine import with_others
from flows.core.parquet.schema import ExportSchema

_FIRST = 64 << 10  # [bytes] of the first batch, which shows the kernel what it does not know
_PLANS = 64  # schemas that are kept as tables
_OTHERS = 1024  # names that are learned for one; more are taken for data in the place of names
_WORDS = struct.Struct("<QQ")

_NAMES = {
    0x01: profile.DOUBLE,
    0x02: "string",
    0x03: profile.OBJECT,
    0x04: profile.ARRAY,
    0x05: "binData",
    0x06: "undefined",
    0x07: "objectId",
    0x08: "bool",
    0x09: "date",
    0x0A: profile.NULL,
    0x0B: "regex",
    0x0C: "dbPointer",
    0x0D: "javascript",
    0x0E: "symbol",
    0x0F: "javascriptWithScope",
    0x10: profile.INT,
    0x11: "timestamp",
    0x12: profile.LONG,
    0x13: profile.DECIMAL,
    0x7F: "maxKey",
    0xFF: "minKey",
    kernel.UUID: "uuid",
}


class KernelEngine:
    """Several times as fast as the one in Python, and gives the same."""

    name = "kernel"

    def __init__(self) -> None:
        self._plans: dict[str, SchemaPlan] = {}
        self._lock = threading.Lock()

    def profile(self, namespace: str, documents: bytes) -> Profile:
        """See `Engine`."""
        found = Profile(namespace)
        plan: ProfilePlan | None = None
        with reading.no_collector():
            for batch in batches_of(documents, _FIRST):
                left = _counted(found, plan, batch) if plan else range(batch.size)
                if left:
                    observing.observe(found, [batch.document(row) for row in left])
                    plan = None
                plan = plan or profile_plan(found.root)
        return found

    def convert(self, schema: ExportSchema, documents: bytes) -> Converted:
        """See `Engine`."""
        tables: list[pa.Table] = []
        rejects: list[reading.Reject] = []
        with reading.no_collector():
            # A schema that was seen before has shown already what it does not know.
            first = BATCH if schema.sha256 in self._plans else _FIRST
            for batch in batches_of(documents, first):
                plan = self._plan(schema)
                rows, logs = converted(schema, plan, batch)
                left = batch.left(logs)
                if left:
                    others = {row: batch.document(row) for row in left}
                    table, unreadable = with_others(schema, rows, others, batch.size)
                    self._learn(schema, plan.unknown(batch, logs))
                    rejects += unreadable
                else:
                    table = pa.Table.from_batches([rows])
                tables.append(table)
        return Converted(pa.concat_tables(tables or [schema.arrow.empty_table()]), tuple(rejects))

    def _plan(self, schema: ExportSchema) -> SchemaPlan:
        with self._lock:
            if schema.sha256 not in self._plans:
                if len(self._plans) == _PLANS:
                    self._plans.clear()
                self._plans[schema.sha256] = schema_plan(schema)
            return self._plans[schema.sha256]

    def _learn(self, schema: ExportSchema, names: Iterable[tuple[int, str]]) -> None:
        """Let the next walks know fields that have no column: nulls and what goes to `_extra` is no work for Python."""
        with self._lock:
            known = self._plans[schema.sha256].others
            more = known.union(names)
            if known < more and len(more) <= _OTHERS:
                self._plans[schema.sha256] = schema_plan(schema, more)


def _counted(found: Profile, plan: ProfilePlan, batch: Batch) -> Sequence[int]:
    """Add the documents of a batch to a profile; returns the rows of those that Python has to look at."""
    logs, kinds = batch.walk(plan.tables, _kinds)
    used, _raw, _nulls, _hard, _unknown, rows = logs.used.tolist()
    count = len(plan.nodes)
    counts, sizes = np.zeros((count, kernel.TYPES), np.int64), np.zeros((count, 4), np.int64)
    others = np.empty((used, 2), np.int64)
    left = buffers.tallies(batch.source.words, logs.place, logs.value, used, counts, sizes, others)
    for number, kind in zip(*(axis.tolist() for axis in np.nonzero(counts)), strict=True):
        if kind != kernel.OTHER_BINARY:
            plan.nodes[number].saw(_NAMES[kind], int(counts[number, kind]))
    for (number, name), times in kinds.items():
        plan.nodes[number].saw(name, times)
    for number in np.nonzero(sizes.any(axis=1))[0].tolist():
        node, (beyond, whole, scale, odd) = plan.nodes[number], sizes[number].tolist()
        node.wide += beyond
        node.whole, node.scale = max(node.whole, whole), max(node.scale, scale)
        node.odd += odd
    for number, at in others[:left].tolist():
        low, high = _WORDS.unpack_from(batch.documents, at)
        observing.observe_decimal(plan.nodes[number], high, low)
    found.documents += rows
    if rows:
        found.root.saw(profile.OBJECT, rows)
    return batch.left(logs)


def _kinds(batch: Batch, logs: kernel.Logs) -> tuple[Counter[tuple[int, str]], set[int]]:
    """Binary values by their subtypes; and rows with a value that is not well-formed."""
    kinds: Counter[tuple[int, str]] = Counter()
    bad: set[int] = set()
    for number, _slot, kind, at, end, document, *_rest in logs.raw[: logs.used[1]].tolist():
        if batch.value(kind, at, end) is reading.UNREADABLE:
            bad.add(document)
        elif kind == kernel.OTHER_BINARY:
            kinds[number, f"binData{batch.documents[at + 4]}"] += 1
    return kinds, bad


def is_compiled() -> bool:
    """Whether the next process finds the kernel compiled; also where it could not be kept, so that nothing helps."""
    kept = kernel.walk.stats.cache_path
    source = Path(kernel.__file__).stat().st_mtime
    return kept is None or any(path.stat().st_mtime >= source for path in Path(kept).glob("kernel.walk-*.nbc"))


def compile_all() -> None:
    """Compile all of the kernel, and keep it for other processes."""
    one = KernelEngine()
    whole: dict[str, Any] = {
        "_id": bson.ObjectId(),
        "id": Binary.from_uuid(UUID(int=1)),
        "text": "text",
        "bytes": b"bytes",
        "number": 1,
        "real": 0.5,
        "exact": bson.Decimal128("1.25"),
        "yes": True,
        "at": datetime(2026, 1, 1),  # noqa: DTZ001 - BSON has no zones
        "list": [1, 2],
        "inner": {"null": None},
    }
    # With some that have half of it: columns with gaps are work of their own. The kernel profiles from batch 2 on.
    some = bson.encode(whole) + bson.encode({key: whole[key] for key in list(whole)[1::2]})
    documents = some * (2 * _FIRST // len(some))
    schema, _changes = grown(None, one.profile("compile.all", documents))
    one.convert(schema, documents)


if __name__ == "__main__":
    compile_all()
