"""Carrying out an export, from what is read to the page."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import TYPE_CHECKING, Any

from prefect.events import emit_event
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner

from blocks import ExportRules
from flows.core.errors import ConfigurationError, Refused
from flows.core.names import Namespace
from flows.core.parquet.assembling import Brought, exported_namespace, with_export
from flows.core.parquet.choice import choose
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.dataset_keys import views_key
from flows.core.parquet.export_report import AddedColumn, ExportReport, cut_text, export_page
from flows.core.parquet.records import ExportedNamespace, ExportRecord
from flows.core.selection import Selection
from flows.core.spool import spool_errors
from flows.core.version import TOOL_VERSION, versions
from flows.storage.repository import LATEST
from flows.tasks.blocks import load_block
from flows.tasks.comparing import Compared, compare
from flows.tasks.dataset_versions import publish_version
from flows.tasks.export_job import EngineChoice, ExportJob, Link, runner_of, submit
from flows.tasks.export_origin import Unit
from flows.tasks.exporting import compile_engine, describe, profile, read_dataset, show_rules, sweep, write
from flows.tasks.publish import publish_page, publish_table, started_by
from flows.tasks.run import Run, overlapped, shown_progress

if TYPE_CHECKING:
    from flows.core.parquet.plan import Linking, NamespacePlan, Ruling
    from flows.core.parquet.wishes import Wishes

logger = logging.getLogger(__name__)

_GRACE = timedelta(hours=12)  # files that no manifest names are garbage after that; no export takes longer


@dataclass(frozen=True, slots=True)
class Manner:
    """How the operator wants it done."""

    in_flight: int  # units that are worked on at a time
    incremental: bool
    full_every: int  # exports, of which the first is a whole one; 0: never again
    dry_run: bool


def check_wishes(level: int, partition: Mapping[str, str], bloom: Mapping[str, str], engine: EngineChoice) -> Wishes:
    """Refuse what can never work, before anything is read.

    Raises:
        ConfigurationError: A setting makes no sense, or the engine is not installed.
    """
    from flows.core.parquet.engine import engine as engine_of  # noqa: PLC0415 - see `exporting`
    from flows.core.parquet.wishes import Wishes  # noqa: PLC0415

    wishes = Wishes(level, partition, bloom)
    wishes.check()
    engine_of(engine.value)
    return wishes


def load_ruling(name: str | None) -> Ruling | None:
    """The rules for personal data, and their keys; None where no block is named.

    Raises:
        ConfigurationError: As in `load_block`.
    """
    from flows.core.parquet.plan import Ruling  # noqa: PLC0415

    return Ruling(*load_block(ExportRules, name).open()) if name else None


def check_source(source: str | None, backup: str, before: datetime | None) -> None:
    """Refuse a live MongoDB and a backup at once.

    Raises:
        ConfigurationError: Both were named.
    """
    if source and (backup != LATEST or before is not None):
        raise ConfigurationError(
            "an export reads a live MongoDB or a backup, and both were named",
            hint="Leave `source` out to export the backup; leave `backup` and `before` out to read the live one.",
            source=source,
            backup=backup if before is None else before.isoformat(),
        )


def check_manner(job: ExportJob, manner: Manner) -> None:
    """Refuse what does not go together.

    Raises:
        ConfigurationError: Changes are to be found by machines that do not share a disk, or a number is negative.
    """
    if manner.incremental and not job.runner.shares_spool:
        raise ConfigurationError(
            "an export of changes is worked on by one machine",
            hint="Choose `threads` or `processes`, or export without `incremental`.",
            runner=job.runner.value,
        )
    if manner.incremental and not job.origin.facts.is_still:
        raise ConfigurationError(
            "an export of changes needs a source that stands still while it is read twice",
            hint="Export a backup, turn the MongoDB into a replica set, or exclude capped collections; else export "
            "without `incremental`.",
            consistency=job.origin.facts.consistency.value,
        )
    if manner.full_every < 0:
        raise ConfigurationError(
            "a number of exports is negative",
            hint="`full_every` says how many exports there are from one whole export to the next; 0 means no other.",
            got=manner.full_every,
        )


def carry_out(
    run: Run,
    job: ExportJob,
    selection: Selection,
    wishes: Wishes,
    manner: Manner,
    *,
    ruling: Ruling | None,
    started: datetime,
) -> ExportReport:
    """Profile, plan, write, publish and report, with a page. The data set is held by the caller.

    Raises:
        Refused: The id of this export is taken.
        ConfigurationError: Wishes or rules do not fit what is there.
        IntegrityError: What was read is not what the manifest of the backup says; nothing was published.
    """
    from flows.core.parquet.engine import is_to_compile  # noqa: PLC0415
    from flows.core.parquet.plan import Linking  # noqa: PLC0415

    facts = job.origin.facts
    chosen, warnings = choose(facts.kinds, selection)
    wishes.check_used(chosen)
    if ruling is not None:
        for namespace in chosen:
            ruling.rules.of(str(namespace))  # for its error, before anything is read
    linking = Linking.of(job.dataset, ruling) if manner.incremental else None
    for warning in warnings:
        logger.warning("%s", warning)
    dataset, known = read_dataset(job, now=started, writes=not manner.dry_run)
    _check_order(dataset, job)
    units = job.origin.units(frozenset(chosen))
    run.spool.require(sum(sorted(unit.room for unit in units)[-manner.in_flight :]))
    run.expect(2 * sum(unit.work for unit in units), f"export {job.export}")
    if job.runner.shares_spool and is_to_compile(job.engine.value):
        compile_engine()
    progress = shown_progress(run, key=f"progress-export-{job.dataset}", description=f"Export {job.export}")
    with progress, runner_of(run, job.runner, manner.in_flight) as runner:
        work = _Work(run, job, manner, runner, units, ruling, linking)
        plans = work.plan(dataset, known, chosen, wishes)
        found = tuple(text for plan in plans.values() for text in plan.warnings)
        for warning in found:
            logger.warning("%s", warning)
        warnings += found
        if manner.dry_run:
            done, new, views = tuple(_empty(plan) for plan in plans.values()), dataset, ""
            work.show_rules(plans)
        else:
            done, found = work.write(dataset, plans)
            warnings += found
            record = _record(job, done, ruling, (*facts.warnings, *warnings), started=started)
            new = with_export(dataset, record, [plan.record for plan in plans.values()], written=record.finished)
            views = publish_version(job.target, new)
            warnings += sweep(job.target, new, now=record.finished, grace=_GRACE)
            tell_of_growth(job, plans)
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
        rules=ruling.rules.id if ruling is not None else "",
        started=started,
        finished=datetime.now(UTC),
        dry_run=manner.dry_run,
    )
    text = cut_text(
        "\n\n".join(plan.dictionary for plan in plans.values()), "The files `dictionary.md` have all of it."
    )
    publish_page(f"dictionary-{job.dataset}", text, f"Data dictionary of {job.dataset}", shown=False)
    page = export_page(report, views=views, views_key=views_key(new.name, new.version), by=started_by())
    publish_page(f"export-{job.dataset}", page, f"Export into {job.dataset}")
    return report


def tell_of_growth(job: ExportJob, plans: Mapping[Namespace, NamespacePlan]) -> None:
    """Let automations know which schemas have grown; a schema that is new has not."""
    for plan in plans.values():
        if plan.changes and plan.schema.version > 1:
            emit_event(
                "mongo-backup.export.schema-grown",
                {
                    "prefect.resource.id": f"mongo-backup.dataset.{job.dataset}",
                    "prefect.resource.name": job.dataset,
                },
                payload={
                    "namespace": str(plan.namespace),
                    "version": plan.schema.version,
                    "added": [{"field": change.path, "column": change.kind} for change in plan.changes],
                },
            )


@dataclass(frozen=True)
class _Work:
    """What the two passes over the documents have in common."""

    run: Run
    job: ExportJob
    manner: Manner
    runner: TaskRunner[Any]
    units: tuple[Unit, ...]
    ruling: Ruling | None
    linking: Linking | None

    def plan(
        self, dataset: Dataset, known: Mapping[Namespace, Any], chosen: tuple[Namespace, ...], wishes: Wishes
    ) -> dict[Namespace, NamespacePlan]:
        """Read everything once, to know what it is made of, and decide what happens to each namespace."""
        from flows.core.parquet.plan import file_metadata, plan_namespace, since_of  # noqa: PLC0415 - see `exporting`
        from flows.core.parquet.profile import Profile  # noqa: PLC0415
        from flows.core.parquet.schema import ExportSchema  # noqa: PLC0415

        rules = self.ruling.rules.id if self.ruling is not None else ""
        since = {
            namespace: since_of(
                dataset, namespace, linking=self.linking, rules=rules, full_every=self.manner.full_every
            )
            for namespace in chosen
        }
        profiles = {namespace: Profile(str(namespace)) for namespace in chosen}
        links = {} if self.manner.dry_run else self._links(since)

        def profile_one(unit: Unit) -> tuple[PrefectFuture[Any], ...]:
            wanted = frozenset(chosen)
            return (submit(self.runner, profile, job=self.job, unit=unit, wanted=wanted, compared=links),)

        for found in overlapped(self.run, self.units, profile_one, most=self.manner.in_flight):
            for namespace, value in found.items():
                profiles[namespace].merge(Profile.from_json(value))
        facts = self.job.origin.facts
        of_files = file_metadata(
            dataset=self.job.dataset,
            export=self.job.export,
            plan=facts.plan,
            backup=facts.backup,
            cluster_time=facts.cluster_time,
            data_time=facts.data_time,
            tool=TOOL_VERSION,
            rules=rules,
            keys=self.ruling.keys.ids[:1] if self.ruling is not None else (),
        )
        schemas = {namespace: ExportSchema.from_json(value) for namespace, value in known.items()}
        return {
            namespace: plan_namespace(
                dataset,
                self.job.export,
                profiles[namespace],
                schemas.get(namespace),
                wishes,
                of_files,
                ruling=self.ruling,
                linking=self.linking,
                since=since[namespace],
            )
            for namespace in chosen
        }

    def write(
        self, dataset: Dataset, plans: Mapping[Namespace, NamespacePlan]
    ) -> tuple[tuple[ExportedNamespace, ...], tuple[str, ...]]:
        """Read everything again, and bring it into the target as Parquet; gives what should be known of it too."""
        links = self._links({namespace: plan.since for namespace, plan in plans.items()})
        compared: dict[Namespace, Compared] = {}
        for namespace, link in links.items():
            plan = plans[namespace]
            last = dataset.chain(namespace)[-1][1]
            compared[namespace] = compare(self.job, namespace, plan.since, last, plan.columns, link, self.units)
        columns = {namespace: plan.columns for namespace, plan in plans.items()}
        brought = dict.fromkeys(plans, Brought())

        def write_one(unit: Unit) -> tuple[PrefectFuture[Any], ...]:
            return (submit(self.runner, write, job=self.job, unit=unit, columns=columns, compared=links),)

        for stored in overlapped(self.run, self.units, write_one, most=self.manner.in_flight):
            for namespace, one in stored.items():
                brought[namespace] = brought[namespace].plus(one.documents, one.rejected, one.files, one.reasons)
        dictionaries = describe(
            self.job,
            {plan.record.key: plan.schema.as_json() for plan in plans.values()},
            {namespace: plan.dictionary for namespace, plan in plans.items()},
        )
        done = tuple(
            exported_namespace(
                namespace,
                brought[namespace].plus(0, 0, compared[namespace].files if namespace in compared else ()),
                profiled=plan.profile.documents + plan.profile.rejects if self.job.origin.facts.is_still else None,
                expected=self.job.origin.facts.documents.get(namespace),
                schema=plan.record,
                partitioned_by=str(plan.columns.partitioning or ""),
                since=plan.since,
                changes=compared[namespace].changes if namespace in compared else None,
                hash_key=self.linking.hash_key if self.linking is not None else "",
                dictionary=dictionaries[namespace],
            )
            for namespace, plan in plans.items()
        )
        return done, tuple(text for namespace, one in brought.items() for text in one.warnings(namespace))

    def show_rules(self, plans: Mapping[Namespace, NamespacePlan]) -> None:
        """Leave a table of every field, its rule, and masked examples."""
        missing = {namespace: plan for namespace, plan in plans.items() if plan.rules is not None}
        rows: list[dict[str, str]] = []
        for unit in self.units:
            if missing:
                found = show_rules(self.job, unit, missing)
                rows += [row for part in found.values() for row in part]
                missing = {namespace: plan for namespace, plan in missing.items() if namespace not in found}
        if rows:
            publish_table(
                f"rules-{self.job.dataset}", rows, f"What the rules make of every field of {self.job.dataset}"
            )

    def _links(self, since: Mapping[Namespace, str]) -> dict[Namespace, Link]:
        """Folders for the namespaces that are compared with an earlier export; made on first use."""
        links = {}
        for number, (namespace, export) in enumerate(sorted(since.items())):
            if export and self.linking is not None:
                folder = self.run.spool.folder / f"compare-{number}"
                with spool_errors(folder):
                    folder.mkdir(mode=0o700, exist_ok=True)
                links[namespace] = Link(folder, self.linking.secret)
        return links


def _check_order(dataset: Dataset, job: ExportJob) -> None:
    if dataset.exports and dataset.exports[-1].export >= job.export:
        raise Refused(
            "the data set has an export of this time, or of a later one, already",
            hint="Two runs began in the same second, or a clock was wrong: check the clocks, and run it again.",
            dataset=dataset.name,
            newest=dataset.exports[-1].export,
            this=job.export,
        )


def _record(
    job: ExportJob,
    done: tuple[ExportedNamespace, ...],
    ruling: Ruling | None,
    warnings: tuple[str, ...],
    *,
    started: datetime,
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
        rules=ruling.rules.id if ruling is not None else "",
        keys=ruling.keys.ids[:1] if ruling is not None else (),
        warnings=warnings,
        versions=versions() | {"pyarrow": metadata.version("pyarrow")},
        namespaces=done,
    )


def _empty(plan: NamespacePlan) -> ExportedNamespace:
    """What a dry run says of a namespace."""
    read = Brought(plan.profile.documents + plan.profile.rejects, plan.profile.rejects)
    profiled = read.documents
    return exported_namespace(plan.namespace, read, profiled=profiled, expected=None, schema=plan.record, dry=True)
