"""The engine in pure Python: it decodes a batch of documents, and builds one column of them at a time."""

from __future__ import annotations

import pyarrow as pa

from flows.core.parquet import reading
from flows.core.parquet.columns import Converted, record_batch
from flows.core.parquet.observing import observed
from flows.core.parquet.profile import Profile
from flows.core.parquet.schema import ExportSchema


class PythonEngine:
    """Always there, and what the other engine is held against."""

    name = "python"

    def profile(self, namespace: str, documents: bytes) -> Profile:
        """See `Engine`."""
        return observed(namespace, documents)

    def convert(self, schema: ExportSchema, documents: bytes) -> Converted:
        """See `Engine`."""
        tables: list[pa.Table] = []
        rejects: list[reading.Reject] = []
        with reading.no_collector():
            for batch in reading.batches(documents):
                values, unreadable = reading.decoded(batch)
                tables.append(record_batch(schema, values))
                rejects.extend(unreadable)
        return Converted(pa.Table.from_batches(tables, schema.arrow), tuple(rejects))
