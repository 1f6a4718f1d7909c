"""The stages of an erasure: find and write anew, publish, remove, search everything, keep the record."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from blocks import BackupStore
from flows.core.names import Namespace
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.erasure_report import ErasedNamespace, ErasureReport, Proof
from flows.core.parquet.sought import Sought
from flows.core.report import counted, format_bytes, format_count
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


@stage(name="erase", task_run_name="erase from {namespace}")
def erase_from(job: ErasureJob, dataset: Dataset, namespace: Namespace, *, dry_run: bool) -> ErasedNamespace:
    """Find the rows of the person in one namespace, and store its files without them beside the old ones."""
    from flows.core.parquet.memory import keep_little  # noqa: PLC0415 - Arrow takes long to load
    from flows.storage.erasing import erase_namespace  # noqa: PLC0415

    keep_little()
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
