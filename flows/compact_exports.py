"""The compact_exports flow: one whole export in place of one and the changes after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prefect import flow

from blocks import BackupStore
from flows.core.keys import check_plan_name
from flows.core.parquet.compacted import CompactionReport, compacted_dataset, compaction_page
from flows.core.parquet.records import ExportKind
from flows.tasks.blocks import load_block
from flows.tasks.compacting import compact_one
from flows.tasks.dataset_versions import open_dataset, publish_version
from flows.tasks.exporting import sweep
from flows.tasks.lock import hold_dataset
from flows.tasks.publish import publish_page
from flows.tasks.run import open_run, shown_progress
from flows.tasks.settings import Overlap

_GRACE = timedelta(hours=12)


@flow(name="compact-exports", flow_run_name="compact exports of {dataset}", persist_result=False)
def compact_exports(
    dataset: str = "default",
    target: str = "exports",
    dry_run: bool = True,
    overlap: Overlap = Overlap.WAIT,
) -> CompactionReport:
    """
    Write collections anew that were exported by their changes, so that their newest export has all rows.

    What they were at earlier exports cannot be asked any more. The old files stay until two more versions were
    published.

    Args:
        dataset: Name of the data set.
        target: Name of the MongoDB Backup Store block that holds the data set.
        dry_run: Only show what would be written anew. Turn it off to compact.
        overlap: While another run works on this data set: `wait` for its end, or `refuse` to run.

    Returns:
        What was written anew, or would be.
    """
    check_plan_name(dataset)
    block = load_block(BackupStore, target)
    with open_run() as run, hold_dataset(dataset, overlap):
        before = open_dataset(block, dataset, now=datetime.now(UTC))
        chains = {namespace: before.chain(namespace) for namespace in before.namespaces}
        due = {
            namespace: [file for _, item in chain for file in item.files]
            for namespace, chain in chains.items()
            if chain[-1][1].kind is ExportKind.CHANGES
        }
        run.expect(2 * sum(file.bytes for files in due.values() for file in files), f"compact {dataset}")
        with shown_progress(run, key=f"progress-compact-{dataset}", description=f"Compaction of {dataset}"):
            done = () if dry_run else tuple(compact_one(run.id, block, before, namespace) for namespace in due)
            after = before
            if done:
                after = compacted_dataset(before, done, written=datetime.now(UTC))
                publish_version(block, after)
                sweep(block, after, now=after.written, grace=_GRACE)
        report = CompactionReport(
            dataset=dataset,
            version=after.version,
            target=block.location,
            namespaces=done,
            due=tuple((str(name), len(chains[name]), sum(file.bytes for file in files)) for name, files in due.items()),
            dry_run=dry_run,
        )
    publish_page(f"compaction-{dataset}", compaction_page(report), f"Compaction of {dataset}")
    return report
