"""Taking one backup: what the backup flow does, and a restore before it overwrites anything."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from prefect.futures import PrefectFuture

from flows.core.assemble import assemble_manifest
from flows.core.backup_page import backup_page
from flows.core.errors import BackupError
from flows.core.keys import backup_prefix, backup_time
from flows.core.manifest import Manifest, SegmentRecord
from flows.core.segments import SegmentPlan
from flows.core.selection import Selection
from flows.core.version import versions
from flows.mongo.dump import DumpedSegment
from flows.mongo.planning import SourcePlan
from flows.tasks.commit import commit
from flows.tasks.compress import compress
from flows.tasks.destinations import Destinations
from flows.tasks.dump import dump
from flows.tasks.job import BackupJob, Destination
from flows.tasks.plan import plan as plan_backup
from flows.tasks.plan import prepare_store
from flows.tasks.publish import publish_page
from flows.tasks.run import Run, last_result, overlapped, shown_progress
from flows.tasks.upload import upload
from flows.tasks.verify import verify


@dataclass(frozen=True)
class Taken:
    """A backup that was taken: it is whole in at least one store."""

    manifests: dict[str, Manifest]  # by the name of the store; they differ in how the store proved what it has
    lost: dict[str, BackupError]  # why the other stores do not have it

    @property
    def manifest(self) -> Manifest:
        """The one of the first store that has it."""
        return next(iter(self.manifests.values()))


def take_backup(
    run: Run, job: BackupJob, selection: Selection, *, users: bool, segment_bytes: int, in_flight: int
) -> Taken:
    """Plan, dump, compress, upload, verify and commit one backup, and leave its page. Call it within a flow run.

    Args:
        run: The flow run.
        job: Plan, id, source, stores and protection of the backup; the plan is held by the caller.
        selection: What to take.
        users: Whether to take users and roles too.
        segment_bytes: How much BSON a segment should hold [bytes].
        in_flight: How many segments are worked on at a time.

    Raises:
        BackupError: Where no store has the backup.
    """
    planned = plan_backup(job, selection, users=users, segment_bytes=segment_bytes)
    run.spool.require(planned.room(in_flight))
    run.spool.note(backup_prefix(job.plan, job.backup))
    stores = Destinations(job.destinations)
    look = stores.stage(prepare_store)
    noticed = {to.name: stores.attempt(to, partial(look, job, to)) for to in stores.standing}
    # Reading and compressing pass every byte once; what is left for the stores is not known before.
    run.expect(int(2 * planned.bytes / 0.9), f"backup {job.backup}")
    with shown_progress(run, key=f"progress-backup-{job.plan}", description=f"Backup {job.backup}"):
        records = store_segments(run, job, planned, in_flight, stores)
    finished = datetime.now(UTC)
    manifests = {}
    for to in stores.standing:
        manifest = assemble_manifest(
            plan=job.plan,
            backup=job.backup,
            source=planned.identity,
            at=planned.at,
            collections=planned.collections,
            segments=records[to.name],
            users=users,
            warnings=(*planned.warnings, *(noticed[to.name] or ())),
            versions=versions(),
            started=backup_time(job.backup),
            finished=finished,
            identity=job.protection.identity,
            selection=selection,
        )
        if job.protection.signing_key is not None:
            manifest = manifest.signed(job.protection.signing_key)
        stores.attempt(to, partial(commit, job, to, manifest))
        if to.name not in stores.lost:
            manifests[to.name] = manifest
    taken = Taken(manifests, stores.lost)
    lost = {name: error.message for name, error in taken.lost.items()}
    page = backup_page(taken.manifest, stores=tuple(taken.manifests) if stores.several else (), lost=lost)
    publish_page(f"backup-{job.plan}", page, f"Backup {job.backup}")
    return taken


def store_segments(
    run: Run, job: BackupJob, planned: SourcePlan, in_flight: int, stores: Destinations
) -> dict[str, list[SegmentRecord]]:
    """Send every segment through its stages; while one is uploaded, the next is compressed and a third is read.

    Segments are read one after the other, because the source is one server. The stores get each at the same time; all
    go at the pace of the slowest.

    Returns:
        What each store that has all of them has, by its name.
    """
    send, check = stores.stage(upload), stores.stage(verify)
    dumped: PrefectFuture[DumpedSegment] | None = None
    sending: deque[tuple[Destination, ...]] = deque()  # of the segments under way
    records: dict[str, list[SegmentRecord]] = {to.name: [] for to in stores.standing}

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
        sending.append(stores.standing)
        stages: list[PrefectFuture[Any]] = [dumped, packed]
        for to in stores.standing:
            stored = send.submit(job, to, segment.index, packed, return_state=False)
            stages += [stored, check.submit(job, to, dumped, packed, stored, return_state=False)]
        return tuple(stages)

    def finish(stages: tuple[PrefectFuture[Any], ...]) -> None:
        packed = last_result(stages[:2])
        for place, to in enumerate(sending.popleft(), start=1):
            record = stores.attempt(to, partial(last_result, stages[2 * place : 2 * place + 2]))
            if record is not None:
                records[to.name].append(record)
        job.spool.release(packed.path)

    for _ in overlapped(run, planned.segments, submit, most=in_flight, finish=finish):
        pass
    return records
