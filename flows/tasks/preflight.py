"""Finding out what a preflight judges: of the source, of the store, of its backups, and of the worker."""

from __future__ import annotations

import logging
import shutil
import uuid
from datetime import UTC, datetime

from blocks import BackupEncryption, BackupStore, MongoDBSource
from flows.core.encryption import Identities
from flows.core.errors import BackupError, ConfigurationError
from flows.core.preflight_facts import (
    BackupsFacts,
    KeysFacts,
    Problem,
    SourceFacts,
    StoreFacts,
    Unknown,
    WorkerFacts,
)
from flows.core.segments import MIB
from flows.core.selection import Selection
from flows.core.spool import Spool
from flows.mongo.preflight import survey_source, unreached
from flows.storage.preflight import DocumentsPlace, survey_backups, survey_store, unopened_store
from flows.storage.store import checked_prefix
from flows.tasks.blocks import load_block
from flows.tasks.options import stage
from flows.tasks.run import spool_root
from flows.tasks.scratch import ROOM_BYTES
from flows.tasks.settings import PreflightLimits

logger = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


def documents_place(text: str | None, store: BackupStore) -> DocumentsPlace | None:
    """Read where the documents of the application are.

    Args:
        text: `s3://bucket/folder`, at the provider of the backups, or the name of a MongoDB Backup Store block.
        store: Where the backups are.

    Raises:
        ConfigurationError: It is neither.
    """
    if not text:
        return None
    if "://" not in text:
        block = load_block(BackupStore, text)
        here = (block.endpoint or "").rstrip("/") == (store.endpoint or "").rstrip("/")
        return DocumentsPlace(block.bucket, checked_prefix(block.prefix), here)
    scheme, _, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise ConfigurationError(
            "not a place of documents",
            hint="Give s3://bucket or s3://bucket/folder, or the name of a MongoDB Backup Store block.",
            got=text,
        )
    return DocumentsPlace(bucket, checked_prefix(prefix))


def keys_facts(encryption: BackupEncryption | None, identities: Identities) -> KeysFacts:
    """What is known of the keys that the operator has named, without using them."""
    return KeysFacts(
        encrypts=encryption is not None,
        recipients=tuple(encryption.recipients.split()) if encryption is not None else (),
        opens=tuple(key.public for key in identities.keys),
    )


@stage(name="survey-source", task_run_name="look at the source")
def look_at_source(source: MongoDBSource, selection: Selection, limits: PreflightLimits) -> SourceFacts:
    """Ask MongoDB."""
    password = source.password_in_uri
    try:
        with source.open() as opened:
            return survey_source(
                opened,
                selection,
                password_in_uri=password,
                segment_bytes=limits.segment_mib * MIB,
                in_flight=limits.segments_in_flight,
                clock=_now,
            )
    except BackupError as error:
        logger.warning("the source cannot be asked: %s", error)
        return unreached(error, Unknown.of(error), password_in_uri=password)


@stage(name="survey-store", task_run_name="look at the store of {plan}")
def look_at_store(store: BackupStore, plan: str, documents: DocumentsPlace | None, *, kept: int) -> StoreFacts:
    """Ask the store, and try a little in a scratch folder; `kept` is the `days` of its retention."""
    try:
        settings, opened, stranger = store.survey_settings(kept), store.open(), store.open_as_stranger()
        lines = tuple(store.check())
    except BackupError as error:
        logger.warning("the store cannot be asked: %s", error)
        return unopened_store(store.location, error, documents)
    return survey_store(opened, stranger, plan, settings, lines, documents, scratch=uuid.uuid4().hex, clock=_now)


@stage(name="survey-backups", task_run_name="look at the backups of {plan}")
def look_at_backups(store: BackupStore, plan: str, identities: Identities, *, in_flight: int) -> BackupsFacts:
    """Look at the newest backup and at the evidence."""
    try:
        opened = store.open()
    except BackupError as error:
        unknown = Unknown.of(error)
        return BackupsFacts(unknown, unknown, unknown)
    return survey_backups(opened, plan, identities, in_flight=in_flight, now=_now())


@stage(name="survey-worker", task_run_name="look at the spool")
def look_at_worker() -> WorkerFacts:
    """See that the spool can be used, and how much room it has."""
    try:
        with Spool(spool_root(), f"preflight-{uuid.uuid4().hex}") as spool:
            free: int | Problem = shutil.disk_usage(spool.folder).free
    except BackupError as error:
        free = Problem.of(error)
    return WorkerFacts(free, ROOM_BYTES)
