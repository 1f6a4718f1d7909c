"""Planning a backup, and refusing what cannot work before anything is written."""

from __future__ import annotations

import logging

from flows.core.report import format_bytes, format_count
from flows.core.selection import Selection
from flows.mongo.planning import SourcePlan, plan_source
from flows.storage.repository import Repository
from flows.tasks.job import BackupJob, Destination
from flows.tasks.options import stage

logger = logging.getLogger(__name__)


@stage(name="plan", task_run_name="plan {job.plan}")
def plan(job: BackupJob, selection: Selection, *, users: bool, segment_bytes: int) -> SourcePlan:
    """List what is selected in the source and cut it into segments."""
    with job.source.open() as source:
        planned = plan_source(source, selection, users=users, segment_bytes=segment_bytes)
    documents = sum(info.documents for info in planned.collections)
    logger.info(
        "planned %s: %d namespaces, about %s documents and %s, segments: %d, read at %s",
        job.backup,
        len(planned.collections),
        format_count(documents),
        format_bytes(planned.bytes),
        len(planned.segments),
        f"cluster time {planned.at}" if planned.at else "no common point in time",
    )
    for warning in planned.warnings:
        logger.warning(warning)
    return planned


@stage(name="prepare-store", task_run_name="prepare {to.name} for {job.plan}")
def prepare_store(job: BackupJob, to: Destination) -> tuple[str, ...]:
    """See that a store can be written and read, and that nothing has this id; returns what should be known of it."""
    warnings = Repository(to.store.open(), job.plan).prepare(job.backup, lock_until=to.lock_until(job.backup))
    for warning in warnings:
        logger.warning(warning)
    return warnings
