"""The compress stage: within the spool, and encrypted where the backup has recipients."""

from __future__ import annotations

import logging

from flows.core.compress import PackedSegment, compress_file
from flows.core.report import format_bytes
from flows.mongo.dump import DumpedSegment
from flows.tasks.job import BackupJob
from flows.tasks.options import stage
from flows.tasks.run import current

logger = logging.getLogger(__name__)


@stage(name="compress", task_run_name="compress segment {dumped.index}")
def compress(job: BackupJob, dumped: DumpedSegment) -> PackedSegment:
    """Compress the archive of one segment; its file is free for the next one."""
    path = job.packed_path(dumped.index)
    job.spool.claim(path)
    packed = compress_file(
        dumped.path,
        path,
        job.compression,
        recipients=job.protection.recipients,
        progress=current(job.run).counter(),
    )
    job.spool.release(dumped.path)
    logger.info("compressed segment %d: %s to %s", dumped.index, format_bytes(dumped.bytes), format_bytes(packed.bytes))
    return packed
