"""The stages of an export: profile each unit, plan each namespace, write and store each unit, publish."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from blocks import BackupStore
from flows.core.errors import StoreDenied
from flows.core.names import Namespace
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.dataset_keys import files_prefix
from flows.core.parquet.records import DataFile, FileRole
from flows.core.report import counted, format_bytes, format_count
from flows.storage import exports
from flows.storage.exports import LocalFile
from flows.tasks.export_job import ExportJob, Link
from flows.tasks.export_origin import Unit
from flows.tasks.options import stage

if TYPE_CHECKING:  # Arrow takes as long to load as all else of a small command, and few commands need it
    from flows.core.parquet.plan import NamespacePlan
    from flows.core.parquet.unit import Columns, WrittenNamespace

logger = logging.getLogger(__name__)

_EXAMPLES = 1000  # documents that are looked at for examples of values


@dataclass(frozen=True, slots=True)
class StoredNamespace:
    """What a unit has brought of one namespace."""

    documents: int
    rejected: int
    files: tuple[DataFile, ...]
    reasons: tuple[str, ...]  # why documents were rejected


@stage(name="read-dataset", task_run_name="read data set {job.dataset}")
def read_dataset(job: ExportJob, *, now: datetime, writes: bool) -> tuple[Dataset, dict[Namespace, Any]]:
    """Read what the data set is, with the newest schema of each namespace; before that, see that it can be written."""
    store = job.target.open()
    for warning in exports.prepare(store, job.dataset) if writes else ():
        logger.warning("%s", warning)
    dataset = exports.read_dataset(store, job.dataset, now=now)
    schemas = {record.namespace: exports.read_schema(store, record) for record in dataset.schemas}
    logger.info(
        "data set %s in %s: version %d, %d exports", job.dataset, store.location, dataset.version, len(dataset.exports)
    )
    return dataset, schemas


@stage(name="compile-engine", task_run_name="compile the engine")
def compile_engine() -> None:
    """Compile the engine `kernel`, which is kept: before several units would, and in a process that then ends.

    A compiler keeps a hundred megabytes for as long as its process lives.
    """
    logger.info("compiling the engine `kernel`; once after an installation, about a quarter of a minute")
    command = [sys.executable, "-m", "flows.core.parquet.kernel_engine"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a module of ours
    if done.returncode:
        logger.warning("could not compile it beforehand, so this run does it as it goes: %s", done.stderr[-500:])


@stage(name="profile", task_run_name="profile {unit.name}")
def profile(
    job: ExportJob, unit: Unit, wanted: frozenset[Namespace], compared: Mapping[Namespace, Link]
) -> dict[Namespace, dict[str, Any]]:
    """Read a unit, compare it with its manifest, and see what its documents are made of.

    Of namespaces that will be `compared` with an earlier export, fingerprints of all documents stay in the spool.
    """
    from flows.core.parquet.changes import fingerprints, save_fingerprints  # noqa: PLC0415
    from flows.core.parquet.engine import engine  # noqa: PLC0415
    from flows.core.parquet.memory import keep_little  # noqa: PLC0415
    from flows.core.parquet.unit import Documents, profile_unit  # noqa: PLC0415

    keep_little()
    kept: dict[Namespace, list[Any]] = {namespace: [] for namespace in compared}

    def fingerprint(documents: Documents) -> None:
        if documents.namespace in kept:
            secret = compared[documents.namespace].secret
            kept[documents.namespace].append(fingerprints(documents.each(), secret))

    with job.spool(unit) as spool, job.origin.open(unit, spool.folder, job.checkpoint()) as opened:
        found = profile_unit(
            engine(job.engine.value),
            opened.stream,
            opened.expected,
            wanted,
            progress=job.counter(),
            each=fingerprint,
        )
    for namespace, tables in kept.items():
        if tables:
            save_fingerprints(compared[namespace].fingerprints(unit.index), tables)
    logger.info("profiled %s: %s documents", unit.name, format_count(sum(p.documents for p in found.values())))
    return {namespace: one.as_json() for namespace, one in found.items()}


@stage(name="show-rules", task_run_name="show rules on {unit.name}")
def show_rules(
    job: ExportJob, unit: Unit, plans: Mapping[Namespace, NamespacePlan]
) -> dict[Namespace, list[dict[str, str]]]:
    """Say of every field what the rules make of it, with masked examples from the first documents of a unit."""
    from flows.core.parquet.engine import engine  # noqa: PLC0415
    from flows.core.parquet.listing import listed  # noqa: PLC0415
    from flows.core.parquet.unit import batches_of  # noqa: PLC0415

    found: dict[Namespace, list[dict[str, str]]] = {}
    with job.spool(unit) as spool, job.origin.open(unit, spool.folder, job.checkpoint()) as opened:
        for documents in batches_of(opened.stream, opened.expected, frozenset(plans)):
            rules = plans[documents.namespace].rules
            if documents.namespace not in found and rules is not None:
                schema = plans[documents.namespace].columns.schema
                table = engine(job.engine.value).convert(schema, documents.first(_EXAMPLES)).table
                found[documents.namespace] = listed(table, rules)
    return found


@stage(name="write", task_run_name="write {unit.name}")
def write(
    job: ExportJob, unit: Unit, columns: Mapping[Namespace, Columns], compared: Mapping[Namespace, Link]
) -> dict[Namespace, StoredNamespace]:
    """Write the documents of a unit as Parquet, read the files again, and bring them into the target."""
    from flows.core.parquet.changes import read_selection  # noqa: PLC0415
    from flows.core.parquet.engine import engine  # noqa: PLC0415
    from flows.core.parquet.memory import keep_little  # noqa: PLC0415
    from flows.core.parquet.unit import Selector, write_unit  # noqa: PLC0415

    keep_little()
    stem = f"part-{unit.index:05d}"
    selections = {namespace: read_selection(link.selection(unit.index)) for namespace, link in compared.items()}
    with job.spool(unit) as spool:
        with job.origin.open(unit, spool.folder, job.checkpoint()) as opened:
            written = write_unit(
                engine(job.engine.value),
                opened.stream,
                opened.expected,
                columns,
                spool.folder,
                stem,
                progress=job.counter(),
                select=Selector(selections, job.export),
            )
        stored = {namespace: _store(job, namespace, one, stem) for namespace, one in written.items()}
    files = [file for one in stored.values() for file in one.files]
    size = sum(file.bytes for file in files)
    logger.info("wrote %s: %s, %s, read again and verified", unit.name, counted(len(files), "file"), format_bytes(size))
    return stored


def _store(job: ExportJob, namespace: Namespace, written: WrittenNamespace, stem: str) -> StoredNamespace:
    """Bring the files of one namespace into the target; each leaves the spool."""
    prefix, store = files_prefix(job.dataset, namespace, job.export), job.target.open()
    files = [
        LocalFile(file.path, prefix + file.name, file.role, file.rows, file.bytes, file.sha256, file.partition)
        for file in written.files
    ]
    if written.rejects is not None:
        key = f"{prefix}{stem}.rejects.bson"
        files.append(exports.local_file(written.rejects, key, FileRole.REJECTS, written.rejected))
    if written.rejected:
        where = "set aside beside the rows" if written.rejects is not None else "left in the backup"
        reasons = "; ".join(written.reasons)
        count = counted(written.rejected, "document")
        logger.warning("%s of %s cannot be rows, %s: %s", count, namespace, where, reasons)
    found = []
    for file in files:
        found.append(exports.store_file(store, file, progress=job.checkpoint()))
        file.path.unlink()
    return StoredNamespace(written.documents, written.rejected, tuple(found), written.reasons)


@stage(name="describe", task_run_name="describe {job.export}")
def describe(
    job: ExportJob, schemas: Mapping[str, Any], dictionaries: Mapping[Namespace, str]
) -> dict[Namespace, DataFile]:
    """Store schemas, by their keys, and data dictionaries; returns the files of these."""
    store = job.target.open()
    for key, schema in schemas.items():
        exports.store_schema(store, key, schema)
    return {
        namespace: exports.store_text(
            store, text, f"{files_prefix(job.dataset, namespace, job.export)}dictionary.md", FileRole.DICTIONARY
        )
        for namespace, text in dictionaries.items()
    }


@stage(name="sweep", task_run_name="sweep data set {dataset.name}")
def sweep(target: BackupStore, dataset: Dataset, *, now: datetime, grace: timedelta) -> tuple[str, ...]:
    """Remove old manifests and what crashed runs left; returns what the operator should know of it."""
    try:
        gone, left = exports.sweep(target.open(), dataset, now=now, grace=grace)
    except StoreDenied as error:
        return (f"what nobody needs any more could not be removed: {error.message}",)
    if gone:
        logger.info("removed %d objects that no version of the data set needs", gone)
    return (f"{len(left)} objects that nobody needs are locked or kept as old versions",) if left else ()
