"""Listing what is in a store."""

from __future__ import annotations

import logging
from datetime import datetime

from blocks import BackupStore
from flows.core.inventory import InventoryRow
from flows.storage.listing import list_repository
from flows.tasks.options import stage

logger = logging.getLogger(__name__)


@stage(name="list", task_run_name="list backups")
def list_backups(store: BackupStore, plan: str | None, *, now: datetime) -> list[InventoryRow]:
    """Read the manifests of one plan or of all."""
    rows = list_repository(store.open(), plan, now=now)
    logger.info("%d backups", len(rows))
    return rows
