"""The upload stage: from the spool into the store."""

from __future__ import annotations

import logging

from flows.core.compress import PackedSegment
from flows.core.report import format_bytes
from flows.storage.store import StoredObject
from flows.tasks.job import BackupJob, Destination
from flows.tasks.options import stage
from flows.tasks.run import current

logger = logging.getLogger(__name__)


@stage(name="upload", task_run_name="upload segment {index} to {to.name}")
def upload(job: BackupJob, to: Destination, index: int, packed: PackedSegment) -> StoredObject:
    """Send one segment to a store. A repeated upload overwrites the same key."""
    stored = to.store.open().put_file(
        job.key(index), packed.path, progress=current(job.run).checkpoint, lock_until=to.lock_until(job.backup)
    )
    logger.info("uploaded segment %d to %s: %s", index, to.name, format_bytes(stored.size))
    return stored
