"""The backup flow: plan, dump, compress, upload, verify, commit, prune."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow

from blocks import BackupEncryption, MongoDBSource
from flows.core.backup_page import BackupSummary, summarize
from flows.core.compress import Compression
from flows.core.encryption import Protection
from flows.core.keys import backup_id
from flows.core.segments import DEFAULT_SEGMENT_MIB, MIB
from flows.core.selection import Selection
from flows.tasks.blocks import load_block
from flows.tasks.job import BackupJob
from flows.tasks.lock import hold_plan
from flows.tasks.options import threads
from flows.tasks.publish import name_run
from flows.tasks.run import open_run
from flows.tasks.settings import MOST_IN_FLIGHT, OtherStore, Overlap, Retention, check_in_flight
from flows.tasks.stores import load_destinations, prune_each, retention_by_store
from flows.tasks.taking import take_backup


@flow(
    name="backup",
    flow_run_name="backup {plan}",
    task_runner=threads(4 * MOST_IN_FLIGHT),
    persist_result=False,
)
def backup(
    plan: str = "default",
    source: str = "source",
    store: str = "backups",
    databases: list[str] | None = None,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    include_users: bool = False,
    compression: Compression = Compression.GZIP,
    encryption: str | None = None,
    retention: Retention | None = Retention(),  # noqa: B008 - Prefect shows it as the default of the form
    stores: list[OtherStore] | None = None,
    overlap: Overlap = Overlap.WAIT,
    segment_mib: int = DEFAULT_SEGMENT_MIB,
    segments_in_flight: int = 3,
) -> BackupSummary:
    """
    Back up a MongoDB into a store, verified, and remove what retention no longer keeps.

    Args:
        plan: Name of the backup job; its backups are kept under this name. Lower-case letters, digits and `-`.
        source: Name of the MongoDB Backup Source block to read.
        store: Name of the MongoDB Backup Store block to write to.
        databases: Databases to take; none means all but `local`.
        include: Patterns `database.collection` with `*`; only namespaces that match one are taken.
        exclude: Patterns of namespaces to leave out; they win over `include`.
        include_users: Take users and roles too.
        compression: How segments are compressed: `gzip` is what `mongorestore --gzip` reads, `zstd` is smaller.
        encryption: Name of the MongoDB Backup Encryption block; none: what is stored is not encrypted and not signed.
        retention: How long backups are kept in `store`; none means that this run removes nothing there.
        stores: More stores that get the backup, each with its own retention. When one fails, the others get it all the
            same, and the run fails at its end and says which; `copy` then brings the backup there.
        overlap: While another run of this plan is under way: `wait` for its end, or `refuse` to run.
        segment_mib: How much BSON one stored object holds [MiB]; large collections are split.
        segments_in_flight: How many segments are worked on at a time; bounds disk and memory, at most 16.

    Returns:
        The backup: id, documents, bytes, consistency, warnings, and per store what was pruned and what pruning found.

    Raises:
        SomeStoresFailed: The backup is whole in at least one store, and not in all of them.
    """
    check_in_flight(segments_in_flight)
    selection = Selection(tuple(databases or ()), tuple(include or ()), tuple(exclude or ()))
    keeping = retention_by_store(store, retention, stores or [])
    origin = load_block(MongoDBSource, source)
    destinations = load_destinations(keeping, keeping)
    protection = load_block(BackupEncryption, encryption).open() if encryption else Protection()
    with hold_plan(plan, overlap), open_run() as run:
        job = BackupJob(run.id, plan, backup_id(datetime.now(UTC)), origin, destinations, compression, protection)
        name_run(f"backup {plan} {job.backup}")
        taken = take_backup(
            run, job, selection, users=include_users, segment_bytes=segment_mib * MIB, in_flight=segments_in_flight
        )
        return summarize(taken.manifest, prune_each(job, taken, keeping))
