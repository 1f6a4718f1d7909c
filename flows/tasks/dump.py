"""The dump stage: from MongoDB into the spool."""

from __future__ import annotations

import logging

from flows.core.report import format_bytes, format_count
from flows.core.segments import SegmentPlan
from flows.core.source import ClusterTime
from flows.mongo.dump import DumpedSegment, dump_segment
from flows.tasks.job import BackupJob
from flows.tasks.options import stage
from flows.tasks.run import current

logger = logging.getLogger(__name__)


@stage(name="dump", task_run_name="dump segment {segment.index}")
def dump(job: BackupJob, segment: SegmentPlan, server_version: str, at: ClusterTime | None) -> DumpedSegment:
    """Read one segment from the source into the spool, as an archive."""
    path = job.archive_path(segment.index)
    job.spool.claim(path)
    with job.source.open() as source:
        dumped = dump_segment(
            source,
            segment,
            path,
            server_version=server_version,
            at=at,
            progress=current(job.run).counter(documents=True),
        )
    documents = sum(entry.totals.documents for entry in dumped.entries)
    logger.info(
        "dumped segment %d: %s documents, %s", dumped.index, format_count(documents), format_bytes(dumped.bytes)
    )
    return dumped
