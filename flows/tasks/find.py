"""Finding the backup to restore, and seeing that it may be read."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from blocks import BackupStore
from flows.core.access import Access
from flows.core.encryption import Identities
from flows.core.manifest import Manifest
from flows.storage.access import check_access as check_in_store
from flows.storage.repository import Repository
from flows.storage.verifying import warned
from flows.tasks.options import stage

logger = logging.getLogger(__name__)


@stage(name="find", task_run_name="find {backup} of {plan}")
def find_backup(store: BackupStore, plan: str, backup: str, before: datetime | None = None) -> Manifest:
    """Read the manifest of a backup, see that its objects are there in full size, and what verifications say."""
    repository = Repository(store.open(), plan)
    found = repository.whole(repository.newest_before(before) if before else backup, now=datetime.now(UTC))
    manifest = warned(store.open(), found)
    logger.info(
        "found backup %s of plan %s, taken of MongoDB %s", manifest.backup, plan, manifest.source.server_version
    )
    for warning in manifest.warnings:
        logger.warning("%s", warning)
    return manifest


@stage(name="check-access", task_run_name="check access to {manifest.backup}")
def check_access(store: BackupStore, manifest: Manifest, identities: Identities) -> Access:
    """See that a trusted signer signed the backup, and find the identity that opens it."""
    access = check_in_store(store.open(), manifest, identities)
    for line in access.lines(manifest):
        logger.info("%s", line.removeprefix("* ").replace("**", ""))
    return access
