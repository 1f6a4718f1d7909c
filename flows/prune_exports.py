"""The prune_exports flow: remove exports, and partitions of them, that retention no longer keeps."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow

from blocks import BackupStore
from flows.core.keys import check_plan_name
from flows.core.parquet.erasure_report import Removal
from flows.core.parquet.export_retention import PrunedExports, decision_rows, pruned_page
from flows.tasks.blocks import load_block
from flows.tasks.dataset_versions import open_dataset, publish_version, remove_unnamed
from flows.tasks.lock import hold_dataset
from flows.tasks.options import send_logs
from flows.tasks.prune_exports import plan_retention
from flows.tasks.publish import publish_page, publish_table
from flows.tasks.settings import ExportRetention, Overlap


@flow(name="prune-exports", flow_run_name="prune exports of {dataset}", persist_result=False)
def prune_exports(
    dataset: str = "default",
    target: str = "exports",
    keep: ExportRetention = ExportRetention(),  # noqa: B008 - Prefect shows it as the default of the form
    dry_run: bool = True,
    overlap: Overlap = Overlap.WAIT,
) -> PrunedExports:
    """
    Remove the exports of a data set, and the partitions of these, that retention no longer keeps.

    Args:
        dataset: Name of the data set.
        target: Name of the MongoDB Backup Store block that holds the data set.
        keep: How long partitions and exports are kept, and how many exports are never removed.
        dry_run: Only show what would be removed. Turn it off to remove.
        overlap: While another run works on this data set: `wait` for its end, or `refuse` to run.

    Returns:
        The decision for every export and partition with its reasons, and what was removed.
    """
    check_plan_name(dataset)
    keep.policy()
    send_logs()
    block = load_block(BackupStore, target)
    now = datetime.now(UTC)
    with hold_dataset(dataset, overlap):
        before = open_dataset(block, dataset, now=now)
        plan = plan_retention(before, keep, now=now)
        removal = Removal()
        if not dry_run:
            if plan.after is not before:
                publish_version(block, plan.after)
            removal = remove_unnamed(block, plan.after)
    after = before if dry_run else plan.after
    report = PrunedExports(dataset, block.location, before.version, after.version, plan.decisions, removal, dry_run)
    verb = "would do" if dry_run else "did"
    publish_table(f"retention-exports-{dataset}", decision_rows(report), f"What retention {verb} with {dataset}")
    publish_page(f"prune-exports-{dataset}", pruned_page(report), f"Retention of the exports in {dataset}")
    return report
