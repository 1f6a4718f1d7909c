"""What is in a store, for the inventory."""

from __future__ import annotations

from datetime import datetime

from flows.core.errors import ObjectMissing
from flows.core.foreign import parse_foreign
from flows.core.inventory import FOREIGN, InventoryRow, bare_row, inventory_row
from flows.core.keys import backup_time, check_plan_name, is_plan_name
from flows.storage.inventory import Inventory, Listing, take_inventory
from flows.storage.store import ObjectStore, StoredObject


def list_repository(store: ObjectStore, plan: str | None, *, now: datetime) -> list[InventoryRow]:
    """A row for each backup of a plan, or of all plans, and for each foreign archive: oldest first within its plan.

    Args:
        store: Where to look.
        plan: A plan, or None for all.
        now: For the ages, aware.

    Raises:
        ConfigurationError: Where nothing is found and the plan could have no backups.
    """
    listings: dict[str, Listing] = {}
    foreign: dict[str, list[InventoryRow]] = {}
    for item in store.list(""):
        name, _, rest = item.key.partition("/")
        if rest:
            # Names that cannot be ours are those of other things in the bucket.
            if plan in (None, name) and is_plan_name(name):
                listings.setdefault(name, Listing(name)).add(item)
        elif (parsed := parse_foreign(item.key)) is not None and plan in (None, parsed.plan):
            row = bare_row(parsed.plan, item.key, taken=parsed.taken, now=now, state=FOREIGN, stored_bytes=item.size)
            foreign.setdefault(parsed.plan, []).append(row)
    rows: list[InventoryRow] = []
    for name in sorted(listings.keys() | foreign.keys()):
        found = foreign.get(name, [])
        if name in listings:
            found = found + _backups(take_inventory(store, listings[name]), name, now=now)
        rows += sorted(found, key=lambda row: (row.taken, row.backup))
    if plan is not None and not rows:
        check_plan_name(plan)
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


def _backups(inventory: Inventory, plan: str, *, now: datetime) -> list[InventoryRow]:
    rows = [
        inventory_row(
            plan,
            b.facts,
            now=now,
            damage=b.damage,
            held=inventory.held(b.facts.backup, now),
            standing=b.standing,
        )
        for b in inventory.backups
    ]
    for item in inventory.unreadable:
        taken, held = backup_time(item.backup), inventory.held(item.backup, now)
        rows.append(bare_row(plan, item.backup, taken=taken, now=now, state=f"unreadable: {item.problem}", held=held))
    return rows
