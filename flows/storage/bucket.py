"""What a preflight finds out about the place of the backups: how its bucket is set, and who gets in.

Almost all of it is asked. What has to be tried happens in a scratch folder, `.probe/…` below the prefix of the store.
Some stores answer questions that they do not know with 200 and a listing, so an answer counts only if it shows what was
asked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from flows.core.checks import CheckLine
from flows.core.errors import BackupError, StoreDenied, StoreUnavailable
from flows.core.preflight_facts import (
    BucketLock,
    Buckets,
    Deleted,
    Deletion,
    Documents,
    LifecycleRule,
    Problem,
    StoreFacts,
    Transport,
    Unknown,
)
from flows.storage.options import NONE
from flows.storage.probe import SCRATCH
from flows.storage.profiles import ARCHIVE_CLASSES
from flows.storage.s3 import S3Store
from flows.storage.s3_errors import answered_at, lacks, store_errors
from flows.storage.s3_folder import S3Folder
from flows.storage.store import Obstacle, checked_prefix

_CONTENT = b"written by a preflight of this store; may be deleted\n"
_STRANGERS = {
    "http://acs.amazonaws.com/groups/global/AllUsers": "everybody",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers": "everybody with an account at the provider",
}
_MOST_BUCKETS = 10  # that are tried
_UNREACHED = Unknown("the store was not reached")
_UNTOLD = Unknown("the store does not tell", "Look it up in the console of its provider.")

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DocumentsPlace:
    """Where the documents of the application are; the endpoint is empty for that of the backups."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""


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
        versions=_versions(folder),
        anybody=anybody,
        policy_public=_policy_public(folder),
        acl_public=_acl_public(folder),
        blocks=_blocks(folder),
        default_encryption=_default_encryption(folder),
        deleted=deleted,
        lifecycle=_lifecycle(folder),
        object_lock=_object_lock(folder),
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


# What is asked


def _question(folder: S3Folder, operation: str, *, shows: str, absent: Collection[str] = ()) -> Answer | Unknown:
    """Ask something about the bucket.

    Args:
        folder: In it.
        operation: As boto3 calls it.
        shows: What an answer has in it; an empty one is none.
        absent: What the store says where there is no such thing: the answer is empty then.
    """
    try:
        with store_errors(folder.location):
            try:
                answer: Answer = getattr(folder.client, operation)(Bucket=folder.bucket)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in absent:
                    return {}
                if lacks(error):
                    return _UNTOLD
                raise
    except BackupError as error:
        return Unknown.of(error)
    return answer if shows in answer else _UNTOLD


def _versions(folder: S3Folder) -> bool:
    answer = _question(folder, "get_bucket_versioning", shows="Status")
    return not isinstance(answer, Unknown) and answer["Status"] == "Enabled"


def _policy_public(folder: S3Folder) -> bool | Unknown:
    answer = _question(folder, "get_bucket_policy_status", shows="PolicyStatus", absent={"NoSuchBucketPolicy"})
    if isinstance(answer, Unknown) or (answer and "IsPublic" not in answer["PolicyStatus"]):
        return _policy_itself(folder)
    return bool(answer and answer["PolicyStatus"]["IsPublic"])


def _policy_itself(folder: S3Folder) -> bool | Unknown:
    """For stores that keep policies and do not judge them."""
    answer = _question(folder, "get_bucket_policy", shows="Policy", absent={"NoSuchBucketPolicy"})
    if isinstance(answer, Unknown) or not answer:
        return answer if isinstance(answer, Unknown) else False
    return lets_everybody_in(answer["Policy"])


def lets_everybody_in(policy: str) -> bool | Unknown:
    """Whether the policy of a bucket, as JSON, lets everybody in."""
    try:
        said = json.loads(policy)["Statement"]
        statements = [said] if isinstance(said, dict) else list(said)
        open_ones = [one for one in statements if one["Effect"] == "Allow" and _is_everybody(one.get("Principal"))]
    except (ValueError, KeyError, TypeError):
        return _UNTOLD
    if open_ones and all(one.get("Condition") for one in open_ones):
        return Unknown("it lets everybody in under conditions", "Read the policy of the bucket.")
    return bool(open_ones)


def _is_everybody(principal: object) -> bool:
    named = list(principal.values()) if isinstance(principal, dict) else [principal]
    return any("*" in (one if isinstance(one, list) else [one]) for one in named)


def _acl_public(folder: S3Folder) -> tuple[str, ...] | Unknown:
    answer = _question(folder, "get_bucket_acl", shows="Grants")
    if isinstance(answer, Unknown):
        return answer
    uris = [grant.get("Grantee", {}).get("URI") for grant in answer["Grants"]]
    return tuple(dict.fromkeys(_STRANGERS[uri] for uri in uris if uri in _STRANGERS))


def _blocks(folder: S3Folder) -> frozenset[str] | Unknown:
    name = "PublicAccessBlockConfiguration"
    answer = _question(folder, "get_public_access_block", shows=name, absent={f"NoSuch{name}"})
    if isinstance(answer, Unknown):
        return answer
    if answer and not answer[name]:
        return _UNTOLD
    return frozenset(part for part, on in answer.get(name, {}).items() if on)


def _default_encryption(folder: S3Folder) -> str | Unknown:
    name = "ServerSideEncryptionConfiguration"
    answer = _question(folder, "get_bucket_encryption", shows=name, absent={f"{name}NotFoundError"})
    if isinstance(answer, Unknown) or not answer:
        return answer if isinstance(answer, Unknown) else ""
    if not answer[name].get("Rules"):
        return _UNTOLD
    return str(answer[name]["Rules"][0].get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", ""))


def _lifecycle(folder: S3Folder) -> tuple[LifecycleRule, ...] | Unknown:
    answer = _question(
        folder, "get_bucket_lifecycle_configuration", shows="Rules", absent={"NoSuchLifecycleConfiguration"}
    )
    if isinstance(answer, Unknown):
        return answer
    return tuple(_rule(rule) for rule in answer.get("Rules", []) if rule.get("Status") == "Enabled")


def _rule(rule: Answer) -> LifecycleRule:
    only = rule.get("Filter", {})
    only = only.get("And", only)
    moves = [move.get("Days", 0) for move in rule.get("Transitions", []) if move.get("StorageClass") in ARCHIVE_CLASSES]
    expiration = rule.get("Expiration", {})
    return LifecycleRule(
        name=rule.get("ID") or "without a name",
        prefix=only.get("Prefix", rule.get("Prefix", "")),
        by_tag="Tag" in only or "Tags" in only,
        expires_days=expiration.get("Days"),
        expires_at=expiration.get("Date"),
        archives_days=min(moves, default=None),
    )


def _object_lock(folder: S3Folder) -> BucketLock | Unknown:
    name = "ObjectLockConfiguration"
    answer = _question(folder, "get_object_lock_configuration", shows=name, absent={f"{name}NotFoundError"})
    if answer is _UNTOLD:
        return BucketLock(False)  # who has locks knows the question
    if isinstance(answer, Unknown):
        return answer
    found = answer.get(name, {})
    default = found.get("Rule", {}).get("DefaultRetention", {})
    days = default.get("Days") or 365 * (default.get("Years") or 0)
    return BucketLock(found.get("ObjectLockEnabled") == "Enabled", days)


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
    here = place.endpoint in {"", folder.client.meta.endpoint_url}
    theirs, ours = checked_prefix(place.prefix), f"{folder.prefix}{plan}/"
    same = here and place.bucket == folder.bucket
    where = f"s3://{place.bucket}/{theirs}".rstrip("/")
    readable: bool | Unknown | None = None
    if here:
        found = _looks(folder, place.bucket, theirs) if reached else _UNREACHED
        readable = Unknown(found.why, "Correct `documents`.") if isinstance(found, Unknown) else found is not None
    return Documents(where, same, same and (ours.startswith(theirs) or theirs.startswith(ours)), readable)


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
