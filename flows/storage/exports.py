"""A data set in a store: reading what it is, bringing files into it, making a new version of it exist, and sweeping."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flows.core.canonical import canonical
from flows.core.errors import (
    FormatError,
    IntegrityError,
    ObjectExists,
    ObjectMissing,
    Refused,
    StoreDenied,
    StoreError,
)
from flows.core.parquet.dataset import DATASET_LIMIT_BYTES, Dataset
from flows.core.parquet.dataset_keys import (
    data_prefix,
    export_prefix,
    version_key,
    version_of,
    versions_prefix,
    views_key,
)
from flows.core.parquet.records import DataFile, FileRole, SchemaRecord
from flows.storage.files import read_chunks
from flows.storage.store import Leftover, ObjectStore, Progress, ReadableStore, sha256_of
from flows.storage.transfer import confirm_stored

logger = logging.getLogger(__name__)

SCHEMA_LIMIT_BYTES = 64 * 1024 * 1024
PROBE_NAME = ".probe"
_KEPT_VERSIONS = 2  # manifests: whoever has just begun to read the one before the newest finds all its files


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file that is to be stored."""

    path: Path
    key: str
    role: FileRole
    rows: int
    bytes: int  # [bytes]
    sha256: str
    partition: str = ""


def versions(store: ReadableStore, name: str) -> list[int]:
    """The numbers of all manifests of a data set, oldest first."""
    found = (version_of(item.key) for item in store.list(versions_prefix(name)))
    return sorted(number for number in found if number is not None)


def read_dataset(store: ReadableStore, name: str, *, now: datetime) -> Dataset:
    """The data set as it is; one without exports where there is none yet.

    Args:
        store: Where it is.
        name: Of the data set.
        now: Aware.

    Raises:
        FormatError, IntegrityError: Its manifest cannot be used.
    """
    found = versions(store, name)
    if not found:
        return Dataset.empty(name, now=now)
    key = version_key(name, found[-1])
    data = store.get(key, limit=DATASET_LIMIT_BYTES)
    try:
        dataset = Dataset.from_json(data)
    except (FormatError, IntegrityError) as error:
        error.facts["key"] = key
        raise
    if (dataset.name, dataset.version) != (name, found[-1]):
        raise IntegrityError(
            "the manifest of a data set names another one than the one that it is stored as",
            hint="Somebody copied or moved it within the bucket: remove it, if the one before it is whole.",
            key=key,
            expected=f"{name} {found[-1]}",
            got=f"{dataset.name} {dataset.version}",
        )
    return dataset


def prepare(store: ObjectStore, name: str) -> tuple[str, ...]:
    """See that the store can be written and read, before the work begins.

    Returns:
        What the operator should know, as sentences.

    Raises:
        StoreError: It cannot.
    """
    probe, content = export_prefix(name) + PROBE_NAME, b"written to see that the store works; may be deleted\n"
    store.put(probe, content)
    if store.get(probe, limit=len(content)) != content:
        raise StoreError(
            "the store gives back something else than what was written",
            hint="Check the store with the block's `check()`; do not rely on it as it is.",
            store=store.location,
            key=probe,
        )
    try:
        store.delete([probe])
    except StoreDenied:
        return (f"the credentials of {store.location} cannot delete: what crashed runs leave stays there",)
    return ()


def local_file(path: Path, key: str, role: FileRole, rows: int) -> LocalFile:
    """What is to be stored of a file.

    Raises:
        SpoolError: It cannot be read.
    """
    digest, size = sha256_of(read_chunks(path))
    return LocalFile(path, key, role, rows, size, digest)


def store_text(store: ObjectStore, text: str, key: str, role: FileRole) -> DataFile:
    """Bring a text into the store, and prove that it is there.

    Raises:
        StoredWrongly: The store has something else.
    """
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()
    store.put(key, data)
    how = store.confirm(key, path=None, sha256=digest, size=len(data))
    return DataFile(key, role, 0, len(data), digest, how)


def store_file(store: ObjectStore, file: LocalFile, *, progress: Progress) -> DataFile:
    """Bring one file into the store, and prove that it is there.

    Raises:
        StoredWrongly: The store has something else, even after a second try.
    """
    store.put_file(file.key, file.path, progress=progress)
    how = confirm_stored(store, file.key, file.path, sha256=file.sha256, size=file.bytes, progress=progress)
    return DataFile(file.key, file.role, file.rows, file.bytes, file.sha256, how, file.partition)


def read_schema(store: ReadableStore, record: SchemaRecord) -> Any:
    """What is stored of a schema; whoever parses it compares its SHA-256.

    Raises:
        ObjectMissing: It is gone.
        FormatError: It is not JSON.
    """
    try:
        return json.loads(store.get(record.key, limit=SCHEMA_LIMIT_BYTES))
    except ValueError as error:
        raise FormatError(
            "the schema of an export is not JSON",
            hint="Find out who writes to the bucket; export into a new data set.",
            key=record.key,
            got=str(error),
        ) from error


def store_schema(store: ObjectStore, key: str, schema: object) -> None:
    """Keep a schema; its key has its SHA-256, so one that is there is the same, or was damaged.

    Raises:
        IntegrityError: The store has another one at this key.
    """
    _put_once(store, key, canonical(schema), "schema")


def publish(store: ObjectStore, dataset: Dataset, views: str) -> None:
    """Make a version of a data set exist. The last write of an export: all files that it names were confirmed before.

    A manifest that is there already is not overwritten unless it is the same one, from an earlier try.

    Args:
        store: Where it is.
        dataset: The version.
        views: SQL of its views.

    Raises:
        Refused: Another run has published this version meanwhile.
        ObjectMissing, IntegrityError: A file that it names is not there in full size.
    """
    dataset.check()
    data = dataset.to_json()
    if _get(store, dataset.key) == data:
        return
    check_files(store, dataset)
    store.put(views_key(dataset.name, dataset.version), views.encode())
    try:
        store.put(dataset.key, data, if_absent=True)
    except ObjectExists as error:
        if _get(store, dataset.key) != data:
            raise Refused(
                "another run has changed the data set meanwhile",
                hint="Nothing of this run was published. Run it again; it will build on what the other has left.",
                dataset=dataset.name,
                version=dataset.version,
            ) from error
    if _get(store, dataset.key) != data:
        raise IntegrityError(
            "the store took the manifest of a data set and has something else",
            hint="Check the store, then run it again; this version must not be relied on.",
            key=dataset.key,
        )


def check_files(store: ReadableStore, dataset: Dataset) -> None:
    """See that all files of a data set are there in full size.

    Raises:
        ObjectMissing, IntegrityError: One is not.
    """
    sizes = {item.key: item.size for item in store.list(export_prefix(dataset.name))}
    needed = {file.key: file.bytes for file in dataset.files} | {record.key: None for record in dataset.schemas}
    hint = "Find out who writes to the bucket, then export again in full."
    for key, size in needed.items():
        if key not in sizes:
            raise ObjectMissing("a file of the data set is missing in the store", hint=hint, key=key)
        if size is not None and sizes[key] != size:
            raise IntegrityError(
                "a file of the data set has another size than when it was stored",
                hint=hint,
                key=key,
                expected=size,
                got=sizes[key],
            )


def sweep(store: ObjectStore, dataset: Dataset, *, now: datetime, grace: timedelta) -> tuple[int, tuple[Leftover, ...]]:
    """Remove what no reader needs: old manifests, and files that crashed runs left.

    Args:
        store: Where the data set is.
        dataset: The newest version, just published or read; its lock is held.
        now: Aware.
        grace: How old a file must be that no manifest names: longer than any run takes.

    Returns:
        How many objects are gone, and those whose data lives on.
    """
    numbers = versions(store, dataset.name)
    if not numbers or numbers[-1] != dataset.version:
        return 0, ()
    old = numbers[:-_KEPT_VERSIONS]
    gone = [key for number in old for key in (version_key(dataset.name, number), views_key(dataset.name, number))]
    named = {file.key for file in dataset.files}
    # Of those before it, which are still to be read.
    for number in numbers[-_KEPT_VERSIONS:-1]:
        data = store.get(version_key(dataset.name, number), limit=DATASET_LIMIT_BYTES)
        try:
            named |= {file.key for file in Dataset.from_json(data).files}
        except (FormatError, IntegrityError):
            logger.warning("version %d of the data set %s cannot be read", number, dataset.name)
    for item in store.list(data_prefix(dataset.name)):
        if item.key not in named and now - item.modified >= grace:
            gone.append(item.key)
    left = store.delete(gone) if gone else ()
    for upload in store.uploads(export_prefix(dataset.name)):
        if now - upload.started >= grace:
            store.abort(upload)
    return len(gone) - len(left), left


def fetch(store: ObjectStore, file: DataFile, path: Path, *, progress: Progress) -> None:
    """Bring a file of the data set to this machine, and check its SHA-256.

    Raises:
        IntegrityError: It is another one; the local file is removed.
    """
    path.unlink(missing_ok=True)
    got = store.download(file.key, path, size=file.bytes, progress=progress)
    if got != file.sha256:
        path.unlink()
        raise IntegrityError(
            "the SHA-256 of a file is not the one in the manifest of its data set",
            hint="Export the collection again in full, and find out what changed this object.",
            key=file.key,
            expected=file.sha256,
            got=got,
        )


def _put_once(store: ObjectStore, key: str, data: bytes, what: str) -> None:
    if _get(store, key) == data:
        return
    try:
        store.put(key, data, if_absent=True)
    except ObjectExists:
        logger.debug("%s is there", key)
    if _get(store, key) != data:
        raise IntegrityError(
            f"the store has another {what} than the one that belongs to its key",
            hint="Find out who writes to the bucket; remove the object, and export again.",
            key=key,
        )


def _get(store: ReadableStore, key: str) -> bytes | None:
    try:
        return store.get(key, limit=DATASET_LIMIT_BYTES)
    except ObjectMissing:
        return None
