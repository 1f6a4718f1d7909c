"""The prune flow: remove what retention no longer keeps."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow

from blocks import BackupStore
from flows.storage.pruning import PruneReport
from flows.tasks.blocks import load_block, load_identities
from flows.tasks.lock import hold_plan
from flows.tasks.options import send_logs
from flows.tasks.prune import prune_plan
from flows.tasks.publish import publish_pruning
from flows.tasks.settings import Overlap, Retention


@flow(name="prune", flow_run_name="prune {plan}", persist_result=False)
def prune(
    plan: str = "default",
    store: str = "backups",
    identities: str | None = None,
    retention: Retention = Retention(),  # noqa: B008 - Prefect shows it as the default of the form
    dry_run: bool = True,
    overlap: Overlap = Overlap.WAIT,
) -> PruneReport:
    """
    Remove the backups of a plan that retention no longer keeps, and what crashed runs left.

    Args:
        plan: Name of the backup job.
        store: Name of the MongoDB Backup Store block.
        identities: Name of a MongoDB Backup Identities block with trusted signers, without secret keys. Backups that
            none of them signed do not count as verified then, so forged ones push out no good ones.
        retention: How long backups are kept, and how many are never removed. What is held stays in any case.
        dry_run: Only show what would be removed. Turn it off to remove.
        overlap: While another run of this plan is under way: `wait` for its end, or `refuse` to run.

    Returns:
        The decision for every backup with its reason, and what was removed.
    """
    retention.policy()
    send_logs()
    block = load_block(BackupStore, store)
    signers = load_identities(identities).signers
    with hold_plan(plan, overlap):
        report = prune_plan(block, plan, retention, now=datetime.now(UTC), dry_run=dry_run, signers=signers)
    publish_pruning(plan, store, report)
    report.plan.check_readable(plan)
    return report
