"""Carrying out a restore: what the flows that restore have in common, from the plan to the report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect.futures import PrefectFuture

from flows.core.approval_page import approval_page
from flows.core.compress import Compression
from flows.core.errors import BackupError, Refused
from flows.core.keys import backup_id
from flows.core.maintenance import Procedure, StepResult, maintenance_section
from flows.core.manifest import SegmentRecord
from flows.core.proof import NamespaceProof, check_proofs
from flows.core.restore_page import restore_page, restore_report
from flows.core.restore_plan import RestorePlan, RestoreRequest
from flows.core.restore_progress import RestoreProgress
from flows.core.segments import DEFAULT_SEGMENT_MIB, MIB
from flows.tasks.approval import wait_for_approval
from flows.tasks.fetch import fetch
from flows.tasks.job import BackupJob, Destination
from flows.tasks.load import load
from flows.tasks.lock import hold_plan
from flows.tasks.maintenance import maintenance_window
from flows.tasks.prune import prune_plan
from flows.tasks.publish import publish_page, started_by
from flows.tasks.restore_job import RestoreJob
from flows.tasks.run import Run, last_result, overlapped, shown_progress
from flows.tasks.settings import Overlap, Retention
from flows.tasks.taking import take_backup
from flows.tasks.target import compare, create_views, finish, plan_restore_into, prepare

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Precautions:
    """What the operator said against harm."""

    confirm: str  # databases that may be overwritten
    into_source: bool  # the target may be the MongoDB that was backed up
    approval: timedelta | None  # how long to wait for a second person; None: nobody is asked
    safety_plan: str  # the plan under which to keep what will be dropped; empty: it is lost


@dataclass(frozen=True, slots=True)
class Manner:
    """How the operator wants it done."""

    hold_ttl: bool
    prove: bool  # read everything back
    majority: bool  # each batch waits for a majority of the replica set, and not only all of them at the end
    in_flight: int  # segments worked on at a time


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has done, or would do."""

    plan: RestorePlan
    seconds: float  # [s] from the plan, or the approval, to the end: the recovery time
    proofs: tuple[NamespaceProof, ...] = ()
    kept: str = ""  # plan and id of the backup of what was overwritten

    @property
    def indexes(self) -> int:
        """That were built."""
        return sum(proof.indexes for proof in self.proofs)

    @property
    def read_back(self) -> int:
        """Namespaces whose content digest was computed again from the target."""
        return sum(proof.content is not None for proof in self.proofs)


def carry_out(
    run: Run,
    job: RestoreJob,
    request: RestoreRequest,
    precautions: Precautions,
    manner: Manner,
    procedure: Procedure,
    *,
    page: str,
    dry_run: bool,
    archive: Path | None = None,
    judged: bool = True,
) -> Restored:
    """Plan, ask, keep, prepare, load, finish and report, with a page for the plan and one for the result.

    Args:
        run: The flow run.
        job: What is restored into which target.
        request: What the operator asked for.
        precautions: What has to hold before anything is written.
        manner: How to write.
        procedure: What to stop before anything is written, and to start again.
        page: Key of the pages.
        dry_run: Stop after the plan.
        archive: Where the only segment is already; None: segments are fetched from the store.
        judged: Whether a difference at the end is an error. Else whoever called looks at the proofs.

    Raises:
        Refused: Before anything is written.
        RestoreIncomplete: Something failed midway.
        RestoreDiffers: At the end the target is not what the manifest says.
    """
    begun = datetime.now(UTC)
    plan = plan_restore_into(job, request, now=begun).told_of_safety(
        kept=bool(precautions.safety_plan), encrypted=job.access.encrypts(job.manifest)
    )

    def show(done: str, title: str, steps: Sequence[StepResult] = ()) -> None:
        section = maintenance_section(procedure, steps)
        text = restore_page(plan, job.manifest, now=begun, done=done, access=job.access, maintenance=section)
        publish_page(page, text, title)

    for warning in plan.warnings:
        logger.warning("%s", warning)
    show("Plan: nothing has been written", "Restore plan")
    if dry_run:
        return Restored(plan, (datetime.now(UTC) - begun).total_seconds())
    plan.check_free()
    plan.check_expiry(hold=manner.hold_ttl)
    plan.check_source(allowed=precautions.into_source)
    plan.check_confirmation(precautions.confirm)
    approved = ""
    if precautions.approval is not None:
        asked = datetime.now(UTC)
        until = asked + precautions.approval
        question = approval_page(
            plan,
            job.manifest,
            now=asked,
            until=until,
            by=started_by(),
            page=page,
            access=job.access,
            procedure=procedure,
            safety_plan=precautions.safety_plan,
        )
        approved = wait_for_approval(question, until=until, patience=precautions.approval)
        begun = datetime.now(UTC)  # the time to recover is not that of the person
        plan.check_unchanged(plan_restore_into(job, request, now=begun))
    run.spool.require(0 if archive else sum(sorted(s.bytes for s in plan.segments)[-manner.in_flight :]))

    def tell_failure(why: str, steps: Sequence[StepResult]) -> None:
        show(f"Failed: {why}", "Restore report", steps)

    with maintenance_window(run, procedure, tell_failure) as steps:
        kept = keep_overwritten(run, job, plan, precautions.safety_plan, manner.in_flight)
        expected = sum(s.bytes for s in plan.segments) + (2 if manner.prove else 1) * plan.bytes
        run.expect(expected, f"restore {job.manifest.backup}")
        state = RestoreProgress(plan)
        with state.told_on_failure(kept), shown_progress(run, key=f"progress-{page}", description="Restore"):
            prepare(job, plan, preserve_uuid=request.preserve_uuid)
            state.prepared()
            proofs = load_segments(run, job, plan, state, manner, archive)
            proofs += create_views(job, plan)
    ended = datetime.now(UTC)
    report = restore_report(
        plan,
        job.manifest,
        proofs,
        begun=begun,
        ended=ended,
        by=started_by(),
        approved=approved,
        kept=kept,
        access=job.access,
        maintenance=maintenance_section(procedure, steps),
    )
    publish_page(page, report, "Restore report")
    if judged:
        check_proofs(proofs)
    return Restored(plan, (ended - begun).total_seconds(), tuple(proofs), kept)


def keep_overwritten(run: Run, job: RestoreJob, plan: RestorePlan, name: str, in_flight: int) -> str:
    """Back up what the restore endangers; gives plan and id of that backup, or nothing where there is no such thing.

    Raises:
        Refused: Where that fails. Nothing has been written then.
    """
    if not plan.endangered or not name:
        return ""
    backup = backup_id(datetime.now(UTC))
    try:
        protection = job.access.protection(job.manifest)
        kept_in = (Destination(job.store.bucket, job.store),)
        taking = BackupJob(run.id, name, backup, job.target.as_source(), kept_in, Compression.GZIP, protection)
        with hold_plan(name, Overlap.WAIT):
            take_backup(
                run, taking, plan.overwritten, users=False, segment_bytes=DEFAULT_SEGMENT_MIB * MIB, in_flight=in_flight
            )
            prune_before(job, name)
    except BackupError as error:
        raise Refused(
            f"nothing was restored, because what would be overwritten could not be backed up: {error.message}",
            hint=f"{error.hint} Or turn `safety_backup` off, and lose what is there.".strip(),
            **error.facts,
        ) from error
    return f"backup {backup} of plan {name}"


def prune_before(job: RestoreJob, name: str) -> None:
    """Remove old backups of what restores overwrote. No reason not to restore, where that cannot be done."""
    try:
        prune_plan(job.store, name, Retention(), now=datetime.now(UTC), dry_run=False)
    except BackupError as error:
        logger.warning("old backups of plan %s were not pruned: %s", name, error)


def load_segments(
    run: Run, job: RestoreJob, plan: RestorePlan, state: RestoreProgress, manner: Manner, archive: Path | None
) -> list[NamespaceProof]:
    """Fetch and load every segment; while some are loaded, the next are fetched, and what is complete is finished.

    Where that fails, what was under way has come to its end before the error is raised, and `state` knows of it.
    """
    finishing: list[tuple[PrefectFuture[Any], ...]] = []

    def finish_completed() -> None:
        if completed := state.completed():
            compared = compare.submit(
                job,
                completed,
                dict(state.merged),
                read_back=manner.prove,
                majority=manner.majority,
                return_state=False,
            )
            finished = finish.submit(job, completed, compared, hold_ttl=manner.hold_ttl, return_state=False)
            finishing.append((compared, finished))
            for future in finishing[-1]:
                run.watch(future)

    def submit(segment: SegmentRecord) -> tuple[PrefectFuture[Any], ...]:
        fetched = fetch.submit(job, segment) if archive is None else None
        loaded = load.submit(
            job,
            plan,
            segment,
            fetched or archive,
            read_back=manner.prove,
            majority=manner.majority,
            return_state=False,
        )
        return (fetched, loaded) if fetched is not None else (loaded,)

    try:
        finish_completed()  # collections without documents
        for loaded in overlapped(run, plan.segments, submit, most=manner.in_flight):
            state.loaded(loaded.name, loaded.merged)
            finish_completed()
        return [proof for stages in finishing for proof in last_result(stages)]
    except BackupError:
        run.settle()
        for name in run.loaded:
            state.loaded(name)
        raise
