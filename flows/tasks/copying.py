"""The stages of a copy from store to store: plan, copy, commit."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from flows.core.keys import backup_time
from flows.core.manifest import Manifest, SegmentRecord
from flows.core.report import format_bytes
from flows.storage import copying
from flows.storage.copying import CopyPlan
from flows.storage.repository import Repository
from flows.tasks.job import Destination
from flows.tasks.options import stage
from flows.tasks.run import current

logger = logging.getLogger(__name__)

MISSING = "missing"  # in place of an id: all that the other store lacks


@dataclass(frozen=True)
class CopyJob:
    """The copy of one backup."""

    run: str  # id of the flow run
    plan: str
    backup: str
    source: Destination
    to: Destination

    @property
    def lock_until(self) -> datetime | None:
        """Until when the copy is locked; None where it is not, or the backup is older than that."""
        until = self.to.store.lock_until(backup_time(self.backup))
        return until if until is not None and until > datetime.now(UTC) else None

    def repositories(self) -> tuple[Repository, Repository]:
        """Where it is, and where it goes."""
        return Repository(self.source.store.open(), self.plan), Repository(self.to.store.open(), self.plan)


@stage(name="list-copies", task_run_name="list what to copy to {to.name}")
def choose(source: Destination, to: Destination, plan: str, backup: str) -> tuple[str, ...]:
    """The ids of the backups to copy, oldest first: of the one that was named, or of all that the other store lacks."""
    repository = Repository(source.store.open(), plan)
    if backup != MISSING:
        return (repository.manifest(backup).backup,)
    there = set(Repository(to.store.open(), plan).backup_ids())
    return tuple(found for found in repository.backup_ids() if found not in there)


@stage(name="plan-copy", task_run_name="plan copy of {job.backup}")
def plan_copy(job: CopyJob) -> CopyPlan:
    """See what there is to do."""
    planned = copying.plan_copy(*job.repositories(), job.backup, lock_until=job.lock_until)
    for warning in planned.warnings:
        logger.warning(warning)
    return planned


@stage(name="copy", task_run_name="copy {segment.name} to {job.to.name}")
def copy_segment(job: CopyJob, manifest: Manifest, segment: SegmentRecord) -> bool:
    """Bring one segment to the other store, and have that prove it."""
    run = current(job.run)
    brought = copying.copy_segment(
        job.source.store.open(),
        job.to.store.open(),
        manifest.segment_key(segment),
        run.spool.folder / f"{job.backup}-{segment.name}",
        sha256=segment.sha256,
        size=segment.bytes,
        lock_until=job.lock_until,
        progress=run.counter(),
    )
    logger.info("%s %s: %s", "copied" if brought else "there already is", segment.name, format_bytes(segment.bytes))
    return brought


@stage(name="commit-copy", task_run_name="commit {manifest.backup} to {job.to.name}")
def commit_copy(job: CopyJob, manifest: Manifest) -> None:
    """List the copy in the other store."""
    copying.commit_copy(*job.repositories(), manifest, lock_until=job.lock_until)
    logger.info("committed %s: the backup is listed in %s from now on", manifest.backup, job.to.name)
