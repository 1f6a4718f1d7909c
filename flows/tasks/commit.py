"""The commit stage: the backup begins to exist."""

from __future__ import annotations

import logging

from flows.core.manifest import Manifest
from flows.storage.repository import Repository
from flows.tasks.job import BackupJob, Destination
from flows.tasks.options import stage

logger = logging.getLogger(__name__)


@stage(name="commit", task_run_name="commit {manifest.backup} to {to.name}")
def commit(job: BackupJob, to: Destination, manifest: Manifest) -> None:
    """Write the manifest, last of all."""
    Repository(to.store.open(), job.plan).commit(manifest, lock_until=to.lock_until(job.backup))
    logger.info("committed %s: the backup is listed in %s from now on", manifest.backup, to.name)
