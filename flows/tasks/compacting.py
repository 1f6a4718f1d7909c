"""The stage of a compaction: one collection is written anew."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

from blocks import BackupStore
from flows.core.names import Namespace
from flows.core.parquet.compacted import CompactedNamespace
from flows.core.parquet.dataset import Dataset
from flows.core.report import format_count
from flows.tasks.options import stage
from flows.tasks.run import current

logger = logging.getLogger(__name__)


@stage(name="compact", task_run_name="compact {namespace}")
def compact_one(run: str, target: BackupStore, dataset: Dataset, namespace: Namespace) -> CompactedNamespace:
    """Store the rows that a collection has at its newest export, beside the files that have them now."""
    from flows.core.parquet.memory import keep_little  # noqa: PLC0415 - Arrow takes long to load
    from flows.storage.compacting import compact_namespace  # noqa: PLC0415

    keep_little()
    with TemporaryDirectory(dir=current(run).spool.folder) as folder:
        done = compact_namespace(target.open(), dataset, namespace, Path(folder), progress=current(run).counter())
    logger.info("compacted %s: %s rows of %d exports", namespace, format_count(done.item.rows), len(done.chain))
    return done
