"""The inventory flow: what is in the repository."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow

from blocks import BackupStore
from flows.core.inventory import InventoryRow, inventory_rows
from flows.tasks.blocks import load_block
from flows.tasks.list import list_backups
from flows.tasks.options import send_logs
from flows.tasks.publish import publish_table


@flow(name="inventory", flow_run_name="inventory of {store}", persist_result=False)
def inventory(plan: str | None = None, store: str = "backups") -> list[InventoryRow]:
    """
    List the backups in a store, as a table, and the archives of mongodump in its root as `foreign`.

    Args:
        plan: Name of the backup job; none means all that the store holds.
        store: Name of the MongoDB Backup Store block.

    Returns:
        A row for each backup or archive, oldest first within its plan; a manifest that cannot be read has its problem
        in the row.
    """
    send_logs()
    rows = list_backups(load_block(BackupStore, store), plan, now=datetime.now(UTC))
    publish_table(f"inventory-{store}", inventory_rows(rows), f"Backups in {store}")
    return rows
