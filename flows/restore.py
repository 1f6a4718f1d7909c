"""The restore flow: find a backup, and carry out its restore."""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from blocks import BackupStore, MaintenanceWindow, MongoDBTarget
from flows.core.maintenance import Procedure
from flows.core.merge import Duplicates
from flows.core.restore_page import RestoreReport
from flows.core.restore_plan import RestoreMode, RestoreRequest, check_before, safety_plan
from flows.core.selection import Selection
from flows.tasks.blocks import load_block, load_identities
from flows.tasks.find import check_access, find_backup
from flows.tasks.options import threads
from flows.tasks.publish import name_run
from flows.tasks.restore_job import RestoreJob
from flows.tasks.restoring import Manner, Precautions, carry_out
from flows.tasks.run import open_run
from flows.tasks.settings import MOST_IN_FLIGHT, WriteConcern, approval_patience, check_in_flight


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
    identities: str | None = None,
    backup: str = "latest",
    before: datetime | None = None,
    databases: list[str] | None = None,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    mode: RestoreMode = RestoreMode.INTO_NEW,
    duplicates: Duplicates = Duplicates.KEEP,
    rename: dict[str, str] | None = None,
    include_users: bool = False,
    preserve_uuid: bool = False,
    into_source: bool = False,
    confirm: str = "",
    maintenance: str | None = None,
    dry_run: bool = False,
    approval: bool = False,
    approval_minutes: float = 60,
    safety_backup: bool = True,
    hold_ttl: bool = False,
    prove: bool = True,
    write_concern: WriteConcern = WriteConcern.MAJORITY,
    segments_in_flight: int = 3,
) -> RestoreReport:
    """
    Restore a backup, or a part of it, into a MongoDB, and compare what is there with the manifest.

    Args:
        plan: Name of the backup job.
        store: Name of the MongoDB Backup Store block that holds the backup.
        target: Name of the MongoDB Restore Target block to write to.
        identities: Name of the MongoDB Backup Identities block: what opens an encrypted backup, and who may sign one.
        backup: Id of the backup, such as 2026-03-06T04-00-00Z, or `latest`.
        before: Instead of `backup`, a time with its zone: the newest backup with data from then or earlier is taken.
        databases: Databases of the backup to restore; none means all.
        include: Patterns `database.collection` with `*`; only namespaces that match one are restored.
        exclude: Patterns of namespaces to leave out; they win over `include`.
        mode: `into_new` refuses if a collection exists already; `replace` drops what the backup holds, then loads;
            `merge` adds what is missing to the collections that are there.
        duplicates: With `merge`, documents that the target has with other content: `keep` those of the target,
            `overwrite` them, or `fail` at the first.
        rename: Old to new names: `{"mpg": "mpg_restored"}` a database, `{"mpg.invoices": "mpg.invoices_old"}` a
            collection, `{"mpg.*": "copy.*"}` or `{"$db$.logs": "logs.$db$"}` a pattern. The first that matches wins.
        include_users: Add users and roles of the backup that the target lacks; those that it has stay as they are.
        preserve_uuid: Give collections the uuid that they had; needs the right to run applyOps.
        into_source: The target may be the very MongoDB that the backup was taken of.
        confirm: To replace or overwrite: type the name of the database concerned; several separated by commas.
        maintenance: Name of the MongoDB Backup Maintenance Window block: what is stopped before, and started after.
        dry_run: Only show the plan; write nothing.
        approval: Pause before anything is written, until a second person resumes the run in the UI and approves.
        approval_minutes: How long to wait for that [min].
        safety_backup: First back up what will be overwritten, into the same store as plan `<plan>-before-restore`; the
            user of the target needs the role `backup` too.
        hold_ttl: Keep restored documents from expiring; the report has the commands that turn TTL indexes on again.
        prove: At the end read everything back and compare its content digest; without it documents are only counted.
        write_concern: `majority` waits with each batch until a majority of the replica set has it; `primary` only at
            the end, which is faster where members are far apart.
        segments_in_flight: How many segments are worked on at a time; bounds disk and memory, at most 16.

    Returns:
        What was restored, or would be.
    """
    check_in_flight(segments_in_flight)
    check_before(before, backup)
    patience = approval_patience(approval, approval_minutes)
    request = RestoreRequest(
        Selection(tuple(databases or ()), tuple(include or ()), tuple(exclude or ())),
        mode,
        duplicates,
        rename or {},
        users=include_users,
        preserve_uuid=preserve_uuid,
    )
    blocks = load_block(MongoDBTarget, target), load_block(BackupStore, store)
    procedure = load_block(MaintenanceWindow, maintenance).open() if maintenance else Procedure()
    keys = load_identities(identities)
    with open_run() as run:
        manifest = find_backup(blocks[1], plan, backup, before)
        access = check_access(blocks[1], manifest, keys)
        job = RestoreJob(run.id, *blocks, access.opened(manifest), access)
        name_run(f"restore {plan} {job.manifest.backup}")
        done = carry_out(
            run,
            job,
            request,
            Precautions(
                confirm,
                into_source,
                patience,
                safety_plan(plan) if safety_backup else "",
            ),
            Manner(hold_ttl, prove, write_concern is WriteConcern.MAJORITY, segments_in_flight),
            procedure,
            page=f"restore-{plan}",
            dry_run=dry_run,
        )
    return RestoreReport(
        plan=plan,
        backup=job.manifest.backup,
        namespaces=len(done.plan.items),
        documents=done.plan.documents,
        bytes=done.plan.bytes,
        indexes=done.indexes,
        read_back=done.read_back,
        seconds=done.seconds,
        safety_backup=done.kept,
        dry_run=dry_run,
    )
