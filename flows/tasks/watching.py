"""Looking at the backups of a plan in one store."""

from __future__ import annotations

import logging
from datetime import datetime

from blocks import BackupStore
from flows.core.errors import BackupError, Stopped
from flows.core.watch import Limits, Severity, StoreWatch
from flows.core.watch_judge import unreadable_store
from flows.storage.watching import watch_store
from flows.tasks.options import stage

logger = logging.getLogger(__name__)


@stage(name="look", task_run_name="look at {plan} in {name}")
def look_at_store(
    store: BackupStore, plan: str, limits: Limits, *, name: str, now: datetime, trusted: tuple[str, ...]
) -> StoreWatch:
    """Say what is wrong with the backups of a plan in a store."""
    found = watch_store(store.open(), plan, limits, name=name, now=now, trusted=trusted)
    logger.info("%d backups in %s, %d of them good, the newest %s", found.listed, name, found.good, found.newest or "-")
    for fact in found.facts:
        say = logger.error if fact.severity is Severity.ALARM else logger.warning
        say("%s: %s", fact.kind.value, fact.what)
    return found


def look_or_say_why(
    store: BackupStore, plan: str, limits: Limits, *, name: str, now: datetime, trusted: tuple[str, ...]
) -> StoreWatch:
    """The same; where the store cannot be read, that is the fact."""
    try:
        return look_at_store(store, plan, limits, name=name, now=now, trusted=trusted)
    except Stopped:
        raise
    except BackupError as error:
        return unreadable_store(plan, name, error, at=now)
