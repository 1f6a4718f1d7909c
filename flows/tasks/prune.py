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
def prune_plan(store: BackupStore, plan: str, retention: Retention, *, now: datetime, dry_run: bool) -> PruneReport:
    """Decide by the inventory in the store which backups go, and remove them unless this is a dry run."""
    report = prune_repository(
        Repository(store.open(), plan), retention.policy(), now=now, grace=retention.grace(), dry_run=dry_run
    )
    logger.info(
        "%s: %d backups stay, %d go; garbage of %d objects, %s",
        "would prune" if dry_run else "pruned",
        len(report.plan.decisions) - len(report.removed),
        len(report.removed),
        report.garbage_objects,
        format_bytes(report.garbage_bytes),
    )
    for backup in report.held:
        logger.warning("kept %s: it was to go, and is held since that was decided", backup)
    return report
