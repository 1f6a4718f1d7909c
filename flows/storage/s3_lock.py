"""Object Lock: what protects an object from being deleted, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from flows.core.errors import StoreError
from flows.storage.s3_errors import lacks, store_errors
from flows.storage.s3_folder import S3Folder
from flows.storage.store import Lock

COMPLIANCE, GOVERNANCE, LEGAL_HOLD = "compliance", "governance", "legal hold"


def lock_in(answer: Mapping[str, Any]) -> Lock | None:
    """The lock that the answer to a HEAD shows. Credentials without s3:GetObjectRetention see none."""
    if answer.get("ObjectLockLegalHoldStatus") == "ON":
        return Lock(LEGAL_HOLD, None)
    if "ObjectLockRetainUntilDate" not in answer:
        return None
    return Lock(str(answer["ObjectLockMode"]).lower(), answer["ObjectLockRetainUntilDate"].astimezone(UTC))


def has_object_lock(folder: S3Folder) -> bool:
    """Whether the bucket was made with Object Lock.

    Raises:
        StoreDenied: The credentials may not ask.
    """
    with store_errors(folder.location):
        try:
            answer = folder.client.get_object_lock_configuration(Bucket=folder.bucket)
        except ClientError as error:
            if lacks(error) or error.response.get("Error", {}).get("Code") == "ObjectLockConfigurationNotFoundError":
                return False
            raise
    return bool(answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")


def require_object_lock(folder: S3Folder) -> None:
    """See that the bucket locks objects. Nothing else tells: some stores hand out again whatever headers they got.

    Raises:
        StoreError: It does not.
    """
    if not has_object_lock(folder):
        raise StoreError(
            "the bucket has no Object Lock, so nothing in it can be locked",
            hint="Make a bucket with Object Lock, or set `lock` to `none` in the store's block.",
            store=folder.location,
        )


def lengthen(folder: S3Folder, key: str, answer: Mapping[str, Any], until: datetime, mode: str) -> bool:
    """Lock an object at least until a time, and see that the store did.

    Call it only where `require_object_lock` passed: a store that does not know this request takes it for a write of the
    object itself, and destroys it.

    Args:
        folder: Where the object is.
        key: Of the object.
        answer: To a HEAD of it.
        until: Aware.
        mode: `governance` or `compliance`; a stricter lock that is there already stays as strict.

    Returns:
        Whether there was anything to do.

    Raises:
        StoreError: The store took the lock and does not show it.
    """
    # The store cuts fractions of a second, or keeps them.
    wanted = until.replace(microsecond=0)
    present = lock_in(answer)
    if present is not None and present.until is not None and present.until >= wanted:
        return False
    if present is not None and present.mode == COMPLIANCE:
        mode = COMPLIANCE
    version = {"VersionId": answer["VersionId"]} if "VersionId" in answer else {}
    with store_errors(folder.location, key=key):
        folder.client.put_object_retention(
            **folder.at(key), **version, Retention={"Mode": mode.upper(), "RetainUntilDate": wanted}
        )
    got = lock_in(folder.head(key, **version))
    if got is None or (got.until is not None and got.until < wanted):
        raise StoreError(
            "the store took the lock of an object and does not show it",
            hint="Allow s3:PutObjectRetention and s3:GetObjectRetention for the store's credentials.",
            store=folder.location,
            key=key,
            expected=wanted.isoformat(),
            got=got.until.isoformat() if got is not None and got.until is not None else None,
        )
    return True
