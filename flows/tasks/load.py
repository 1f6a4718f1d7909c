"""The load stage of a restore: from the spool into MongoDB."""

from __future__ import annotations

import logging
from pathlib import Path

from flows.core.manifest import SegmentRecord
from flows.core.report import format_bytes, format_count
from flows.core.restore_plan import RestorePlan
from flows.mongo.load import LoadedSegment, load_segment, places
from flows.tasks.options import attempt, stage
from flows.tasks.restore_job import RestoreJob
from flows.tasks.run import current

logger = logging.getLogger(__name__)


@stage(name="load", task_run_name="load {segment.name}")
def load(
    job: RestoreJob, plan: RestorePlan, segment: SegmentRecord, path: Path, *, read_back: bool, majority: bool
) -> LoadedSegment:
    """Write the documents of one segment into the target; its file leaves the spool."""
    run = current(job.run)
    with job.target.open() as target:
        loaded = load_segment(
            target,
            path,
            segment,
            key=job.key(segment),
            identity=job.access.identity,
            places=places(plan, read_back=read_back),
            described=job.manifest.described,
            users=frozenset(plan.users),
            again=attempt() > 1,
            progress=run.counter(documents=True),
            majority=majority,
        )
    run.loaded.add(segment.name)
    path.unlink()
    logger.info("loaded %s: %s documents, %s", segment.name, format_count(loaded.documents), format_bytes(loaded.bytes))
    return loaded
