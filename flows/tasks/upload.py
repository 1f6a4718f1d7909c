"""The upload stage: from the spool into the store."""

from __future__ import annotations

import logging

from flows.core.compress import PackedSegment
from flows.core.report import format_bytes
from flows.storage.store import StoredObject
from flows.tasks.job import BackupJob
from flows.tasks.options import stage
from flows.tasks.run import current

logger = logging.getLogger(__name__)


@stage(name="upload", task_run_name="upload segment {index}")
def upload(job: BackupJob, index: int, packed: PackedSegment) -> StoredObject:
    """Send one segment to the store. A repeated upload overwrites the same key."""
    stored = job.store.open().put_file(
        job.key(index), packed.path, progress=current(job.run).checkpoint, lock_until=job.lock_until
    )
    logger.info("uploaded segment %d: %s", index, format_bytes(stored.size))
    return stored
