"""Removing from a data set what its newest version does not name any more, after an erasure or a pruning."""

from __future__ import annotations

from flows.core.parquet.dataset import Dataset
from flows.core.parquet.dataset_keys import data_prefix, export_prefix, version_key, views_key
from flows.core.parquet.erasure_report import Kept, Removal
from flows.core.parquet.plan import id_columns
from flows.core.parquet.schema import ExportSchema
from flows.core.parquet.views import views_sql
from flows.storage.exports import read_schema, versions
from flows.storage.store import Leftover, ObjectStore, ReadableStore


def views_of(store: ReadableStore, dataset: Dataset) -> str:
    """The views of a version, by the schemas in its registry."""
    columns = {
        record.namespace: id_columns(ExportSchema.from_json(read_schema(store, record)).arrow)
        for record in dataset.schemas
    }
    return views_sql(dataset, store.location, columns)


def remove_unnamed(store: ObjectStore, dataset: Dataset) -> Removal:
    """Remove all manifests but that of a version, and then all files that it does not name, with all their versions.

    Args:
        store: Where the data set is.
        dataset: The newest version; it is published, and held by the caller.

    Returns:
        What is gone, and the objects whose data lives on.
    """
    old = [number for number in versions(store, dataset.name) if number < dataset.version]
    manifests = [key for number in old for key in (version_key(dataset.name, number), views_key(dataset.name, number))]
    named = {file.key for file in dataset.files}
    files = [item.key for item in store.list(data_prefix(dataset.name)) if item.key not in named]
    # Manifests first: a crash then leaves files that nobody names, and no manifest that names what is gone.
    left = [*_deleted(store, manifests), *_deleted(store, files)]
    for upload in store.uploads(export_prefix(dataset.name)):
        store.abort(upload)
    kept = tuple(Kept(item.key, item.why.value, item.until) for item in left)
    return Removal(len(manifests) + len(files) - len(kept), kept)


def _deleted(store: ObjectStore, keys: list[str]) -> tuple[Leftover, ...]:
    return store.delete(keys) if keys else ()
