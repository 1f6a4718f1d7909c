"""What is in a store, for the inventory."""

from __future__ import annotations

from datetime import datetime, timedelta

from flows.core.keys import backup_time
from flows.core.summaries import InventoryRow, inventory_row
from flows.storage.repository import Repository
from flows.storage.store import ObjectStore


def plans(store: ObjectStore) -> list[str]:
    """Names of the plans that have anything in the store."""
    found = set()
    for item in store.list(""):
        plan, _, rest = item.key.partition("/")
        if rest.startswith("backups/"):
            found.add(plan)
    return sorted(found)


def list_repository(store: ObjectStore, plan: str | None, *, now: datetime) -> list[InventoryRow]:
    """A row for each backup of a plan, or of all plans: oldest first within its plan.

    Args:
        store: Where to look.
        plan: A plan, or None for all.
        now: For the ages, aware.
    """
    rows: list[InventoryRow] = []
    for name in [plan] if plan is not None else plans(store):
        inventory = Repository(store, name).inventory()
        found = [inventory_row(manifest, now=now) for manifest in inventory.manifests]
        for item in inventory.unreadable:
            age = max(now - backup_time(item.backup), timedelta(0))
            found.append(InventoryRow(name, item.backup, age, 0, 0, 0, 0, "-", f"unreadable: {item.problem}"))
        rows += sorted(found, key=lambda row: row.backup)
    return rows
