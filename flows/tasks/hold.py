"""Holding a backup, and letting it go."""

from __future__ import annotations

import logging
from datetime import datetime

from blocks import BackupStore
from flows.core.holds import HoldRequest, Holds
from flows.storage.repository import Repository
from flows.tasks.options import stage

logger = logging.getLogger(__name__)


@stage(name="hold", task_run_name="{request.action.value} {request.kind.value} on {backup} of {plan}")
def change_holds(
    store: BackupStore, plan: str, backup: str, request: HoldRequest, *, at: datetime
) -> tuple[str, Holds]:
    """Set or lift a hold; gives the id of the backup and all its holds."""
    found, holds = Repository(store.open(), plan).change_holds(backup, request, at=at)
    logger.info("%s: %s of backup %s by %s", request.action.value, request.kind.value, found, request.by)
    return found, holds
