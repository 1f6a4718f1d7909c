"""The engine in pure Python.

What is as the schema expects it reads straight from the bytes; of the rest it decodes a batch of documents, and builds
one column of them at a time.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from flows.core.parquet import reading
from flows.core.parquet.columns import Converted, record_batch
from flows.core.parquet.generated import LONGEST, WORTH
from flows.core.parquet.profile import Profile
from flows.core.parquet.rows import Rows
from flows.core.parquet.schema import ExportSchema
from flows.core.parquet.tallies import profiled


class PythonEngine:
    """Always there, and what the other engine is held against."""

    name = "python"

    def profile(self, namespace: str, documents: bytes) -> Profile:
        """See `Engine`."""
        return profiled(namespace, documents)

    def convert(self, schema: ExportSchema, documents: bytes) -> Converted:
        """See `Engine`."""
        tables: list[pa.Table] = []
        rejects: list[reading.Reject] = []
        rows = Rows(schema) if schema.next_id <= LONGEST else None
        with reading.no_collector():
            for batch in reading.batches(documents):
                others = dict(enumerate(batch))
                good = pa.RecordBatch.from_pylist([], schema.arrow)
                if rows:
                    others = {row: document for row, document in others.items() if not rows.add(document)}
                    try:
                        good = rows.batch()
                    except pa.ArrowInvalid:
                        others = dict(enumerate(batch))  # one has text that is not UTF-8
                    if len(others) > (1 - WORTH) * len(batch):
                        rows = None
                table, unreadable = with_others(schema, good, others, len(batch))
                tables.append(table)
                rejects += unreadable
        return Converted(pa.concat_tables(tables or [schema.arrow.empty_table()]), tuple(rejects))


def with_others(
    schema: ExportSchema, rows: pa.RecordBatch, others: Mapping[int, bytes], size: int
) -> tuple[pa.Table, list[reading.Reject]]:
    """Rows that are there, with those between them that have to be decoded.

    Args:
        schema: Of the rows.
        rows: In their order, without the others.
        others: Documents by their place among all.
        size: How many documents there are in all.
    """
    if not others:
        return pa.Table.from_batches([rows]), []
    values: list[reading.Document] = []
    rejects: list[reading.Reject] = []
    places: list[int] = []
    present = 0
    for place in range(size):
        if place not in others:
            places.append(present)
            present += 1
            continue
        read, unreadable = reading.decoded([others[place]])
        if read:
            places.append(rows.num_rows + len(values))
        values += read
        rejects += unreadable
    decoded = record_batch(schema, values)
    if not rows.num_rows:
        return pa.Table.from_batches([decoded]), rejects
    return pa.Table.from_batches([rows, decoded]).combine_chunks().take(pa.array(places, pa.int64())), rejects
