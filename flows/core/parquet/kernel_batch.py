"""Some documents for one walk of the kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from flows.core.parquet import kernel, reading
from flows.core.parquet.kernel import Input, Logs, Tables
from flows.core.parquet.profile import MAX_DEPTH

T = TypeVar("T")

BATCH = 4 << 20  # [bytes] of BSON that are walked at a time
_UNKNOWN = 64  # names that a walk notes because it does not know them
_GROWTH = 4  # from a first batch that is smaller
_SMALLEST = 3  # [bytes] of an element that is noted: a boolean without a name


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents that follow each other.

    Args:
        documents: Their bytes, and some more.
        source: The same for the kernel.
    """

    documents: bytes
    source: Input

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.source.starts) - 1

    def document(self, row: int) -> bytes:
        """The bytes of one."""
        return self.documents[self.source.starts[row] : self.source.starts[row + 1]]

    def left(self, logs: Logs) -> list[int]:
        """The rows that a walk has left to Python."""
        rows: list[int] = np.nonzero(logs.rows[: self.size])[0].tolist()
        return rows

    def value(self, kind: int, start: int, end: int) -> Any:
        """A value that the walk has not looked into; `reading.UNREADABLE` if it may be bad."""
        sort = 0x05 if kind in (kernel.UUID, kernel.OTHER_BINARY) else kind
        return reading.element(sort, self.documents[start:end], reading.MAX_NESTING - MAX_DEPTH - 1)

    def walk(self, tables: Tables, check: Callable[[Batch, Logs], tuple[T, set[int]]]) -> tuple[Logs, T]:
        """Walk; and again without the documents that do not pass a check, until all do.

        Args:
            tables: The nodes that are known.
            check: Returns what it has made of the logs, and rows to leave to Python.

        Returns:
            What was noted, and what the check has made of it.
        """
        forced = np.zeros(self.size, np.uint8)
        while True:
            logs = _logs(len(self.documents), self.size, tables.scale.size)
            kernel.walk(self.source, forced, tables, logs)
            result, bad = check(self, logs)
            if not bad:
                return logs, result
            forced[list(bad)] = 1


def batches_of(documents: bytes, first: int = BATCH) -> Iterator[Batch]:
    """Cut documents into batches.

    Args:
        documents: Whole ones, one after the other.
        first: [bytes] of the first batch; the others grow from there to `BATCH`.

    Raises:
        Truncated: They do not follow each other without a gap.
    """
    data = np.frombuffer(documents, np.uint8)
    bounds = np.empty(len(documents) // 5 + 2, np.int64)
    count = kernel.boundaries(data, bounds)
    if count < 0:
        reading.split(documents)  # says what is wrong
    bounds = bounds[: count + 1]
    row, size = 0, first
    while row < count:
        end = min(max(int(np.searchsorted(bounds, bounds[row] + size, "right")) - 1, row + 1), count)
        start, stop = int(bounds[row]), int(bounds[end])
        yield _batch(documents[start:stop] + bytes(kernel.PADDING), bounds[row : end + 1] - start)
        row, size = end, min(size * _GROWTH, BATCH)


def _batch(padded: bytes, starts: Any) -> Batch:
    def integers(kind: type[np.signedinteger[Any]]) -> Any:
        size = np.dtype(kind).itemsize
        # One begins at every byte, and so they overlap.
        return np.ndarray((len(padded) - size + 1,), kind, padded, strides=(1,))

    return Batch(padded, Input(np.frombuffer(padded, np.uint8), integers(np.int32), integers(np.int64), starts))


def _logs(size: int, documents: int, nodes: int) -> Logs:
    values = size // _SMALLEST + 1
    value = np.empty(values, np.int64)
    return Logs(
        place=np.empty(values, np.int64),
        value=value,
        real=value.view(np.float64),
        raw=np.empty((size // 8 + 1, kernel.RAW_FIELDS + MAX_DEPTH), np.int32),
        nulls=np.empty((size // 8 + 1, kernel.NULL_FIELDS + MAX_DEPTH), np.int32),
        hard=np.empty((size // 16 + 1, kernel.HARD_FIELDS), np.int32),
        unknown=np.empty((_UNKNOWN, kernel.UNKNOWN_FIELDS), np.int32),
        rows=np.zeros(documents, np.uint8),
        elements=np.zeros(nodes, np.int64),
        used=np.zeros(6, np.int64),
    )
