"""The restore flow: find, plan, prepare, fetch, load, finish."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from blocks import BackupStore, MongoDBTarget
from flows.core.compress import Compression
from flows.core.errors import BackupError, Refused
from flows.core.keys import backup_id
from flows.core.proof import NamespaceProof, check_proofs
from flows.core.restore_plan import RestoreItem, RestoreMode, RestorePlan, RestoreProgress, check_before, safety_plan
from flows.core.segments import DEFAULT_SEGMENT_MIB, MIB
from flows.core.selection import Selection
from flows.core.summaries import RestoreReport, restore_page, restore_report
from flows.tasks.approval import wait_for_approval
from flows.tasks.blocks import load_block
from flows.tasks.fetch import fetch
from flows.tasks.find import find_backup
from flows.tasks.job import BackupJob
from flows.tasks.load import load
from flows.tasks.lock import hold_plan
from flows.tasks.options import threads
from flows.tasks.prune import prune_plan
from flows.tasks.publish import name_run, publish_page, started_by
from flows.tasks.restore_job import RestoreJob
from flows.tasks.run import Run, last_result, open_run, shown_progress
from flows.tasks.settings import MOST_IN_FLIGHT, Overlap, Retention, check_in_flight
from flows.tasks.taking import take_backup
from flows.tasks.target import create_views, finish, plan_restore_into, prepare


@flow(
    name="restore",
    flow_run_name="restore {plan} {backup}",
    task_runner=threads(2 * MOST_IN_FLIGHT),
    persist_result=False,
)
def restore(
    plan: str = "default",
    store: str = "backups",
    target: str = "target",
    backup: str = "latest",
    before: datetime | None = None,
    databases: list[str] | None = None,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    mode: RestoreMode = RestoreMode.INTO_NEW,
    rename: dict[str, str] | None = None,
    include_users: bool = False,
    preserve_uuid: bool = False,
    into_source: bool = False,
    confirm: str = "",
    dry_run: bool = False,
    approval: bool = False,
    approval_minutes: int = 60,
    safety_backup: bool = True,
    hold_ttl: bool = False,
    prove: bool = True,
    segments_in_flight: int = 3,
) -> RestoreReport:
    """
    Restore a backup, or a part of it, into a MongoDB, and compare what is there with the manifest.

    Args:
        plan: Name of the backup job.
        store: Name of the MongoDB Backup Store block that holds the backup.
        target: Name of the MongoDB Restore Target block to write to.
        backup: Id of the backup, such as 2026-03-06T04-00-00Z, or `latest`.
        before: Instead of `backup`, a time with its zone: the newest backup with data from then or earlier is taken.
        databases: Databases of the backup to restore; none means all.
        include: Patterns `database.collection` with `*`; only namespaces that match one are restored.
        exclude: Patterns of namespaces to leave out; they win over `include`.
        mode: `into_new` refuses if a collection exists already; `replace` drops what the backup holds, then loads.
        rename: Database in the backup to database in the target; others keep their name.
        include_users: Merge the users and roles of the backup into the target; nobody is removed.
        preserve_uuid: Give collections the uuid that they had; needs the right to run applyOps.
        into_source: The target may be the very MongoDB that the backup was taken of.
        confirm: With `replace`: type the name of the database that is overwritten; several separated by commas.
        dry_run: Only show the plan; write nothing.
        approval: Pause before anything is written, until a second person resumes the run in the UI and approves.
        approval_minutes: How long to wait for that [min].
        safety_backup: First back up what will be dropped, into the same store as plan `<plan>-before-restore`; the
            user of the target needs the role `backup` too.
        hold_ttl: Keep restored documents from expiring; the report has the commands that turn TTL indexes on again.
        prove: At the end read everything back and compare its content digest; without it documents are only counted.
        segments_in_flight: How many segments are worked on at a time; bounds disk and memory, at most 16.

    Returns:
        What was restored, or would be.
    """
    check_in_flight(segments_in_flight)
    check_before(before, backup)
    selection = Selection(tuple(databases or ()), tuple(include or ()), tuple(exclude or ()))
    blocks = load_block(MongoDBTarget, target), load_block(BackupStore, store)
    with open_run() as run:
        job = RestoreJob(run.id, *blocks, manifest=find_backup(blocks[1], plan, backup, before))
        name_run(f"restore {plan} {job.manifest.backup}")
        wanted = partial(plan_restore_into, job, selection, mode=mode, rename=rename or {}, users=include_users)
        decided = wanted()
        begun = datetime.now(UTC)
        shown = "Plan: nothing has been written"
        page = restore_page(decided, job.manifest, now=begun, done=shown)
        publish_page(f"restore-{plan}", page, "Restore plan")
        if dry_run:
            return report(job, decided, (), begun=begun, dry_run=True)
        decided.check_source(allowed=into_source)
        decided.check_confirmation(confirm)
        approved = ""
        if approval:
            approved = wait_for_approval(page, patience=timedelta(minutes=approval_minutes))
            begun = datetime.now(UTC)  # the time to recover is not that of the person
            decided.check_unchanged(wanted())
        kept = keep_overwritten(run, job, decided, segments_in_flight) if safety_backup else ""
        run.spool.require(sum(sorted(s.bytes for s in decided.segments)[-segments_in_flight:]))
        passes = 2 if prove else 1
        run.expect(sum(s.bytes for s in decided.segments) + passes * decided.bytes, f"restore {job.manifest.backup}")
        state = RestoreProgress(decided)
        with state.told_on_failure(kept), shown_progress(run, key=f"restore-progress-{plan}", description="Restore"):
            prepare(job, decided, preserve_uuid=preserve_uuid)
            finishing = partial(finish.submit, job, read_back=prove, hold_ttl=hold_ttl)
            proofs = load_segments(run, job, decided, state, segments_in_flight, finishing)
            proofs += create_views(job, decided)
        page = restore_report(
            decided,
            job.manifest,
            proofs,
            begun=begun,
            ended=datetime.now(UTC),
            by=started_by(),
            approved=approved,
            kept=kept,
        )
        publish_page(f"restore-{plan}", page, "Restore report")
        check_proofs(proofs)
        return report(job, decided, proofs, begun=begun, dry_run=False, kept=kept)


def keep_overwritten(run: Run, job: RestoreJob, plan: RestorePlan, in_flight: int) -> str:
    """Back up what the restore will drop; gives plan and id of that backup, or nothing where nothing is dropped.

    Raises:
        Refused: Where that fails. Nothing has been dropped then.
    """
    if not plan.replaced:
        return ""
    name, backup = safety_plan(job.manifest.plan), backup_id(datetime.now(UTC))
    taking = BackupJob(run.id, name, backup, job.target.as_source(), job.store, Compression.GZIP)
    try:
        with hold_plan(name, Overlap.WAIT):
            take_backup(
                run, taking, plan.overwritten, users=False, segment_bytes=DEFAULT_SEGMENT_MIB * MIB, in_flight=in_flight
            )
            prune_plan(job.store, name, Retention(), now=datetime.now(UTC), dry_run=False)
    except BackupError as error:
        raise Refused(
            f"nothing was restored, because what would be dropped could not be backed up: {error.message}",
            hint=f"{error.hint} Or turn `safety_backup` off, and lose what is there.".strip(),
            **error.facts,
        ) from error
    return f"backup {backup} of plan {name}"


def load_segments(
    run: Run,
    job: RestoreJob,
    plan: RestorePlan,
    state: RestoreProgress,
    in_flight: int,
    finish_items: Callable[[tuple[RestoreItem, ...]], PrefectFuture[tuple[NamespaceProof, ...]]],
) -> list[NamespaceProof]:
    """Fetch and load every segment; while some are loaded, the next are fetched, and what is complete is finished."""
    flying: deque[tuple[PrefectFuture[Any], ...]] = deque()
    finishing: list[PrefectFuture[tuple[NamespaceProof, ...]]] = []

    def finish_completed() -> None:
        if completed := state.completed():
            finishing.append(finish_items(completed))
            run.watch(finishing[-1])

    finish_completed()  # collections without documents
    for segment in plan.segments:
        if len(flying) == in_flight:
            state.loaded(last_result(flying.popleft()).name)
            finish_completed()
        path = fetch.submit(job, segment)
        flying.append((path, load.submit(job, plan, segment, path, return_state=False)))
        for future in flying[-1]:
            run.watch(future)
    while flying:
        state.loaded(last_result(flying.popleft()).name)
        finish_completed()
    return [proof for future in finishing for proof in future.result()]


def report(
    job: RestoreJob,
    plan: RestorePlan,
    proofs: Sequence[NamespaceProof],
    *,
    begun: datetime,
    dry_run: bool,
    kept: str = "",
) -> RestoreReport:
    """The small value that the flow returns."""
    return RestoreReport(
        plan=job.manifest.plan,
        backup=job.manifest.backup,
        namespaces=len(plan.items),
        documents=plan.documents,
        bytes=plan.bytes,
        indexes=sum(proof.indexes for proof in proofs),
        read_back=sum(proof.content is not None for proof in proofs),
        seconds=(datetime.now(UTC) - begun).total_seconds(),
        safety_backup=kept,
        dry_run=dry_run,
    )
