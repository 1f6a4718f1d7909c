"""The stages of verifying stored backups: what is due, open, read, keep the result."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from blocks import BackupStore
from flows.core.encryption import Identities
from flows.core.manifest import SegmentRecord
from flows.core.report import format_bytes
from flows.core.verification import SegmentCheck, Walk
from flows.core.verified import VerifiedBackup
from flows.storage import verifying
from flows.storage.verifying import Due, DuePlan, OpenedBackup
from flows.tasks.options import stage
from flows.tasks.run import current

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VerifyJob:
    """What the tasks of one verification have in common."""

    run: str  # id of the flow run
    plan: str
    store: BackupStore
    walk: Walk
    phase: int  # which documents of a sample are walked


@stage(name="plan-verification", task_run_name="plan verification of {job.plan}")
def plan_verification(job: VerifyJob, backup: str | None, share: str, *, now: datetime) -> DuePlan:
    """Decide what is read today."""
    plan = verifying.plan_verification(job.store.open(), job.plan, backup=backup, share=share, now=now)
    size = sum(due.stored_bytes for due in plan.due)
    logger.info("%d of %d backups are due, about %s", len(plan.due), plan.listed, format_bytes(size))
    return plan


@stage(name="open-backup", task_run_name="open {due.backup}")
def open_backup(job: VerifyJob, due: Due, identities: Identities, *, now: datetime) -> OpenedBackup | None:
    """Read the manifest of a backup, and see who signed it and what opens it; None: it is gone."""
    found = verifying.open_backup(job.store.open(), job.plan, due, identities, now=now)
    for finding in (*found.opened.findings, *found.missing) if found is not None else ():
        logger.error("%s", finding)
    return found


@stage(name="verify-stored", task_run_name="verify {segment.name} of {backup.opened.backup}")
def verify_stored(job: VerifyJob, backup: OpenedBackup, segment: SegmentRecord) -> SegmentCheck:
    """Read one segment again and hold it against the manifest."""
    check = verifying.verify_stored(
        job.store.open(),
        backup,
        segment,
        phase=job.phase,
        walk=job.walk,
        progress=current(job.run).counter(),
    )
    for finding in check.findings:
        logger.error("%s", finding)
    if check.warning:
        logger.warning("%s %s", segment.name, check.warning)
    logger.info("read %s again: %s, %d findings", segment.name, format_bytes(check.bytes), len(check.findings))
    return check


@stage(name="keep-result", task_run_name="keep result of {backup.opened.backup}")
def keep_result(job: VerifyJob, backup: OpenedBackup, checks: tuple[SegmentCheck, ...]) -> VerifiedBackup | None:
    """Put the result of a backup beside it; None: the backup is gone."""
    found = verifying.keep_result(job.store.open(), backup, checks)
    if found is not None:
        logger.info("backup %s: %s", found.backup, found.outcome.value)
    return found
