"""The probe flow: what a store can do, found out by doing it."""

from __future__ import annotations

from prefect import flow

from blocks import BackupStore
from flows.core.checks import CheckLine, check_rows, failed
from flows.core.errors import StoreError
from flows.tasks.blocks import load_block
from flows.tasks.options import send_logs
from flows.tasks.probe import probe_store
from flows.tasks.publish import publish_table


@flow(name="probe", flow_run_name="probe {store}", persist_result=False)
def probe(store: str = "backups") -> list[CheckLine]:
    """
    Find out what a store can do, by doing it in a scratch folder, and hold that against the settings of its block.

    Args:
        store: Name of the MongoDB Backup Store block.

    Returns:
        A line for each thing tried: whether it works, what was seen, what that means for backups, and which setting of
        the provider's profile it contradicts.
    """
    send_logs()
    lines = probe_store(load_block(BackupStore, store))
    publish_table(f"probe-{store}", check_rows(lines), f"What the store {store} can do")
    if wrong := failed(lines):
        raise StoreError(
            "the store does not do all that backups need",
            hint=wrong[0].hint or "Look at the table under Artifacts.",
            store=store,
            failed=[line.name for line in wrong],
            first=wrong[0].detail,
        )
    return lines
