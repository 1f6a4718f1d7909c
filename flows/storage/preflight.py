"""What a preflight finds out about the place of the backups, about the backups of a plan, and the evidence of them.

Almost all of it is asked. What has to be tried happens in a scratch folder, `.probe/…` below the prefix of the store.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from flows.core.checks import CheckLine
from flows.core.encryption import Identities
from flows.core.errors import BackupError, BackupNotFound, StoreDenied, StoreUnavailable
from flows.core.evidence import EvidenceKind
from flows.core.manifest import Manifest
from flows.core.preflight_facts import (
    BackupsFacts,
    Buckets,
    Deleted,
    Deletion,
    Documents,
    Last,
    NewestBackup,
    Problem,
    StoreFacts,
    Transport,
    Unknown,
)
from flows.storage.access import check_access
from flows.storage.bucket import (
    acl_public,
    default_encryption,
    keeps_versions,
    lifecycle_rules,
    object_lock,
    policy_public,
    public_blocks,
)
from flows.storage.evidence import last_of
from flows.storage.options import NONE
from flows.storage.probe import SCRATCH
from flows.storage.repository import LATEST, Repository
from flows.storage.s3 import S3Store
from flows.storage.s3_errors import answered_at, store_errors
from flows.storage.s3_folder import S3Folder
from flows.storage.store import ObjectStore, Obstacle
from flows.storage.verifying import read_standing

_CONTENT = b"written by a preflight of this store; may be deleted\n"
_MOST_BUCKETS = 10  # that are tried
_UNREACHED = Unknown("the store was not reached")

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DocumentsPlace:
    """Where the documents of the application are.

    Attributes:
        bucket: Its name.
        prefix: The folder in it; empty, or ending in a slash.
        here: Whether that is at the provider of the backups.
    """

    bucket: str
    prefix: str = ""
    here: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """What the block of a store says of it.

    Attributes:
        keys_from: See `StoreFacts`.
        verified: Whether the certificate of the store is verified.
        lock_days: For how many days it is asked to lock.
    """

    keys_from: str
    verified: bool
    lock_days: int | None


def survey_store(
    store: S3Store,
    stranger: S3Store,
    plan: str,
    settings: Settings,
    lines: tuple[CheckLine, ...],
    documents: DocumentsPlace | None,
    *,
    scratch: str,
    clock: Callable[[], datetime],
) -> StoreFacts:
    """Find out all that a checklist asks of a store.

    Args:
        store: Where the backups are.
        stranger: The same place, without credentials.
        plan: Whose backups.
        settings: Of its block.
        lines: What the check of its block has tried.
        documents: Where the documents of the application are; None: nobody said.
        scratch: The random part of keys.
        clock: Gives the time of this machine, aware.
    """
    folder = store.folder
    facts = replace(
        _unreached(store.location, lines, _UNREACHED),
        folder=f"{folder.prefix}{plan}/",
        transport=_transport(folder, verified=settings.verified),
        keys_from=settings.keys_from,
        encryption=store.options.encryption,
        lock=store.options.lock,
        lock_days=settings.lock_days,
        documents=_documents(folder, plan, documents, reached=lines[0].ok) if documents is not None else None,
    )
    if not lines[0].ok:
        return facts
    deleted, anybody = _tried(store, stranger, f"{SCRATCH}/{scratch}/seen", clock)
    return replace(
        facts,
        versions=keeps_versions(folder),
        anybody=anybody,
        policy_public=policy_public(folder),
        acl_public=acl_public(folder),
        blocks=public_blocks(folder),
        default_encryption=default_encryption(folder),
        deleted=deleted,
        lifecycle=lifecycle_rules(folder),
        object_lock=object_lock(folder),
        buckets=_buckets(folder),
        beyond=_beyond(folder),
        ahead_seconds=_ahead(folder, clock),
    )


def unopened_store(location: str, error: BackupError, documents: DocumentsPlace | None) -> StoreFacts:
    """What is known of a store that cannot even be asked, because its block does not open."""
    why = Unknown.of(error)
    facts = _unreached(location, (CheckLine("open the block", False, Problem.of(error).what, error.hint),), why)
    return replace(facts, documents=None if documents is None else why)


def _unreached(location: str, lines: tuple[CheckLine, ...], why: Unknown) -> StoreFacts:
    return StoreFacts(
        location=location,
        folder="",
        lines=lines,
        transport=why,
        keys_from=why,
        encryption=NONE,
        lock=NONE,
        lock_days=None,
        versions=False,
        anybody=why,
        policy_public=why,
        acl_public=why,
        blocks=why,
        default_encryption=why,
        deleted=why,
        lifecycle=why,
        object_lock=why,
        buckets=why,
        beyond=why,
        documents=None,
        ahead_seconds=why,
    )


def _transport(folder: S3Folder, *, verified: bool) -> Transport:
    address = urlsplit(folder.client.meta.endpoint_url)
    host = address.hostname or ""
    local = host in {"localhost", "::1"} or host.startswith("127.")
    return Transport(address.scheme == "https", verified, verified, local)


# What is tried, by looking


def _looks(folder: S3Folder, bucket: str, prefix: str = "") -> Answer | Unknown | None:
    """List a little of a bucket; None: the credentials may not."""
    try:
        with store_errors(f"s3://{bucket}/{prefix}".rstrip("/")):
            found: Answer = folder.client.list_objects_v2(Bucket=bucket, Prefix=prefix, Delimiter="/", MaxKeys=100)
            return found
    except StoreDenied:
        return None
    except BackupError as error:
        return Unknown.of(error)


def _buckets(folder: S3Folder) -> Buckets | Unknown:
    try:
        with store_errors(folder.location):
            found = folder.client.list_buckets()
    except StoreDenied:
        return Buckets(None)
    except BackupError as error:
        return Unknown.of(error)
    names = tuple(item["Name"] for item in found.get("Buckets", []) if item["Name"] != folder.bucket)
    readable = [name for name in names[:_MOST_BUCKETS] if isinstance(_looks(folder, name), Mapping)]
    return Buckets(names, tuple(readable))


def _beyond(folder: S3Folder) -> bool | Unknown | None:
    """Whether the credentials see anything of the bucket that is not in the folder of the store."""
    if not folder.prefix:
        return None
    found = _looks(folder, folder.bucket)
    if found is None or isinstance(found, Unknown):
        return False if found is None else found
    own = folder.prefix.partition("/")[0] + "/"
    there = [item["Prefix"] for item in found.get("CommonPrefixes", [])] + [
        item["Key"] for item in found.get("Contents", [])
    ]
    return any(name != own for name in there)


def _documents(folder: S3Folder, plan: str, place: DocumentsPlace, *, reached: bool) -> Documents:
    ours, theirs = f"{folder.prefix}{plan}/", place.prefix
    same = place.here and place.bucket == folder.bucket
    readable: bool | Unknown | None = None
    if place.here and not reached:
        readable = _UNREACHED
    elif place.here:
        found = _looks(folder, place.bucket, theirs)
        readable = Unknown(found.why, "Correct `documents`.") if isinstance(found, Unknown) else found is not None
    return Documents(
        f"s3://{place.bucket}/{theirs}".rstrip("/"),
        same_bucket=same,
        overlapping=same and (ours.startswith(theirs) or theirs.startswith(ours)),
        readable=readable,
    )


def _ahead(folder: S3Folder, clock: Callable[[], datetime]) -> float | Unknown:
    before = clock()
    try:
        with store_errors(folder.location):
            answer = folder.client.list_objects_v2(Bucket=folder.bucket, Prefix=folder.prefix, MaxKeys=1)
    except BackupError as error:
        return Unknown.of(error)
    after, told = clock(), answered_at(answer)
    if told is None:
        return Unknown("the store does not tell the time")
    return (told - (before + (after - before) / 2)).total_seconds()


# What is tried, by doing, in the scratch folder


def _tried(
    store: S3Store, stranger: S3Store, key: str, clock: Callable[[], datetime]
) -> tuple[Deleted | Unknown, tuple[str, ...] | Unknown]:
    """What a deletion leaves, and what somebody without credentials can do."""
    try:
        for content in (b"first\n", _CONTENT):  # two versions, where the bucket keeps them
            store.put(key, content)
        anybody = _anybody(stranger, key)
    except BackupError as error:
        with suppress(BackupError):
            store.delete([key])
        return Unknown.of(error), Unknown.of(error)
    return _deleted(store, key, clock), anybody


def _anybody(stranger: S3Store, key: str) -> tuple[str, ...] | Unknown:
    acts: dict[str, Callable[[], object]] = {
        "list it": lambda: next(iter(stranger.list("")), None),
        "read objects": lambda: stranger.get_start(key, size=1),
    }
    could = []
    for what, act in acts.items():
        try:
            act()
            could.append(what)
        except StoreUnavailable as error:
            return Unknown.of(error)
        except BackupError:  # stores have many words for a stranger
            continue
    return tuple(could)


def _deleted(store: S3Store, key: str, clock: Callable[[], datetime]) -> Deleted | Unknown:
    try:
        left = store.delete([key])
    except StoreDenied:
        return Deleted(Deletion.DENIED)
    except BackupError as error:
        return Unknown.of(error)
    if not left:
        return Deleted(Deletion.GONE)
    how = Deletion.LOCKED if left[0].why is Obstacle.LOCKED else Deletion.HIDDEN
    until = left[0].until
    return Deleted(how, math.ceil((until - clock()) / timedelta(days=1)) if until is not None else None)


# The backups


def survey_backups(
    store: ObjectStore, plan: str, identities: Identities, *, in_flight: int, now: datetime
) -> BackupsFacts:
    """Find out all that a checklist asks of the backups of a plan.

    Args:
        store: Where they are.
        plan: Whose.
        identities: What opens them, and who may sign them.
        in_flight: How many segments a restore works on at a time.
        now: Aware.
    """
    return BackupsFacts(
        newest=_newest(store, plan, identities, in_flight=in_flight, now=now),
        drill=_last(store, plan, EvidenceKind.DRILL, identities, now),
        verification=_last(store, plan, EvidenceKind.VERIFICATION, identities, now),
    )


def _newest(
    store: ObjectStore, plan: str, identities: Identities, *, in_flight: int, now: datetime
) -> NewestBackup | Problem | Unknown | None:
    try:
        manifest = Repository(store, plan).whole(LATEST, now=now)
        marks = read_standing(store, plan, manifest.backup).marks
    except BackupNotFound:
        return None
    except BackupError as error:
        return Unknown.of(error) if error.retryable or isinstance(error, StoreDenied) else Problem.of(error)
    said = {segment.store_encryption for segment in manifest.segments}
    return NewestBackup(
        backup=manifest.backup,
        started=manifest.started,
        finished=manifest.finished,
        marks=marks,
        bson_bytes=manifest.bson_bytes,
        restore_bytes=sum(sorted(segment.bytes for segment in manifest.segments)[-in_flight:]),
        recipients=manifest.recipients,
        store_encryption="" if "" in said else ", ".join(sorted(said)),
        opened=_opened(store, manifest, identities),
    )


def _opened(store: ObjectStore, manifest: Manifest, identities: Identities) -> str | Problem | Unknown:
    try:
        access = check_access(store, manifest, identities)
        access.opened(manifest)
    except BackupError as error:
        return Unknown.of(error) if error.retryable or isinstance(error, StoreDenied) else Problem.of(error)
    signed = ", and signed by a trusted signer" if identities.signers else ""
    if access.identity is None:
        return f"not encrypted, so nobody needs one{signed}"
    opener = "a passphrase" if access.identity.of_passphrase else access.identity.public
    return f"opened by {opener}{signed}"


def _last(store: ObjectStore, plan: str, kind: EvidenceKind, identities: Identities, now: datetime) -> Last | Unknown:
    try:
        return last_of(store, plan, kind, trusted=identities.signers, now=now)
    except BackupError as error:
        return Unknown.of(error)
