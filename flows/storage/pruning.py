"""Removing what the retention plan says, and what crashed runs left."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.core.errors import Refused
from flows.core.retention import Candidate, RetentionPlan, RetentionPolicy, plan_retention
from flows.storage.repository import Repository


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What was removed, or would be."""

    plan: RetentionPlan
    dry_run: bool
    objects: int  # removed with their backups; 0 in a dry run
    garbage_objects: int
    garbage_bytes: int
    garbage_uploads: int


def prune_repository(
    repository: Repository, policy: RetentionPolicy, *, now: datetime, grace: timedelta, dry_run: bool
) -> PruneReport:
    """Decide from the inventory in the store, then remove, oldest first.

    Args:
        repository: The backups of one plan.
        policy: How long backups are kept.
        now: Time of the decision, aware.
        grace: How old garbage must be to be removed.
        dry_run: Only decide.

    Raises:
        Refused: Where a manifest cannot be read: nothing tells then which backup is the last good one.
    """
    inventory = repository.inventory()
    if inventory.unreadable:
        raise Refused(
            "a manifest in this repository cannot be read, so nothing is pruned",
            hint="Find out what damaged it; when its backup is given up, delete its objects by hand.",
            plan=repository.plan,
            backups=[item.backup for item in inventory.unreadable],
        )
    candidates = [Candidate(manifest.backup, stored_bytes=manifest.stored_bytes) for manifest in inventory.manifests]
    plan = plan_retention(candidates, policy, now=now)
    garbage = repository.garbage(inventory, now=now, grace=grace)
    objects = 0
    if not dry_run:
        for backup in plan.remove:
            objects += repository.delete(backup)
        repository.sweep(garbage)
    return PruneReport(plan, dry_run, objects, len(garbage.objects), garbage.bytes, len(garbage.uploads))
