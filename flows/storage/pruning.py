"""Removing what the retention plan says, and what crashed runs left."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from flows.core.errors import BackupNotFound, ObjectMissing
from flows.core.keys import backup_time
from flows.core.locks import lock_to_set
from flows.core.report import format_time
from flows.core.retention import RetentionPlan, RetentionPolicy, plan_retention
from flows.storage.repository import Repository
from flows.storage.store import Leftover, Obstacle

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What was removed, or would be."""

    plan: RetentionPlan  # a backup that a lock keeps, or a hold that came since, is one that stays
    dry_run: bool
    objects: int  # removed with their backups; 0 in a dry run
    garbage_objects: int
    garbage_bytes: int
    garbage_uploads: int
    leftovers: tuple[Leftover, ...] = ()  # objects that were deleted and whose data lives on
    locked: int = 0  # backups whose locks became longer
    warnings: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[str, ...]:
        """What the operator should know, as sentences; one for all objects of a folder that have the same fate."""
        groups: dict[tuple[str, Obstacle], list[Leftover]] = {}
        for item in self.leftovers:
            groups.setdefault((item.key.rpartition("/")[0], item.why), []).append(item)
        return (*self.warnings, *(_sentence(folder, why, items) for (folder, why), items in groups.items()))

    def leftover_rows(self) -> list[dict[str, str]]:
        """The objects whose data lives on, for a table."""
        return [
            {"object": item.key, "is": item.why.value, "until": format_time(item.until) if item.until else "not known"}
            for item in self.leftovers
        ]


def prune_repository(
    repository: Repository,
    policy: RetentionPolicy,
    *,
    now: datetime,
    grace: timedelta,
    dry_run: bool,
    lock_days: int | None = None,
    signers: Collection[str] = (),
) -> PruneReport:
    """Decide from the inventory in the store, then remove, oldest first.

    Nothing goes on the word of the index: the manifests of the backups for which others go are read before. What
    Object Lock protects stays, and the report says until when: that is no error.

    Args:
        repository: The backups of one plan.
        policy: How long backups are kept.
        now: Time of the decision, aware.
        grace: How old garbage must be to be removed.
        dry_run: Only decide.
        lock_days: For how long backups of this store are locked; those that stay are locked anew. None: they are not.
        signers: Public keys of those whose backups count as verified; none: all that are whole do.

    Raises:
        Refused: Where a manifest cannot be read: nothing tells then which backup is the last good one. A dry run shows
            that as a reason.
    """
    inventory = repository.inventory()
    plan = plan_retention(inventory.candidates(now, signers), policy, now=now)
    # What the index makes look forged is not counted, and so others could go: that is not believed either.
    doubted = {*plan.relied_on, *(listed.facts.backup for listed in inventory.strangers(signers))}
    wrong = not dry_run and bool(plan.remove) and not repository.bears_out(inventory, doubted)
    if wrong:
        # One that was wrong once is believed in nothing.
        logger.warning("the index of %s is not what the manifests say, so all of them are read", repository.plan)
        inventory = repository.inventory(use_index=False)
        plan = plan_retention(inventory.candidates(now, signers), policy, now=now)
    garbage = repository.garbage(inventory, now=now, grace=grace)
    # Looked at before anything is deleted: a backup that stays listed has to stay whole. That is a request for each,
    # so a dry run does it only where locks are to be expected.
    locks = not dry_run or lock_days is not None
    stays = {
        backup: _locked(lock.until)
        for backup in (plan.remove if locks else ())
        if (lock := repository.lock(backup)) is not None and lock.holds(now)
    }
    objects, locked = 0, 0
    leftovers: list[Leftover] = []
    warnings = [] if lock_days is None else _lock_warnings(lock_days, policy)
    if strangers := inventory.strangers(signers):
        warnings.append(
            f"no trusted signer signed {len(strangers)} of the backups, so they do not count as verified; the newest "
            f"is {strangers[-1].facts.backup}"
        )
    if not dry_run:
        plan.check_readable(repository.plan)
        if lock_days is not None:
            locked = _lock_anew(repository, plan, policy, now=now, days=lock_days, warnings=warnings)
        for backup in plan.remove:
            if backup in stays:
                continue
            removal = repository.delete(backup, now=now)
            if removal.held:
                stays[backup] = "held since this was decided"
            elif removal.whole:  # the credentials may not see locks, and met one
                stays[backup] = _locked(removal.leftovers[0].until)
            else:
                objects += removal.objects
                leftovers += removal.leftovers
        repository.index(inventory, without=set(plan.remove) - stays.keys(), anew=wrong)
        leftovers += repository.sweep(garbage)
    return PruneReport(
        _staying(plan, stays),
        dry_run,
        objects,
        len(garbage.objects),
        garbage.bytes,
        len(garbage.uploads),
        tuple(leftovers),
        locked,
        tuple(warnings),
    )


def _lock_warnings(lock_days: int, policy: RetentionPolicy) -> list[str]:
    if not policy.days:
        return [f"backups are locked for {lock_days} days: those that no rule keeps stay until their locks end"]
    if lock_days > policy.days:
        return [f"backups are locked for {lock_days} days and kept for {policy.days}: they stay until their locks end"]
    return []


def _lock_anew(
    repository: Repository,
    plan: RetentionPlan,
    policy: RetentionPolicy,
    *,
    now: datetime,
    days: int,
    warnings: list[str],
) -> int:
    """Give the backups that stay longer locks where theirs end soon; how many that were."""
    longer = 0
    for backup in plan.keep:
        # Beyond its days a backup is kept for a reason that has no date.
        given_up = backup_time(backup) + timedelta(days=policy.days)
        lock = repository.lock(backup)
        until = lock_to_set(lock.until if lock else None, given_up if given_up > now else None, now=now, days=days)
        if until is None:
            continue
        try:
            repository.extend_lock(repository.manifest(backup), until)
            longer += 1
        except BackupNotFound:
            warnings.append(f"{backup} could not be locked: it is gone since this was decided")
        except ObjectMissing as error:
            warnings.append(f"{backup} could not be locked, an object is missing: {error.facts['key']}")
    return longer


def _staying(plan: RetentionPlan, stays: Mapping[str, str]) -> RetentionPlan:
    """The plan with the backups that something else keeps among those that stay."""
    return replace(
        plan,
        decisions=tuple(
            replace(
                decision, keep=True, reasons=(*decision.reasons, f"stays whole, because it is {stays[decision.backup]}")
            )
            if decision.backup in stays
            else decision
            for decision in plan.decisions
        ),
    )


def _sentence(folder: str, why: Obstacle, items: list[Leftover]) -> str:
    untils = [item.until for item in items]
    last = None if None in untils else max(until for until in untils if until is not None)
    what = f"{folder}: {len(items)} deleted {'object is' if len(items) == 1 else 'objects are'} still in the store, "
    if why is Obstacle.LOCKED:
        return what + _locked(last)
    end = f"until {format_time(last)}, by a rule of the bucket" if last else "and no rule that could be read ends that"
    return f"{what}hidden, since the credentials may not delete versions: the data lives {end}"


def _locked(until: datetime | None) -> str:
    if until is None:
        return "locked without an end that can be seen: by a legal hold, or the credentials may not read its lock"
    return f"locked until {format_time(until)}"
