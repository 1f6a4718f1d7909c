"""The fetch stage of a restore: from the store into the spool."""

from __future__ import annotations

import logging
from pathlib import Path

from flows.core.manifest import SegmentRecord
from flows.core.report import format_bytes
from flows.storage.transfer import fetch_segment
from flows.tasks.options import stage
from flows.tasks.restore_job import RestoreJob
from flows.tasks.run import current

logger = logging.getLogger(__name__)


@stage(name="fetch", task_run_name="fetch {segment.name}")
def fetch(job: RestoreJob, segment: SegmentRecord) -> Path:
    """Download one segment and check its SHA-256."""
    path = job.path(segment)
    fetch_segment(
        job.store.open(),
        job.manifest.segment_key(segment),
        path,
        sha256=segment.sha256,
        size=segment.bytes,
        progress=current(job.run).counter(),
    )
    logger.info("fetched %s: %s, SHA-256 as in the manifest", segment.name, format_bytes(segment.bytes))
    return path
