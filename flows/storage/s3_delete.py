"""Deleting so that the data is gone: on a bucket with versions a plain deletion only hides.

Whether a bucket keeps versions is not asked, since the answer is often denied and not every store knows the question.
It is seen: a listing of versions shows them, and the answer to a plain deletion tells of the marker that it left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from os.path import commonprefix
from typing import Any

from botocore.exceptions import ClientError

from flows.core.errors import BackupError, StoreError, StoreUnavailable
from flows.storage.profiles import ProviderProfile
from flows.storage.s3_errors import answered_at, explain_code, lacks, store_errors
from flows.storage.s3_folder import S3Folder
from flows.storage.s3_lock import lock_in
from flows.storage.store import Leftover, Obstacle

DELETE_BATCH = 1_000  # keys in one DeleteObjects, S3's own limit
_NO_VERSION = "null"  # the id of an object written while its bucket kept no versions
_GONE = {"NoSuchKey", "NoSuchVersion", "404"}

Target = tuple[str, str | None]  # a key, and the id of a version or None for whatever is there


@dataclass(slots=True)
class _Done:
    """What became of the targets of one deletion."""

    at: datetime | None = None  # by the store's clock
    hidden: list[str] = field(default_factory=list)  # keys that the store only marked as deleted
    refused: dict[Target, Mapping[str, Any]] = field(default_factory=dict)  # with the code and message of the store

    def gone(self, target: Target, answer: Mapping[str, Any]) -> None:
        """Take down what the store said of one that it took."""
        if target[1] is None and answer.get("DeleteMarker"):
            self.hidden.append(target[0])

    def kept(self, target: Target, error: Mapping[str, Any], folder: S3Folder) -> None:
        """Take down one that the store kept.

        Raises:
            StoreError: For a reason that has nothing to do with rights or locks.
        """
        # MinIO says InvalidRequest of an object that is locked.
        if error.get("Code") not in {"AccessDenied", "InvalidRequest"}:
            raise _error(folder, target, error)
        self.refused[target] = error


def delete_objects(folder: S3Folder, keys: Sequence[str], profile: ProviderProfile) -> list[Leftover]:
    """Remove every version of objects, and say what of them lives on.

    Args:
        folder: Where they are.
        keys: Any number.
        profile: Whether there are versions to look for.

    Raises:
        StoreError: The store kept an object for another reason than a lock.
    """
    versions = None if profile.versions == "never" else _versions(folder, keys)
    if versions is None:
        done = _delete(folder, [(key, None) for key in keys])
        leftovers = _locked_or_raise(folder, done)
        # A store that always keeps versions need not say so each time.
        always = [key for key in keys if (key, None) not in done.refused] if profile.versions == "always" else []
        return leftovers + _hidden(folder, always or done.hidden, done.at)
    # Without the id of a version, which would need the right s3:DeleteObjectVersion where there are none.
    plain = [key for key in keys if all(version == _NO_VERSION for version in versions.get(key, []))]
    done = _delete(folder, [(key, None) for key in plain])
    leftovers = _locked_or_raise(folder, done)
    if done.hidden:  # written before the bucket began to keep versions
        versions |= _versions(folder, done.hidden) or {}
    named = {key: ids for key, ids in versions.items() if key not in plain or key in done.hidden}
    return leftovers + _delete_versions(folder, named)


def _delete_versions(folder: S3Folder, versions: Mapping[str, Sequence[str]]) -> list[Leftover]:
    done = _delete(folder, [(key, version) for key, ids in versions.items() for version in ids])
    locked: dict[str, Leftover] = {}
    denied: list[str] = []
    for target, error in done.refused.items():
        left = _locked(folder, target, error)
        if left is None:
            denied.append(target[0])
        elif target[0] not in locked or _later(left, locked[target[0]]):
            locked[target[0]] = left
    keys = [key for key in dict.fromkeys(denied) if key not in locked]
    # What may not be deleted may perhaps be hidden: no listing shows it then, and rules of the bucket may remove it.
    marked = _delete(folder, [(key, None) for key in keys])
    for target, error in marked.refused.items():
        raise _error(folder, target, error, failed=len(marked.refused))
    return [*locked.values(), *_hidden(folder, keys, marked.at)]


def _later(left: Leftover, than: Leftover) -> bool:
    return than.until is not None and (left.until is None or left.until > than.until)


def _versions(folder: S3Folder, keys: Sequence[str]) -> dict[str, list[str]] | None:
    """The ids of all versions and delete markers of keys; None where the store does not tell."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(key.rpartition("/")[0], []).append(key)
    found: dict[str, list[str]] = {}
    pages = folder.client.get_paginator("list_object_versions")
    with store_errors(folder.location):
        for group in groups.values():
            wanted = set(group)
            try:
                # By letters on purpose: one key gives a listing of that key, many give one that is little more.
                prefix = folder.prefix + commonprefix(group)  # noqa: RUF071
                for page in pages.paginate(Bucket=folder.bucket, Prefix=prefix):
                    for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                        if (key := folder.ours(item["Key"])) in wanted:
                            found.setdefault(key, []).append(item["VersionId"])
            except ClientError as error:
                if lacks(error) or error.response.get("Error", {}).get("Code") == "AccessDenied":
                    return None
                raise
    return found


def _delete(folder: S3Folder, targets: Sequence[Target]) -> _Done:
    done = _Done()
    for start in range(0, len(targets), DELETE_BATCH):
        batch = targets[start : start + DELETE_BATCH]
        objects = [{"Key": folder.prefix + key} | ({"VersionId": version} if version else {}) for key, version in batch]
        with store_errors(folder.location):
            try:
                answer = folder.client.delete_objects(Bucket=folder.bucket, Delete={"Objects": objects})
            except ClientError as error:
                if not lacks(error):
                    raise
                _delete_singly(folder, batch, done)
                continue
        done.at = answered_at(answer)
        for item in answer.get("Deleted", []):
            done.gone((folder.ours(item["Key"]), item.get("VersionId")), item)
        for item in answer.get("Errors", []):
            if item.get("Code") not in _GONE:
                key = folder.ours(item["Key"])
                # Not every store says which of the versions it kept.
                versions = [item["VersionId"]] if "VersionId" in item else [one[1] for one in batch if one[0] == key]
                for version in versions:
                    done.kept((key, version), item, folder)
    return done


def _delete_singly(folder: S3Folder, targets: Sequence[Target], done: _Done) -> None:
    for key, version in targets:
        with store_errors(folder.location, key=key):
            try:
                answer = folder.client.delete_object(**folder.at(key), **_which(version))
            except ClientError as error:
                problem = error.response.get("Error", {})
                # Real S3 answers 204 for a key without an object, and not everybody does.
                if problem.get("Code") in _GONE:
                    continue
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) >= 500:
                    raise
                done.kept((key, version), problem, folder)
                continue
        done.at = answered_at(answer)
        done.gone((key, version), answer)


def _locked_or_raise(folder: S3Folder, done: _Done) -> list[Leftover]:
    leftovers = []
    for target, error in done.refused.items():
        left = _locked(folder, target, error)
        if left is None:
            raise _error(folder, target, error, failed=len(done.refused))
        leftovers.append(left)
    return leftovers


def _locked(folder: S3Folder, target: Target, error: Mapping[str, Any]) -> Leftover | None:
    """What keeps an object, if that is a lock."""
    key, version = target
    # A version is not everybody's to look at; the one that is there now is most likely the same, or locked as long.
    for which in dict.fromkeys((version, None)):
        try:
            answer = folder.head(key, **_which(which))
        except StoreUnavailable:
            raise
        except StoreError:  # a delete marker, or not ours to look at
            continue
        lock, at = lock_in(answer), answered_at(answer)
        if lock is not None and (at is None or lock.holds(at)):
            return Leftover(key, Obstacle.LOCKED, lock.until)
    says = str(error.get("Message", "")).lower()
    named = any(word in says for word in ("object lock", "worm", "retention"))
    return Leftover(key, Obstacle.LOCKED, None) if named else None


def _hidden(folder: S3Folder, keys: Sequence[str], at: datetime | None) -> list[Leftover]:
    if not keys:
        return []
    with store_errors(folder.location):
        try:
            rules = folder.client.get_bucket_lifecycle_configuration(Bucket=folder.bucket).get("Rules", [])
        except ClientError:  # there are none, or they are not ours to read: then nobody knows
            rules = []
    return [Leftover(key, Obstacle.HIDDEN, _expiry(rules, folder.prefix + key, at)) for key in keys]


def _expiry(rules: Iterable[Mapping[str, Any]], key: str, hidden: datetime | None) -> datetime | None:
    """When a lifecycle rule removes what was hidden, at the latest: the store rounds up to the next midnight."""
    days = []
    for rule in rules:
        expiration = rule.get("NoncurrentVersionExpiration", {})
        only = rule.get("Filter", {})
        if (
            rule.get("Status") == "Enabled"
            and "NoncurrentDays" in expiration
            and not expiration.get("NewerNoncurrentVersions")
            and only.keys() <= {"Prefix"}
            and key.startswith(only.get("Prefix", rule.get("Prefix", "")))
        ):
            days.append(expiration["NoncurrentDays"])
    return hidden + timedelta(days=min(days) + 1) if days and hidden is not None else None


def _which(version: str | None) -> dict[str, str]:
    return {"VersionId": version} if version else {}


def _error(folder: S3Folder, target: Target, error: Mapping[str, Any], *, failed: int = 1) -> BackupError:
    facts = {"store": folder.location, "key": target[0], "failed": failed}
    return explain_code(error, facts, operation="DeleteObjects")
