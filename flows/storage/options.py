"""What a store is asked to do with the objects that are written: encryption, storage class, Object Lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flows.core.errors import ConfigurationError
from flows.storage.profiles import ARCHIVE_CLASSES, SSE_C, SSE_KMS, SSE_S3, ProviderProfile

NONE = "none"
_KEY_BYTES = 32  # [bytes] of a key for SSE-C: AES-256 and nothing else
# As S3 writes it. `aws:kms:dsse` is KMS with a second layer.
_SEEN = {"AES256": SSE_S3, "aws:kms": SSE_KMS, "aws:kms:dsse": SSE_KMS}


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """What a store is asked for.

    Args:
        encryption: `none`, `sse-s3`, `sse-kms` or `sse-c`. With `none` the store does as its bucket is set.
        kms_key: For `sse-kms`: id, ARN or alias of the key; empty for the provider's own.
        customer_key: For `sse-c`: the 32 bytes of the key. Without it nobody can read the objects, the provider
            included.
        storage_class: Of large objects; empty for the bucket's usual one. Manifests are read daily and stay there.
        lock: Mode of Object Lock: `none`, `governance` or `compliance`.
    """

    encryption: str = NONE
    kms_key: str = ""
    customer_key: bytes = field(default=b"", repr=False)
    storage_class: str = ""
    lock: str = NONE

    def check(self, profile: ProviderProfile) -> None:
        """See that a provider can do this.

        Raises:
            ConfigurationError: It cannot, or the options contradict one another.
        """
        _check_encryption(self, profile)
        _check_storage_class(self.storage_class, profile)
        if self.lock != NONE and profile.object_lock is False:
            raise ConfigurationError(
                "this provider has no Object Lock",
                hint="Set `lock` to `none`, or use a provider that locks objects: aws, b2 or minio.",
                provider=profile.name,
            )

    def writing(self) -> dict[str, Any]:
        """What goes along with each write, as boto3 calls it."""
        if self.encryption == SSE_S3:
            return {"ServerSideEncryption": "AES256"}
        if self.encryption == SSE_KMS:
            return {"ServerSideEncryption": "aws:kms"} | ({"SSEKMSKeyId": self.kms_key} if self.kms_key else {})
        return self.reading()

    def reading(self) -> dict[str, Any]:
        """What goes along with each GET and HEAD, as boto3 calls it: the key of SSE-C."""
        if self.encryption != SSE_C:
            return {}
        return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": self.customer_key}

    def locking(self, until: datetime | None) -> dict[str, Any]:
        """What goes along with the write of an object that is to be locked, as boto3 calls it."""
        if until is None:
            return {}
        return {"ObjectLockMode": self.lock.upper(), "ObjectLockRetainUntilDate": until}

    def difference(self, answer: Mapping[str, Any]) -> tuple[str, str] | None:
        """What the answer to a HEAD says of the encryption, where that is not what was asked for: expected, got."""
        seen = encryption_of(answer)
        if self.encryption not in (NONE, seen):
            return self.encryption, seen or NONE
        key = str(answer.get("SSEKMSKeyId", ""))
        # The answer has the ARN of the key. An alias stands for one that only KMS can name.
        if self.kms_key and "alias/" not in self.kms_key and key.rpartition("/")[2] != self.kms_key.rpartition("/")[2]:
            return f"{SSE_KMS} with {self.kms_key}", f"{SSE_KMS} with {key}"
        return None


def encryption_of(answer: Mapping[str, Any]) -> str:
    """How the store says that it encrypted an object, from the answer to a HEAD; empty where it says nothing."""
    if answer.get("SSECustomerAlgorithm"):
        return SSE_C
    return _SEEN.get(answer.get("ServerSideEncryption", ""), "")


def encryption_key_of(answer: Mapping[str, Any]) -> str:
    """With which key, where the store says so: the ARN of that of KMS, or the MD5 of a customer's, in base64."""
    return str(answer.get("SSEKMSKeyId") or answer.get("SSECustomerKeyMD5") or "")


def _check_encryption(options: StoreOptions, profile: ProviderProfile) -> None:
    if options.encryption != NONE and options.encryption not in profile.encryption:
        raise ConfigurationError(
            "this provider does not encrypt in this way",
            hint=f"Set `encryption` to one of: {', '.join(sorted({NONE, *profile.encryption}))}.",
            provider=profile.name,
            got=options.encryption,
        )
    if options.kms_key and options.encryption != SSE_KMS:
        raise ConfigurationError(
            "a KMS key without KMS encryption does nothing", hint="Set `encryption` to `sse-kms`, or leave the key out."
        )
    if (options.encryption == SSE_C) != bool(options.customer_key):
        raise ConfigurationError(
            "the encryption `sse-c` and a customer key go together",
            hint="Give both or neither. A key is made with: openssl rand -base64 32",
        )
    if options.customer_key and len(options.customer_key) != _KEY_BYTES:
        raise ConfigurationError(
            "the customer key has a wrong length",
            hint="Give 32 random bytes in base64, as made with: openssl rand -base64 32",
            expected=_KEY_BYTES,
            got=len(options.customer_key),
        )


def _check_storage_class(name: str, profile: ProviderProfile) -> None:
    if name in ARCHIVE_CLASSES:
        raise ConfigurationError(
            "objects of this storage class cannot be read at once",
            hint="A backup is read back, verified and restored. Use GLACIER_IR, or move old backups by a lifecycle "
            "rule and order them back before a restore.",
            got=name,
        )
    if name and profile.storage_classes is not None and name not in profile.storage_classes:
        raise ConfigurationError(
            "this provider has no such storage class",
            hint=f"Use one of {', '.join(profile.storage_classes)}, or none for the bucket's usual one.",
            provider=profile.name,
            got=name,
        )
