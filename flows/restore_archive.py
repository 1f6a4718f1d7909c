"""The restore-archive flow: read an archive that this project did not store, and carry out its restore."""

from __future__ import annotations

from prefect import flow

from blocks import BackupStore, MaintenanceWindow, MongoDBTarget
from flows.core.access import Access
from flows.core.errors import ConfigurationError
from flows.core.foreign import ARCHIVE_NAME, ArchiveReport, Survey, archive_report
from flows.core.maintenance import Procedure
from flows.core.merge import Duplicates
from flows.core.rename import parse_rename
from flows.core.restore_plan import RestoreMode, RestoreRequest, safety_plan
from flows.core.selection import Selection
from flows.tasks.archive import fetch_archive, find_archive, find_file, survey, take_file
from flows.tasks.blocks import load_block, load_identities
from flows.tasks.options import threads
from flows.tasks.restore_job import RestoreJob
from flows.tasks.restoring import Manner, Precautions, carry_out
from flows.tasks.run import Run, open_run, shown_progress
from flows.tasks.settings import approval_patience

# Not `restore-archive`: that is the page of `restore` for a plan of the name `archive`.
_PAGE = "archive-restore"
_PROGRESS = "progress-archive-restore-read"


@flow(name="restore-archive", flow_run_name="restore archive {key}{file}", task_runner=threads(4), persist_result=False)
def restore_archive(
    key: str = "",
    file: str = "",
    store: str = "backups",
    target: str = "target",
    identities: str | None = None,
    databases: list[str] | None = None,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    mode: RestoreMode = RestoreMode.INTO_NEW,
    duplicates: Duplicates = Duplicates.KEEP,
    rename: dict[str, str] | None = None,
    include_users: bool = False,
    preserve_uuid: bool = False,
    confirm: str = "",
    maintenance: str | None = None,
    dry_run: bool = False,
    approval: bool = False,
    approval_minutes: float = 60,
    safety_backup: bool = True,
    hold_ttl: bool = False,
    prove: bool = True,
) -> ArchiveReport:
    """
    Restore an archive of `mongodump --archive`, or a part of it, that lies in a store without a manifest, or in a file.

    The whole archive is read and checked before the target is touched. An oplog in it is not applied.

    Args:
        key: Key of the archive below the folder of the store, such as `mpg-1772769600.gz`; gzip is recognised.
        file: Or path of a file on the machine that runs this; it is copied into the spool and stays as it is.
        store: Name of the MongoDB Backup Store block that holds the archive, and gets what will be overwritten.
        target: Name of the MongoDB Restore Target block to write to.
        identities: Name of a MongoDB Backup Identities block: for whom what will be overwritten is encrypted.
        databases: Databases of the archive to restore; none means all.
        include: Patterns `database.collection` with `*`; only namespaces that match one are restored.
        exclude: Patterns of namespaces to leave out; they win over `include`.
        mode: `into_new` refuses if a collection exists already; `replace` drops what the archive holds, then loads;
            `merge` adds what is missing to the collections that are there.
        duplicates: With `merge`, documents that the target has with other content: `keep` those of the target,
            `overwrite` them, or `fail` at the first.
        rename: Old to new names, as with `restore`: databases, collections or patterns.
        include_users: Add users and roles of the archive that the target lacks; those that it has stay as they are.
        preserve_uuid: Give collections the uuid that they had; needs the right to run applyOps.
        confirm: To replace or overwrite: type the name of the database concerned; several separated by commas.
        maintenance: Name of the MongoDB Backup Maintenance Window block: what is stopped before, and started after.
        dry_run: Only check the archive and show the plan; write nothing.
        approval: Pause before anything is written, until a second person resumes the run in the UI and approves.
        approval_minutes: How long to wait for that [min].
        safety_backup: First back up what will be overwritten, into the same store as plan `archive-before-restore`; the
            user of the target needs the role `backup` too.
        hold_ttl: Keep restored documents from expiring; the report has the commands that turn TTL indexes on again.
        prove: At the end read everything back and compare its content digest; without it documents are only counted.

    Returns:
        What was restored, or would be, and what the archive holds besides.
    """
    request = RestoreRequest(
        Selection(tuple(databases or ()), tuple(include or ()), tuple(exclude or ())),
        mode,
        duplicates,
        rename or {},
        users=include_users,
        preserve_uuid=preserve_uuid,
    )
    if bool(key) == bool(file):
        raise ConfigurationError(
            "an archive to restore is one object or one file",
            hint="Give its key in the store as `key`, or the path of a file as `file`.",
            key=key,
            file=file,
        )
    patience = approval_patience(approval, approval_minutes)
    parse_rename(request.rename)  # a download may take an hour
    blocks = load_block(MongoDBTarget, target), load_block(BackupStore, store)
    keys = load_identities(identities)
    with open_run() as run:
        surveyed = read_archive(run, blocks[1], key, file, users=include_users)
        job = RestoreJob(run.id, *blocks, surveyed.manifest, Access(keys))
        done = carry_out(
            run,
            job,
            request,
            Precautions(
                confirm,
                True,  # an archive does not tell what it was taken of
                patience,
                safety_plan("archive") if safety_backup else "",
            ),
            Manner(hold_ttl, prove, majority=True, in_flight=1),
            load_block(MaintenanceWindow, maintenance).open() if maintenance else Procedure(),
            page=_PAGE,
            dry_run=dry_run,
            archive=run.spool.folder / ARCHIVE_NAME,
        )
    return archive_report(surveyed, done.plan, indexes=done.indexes, kept=done.kept, dry_run=dry_run)


def read_archive(run: Run, store: BackupStore, key: str, file: str, *, users: bool) -> Survey:
    """Bring the archive into the spool and read all of it."""
    found = find_archive(store, key) if key else find_file(file)
    run.spool.require(found.size)
    run.expect(2 * found.size, f"read {found.key}")
    with shown_progress(run, key=_PROGRESS, description=f"Read {found.key}"):
        sha256 = fetch_archive(run.id, store, found) if key else take_file(run.id, file)
        return survey(run.id, found, sha256, users=users)
