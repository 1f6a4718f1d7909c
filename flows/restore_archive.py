"""The restore-archive flow: find, fetch, survey, plan, prepare, load, finish."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow

from blocks import BackupStore, MongoDBTarget
from flows.core.foreign import ARCHIVE_NAME, ArchiveReport, Survey, archive_report
from flows.core.restore_plan import RestoreMode, RestorePlan, RestoreProgress, check_rename
from flows.core.selection import Selection
from flows.core.summaries import restore_page
from flows.tasks.archive import fetch_archive, find_archive, survey
from flows.tasks.blocks import load_block
from flows.tasks.load import load
from flows.tasks.publish import publish_page
from flows.tasks.restore_job import RestoreJob
from flows.tasks.run import Run, open_run, shown_progress
from flows.tasks.target import finish, plan_restore_into, prepare

# Not `restore-archive`: that is the page of `restore` for a plan of the name `archive`.
_PAGE = "archive-restore"
_PROGRESS = "archive-restore-progress"


@flow(name="restore-archive", flow_run_name="restore archive {key}", persist_result=False)
def restore_archive(
    key: str,
    store: str = "backups",
    target: str = "target",
    databases: list[str] | None = None,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    mode: RestoreMode = RestoreMode.INTO_NEW,
    rename: dict[str, str] | None = None,
    include_users: bool = False,
    preserve_uuid: bool = False,
    confirm: str = "",
    dry_run: bool = False,
) -> ArchiveReport:
    """
    Restore an archive of `mongodump --archive`, or a part of it, that lies in a store without a manifest.

    The whole archive is read and checked before the target is touched. An oplog in it is not applied.

    Args:
        key: Key of the archive below the folder of the store, such as `mpg-1772769600.gz`; gzip is recognised.
        store: Name of the MongoDB Backup Store block that holds the archive.
        target: Name of the MongoDB Restore Target block to write to.
        databases: Databases of the archive to restore; none means all.
        include: Patterns `database.collection` with `*`; only namespaces that match one are restored.
        exclude: Patterns of namespaces to leave out; they win over `include`.
        mode: `into_new` refuses if a collection exists already; `replace` drops what the archive holds, then loads.
        rename: Database in the archive to database in the target; others keep their name.
        include_users: Merge the users and roles of the archive into the target; nobody is removed.
        preserve_uuid: Give collections the uuid that they had; needs the right to run applyOps.
        confirm: With `replace`: type the name of the database that is overwritten; several separated by commas.
        dry_run: Only check the archive and show the plan; write nothing.

    Returns:
        What was restored, or would be, and what the archive holds besides.
    """
    selection = Selection(tuple(databases or ()), tuple(include or ()), tuple(exclude or ()))
    check_rename(rename or {})  # a download may take an hour
    blocks = load_block(MongoDBTarget, target), load_block(BackupStore, store)
    with open_run() as run:
        surveyed = read_archive(run, blocks[1], key, users=include_users)
        job = RestoreJob(run.id, *blocks, manifest=surveyed.manifest)
        decided = plan_restore_into(job, selection, mode=mode, rename=rename or {}, users=include_users)
        shown = "nothing has been written" if dry_run else "restore has begun"
        publish(job, decided, f"Plan: the archive is whole, {shown}", "Restore plan")
        if dry_run:
            return archive_report(surveyed, decided, indexes=0, dry_run=True)
        decided.check_confirmation(confirm)
        indexes = write_archive(run, job, decided, preserve_uuid=preserve_uuid)
        return archive_report(surveyed, decided, indexes=indexes, dry_run=False)


def read_archive(run: Run, store: BackupStore, key: str, *, users: bool) -> Survey:
    """Bring the archive into the spool and read all of it."""
    found = find_archive(store, key)
    run.spool.require(found.size)
    run.expect(2 * found.size, f"read {key}")
    with shown_progress(run, key=_PROGRESS, description=f"Read {key}"):
        sha256 = fetch_archive(run.id, store, found)
        return survey(run.id, found, sha256, users=users)


def write_archive(run: Run, job: RestoreJob, plan: RestorePlan, *, preserve_uuid: bool) -> int:
    """Write what was decided, and report; returns the number of indexes."""
    state = RestoreProgress(plan)
    run.expect(2 * sum(s.bytes for s in job.manifest.segments) + plan.bytes, f"restore {job.manifest.backup}")
    with state.told_on_failure(), shown_progress(run, key=_PROGRESS, description="Restore"):
        prepare(job, plan, preserve_uuid=preserve_uuid)
        for segment in plan.segments:
            load(job, plan, segment, run.spool.folder / ARCHIVE_NAME)
            state.loaded(segment.name)
        finished = finish(job, plan)
    counted = f"{finished.uncounted} namespaces could not be counted" if finished.uncounted else "all counts agree"
    publish(job, plan, f"Complete: every namespace had the CRC of the archive; {counted}", "Restore report")
    return finished.indexes


def publish(job: RestoreJob, plan: RestorePlan, done: str, description: str) -> None:
    """Leave the page that says what is written where."""
    publish_page(_PAGE, restore_page(plan, job.manifest, now=datetime.now(UTC), done=done), description)
