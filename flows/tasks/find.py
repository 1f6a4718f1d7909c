"""Finding the backup to restore."""

from __future__ import annotations

import logging
from datetime import datetime

from blocks import BackupStore
from flows.core.manifest import Manifest
from flows.storage.repository import Repository
from flows.tasks.options import stage

logger = logging.getLogger(__name__)


@stage(name="find", task_run_name="find {backup} of {plan}")
def find_backup(store: BackupStore, plan: str, backup: str, before: datetime | None = None) -> Manifest:
    """Read the manifest of a backup, and see that its objects are there in full size."""
    repository = Repository(store.open(), plan)
    manifest = repository.whole(repository.newest_before(before) if before else backup)
    logger.info(
        "found backup %s of plan %s, taken of MongoDB %s", manifest.backup, plan, manifest.source.server_version
    )
    return manifest
