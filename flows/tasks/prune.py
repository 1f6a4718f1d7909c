"""Removing what retention no longer keeps, and what crashed runs left."""

from __future__ import annotations

import logging
from datetime import datetime

from blocks import BackupStore
from flows.core.report import format_bytes
from flows.storage.pruning import PruneReport, prune_repository
from flows.storage.repository import Repository
from flows.tasks.options import stage
from flows.tasks.settings import Retention

logger = logging.getLogger(__name__)


@stage(name="prune", task_run_name="prune {plan}")
def prune_plan(
    store: BackupStore,
    plan: str,
    retention: Retention,
    *,
    now: datetime,
    dry_run: bool,
    signers: tuple[str, ...] = (),
) -> PruneReport:
    """Decide by the inventory in the store which backups go, and remove them unless this is a dry run."""
    report = prune_repository(
        Repository(store.open(), plan),
        retention.policy(),
        now=now,
        grace=retention.grace(),
        dry_run=dry_run,
        lock_days=store.days_of_lock(retention.days),
        signers=signers,
    )
    logger.info(
        "%s: %d backups stay, %d go; garbage of %d objects, %s",
        "would prune" if dry_run else "pruned",
        len(report.plan.keep),
        len(report.plan.remove),
        report.garbage_objects,
        format_bytes(report.garbage_bytes),
    )
    if report.locked:
        logger.info("locked %d backups for longer", report.locked)
    for finding in report.findings:
        logger.warning(finding)
    return report
