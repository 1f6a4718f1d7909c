"""Planning a backup, and refusing what cannot work before anything is written."""

from __future__ import annotations

import logging

from flows.core.errors import BackupError
from flows.core.report import counted, format_bytes, format_count
from flows.core.selection import Selection
from flows.mongo.planning import SourcePlan, plan_source
from flows.storage.repository import Repository
from flows.tasks.job import BackupJob, Destination
from flows.tasks.options import stage
from flows.tasks.run import current

logger = logging.getLogger(__name__)


@stage(name="plan", task_run_name="plan {job.plan}")
def plan(job: BackupJob, selection: Selection, *, users: bool, segment_bytes: int) -> SourcePlan:
    """List what is selected in the source and cut it into segments."""
    with job.source.open() as source:
        planned = plan_source(source, selection, users=users, segment_bytes=segment_bytes)
    documents = sum(info.documents for info in planned.collections)
    logger.info(
        "planned %s: %s, about %s documents and %s, segments: %d, read at %s",
        job.backup,
        counted(len(planned.collections), "namespace"),
        format_count(documents),
        format_bytes(planned.bytes),
        len(planned.segments),
        f"cluster time {planned.at}" if planned.at else "no common point in time",
    )
    for warning in planned.warnings:
        logger.warning(warning)
    return planned


def _end_uploads(repository: Repository, dead: tuple[str, ...]) -> tuple[str, ...]:
    """Abort what killed runs of this machine were sending; where that fails, pruning does it later."""
    try:
        if aborted := repository.abort_uploads(dead):
            logger.info("aborted %s of runs that were killed", counted(aborted, "upload"))
    except BackupError as error:
        return (f"what killed runs were sending stays open until it is pruned: {error.message}",)
    return ()


@stage(name="prepare-store", task_run_name="prepare {to.name} for {job.plan}")
def prepare_store(job: BackupJob, to: Destination) -> tuple[str, ...]:
    """See that a store can be written and read, and that nothing has this id; returns what should be known of it."""
    repository = Repository(to.store.open(), job.plan)
    warnings = repository.prepare(job.backup, lock_until=to.lock_until(job.backup))
    for warning in (*warnings, *_end_uploads(repository, current(job.run).dead)):
        logger.warning(warning)
    return warnings
