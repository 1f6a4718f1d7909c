"""The stage of an export that finds out what has changed since the last one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.core.names import Namespace
from flows.core.parquet.dataset_keys import files_prefix
from flows.core.parquet.records import Changes, DataFile, ExportedNamespace, FileRole
from flows.core.spool import spool_errors
from flows.storage import exports
from flows.storage.exports import LocalFile
from flows.tasks.export_job import ExportJob, Link
from flows.tasks.export_origin import Unit
from flows.tasks.options import stage

if TYPE_CHECKING:  # see `exporting`
    from flows.core.parquet.unit import Columns

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Compared:
    """What has changed in a namespace."""

    changes: Changes
    files: tuple[DataFile, ...]  # that say which documents are gone


@stage(name="compare", task_run_name="compare {namespace} with {since}")
def compare(
    job: ExportJob,
    namespace: Namespace,
    since: str,
    last: ExportedNamespace,
    columns: Columns,
    link: Link,
    units: tuple[Unit, ...],
) -> Compared:
    """Compare all documents of a namespace with an earlier export.

    What is gone is written and stored; which documents of each unit are new or changed stays in the spool.

    Args:
        job: The export.
        namespace: What is compared.
        since: Id of the earlier export.
        last: What it has of the namespace.
        columns: How its documents become rows.
        link: Where its units have left fingerprints.
        units: All of them.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415

    from flows.core.parquet.changes import (  # noqa: PLC0415
        Comparison,
        aligned,
        deleted_rows,
        read_fingerprints,
        save_selection,
    )
    from flows.core.parquet.parts import PartWriter  # noqa: PLC0415

    store, check = job.target.open(), job.checkpoint()
    form = columns.identities
    assert form is not None  # noqa: S101 - a plan of changes has it
    with spool_errors(link.folder):
        buckets = link.folder / "buckets"
        buckets.mkdir(mode=0o700)
    comparison = Comparison(buckets, last.documents, form.schema)
    path = link.folder / "old.parquet"
    for file in last.of(FileRole.IDENTITIES):
        exports.fetch(store, file, path, progress=check)
        with pq.ParquetFile(path, page_checksum_verification=True) as old:
            for number in range(old.num_row_groups):
                check()
                comparison.add_old(aligned(old.read_row_group(number), form.schema))
        path.unlink()
    for unit in units:
        check()
        if (left := link.fingerprints(unit.index)).exists():
            comparison.add_new(unit.index, read_fingerprints(left))
            left.unlink()
    folder, deleted = link.folder / "deleted", 0
    folder.mkdir(mode=0o700)
    with PartWriter(
        folder, "deleted-00000", columns.arrow, columns.form, columns.partitioning, role=FileRole.CHANGES
    ) as writer:
        for gone in comparison.deleted():
            rows = deleted_rows(gone, columns.arrow, job.export)
            deleted += rows.num_rows
            writer.write(rows)
        written = writer.finish()
    for index, selection in comparison.selections().items():
        save_selection(link.selection(index), selection)
    prefix = files_prefix(job.dataset, namespace, job.export)
    files = tuple(
        exports.store_file(
            store,
            LocalFile(file.path, prefix + file.name, file.role, file.rows, file.bytes, file.sha256, file.partition),
            progress=check,
        )
        for file in written
    )
    changes = comparison.changes(deleted)
    logger.info(
        "%s since %s: %d new, %d changed, %d gone", namespace, since, changes.inserted, changes.updated, deleted
    )
    return Compared(changes, files)
