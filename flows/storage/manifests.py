"""The manifest of a backup in a store: whether it is there, and what is in it."""

from __future__ import annotations

import hashlib

from flows.core.errors import BackupNotFound, FormatError, IntegrityError, ObjectMissing
from flows.core.keys import manifest_key
from flows.core.manifest import MANIFEST_LIMIT_BYTES, Manifest
from flows.storage.store import ObjectStore, ReadableStore


def check_listed(store: ObjectStore, plan: str, backup: str) -> None:
    """See that a backup exists, whether its manifest can be read or not.

    Raises:
        BackupNotFound: Where it does not.
    """
    try:
        store.head(manifest_key(plan, backup))
    except ObjectMissing as error:
        raise _no_such_backup(store, plan, backup) from error


def read_manifest(store: ReadableStore, plan: str, backup: str) -> Manifest:
    """Read the manifest of a backup.

    Raises:
        BackupNotFound: Where there is none.
        FormatError, IntegrityError: Where the manifest cannot be used.
    """
    return parse_manifest(plan, backup, manifest_bytes(store, plan, backup))


def manifest_bytes(store: ReadableStore, plan: str, backup: str) -> bytes:
    """What is stored as the manifest of a backup.

    Raises:
        BackupNotFound: Where there is none.
        FormatError: Where it is too large to be one.
    """
    try:
        return store.get(manifest_key(plan, backup), limit=MANIFEST_LIMIT_BYTES)
    except ObjectMissing as error:
        raise _no_such_backup(store, plan, backup) from error


def parse_manifest(plan: str, backup: str, data: bytes) -> Manifest:
    """Make a manifest of what is stored at its key.

    Raises:
        FormatError, IntegrityError: Where it cannot be used.
    """
    try:
        manifest = Manifest.from_json(data)
    except (FormatError, IntegrityError) as error:
        error.facts["key"] = manifest_key(plan, backup)
        raise
    if (manifest.plan, manifest.backup) != (plan, backup):
        raise IntegrityError(
            "a manifest names another backup than the one that it is stored under",
            hint="Somebody copied or moved it within the bucket; restore an older backup and find out who.",
            key=manifest_key(plan, backup),
            expected=f"{plan}/{backup}",
            got=f"{manifest.plan}/{manifest.backup}",
        )
    return manifest


def hash_manifest(store: ReadableStore, plan: str, backup: str) -> tuple[str, int]:
    """SHA-256 and size [bytes] of a manifest as it is stored, whatever is in it.

    Raises:
        BackupNotFound: Where there is none.
    """
    data = manifest_bytes(store, plan, backup)
    return hashlib.sha256(data).hexdigest(), len(data)


def _no_such_backup(store: ReadableStore, plan: str, backup: str) -> BackupNotFound:
    return BackupNotFound(
        "no such backup in this plan",
        hint="The inventory flow lists the ids; `latest` is the newest.",
        plan=plan,
        store=store.location,
        got=backup,
    )
