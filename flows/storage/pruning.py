"""Removing what the retention plan says, and what crashed runs left."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.core.retention import RetentionPlan, RetentionPolicy, plan_retention
from flows.storage.repository import Repository

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What was removed, or would be."""

    plan: RetentionPlan
    dry_run: bool
    objects: int  # removed with their backups; 0 in a dry run
    garbage_objects: int
    garbage_bytes: int
    garbage_uploads: int
    held: tuple[str, ...] = ()  # backups that were to go, and that somebody held in the meantime

    @property
    def removed(self) -> tuple[str, ...]:
        """Ids of the backups that are gone, or would be; oldest first."""
        return tuple(backup for backup in self.plan.remove if backup not in self.held)


def prune_repository(
    repository: Repository, policy: RetentionPolicy, *, now: datetime, grace: timedelta, dry_run: bool
) -> PruneReport:
    """Decide from the inventory in the store, then remove, oldest first.

    Nothing goes on the word of the index: the manifests of the backups for which others go are read before.

    Args:
        repository: The backups of one plan.
        policy: How long backups are kept.
        now: Time of the decision, aware.
        grace: How old garbage must be to be removed.
        dry_run: Only decide.

    Raises:
        Refused: Where a manifest cannot be read: nothing tells then which backup is the last good one. A dry run shows
            that as a reason.
    """
    inventory = repository.inventory()
    plan = plan_retention(inventory.candidates(now), policy, now=now)
    wrong = not dry_run and bool(plan.remove) and not repository.bears_out(inventory, plan.relied_on)
    if wrong:
        # One that was wrong once is believed in nothing.
        logger.warning("the index of %s is not what the manifests say, so all of them are read", repository.plan)
        inventory = repository.inventory(use_index=False)
        plan = plan_retention(inventory.candidates(now), policy, now=now)
    garbage = repository.garbage(inventory, now=now, grace=grace)
    objects, held = 0, []
    if not dry_run:
        plan.check_readable(repository.plan)
        for backup in plan.remove:
            gone = repository.delete(backup, now=now)
            objects += gone
            if not gone:
                held.append(backup)
        repository.index(inventory, without=set(plan.remove) - set(held), anew=wrong)
        repository.sweep(garbage)
    return PruneReport(
        plan, dry_run, objects, len(garbage.objects), garbage.bytes, len(garbage.uploads), held=tuple(held)
    )
