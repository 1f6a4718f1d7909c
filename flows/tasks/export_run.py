"""Carrying out an export, from what is read to the page."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import TYPE_CHECKING, Any

from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner

from blocks import BackupStore, MongoDBSource
from flows.core.encryption import Identities
from flows.core.errors import Refused
from flows.core.names import Namespace
from flows.core.parquet.assembling import Brought, exported_namespace, with_export
from flows.core.parquet.choice import choose
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.export_report import AddedColumn, ExportReport, export_page
from flows.core.parquet.records import ExportedNamespace, ExportRecord
from flows.core.parquet.views import views_sql
from flows.core.segments import DEFAULT_SEGMENT_MIB, MIB, SegmentPlan
from flows.core.selection import Selection
from flows.core.version import TOOL_VERSION, versions
from flows.mongo.planning import plan_source
from flows.tasks.export_job import EngineChoice, ExportJob, runner_of, submit
from flows.tasks.export_origin import LiveOrigin, StoredOrigin, Unit
from flows.tasks.exporting import describe, profile, publish, read_dataset, sweep, write
from flows.tasks.find import check_access, find_backup
from flows.tasks.publish import publish_page, started_by
from flows.tasks.run import Run, overlapped, shown_progress

if TYPE_CHECKING:
    from flows.core.parquet.plan import NamespacePlan, Wishes

logger = logging.getLogger(__name__)

_GRACE = timedelta(hours=12)  # files that no manifest names are garbage after that; no export takes longer


@dataclass(frozen=True, slots=True)
class Manner:
    """How the operator wants it done."""

    in_flight: int  # units that are worked on at a time
    dry_run: bool


def check_wishes(level: int, partition: Mapping[str, str], bloom: Mapping[str, str], engine: EngineChoice) -> Wishes:
    """Refuse what can never work, before anything is read.

    Raises:
        ConfigurationError: A setting makes no sense, or the engine is not installed.
    """
    from flows.core.parquet.engine import engine as engine_of  # noqa: PLC0415 - see `exporting`
    from flows.core.parquet.plan import Wishes  # noqa: PLC0415

    wishes = Wishes(level, partition, bloom)
    wishes.check()
    engine_of(engine.value)
    return wishes


def stored_origin(
    store: BackupStore, plan: str, backup: str, before: datetime | None, identities: Identities
) -> StoredOrigin:
    """Find a backup, and see that it may be read."""
    manifest = find_backup(store, plan, backup, before)
    access = check_access(store, manifest, identities)
    return StoredOrigin(store, access.opened(manifest), access)


def live_origin(source: MongoDBSource, selection: Selection, *, started: datetime) -> LiveOrigin:
    """Plan how a MongoDB is read: what is not exported is not read either."""
    with source.open() as opened:
        planned = plan_source(opened, selection, users=False, segment_bytes=DEFAULT_SEGMENT_MIB * MIB)
    chosen, _ = choose({info.namespace: info.kind for info in planned.collections}, selection)
    segments: list[SegmentPlan] = []
    for segment in planned.segments:
        parts = tuple(part for part in segment.parts if part.collection.namespace in chosen)
        if parts:
            segments.append(SegmentPlan(len(segments), parts))
    return LiveOrigin(source, dataclasses.replace(planned, segments=tuple(segments)), started)


def carry_out(
    run: Run, job: ExportJob, selection: Selection, wishes: Wishes, manner: Manner, *, started: datetime
) -> ExportReport:
    """Profile, plan, write, publish and report, with a page. The data set is held by the caller.

    Raises:
        Refused: The id of this export is taken.
        IntegrityError: What was read is not what the manifest of the backup says; nothing was published.
    """
    facts = job.origin.facts
    chosen, warnings = choose(facts.kinds, selection)
    wishes.check_used(chosen)
    for warning in warnings:
        logger.warning("%s", warning)
    dataset, known = read_dataset(job, now=started, writes=not manner.dry_run)
    if dataset.exports and dataset.exports[-1].export >= job.export:
        raise Refused(
            "the data set has an export of this time, or of a later one, already",
            hint="Two runs began in the same second, or a clock was wrong: check the clocks, and run it again.",
            dataset=dataset.name,
            newest=dataset.exports[-1].export,
            this=job.export,
        )
    units = job.origin.units(frozenset(chosen))
    run.spool.require(sum(sorted(unit.room for unit in units)[-manner.in_flight :]))
    run.expect(2 * sum(unit.work for unit in units), f"export {job.export}")
    progress = shown_progress(run, key=f"progress-export-{job.dataset}", description=f"Export {job.export}")
    with progress, runner_of(job.runner, manner.in_flight) as runner:
        plans = plan_namespaces(run, job, dataset, known, chosen, units, wishes, runner, manner)
        if manner.dry_run:
            done = tuple(_empty(plan) for plan in plans.values())
            new, views = dataset, ""
        else:
            done = write_namespaces(run, job, plans, units, runner, manner)
            record = _record(job, done, (*facts.warnings, *warnings), started=started)
            new = with_export(dataset, record, [plan.record for plan in plans.values()], written=record.finished)
            views = views_sql(new, job.target.location, {n: plan.id_columns for n, plan in plans.items()})
            publish(job.target, new, views)
            warnings += sweep(job.target, new, now=record.finished, grace=_GRACE)
    report = ExportReport(
        dataset=job.dataset,
        version=new.version,
        export=job.export,
        what=facts.what,
        target=job.target.location,
        namespaces=done,
        added=tuple(
            AddedColumn(str(plan.namespace), change.path, change.kind)
            for plan in plans.values()
            for change in plan.changes
        ),
        warnings=(*facts.warnings, *warnings),
        engine=job.engine.value,
        rules="",
        started=started,
        finished=datetime.now(UTC),
        dry_run=manner.dry_run,
    )
    if plans:
        text = "\n\n".join(plan.dictionary for plan in plans.values())
        publish_page(f"dictionary-{job.dataset}", text, f"Data dictionary of {job.dataset}", shown=False)
    page = export_page(report, views=views, by=started_by())
    publish_page(f"export-{job.dataset}", page, f"Export into {job.dataset}")
    return report


def plan_namespaces(
    run: Run,
    job: ExportJob,
    dataset: Dataset,
    known: Mapping[Namespace, Any],
    chosen: tuple[Namespace, ...],
    units: tuple[Unit, ...],
    wishes: Wishes,
    runner: TaskRunner[Any],
    manner: Manner,
) -> dict[Namespace, NamespacePlan]:
    """Read everything once, to know what it is made of, and decide what happens to each namespace."""
    from flows.core.parquet.plan import file_metadata, plan_namespace  # noqa: PLC0415
    from flows.core.parquet.profile import Profile  # noqa: PLC0415
    from flows.core.parquet.schema import ExportSchema  # noqa: PLC0415

    profiles = {namespace: Profile(str(namespace)) for namespace in chosen}
    wanted = frozenset(chosen)

    def profile_one(unit: Unit) -> tuple[PrefectFuture[Any], ...]:
        return (submit(runner, profile, job=job, unit=unit, wanted=wanted),)

    for found in overlapped(run, units, profile_one, most=manner.in_flight):
        for namespace, value in found.items():
            profiles[namespace].merge(Profile.from_json(value))
    facts = job.origin.facts
    of_files = file_metadata(
        dataset=job.dataset,
        export=job.export,
        plan=facts.plan,
        backup=facts.backup,
        cluster_time=facts.cluster_time,
        data_time=facts.data_time,
        tool=TOOL_VERSION,
    )
    schemas = {namespace: ExportSchema.from_json(value) for namespace, value in known.items()}
    return {
        namespace: plan_namespace(dataset, job.export, profiles[namespace], schemas.get(namespace), wishes, of_files)
        for namespace in chosen
    }


def write_namespaces(
    run: Run,
    job: ExportJob,
    plans: Mapping[Namespace, NamespacePlan],
    units: tuple[Unit, ...],
    runner: TaskRunner[Any],
    manner: Manner,
) -> tuple[ExportedNamespace, ...]:
    """Read everything again, and bring it into the target as Parquet."""
    columns = {namespace: plan.columns for namespace, plan in plans.items()}
    brought = dict.fromkeys(plans, Brought())

    def write_one(unit: Unit) -> tuple[PrefectFuture[Any], ...]:
        return (submit(runner, write, job=job, unit=unit, columns=columns),)

    for stored in overlapped(run, units, write_one, most=manner.in_flight):
        for namespace, one in stored.items():
            brought[namespace] = brought[namespace].plus(one.documents, one.rejected, one.files)
    dictionaries = describe(
        job,
        {plan.record.key: plan.schema.as_json() for plan in plans.values()},
        {namespace: plan.dictionary for namespace, plan in plans.items()},
    )
    return tuple(
        exported_namespace(
            namespace,
            brought[namespace],
            profiled=plan.profile.documents + plan.profile.rejects,
            expected=job.origin.facts.documents.get(namespace),
            schema=plan.record,
            partitioned_by=str(plan.columns.partitioning or ""),
            dictionary=dictionaries[namespace],
        )
        for namespace, plan in plans.items()
    )


def _record(
    job: ExportJob, done: tuple[ExportedNamespace, ...], warnings: tuple[str, ...], *, started: datetime
) -> ExportRecord:
    facts = job.origin.facts
    return ExportRecord(
        export=job.export,
        plan=facts.plan,
        backup=facts.backup,
        cluster_time=facts.cluster_time,
        consistency=facts.consistency,
        data_time=facts.data_time,
        started=started,
        finished=datetime.now(UTC),
        engine=job.engine.value,
        rules="",
        keys=(),
        warnings=warnings,
        versions=versions() | {"pyarrow": metadata.version("pyarrow")},
        namespaces=done,
    )


def _empty(plan: NamespacePlan) -> ExportedNamespace:
    """What a dry run says of a namespace."""
    read = Brought(plan.profile.documents + plan.profile.rejects, plan.profile.rejects)
    return exported_namespace(
        plan.namespace, read, profiled=read.documents, expected=None, schema=plan.record, dry=True
    )
