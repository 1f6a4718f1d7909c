"""Taking one backup: what the backup flow does, and a restore before it overwrites anything."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect.futures import PrefectFuture

from flows.core.assemble import assemble_manifest
from flows.core.keys import backup_time
from flows.core.manifest import Manifest, SegmentRecord
from flows.core.segments import SegmentPlan
from flows.core.selection import Selection
from flows.core.summaries import backup_page
from flows.core.version import versions
from flows.mongo.dump import DumpedSegment
from flows.mongo.planning import SourcePlan
from flows.tasks.commit import commit
from flows.tasks.compress import compress
from flows.tasks.dump import dump
from flows.tasks.job import BackupJob
from flows.tasks.plan import plan as plan_backup
from flows.tasks.plan import prepare_store
from flows.tasks.publish import publish_page
from flows.tasks.run import Run, overlapped, shown_progress
from flows.tasks.upload import upload
from flows.tasks.verify import verify


def take_backup(
    run: Run, job: BackupJob, selection: Selection, *, users: bool, segment_bytes: int, in_flight: int
) -> Manifest:
    """Plan, dump, compress, upload, verify and commit one backup, and leave its page. Call it within a flow run.

    Args:
        run: The flow run.
        job: Plan, id, source, store and protection of the backup; the plan is held by the caller.
        selection: What to take.
        users: Whether to take users and roles too.
        segment_bytes: How much BSON a segment should hold [bytes].
        in_flight: How many segments are worked on at a time.
    """
    planned = plan_backup(job, selection, users=users, segment_bytes=segment_bytes)
    run.spool.require(2 * planned.largest(in_flight))  # each with its compressed form beside it
    noticed = prepare_store(job)
    # Reading and compressing pass every byte once; what is left for the store is not known before.
    run.expect(int(2 * planned.bytes / 0.9), f"backup {job.backup}")
    with shown_progress(run, key=f"progress-backup-{job.plan}", description=f"Backup {job.backup}"):
        records = store_segments(run, job, planned, in_flight)
    manifest = assemble_manifest(
        plan=job.plan,
        backup=job.backup,
        source=planned.identity,
        at=planned.at,
        collections=planned.collections,
        segments=records,
        users=users,
        warnings=(*planned.warnings, *noticed),
        versions=versions(),
        started=backup_time(job.backup),
        finished=datetime.now(UTC),
        identity=job.protection.identity,
    )
    if job.protection.signing_key is not None:
        manifest = manifest.signed(job.protection.signing_key)
    commit(job, manifest)
    publish_page(f"backup-{job.plan}", backup_page(manifest), f"Backup {job.backup}")
    return manifest


def store_segments(run: Run, job: BackupJob, planned: SourcePlan, in_flight: int) -> list[SegmentRecord]:
    """Send every segment through its stages; while one is uploaded, the next is compressed and a third is read.

    Segments are read one after the other, because the source is one server.
    """
    dumped: PrefectFuture[DumpedSegment] | None = None

    def submit(segment: SegmentPlan) -> tuple[PrefectFuture[Any], ...]:
        nonlocal dumped
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
        return dumped, packed, stored, verify.submit(job, dumped, packed, stored, return_state=False)

    return list(overlapped(run, planned.segments, submit, most=in_flight))
