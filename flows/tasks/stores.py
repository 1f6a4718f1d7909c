"""The stores of one backup run, each with its own retention: before it, and after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from blocks import BackupStore
from flows.core.backup_page import StoreResult
from flows.core.errors import BackupError, ConfigurationError, SomeStoresFailed, Stopped
from flows.tasks.blocks import load_block
from flows.tasks.job import BackupJob, Destination
from flows.tasks.prune import prune_plan
from flows.tasks.publish import publish_pruning
from flows.tasks.settings import OtherStore, Retention
from flows.tasks.taking import Taken


def retention_by_store(
    store: str, retention: Retention | None, others: Sequence[OtherStore]
) -> dict[str, Retention | None]:
    """How long backups are kept in each store of a plan, by the names of their blocks, the first store first.

    Raises:
        ConfigurationError: A store is named twice, or a retention makes no sense.
    """
    keeping = {store: retention}
    for other in others:
        if other.store in keeping:
            raise ConfigurationError(
                "a store is named twice",
                hint="Name each store once: in `store`, or in `stores`.",
                got=other.store,
            )
        keeping[other.store] = other.retention
    for rules in keeping.values():
        if rules is not None:
            rules.policy()
    return keeping


def load_destinations(
    names: Iterable[str], keeping: Mapping[str, Retention | None] | None = None
) -> tuple[Destination, ...]:
    """Load the blocks of the stores of a plan.

    Args:
        names: Of the blocks.
        keeping: How long backups are kept in each, where that is known.

    Raises:
        ConfigurationError: Two of them are the same place.
    """
    days = {name: retention.days for name, retention in (keeping or {}).items() if retention is not None}
    destinations = tuple(Destination(name, load_block(BackupStore, name), days.get(name)) for name in names)
    places: dict[tuple[str | None, str, str], str] = {}
    for to in destinations:
        place = (to.store.endpoint, to.store.bucket, to.store.prefix)
        if place in places:
            raise ConfigurationError(
                "two stores of this plan are the same place, so they would be one copy",
                hint="Give each block its own bucket, best with another provider.",
                stores=[places[place], to.name],
            )
        places[place] = to.name
    return destinations


def prune_each(job: BackupJob, taken: Taken, keeping: Mapping[str, Retention | None]) -> list[StoreResult]:
    """Prune each store that has the new backup by its own retention, then say which store failed.

    Args:
        job: The backup that was taken.
        taken: What came of it.
        keeping: The retention of each store, by its name; a store with none is not pruned.

    Raises:
        SomeStoresFailed: Where one of several stores lacks the backup, or could not be pruned.
        BackupError: Where the only store could not be pruned.
    """
    results = []
    unpruned: dict[str, BackupError] = {}
    for to in job.destinations:
        retention = keeping[to.name]
        if to.name not in taken.manifests:
            continue
        if retention is None:
            results.append(StoreResult(to.name))
            continue
        try:
            signers = job.protection.signers
            report = prune_plan(to.store, job.plan, retention, now=datetime.now(UTC), dry_run=False, signers=signers)
        except Stopped:
            raise
        except BackupError as error:
            if len(job.destinations) == 1:
                raise
            unpruned[to.name] = error
        else:
            publish_pruning(job.plan, to.name, report)
            results.append(StoreResult(to.name, report.plan.remove, report.findings))
    if taken.lost or unpruned:
        raise _some_failed(job, taken, unpruned)
    return results


def _some_failed(job: BackupJob, taken: Taken, unpruned: Mapping[str, BackupError]) -> SomeStoresFailed:
    have = list(taken.manifests)
    lost = {name: error.message for name, error in taken.lost.items()}
    facts = {
        "backup": job.backup,
        "stored_in": have,
        **({"not_stored_in": lost} if lost else {}),
        **({"not_pruned": {name: error.message for name, error in unpruned.items()}} if unpruned else {}),
    }
    if not lost:
        return SomeStoresFailed(
            "the backup is in all stores of this plan, and one of them could not be pruned",
            hint="Mend what its error says; the next backup prunes again.",
            **facts,
        )
    return SomeStoresFailed(
        f"the backup is in {len(have)} of the {len(job.destinations)} stores of this plan",
        hint=f"Mend what the errors say, then run the flow `copy` with plan={job.plan}, store={have[0]}, "
        f"to={next(iter(lost))}, backup={job.backup}.",
        **facts,
    )
