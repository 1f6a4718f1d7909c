"""The verify stage of a backup: a store proves that it holds what was sent."""

from __future__ import annotations

import logging

from flows.core.compress import PackedSegment
from flows.core.manifest import SegmentRecord
from flows.mongo.dump import DumpedSegment
from flows.storage.store import StoredObject
from flows.storage.transfer import confirm_stored
from flows.tasks.job import BackupJob, Destination
from flows.tasks.options import stage
from flows.tasks.run import current

logger = logging.getLogger(__name__)


@stage(name="verify", task_run_name="verify segment {dumped.index} in {to.name}")
def verify(
    job: BackupJob, to: Destination, dumped: DumpedSegment, packed: PackedSegment, stored: StoredObject
) -> SegmentRecord:
    """Confirm one segment by the store's own checksum, or read it back."""
    confirmed = confirm_stored(
        to.store.open(),
        stored.key,
        packed.path,
        sha256=packed.sha256,
        size=packed.bytes,
        progress=current(job.run).checkpoint,
        lock_until=to.lock_until(job.backup),
    )
    logger.info("verified segment %d in %s: %s", dumped.index, to.name, confirmed)
    return SegmentRecord(
        name=packed.path.name,
        bytes=packed.bytes,
        sha256=packed.sha256,
        archive_bytes=dumped.bytes,
        compression=job.compression.value,
        recipients=job.protection.recipients,
        confirmed=confirmed,
        entries=dumped.entries,
        store_encryption=stored.encryption,
        store_key=stored.encryption_key,
    )
