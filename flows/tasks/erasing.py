"""The stages of an erasure: find and write anew, publish, remove, search everything, keep the record."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from blocks import BackupStore
from flows.core.errors import ConfigurationError
from flows.core.names import Namespace
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.erasure_report import ErasedNamespace, ErasureReport, Proof, Removal
from flows.core.parquet.sought import Sought
from flows.core.report import counted, format_bytes, format_count
from flows.storage import exports
from flows.tasks.options import stage
from flows.tasks.run import current

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ErasureJob:
    """What the tasks of one erasure have in common."""

    run: str  # id of the flow run
    dataset: str
    target: BackupStore
    sought: Sought

    def folder(self) -> TemporaryDirectory[str]:
        """A private folder in the spool of this run, for one stage."""
        return TemporaryDirectory(dir=current(self.run).spool.folder)


@stage(name="open-dataset", task_run_name="open data set {dataset}")
def open_dataset(target: BackupStore, dataset: str, *, now: datetime) -> Dataset:
    """Read the newest version of a data set; there has to be one."""
    store = target.open()
    found = exports.read_dataset(store, dataset, now=now)
    if not found.version:
        raise ConfigurationError(
            "there is no data set of this name",
            hint="Give the name that the export had: that of its plan, where it was given none.",
            store=store.location,
            dataset=dataset,
        )
    logger.info("data set %s: version %d, %d files", dataset, found.version, len(found.files))
    return found


@stage(name="erase", task_run_name="erase from {namespace}")
def erase_from(job: ErasureJob, dataset: Dataset, namespace: Namespace, *, dry_run: bool) -> ErasedNamespace:
    """Find the rows of the person in one namespace, and store its files without them beside the old ones."""
    from flows.storage.erasing import erase_namespace  # noqa: PLC0415 - Arrow takes long to load

    with job.folder() as folder:
        found = erase_namespace(
            job.target.open(),
            dataset,
            namespace,
            job.sought,
            Path(folder),
            dry_run=dry_run,
            progress=current(job.run).counter(),
        )
    logger.info(
        "%s: %s of %s in %s",
        namespace,
        format_count(found.gone),
        counted(found.read, "row"),
        counted(len(found.files), "file"),
    )
    return found


@stage(name="publish-version", task_run_name="publish version {dataset.version} of {dataset.name}")
def publish_version(target: BackupStore, dataset: Dataset) -> None:
    """Make a version of a data set exist that has other files in place of some, or fewer."""
    from flows.storage.removing import views_of  # noqa: PLC0415 - as above

    store = target.open()
    exports.publish(store, dataset, views_of(store, dataset))
    logger.info("published version %d of the data set %s: %s", dataset.version, dataset.name, dataset.key)


@stage(name="remove-unnamed", task_run_name="remove what version {dataset.version} of {dataset.name} does not name")
def remove_unnamed(target: BackupStore, dataset: Dataset) -> Removal:
    """Remove older manifests and all files that the newest does not name."""
    from flows.storage.removing import remove_unnamed as remove  # noqa: PLC0415 - as above

    done = remove(target.open(), dataset)
    logger.info("removed %s with all versions", counted(done.objects, "object"))
    for item in done.kept:
        logger.warning("%s is deleted and its data lives on: %s", item.key, item.why)
    return done


@stage(name="search", task_run_name="search {dataset.name} for traces")
def search(job: ErasureJob, dataset: Dataset, needles: frozenset[bytes]) -> Proof:
    """Read everything that the data set has in the store, and look for traces of the person."""
    from flows.storage.erasing import prove  # noqa: PLC0415 - as above

    with job.folder() as folder:
        proof = prove(job.target.open(), dataset, needles, Path(folder), progress=current(job.run).counter())
    logger.info(
        "searched %s, %s, %s: %s",
        counted(proof.objects, "object"),
        format_bytes(proof.bytes),
        counted(proof.rows, "row"),
        counted(len(proof.traces), "trace"),
    )
    return proof


@stage(name="keep-record", task_run_name="keep the record")
def keep_record(target: BackupStore, report: ErasureReport) -> None:
    """Store the record of an erasure."""
    target.open().put(report.record_key, report.record())
    logger.info("the record is %s", report.record_key)
