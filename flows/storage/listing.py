"""What is in a store, for the inventory."""

from __future__ import annotations

from datetime import datetime

from flows.core.errors import ObjectMissing
from flows.core.foreign import parse_foreign
from flows.core.keys import backup_time
from flows.core.summaries import FOREIGN, InventoryRow, bare_row, inventory_row
from flows.storage.repository import Repository
from flows.storage.store import ObjectStore, StoredObject


def list_repository(store: ObjectStore, plan: str | None, *, now: datetime) -> list[InventoryRow]:
    """A row for each backup of a plan, or of all plans, and for each foreign archive: oldest first within its plan.

    Args:
        store: Where to look.
        plan: A plan, or None for all.
        now: For the ages, aware.
    """
    plans: set[str] = set()
    foreign: dict[str, list[InventoryRow]] = {}
    for item in store.list(""):
        name, _, rest = item.key.partition("/")
        if rest.startswith("backups/"):
            plans.add(name)
        elif (parsed := parse_foreign(item.key)) is not None:
            row = bare_row(parsed.plan, item.key, taken=parsed.taken, now=now, state=FOREIGN, stored_bytes=item.size)
            foreign.setdefault(parsed.plan, []).append(row)
    rows: list[InventoryRow] = []
    for name in [plan] if plan is not None else sorted(plans | foreign.keys()):
        found = foreign.get(name, [])
        # Only what has a repository is asked for it: the names of other tools need not be ones of ours.
        if name in plans or not found:
            found = found + _backups(Repository(store, name), now=now)
        rows += sorted(found, key=lambda row: (row.taken, row.backup))
    return rows


def find_archive(store: ObjectStore, key: str) -> StoredObject:
    """Look up the archive at a key.

    Raises:
        ObjectMissing: There is none; the hint says where to look.
    """
    try:
        return store.head(key)
    except ObjectMissing as error:
        raise ObjectMissing(
            error.message,
            hint="Give the key below the folder of the store; the inventory flow lists archives in its root.",
            **error.facts,
        ) from error


def _backups(repository: Repository, *, now: datetime) -> list[InventoryRow]:
    inventory = repository.inventory()
    rows = [inventory_row(manifest, now=now) for manifest in inventory.manifests]
    for item in inventory.unreadable:
        taken = backup_time(item.backup)
        rows.append(bare_row(repository.plan, item.backup, taken=taken, now=now, state=f"unreadable: {item.problem}"))
    return rows
