"""The commit stage: the backup begins to exist."""

from __future__ import annotations

import logging

from flows.core.manifest import Manifest
from flows.storage.repository import Repository
from flows.tasks.job import BackupJob
from flows.tasks.options import stage

logger = logging.getLogger(__name__)


@stage(name="commit", task_run_name="commit {manifest.backup}")
def commit(job: BackupJob, manifest: Manifest) -> None:
    """Write the manifest, last of all."""
    Repository(job.store.open(), job.plan).commit(manifest, lock_until=job.lock_until)
    logger.info("committed %s: the backup is listed from now on", manifest.backup)
