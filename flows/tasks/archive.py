"""The stages of restoring an archive that this project did not store: find, fetch, survey."""

from __future__ import annotations

import logging
from pathlib import Path

from blocks import BackupStore
from flows.core.foreign import ARCHIVE_NAME, Survey, survey_archive
from flows.core.report import format_bytes, format_count
from flows.storage.files import copy_file, file_as_object
from flows.storage.listing import find_archive as find_in_store
from flows.storage.store import StoredObject
from flows.tasks.options import stage
from flows.tasks.run import current

logger = logging.getLogger(__name__)


@stage(name="find-archive", task_run_name="find {key}")
def find_archive(store: BackupStore, key: str) -> StoredObject:
    """Look up the object, with its size."""
    return find_in_store(store.open(), key)


@stage(name="fetch-archive", task_run_name="fetch {found.key}")
def fetch_archive(run: str, store: BackupStore, found: StoredObject) -> str:
    """Download the archive into the spool; returns its SHA-256."""
    state = current(run)
    sha256 = store.open().download(
        found.key, state.spool.folder / ARCHIVE_NAME, size=found.size, progress=state.counter()
    )
    logger.info("fetched %s: %s, SHA-256 %s", found.key, format_bytes(found.size), sha256)
    return sha256


@stage(name="find-file", task_run_name="find {path}")
def find_file(path: str) -> StoredObject:
    """Look up a file, as if it lay in the root of a store."""
    return file_as_object(Path(path))


@stage(name="take-file", task_run_name="copy {path}")
def take_file(run: str, path: str) -> str:
    """Copy the archive into the spool, since what lies there does not stay; returns its SHA-256."""
    state = current(run)
    sha256 = copy_file(Path(path), state.spool.folder / ARCHIVE_NAME, progress=state.counter())
    logger.info("copied %s, SHA-256 %s", path, sha256)
    return sha256


@stage(name="survey", task_run_name="survey {found.key}")
def survey(run: str, found: StoredObject, sha256: str, *, users: bool) -> Survey:
    """Read the whole archive, and see that it is sound, before the target is touched."""
    state = current(run)
    held = survey_archive(
        state.spool.folder / ARCHIVE_NAME,
        key=found.key,
        sha256=sha256,
        modified=found.modified,
        users=users,
        progress=state.counter(),
    )
    logger.info(
        "%s is whole: %s documents in %d namespaces, dumped from MongoDB %s by mongodump %s",
        found.key,
        format_count(held.manifest.documents),
        len(held.manifest.namespaces),
        held.manifest.source.server_version,
        held.manifest.versions["mongodump"],
    )
    for warning in held.manifest.warnings:
        logger.warning("%s", warning)
    return held
