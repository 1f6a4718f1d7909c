"""Data sets of exports without a backup: documents go through the engine and the rules into files of a store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import pyarrow as pa
import pyarrow.parquet as pq

from flows.core.keys import backup_id
from flows.core.names import Namespace
from flows.core.parquet.assembling import with_export
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.dataset_keys import files_prefix, schema_key
from flows.core.parquet.engine import engine
from flows.core.parquet.growth import grown
from flows.core.parquet.partitions import Partitioning
from flows.core.parquet.parts import FileFormat, PartWriter
from flows.core.parquet.profile_rules import ruled_profiles
from flows.core.parquet.pseudonymise import apply, transformed
from flows.core.parquet.pseudonyms import Keys
from flows.core.parquet.reading import split
from flows.core.parquet.records import ExportedNamespace, ExportKind, ExportRecord, FileRole, SchemaRecord
from flows.core.parquet.rules import RuleSet
from flows.core.parquet.schema import ExportSchema
from flows.core.source import Consistency
from flows.storage.exports import LocalFile, local_file, publish, read_dataset, read_schema, store_file, store_schema
from flows.storage.removing import views_of
from flows.storage.store import ObjectStore

NAME = "default"
Documents = Iterable[Mapping[str, Any]]


def export_documents(
    store: ObjectStore,
    folder: Path,
    collections: Mapping[str, Documents],
    *,
    at: datetime,
    rules: RuleSet | None = None,
    keys: Keys | None = None,
    partition: str = "",
    changes: Mapping[str, str] | None = None,
    rejects: Mapping[str, list[bytes]] | None = None,
    identities: bool = False,
) -> Dataset:
    """One more export into the data set; gives its new version.

    Args:
        store: Where it is.
        folder: For files on their way.
        collections: The documents of each.
        at: When, aware: it is the id of the export and the time of its data.
        rules: For personal data.
        keys: For pseudonyms.
        partition: As `Partitioning.parse` takes it.
        changes: Where this is an export of changes: `_op` by the text of `_id`, and `insert` for others.
        rejects: Documents that no row could hold.
        identities: Whether it leaves what the next export of changes compares with.
    """
    dataset = read_dataset(store, NAME, now=at)
    export = backup_id(at)
    done, schemas = [], []
    for name, documents in collections.items():
        namespace = Namespace.parse(name)
        raw = b"".join(map(bson.encode, documents))
        one = rules.of(name) if rules is not None else None
        before = dataset.schema(namespace)
        known = ExportSchema.from_json(read_schema(store, before)) if before else None
        found = engine("python").profile(name, raw)
        left, whole = ruled_profiles(found, one) if one is not None else (found, found)
        stored, _ = grown(known, left)
        table = engine("python").convert(grown(stored, whole)[0], raw).table
        if one is not None:
            table = apply(table, one, keys or Keys())
            assert table.schema.equals(transformed(stored.arrow, one))
        previous = dataset.exports[-1].export if changes is not None else ""
        if changes is not None:
            ops = [changes.get(str(document["_id"]), "insert") for document in documents]
            table = table.append_column("_op", pa.array(ops)).append_column("_export", pa.array([export] * len(ops)))
        record = SchemaRecord(namespace, stored.version, stored.sha256, schema_key(NAME, namespace, stored.sha256), {})
        store_schema(store, record.key, stored.as_json())
        schemas.append(record)
        role = FileRole.CHANGES if changes is not None else FileRole.ROWS
        files = _files(store, folder / hashlib.sha1(f"{export}{name}".encode()).hexdigest(), table, partition, role)
        prefix = files_prefix(NAME, namespace, export)
        brought = [
            store_file(
                store,
                LocalFile(file.path, prefix + file.name, role, file.rows, file.bytes, file.sha256, file.partition),
                progress=lambda _: None,
            )
            for file in files
        ]
        if identities:
            brought += _identities(store, folder, table, raw, prefix)
        if rejects and name in rejects:
            path = folder / "rejects.bson"
            path.write_bytes(b"".join(rejects[name]))
            rejected = local_file(path, f"{prefix}part.rejects.bson", FileRole.REJECTS, len(rejects[name]))
            brought.append(store_file(store, rejected, progress=lambda _: None))
        kind = ExportKind.CHANGES if changes is not None else ExportKind.FULL
        done.append(
            ExportedNamespace(
                namespace, kind, previous, table.num_rows, 0, stored.sha256, None, "", partition, tuple(brought)
            )
        )
    record = ExportRecord(
        export=export,
        plan=NAME,
        backup=export,
        cluster_time=None,
        consistency=Consistency.NONE,
        data_time=at,
        started=at,
        finished=at + timedelta(minutes=1),
        engine="python",
        rules=rules.id if rules is not None else "",
        keys=keys.ids if keys is not None else (),
        warnings=(),
        versions={},
        namespaces=tuple(done),
    )
    new = with_export(dataset, record, schemas, written=at)
    publish(store, new, views_of(store, new))
    return new


def _files(store: ObjectStore, folder: Path, table: pa.Table, partition: str, role: FileRole) -> Any:
    folder.mkdir()
    by = Partitioning.parse(partition) if partition else None
    with PartWriter(folder, "part", table.schema, FileFormat(), by) as writer:
        writer.write(table)
        return writer.finish()


def _identities(store: ObjectStore, folder: Path, table: pa.Table, raw: bytes, prefix: str) -> list[Any]:
    ids = [name for name in table.schema.names if name.startswith("_id")]
    rows = [hashlib.sha256(document).digest() for document in split(raw)]
    hashes = pa.table({"_key": pa.array(rows, pa.binary()), "_hash": pa.array(rows, pa.binary())})
    for name in ids:
        hashes = hashes.append_column(table.schema.field(name), table[name])
    path = folder / "identities.parquet"
    pq.write_table(hashes, path)
    file = local_file(path, f"{prefix}identities.parquet", FileRole.IDENTITIES, len(rows))
    return [store_file(store, file, progress=lambda _: None)]


def rows_in(store: ObjectStore, dataset: Dataset, name: str) -> list[dict[str, Any]]:
    """All rows of a collection in all files of a version."""
    rows: list[dict[str, Any]] = []
    for export in dataset.exports:
        item = export.named(Namespace.parse(name))
        for file in item.of(FileRole.ROWS, FileRole.CHANGES) if item is not None else ():
            rows += pq.read_table(pa.BufferReader(store.get(file.key, limit=file.bytes))).to_pylist()
    return rows


def now() -> datetime:
    """A time for tests."""
    return datetime(2026, 3, 6, 4, tzinfo=UTC)
