"""Compacting a collection of a data set: one whole export in place of one and the changes after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from flows.core.errors import IntegrityError
from flows.core.names import Namespace
from flows.core.parquet.compacted import CompactedNamespace
from flows.core.parquet.compaction import Newest, base_schema
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.dataset_keys import files_prefix
from flows.core.parquet.partitions import Partitioning
from flows.core.parquet.parts import FileFormat, PartWriter, WrittenFile
from flows.core.parquet.plan import id_columns
from flows.core.parquet.records import DataFile, ExportedNamespace, ExportKind, FileRole
from flows.core.parquet.rewriting import form_of, groups, opened
from flows.storage.exports import LocalFile, fetch, store_file
from flows.storage.store import ObjectStore, Progress

_ROWS = (FileRole.ROWS, FileRole.CHANGES)


def compact_namespace(
    store: ObjectStore, dataset: Dataset, namespace: Namespace, folder: Path, *, progress: Progress
) -> CompactedNamespace:
    """Write the rows that a collection has at its newest export, and store them beside the old files.

    Args:
        store: Where the data set is.
        dataset: Its newest version, held by the caller.
        namespace: A collection whose newest export has changes.
        folder: Private and empty; it has one old file at a time, and the new ones.
        progress: Called with bytes as they pass; what it raises stops.

    Raises:
        IntegrityError: A file is not the one that the manifest names, or rows are missing or too many.
    """
    chain = dataset.chain(namespace)
    export, last = chain[-1]
    path = folder / "old.parquet"
    schema, form = _newest_form(store, chain, path, progress)
    partitioning = Partitioning.parse(last.partitioned_by) if last.partitioned_by else None
    newest = Newest(id_columns(schema), schema)
    with PartWriter(folder, f"compacted-{dataset.version + 1:08d}", schema, form, partitioning) as writer:
        for _, item in reversed(chain):
            for file in item.of(*_ROWS):
                fetch(store, file, path, progress=progress)
                with opened(path) as old:
                    for table in groups(old):
                        writer.write(newest.rows(table))
                        progress(0)
                path.unlink()
        written = writer.finish()
    _check(namespace, chain, written)
    prefix = files_prefix(dataset.name, namespace, export)
    files = [_stored(store, file, prefix, progress) for file in written]
    kept = [file for _, item in chain for file in item.of(FileRole.REJECTS)]
    kept += last.of(FileRole.IDENTITIES, FileRole.DICTIONARY)
    replaced = [file for _, item in chain for file in item.of(*_ROWS)]
    item = dataclasses.replace(
        last, kind=ExportKind.COMPACTED, since="", changes=None, files=tuple(sorted([*files, *kept], key=_key))
    )
    return CompactedNamespace(namespace, export, tuple(one for one, _ in chain), item, tuple(replaced))


def _newest_form(
    store: ObjectStore, chain: Iterable[tuple[str, ExportedNamespace]], path: Path, progress: Progress
) -> tuple[pa.Schema, FileFormat]:
    """The columns of the newest file, which has those of all others, and how files are written."""
    file = [file for _, item in chain for file in item.of(*_ROWS)][-1]
    fetch(store, file, path, progress=progress)
    with opened(path) as old:
        schema, form = old.schema_arrow, form_of(old.metadata)
    path.unlink()
    return base_schema(schema).with_metadata(schema.metadata), dataclasses.replace(
        FileFormat(), statistics=form.statistics, bloom=form.bloom
    )


def _check(
    namespace: Namespace, chain: Iterable[tuple[str, ExportedNamespace]], written: Iterable[WrittenFile]
) -> None:
    """Hold the number of rows against that of the identities, which an erasure takes along."""
    items = [item for _, item in chain]
    base, last, rows = items[0], items[-1], sum(file.rows for file in written)
    there = sum(file.rows for file in last.of(FileRole.IDENTITIES))
    # Where retention has removed partitions, or documents could not be rows, there are fewer.
    whole = base.rows == base.documents - base.rejected and not any(item.rejected for item in items)
    if rows > there or (whole and rows != there):
        raise IntegrityError(
            "the rows of a compacted collection are not as many as its documents",
            hint="Nothing was changed. Export the collection again in full, and find out who changes files.",
            namespace=str(namespace),
            expected=there,
            got=rows,
        )


def _stored(store: ObjectStore, file: WrittenFile, prefix: str, progress: Progress) -> DataFile:
    local = LocalFile(file.path, prefix + file.name, file.role, file.rows, file.bytes, file.sha256, file.partition)
    stored = store_file(store, local, progress=progress)
    file.path.unlink()
    return stored


def _key(file: DataFile) -> str:
    return file.key
