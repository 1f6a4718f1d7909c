"""Trying a store."""

from __future__ import annotations

import logging

from blocks import BackupStore
from flows.core.checks import CheckLine
from flows.tasks.options import stage

logger = logging.getLogger(__name__)


@stage(name="probe", task_run_name="probe the store")
def probe_store(store: BackupStore) -> list[CheckLine]:
    """Try everything that backups can make use of; clean up afterwards."""
    lines = store.probe()
    for line in lines:
        level = logging.INFO if line.ok else logging.WARNING
        logger.log(level, "%s: %s", line.name, "; ".join(filter(None, [line.detail, line.contradicts, line.hint])))
    return lines
