"""Finding the backup to restore."""

from __future__ import annotations

import logging

from blocks import BackupStore
from flows.core.manifest import Manifest
from flows.storage.repository import Repository
from flows.tasks.options import stage

logger = logging.getLogger(__name__)


@stage(name="find", task_run_name="find {backup} of {plan}")
def find_backup(store: BackupStore, plan: str, backup: str) -> Manifest:
    """Read the manifest of a backup, and see that its objects are there in full size."""
    manifest = Repository(store.open(), plan).whole(backup)
    logger.info(
        "found backup %s of plan %s, taken of MongoDB %s", manifest.backup, plan, manifest.source.server_version
    )
    return manifest
