"""The export flow: a stored backup, or a live MongoDB, as Parquet files that any engine reads."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow

from blocks import BackupStore, MongoDBSource
from flows.core.keys import backup_id, check_plan_name
from flows.core.parquet.export_report import ExportReport
from flows.core.restore_plan import check_before
from flows.core.selection import Selection
from flows.tasks.blocks import load_block, load_identities
from flows.tasks.export_job import EngineChoice, ExportJob, Runner, check_runner
from flows.tasks.export_origin import Origin, live_origin, stored_origin
from flows.tasks.export_run import Manner, carry_out, check_manner, check_source, check_wishes, load_ruling
from flows.tasks.lock import hold_dataset
from flows.tasks.options import threads
from flows.tasks.publish import name_run
from flows.tasks.run import open_run
from flows.tasks.settings import MOST_IN_FLIGHT, Overlap, check_in_flight


@flow(name="export", flow_run_name="export {plan}", task_runner=threads(MOST_IN_FLIGHT), persist_result=False)
def export(
    plan: str = "default",
    store: str = "backups",
    identities: str | None = None,
    backup: str = "latest",
    before: datetime | None = None,
    source: str | None = None,
    databases: list[str] | None = None,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    target: str = "exports",
    dataset: str = "",
    rules: str | None = None,
    incremental: bool = False,
    full_every: int = 30,
    partition: dict[str, str] | None = None,
    bloom: dict[str, str] | None = None,
    level: int = 3,
    engine: EngineChoice = EngineChoice.AUTO,
    runner: Runner = Runner.THREADS,
    units_in_flight: int = 2,
    dry_run: bool = False,
    overlap: Overlap = Overlap.WAIT,
) -> ExportReport:
    """
    Write a stored backup, or a live MongoDB, as Parquet files into a store of their own, and publish them as a whole.

    Args:
        plan: Name of the backup job whose backup is exported.
        store: Name of the MongoDB Backup Store block that holds the backup.
        identities: Name of the MongoDB Backup Identities block: what opens an encrypted backup, and who may sign one.
        backup: Id of the backup, such as 2026-03-06T04-00-00Z, or `latest`.
        before: Instead of `backup`, a time with its zone: the newest backup with data from then or earlier is taken.
        source: Instead of a backup, name of a MongoDB Backup Source block: the live MongoDB is read, twice, at one
            point in time.
        databases: Databases to export; none means all but MongoDB's own.
        include: Patterns `database.collection` with `*`; only collections that match one are exported.
        exclude: Patterns of collections to leave out; they win over `include`.
        target: Name of the MongoDB Backup Store block to write to: best a bucket, or a prefix, of its own.
        dataset: Name of the data set there that gets the export; empty: that of the plan.
        rules: Name of the MongoDB Export Rules block: what of personal data leaves, and in which form. Without it
            everything leaves as it is.
        incremental: Write only what is new, changed or gone since the last export, where that one was made so too; the
            first is a whole one. Documents are compared, so no field has to say when they changed.
        full_every: With `incremental`, so many exports from one whole export to the next; 0: never another.
        partition: Collections that get a folder for each month of one of their dates, with that field:
            `{"mpg.invoices": "issuedAt"}`; `issuedAt by year` or `by day` too. For collections above 50 GB.
        bloom: Collections with the columns to find single values in quickly, separated by commas:
            `{"mpg.invoices": "customer.id"}`.
        level: Of the compression with zstd, 1 to 19.
        engine: What converts documents: `kernel` is compiled, and has to be installed; `auto` takes it if it is.
        runner: Where units are worked on: `threads` of this process, `processes` of this machine, or the clusters of
            `dask` or `ray` where these are installed.
        units_in_flight: How many segments of the backup are worked on at a time; bounds disk and memory, at most 16.
        dry_run: Read everything and show what would be written; write nothing.
        overlap: While another run works on this data set: `wait` for its end, or `refuse` to run.

    Returns:
        What was exported, or would be.
    """
    check_in_flight(units_in_flight)
    check_plan_name(plan)
    check_before(before, backup)
    check_source(source, backup, before)
    check_plan_name(dataset or plan)
    check_runner(runner)
    wishes = check_wishes(level, partition or {}, bloom or {}, engine)
    selection = Selection(tuple(databases or ()), tuple(include or ()), tuple(exclude or ()))
    to = load_block(BackupStore, target)
    read = load_block(MongoDBSource, source) if source else load_block(BackupStore, store)
    keys, ruling = load_identities(identities), load_ruling(rules)
    started = datetime.now(UTC)
    with open_run() as run, hold_dataset(dataset or plan, overlap):
        origin: Origin
        if isinstance(read, MongoDBSource):
            origin = live_origin(read, selection, started=started)
        else:
            origin = stored_origin(read, plan, backup, before, keys)
        name_run(f"export {dataset or plan} {origin.facts.backup or 'live'}")
        job = ExportJob(run.id, dataset or plan, backup_id(started), to, origin, engine, runner)
        manner = Manner(units_in_flight, incremental, full_every, dry_run)
        check_manner(job, manner)
        return carry_out(run, job, selection, wishes, manner, ruling=ruling, started=started)
