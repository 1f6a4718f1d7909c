"""The restore flow: find, plan, prepare, fetch, load, finish."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from blocks import BackupStore, MongoDBTarget
from flows.core.restore_plan import RestoreMode, RestorePlan, RestoreProgress
from flows.core.selection import Selection
from flows.core.summaries import RestoreReport, restore_page
from flows.tasks.blocks import load_block
from flows.tasks.fetch import fetch
from flows.tasks.find import find_backup
from flows.tasks.load import load
from flows.tasks.options import threads
from flows.tasks.publish import name_run, publish_page
from flows.tasks.restore_job import RestoreJob
from flows.tasks.run import Run, last_result, open_run, shown_progress
from flows.tasks.settings import MOST_IN_FLIGHT, check_in_flight
from flows.tasks.target import finish, plan_restore_into, prepare


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
    databases: list[str] | None = None,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    mode: RestoreMode = RestoreMode.INTO_NEW,
    rename: dict[str, str] | None = None,
    include_users: bool = False,
    preserve_uuid: bool = False,
    confirm: str = "",
    dry_run: bool = False,
    segments_in_flight: int = 3,
) -> RestoreReport:
    """
    Restore a backup, or a part of it, into a MongoDB, and compare what is there with the manifest.

    Args:
        plan: Name of the backup job.
        store: Name of the MongoDB Backup Store block that holds the backup.
        target: Name of the MongoDB Restore Target block to write to.
        backup: Id of the backup, such as 2026-03-06T04-00-00Z, or `latest`.
        databases: Databases of the backup to restore; none means all.
        include: Patterns `database.collection` with `*`; only namespaces that match one are restored.
        exclude: Patterns of namespaces to leave out; they win over `include`.
        mode: `into_new` refuses if a collection exists already; `replace` drops what the backup holds, then loads.
        rename: Database in the backup to database in the target; others keep their name.
        include_users: Merge the users and roles of the backup into the target; nobody is removed.
        preserve_uuid: Give collections the uuid that they had; needs the right to run applyOps.
        confirm: With `replace`: type the name of the database that is overwritten; several separated by commas.
        dry_run: Only show the plan; write nothing.
        segments_in_flight: How many segments are worked on at a time; bounds disk and memory, at most 16.

    Returns:
        What was restored, or would be.
    """
    check_in_flight(segments_in_flight)
    selection = Selection(tuple(databases or ()), tuple(include or ()), tuple(exclude or ()))
    blocks = load_block(MongoDBTarget, target), load_block(BackupStore, store)
    with open_run() as run:
        job = RestoreJob(run.id, *blocks, manifest=find_backup(blocks[1], plan, backup))
        name_run(f"restore {plan} {job.manifest.backup}")
        decided = plan_restore_into(job, selection, mode=mode, rename=rename or {}, users=include_users)
        now = datetime.now(UTC)
        shown = "Plan: nothing has been written" if dry_run else "Plan: restore has begun"
        publish_page(f"restore-{plan}", restore_page(decided, job.manifest, now=now, done=shown), "Restore plan")
        if dry_run:
            return report(job, decided, indexes=0, dry_run=True)
        decided.check_confirmation(confirm)
        run.spool.require(sum(sorted(s.bytes for s in decided.segments)[-segments_in_flight:]))
        run.expect(sum(s.bytes for s in decided.segments) + decided.bytes, f"restore {job.manifest.backup}")
        state = RestoreProgress(decided)
        with state.told_on_failure(), shown_progress(run, key=f"restore-progress-{plan}", description="Restore"):
            prepare(job, decided, preserve_uuid=preserve_uuid)
            load_segments(run, job, decided, state, segments_in_flight)
            finished = finish(job, decided)
        counted = f"{finished.uncounted} namespaces could not be counted" if finished.uncounted else "all counts agree"
        done = f"Complete: every segment had its SHA-256, CRC and content digest; {counted}"
        publish_page(f"restore-{plan}", restore_page(decided, job.manifest, now=now, done=done), "Restore report")
        return report(job, decided, indexes=finished.indexes, dry_run=False)


def load_segments(run: Run, job: RestoreJob, plan: RestorePlan, state: RestoreProgress, in_flight: int) -> None:
    """Fetch and load every segment; while some are loaded, the next are fetched."""
    flying: deque[tuple[PrefectFuture[Any], ...]] = deque()
    for segment in plan.segments:
        if len(flying) == in_flight:
            state.loaded(last_result(flying.popleft()).name)
        path = fetch.submit(job, segment)
        flying.append((path, load.submit(job, plan, segment, path, return_state=False)))
        for future in flying[-1]:
            run.watch(future)
    while flying:
        state.loaded(last_result(flying.popleft()).name)


def report(job: RestoreJob, plan: RestorePlan, *, indexes: int, dry_run: bool) -> RestoreReport:
    """The small value that the flow returns."""
    return RestoreReport(
        plan=job.manifest.plan,
        backup=job.manifest.backup,
        namespaces=len(plan.items),
        documents=plan.documents,
        bytes=plan.bytes,
        indexes=indexes,
        dry_run=dry_run,
    )
