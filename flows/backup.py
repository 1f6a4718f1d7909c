"""The backup flow: plan, dump, compress, upload, verify, commit, prune."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from blocks import BackupStore, MongoDBSource
from flows.core.assemble import assemble_manifest
from flows.core.compress import Compression
from flows.core.keys import backup_id
from flows.core.manifest import SegmentRecord
from flows.core.segments import DEFAULT_SEGMENT_MIB, MIB
from flows.core.selection import Selection
from flows.core.summaries import BackupSummary, backup_page, summarize
from flows.core.version import versions
from flows.mongo.dump import DumpedSegment
from flows.mongo.planning import SourcePlan
from flows.tasks.blocks import load_block
from flows.tasks.commit import commit
from flows.tasks.compress import compress
from flows.tasks.dump import dump
from flows.tasks.job import BackupJob
from flows.tasks.lock import hold_plan
from flows.tasks.options import threads
from flows.tasks.plan import plan as plan_backup
from flows.tasks.plan import prepare_store
from flows.tasks.prune import prune_plan
from flows.tasks.publish import name_run, publish_page, publish_retention
from flows.tasks.run import Run, last_result, open_run, shown_progress
from flows.tasks.settings import MOST_IN_FLIGHT, Overlap, Retention, check_in_flight
from flows.tasks.upload import upload
from flows.tasks.verify import verify


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
    retention: Retention | None = Retention(),  # noqa: B008 - Prefect shows it as the default of the form
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
        retention: How long backups are kept; none means that this run removes nothing.
        overlap: While another run of this plan is under way: `wait` for its end, or `refuse` to run.
        segment_mib: How much BSON one stored object holds [MiB]; large collections are split.
        segments_in_flight: How many segments are worked on at a time; bounds disk and memory, at most 16.

    Returns:
        The backup: id, documents, bytes, consistency, warnings, and what was pruned.
    """
    policy = retention.policy() if retention else None
    check_in_flight(segments_in_flight)
    selection = Selection(tuple(databases or ()), tuple(include or ()), tuple(exclude or ()))
    blocks = load_block(MongoDBSource, source), load_block(BackupStore, store)
    with hold_plan(plan, overlap), open_run() as run:
        started = datetime.now(UTC)
        job = BackupJob(run.id, plan, backup_id(started), *blocks, compression=compression)
        name_run(f"backup {plan} {job.backup}")
        planned = plan_backup(job, selection, users=include_users, segment_bytes=segment_mib * MIB)
        run.spool.require(2 * planned.largest(segments_in_flight))  # each with its compressed form beside it
        prepare_store(job)
        # Reading and compressing pass every byte once; what is left for the store is not known before.
        run.expect(int(2 * planned.bytes / 0.9), f"backup {job.backup}")
        with shown_progress(run, key=f"backup-progress-{plan}", description=f"Backup {job.backup}"):
            records = store_segments(run, job, planned, segments_in_flight)
        manifest = assemble_manifest(
            plan=plan,
            backup=job.backup,
            source=planned.identity,
            at=planned.at,
            collections=planned.collections,
            segments=records,
            users=include_users,
            warnings=planned.warnings,
            versions=versions(),
            started=started,
            finished=datetime.now(UTC),
        )
        commit(job, manifest)
        publish_page(f"backup-{plan}", backup_page(manifest), f"Backup {job.backup}")
        if retention is None or policy is None:
            return summarize(manifest)
        report = prune_plan(job.store, plan, retention, now=datetime.now(UTC), dry_run=False)
        publish_retention(plan, report.plan, dry_run=False)
        return summarize(manifest, pruned=report.plan.remove)


def store_segments(run: Run, job: BackupJob, planned: SourcePlan, in_flight: int) -> list[SegmentRecord]:
    """Send every segment through its stages; while one is uploaded, the next is compressed and a third is read.

    Segments are read one after the other, because the source is one server. A new segment begins when the
    oldest in flight is verified, so that no more than `in_flight` of them rest in the spool.
    """
    records: list[SegmentRecord] = []
    flying: deque[tuple[PrefectFuture[Any], ...]] = deque()
    dumped: PrefectFuture[DumpedSegment] | None = None
    for segment in planned.segments:
        if len(flying) == in_flight:
            records.append(last_result(flying.popleft()))
        dumped = dump.submit(
            job,
            segment,
            planned.identity.server_version,
            planned.at,
            wait_for=[dumped] if dumped else None,
            return_state=False,
        )
        packed = compress.submit(job, dumped, return_state=False)
        stored = upload.submit(job, segment.index, packed, return_state=False)
        flying.append((dumped, packed, stored, verify.submit(job, dumped, packed, stored, return_state=False)))
        for future in flying[-1]:
            run.watch(future)
    records += [last_result(stages) for stages in flying]
    return records
