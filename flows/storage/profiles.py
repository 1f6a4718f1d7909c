"""What differs between providers of S3-compatible storage.

Only what a provider documents, or what was tried, is switched on; what nobody has tried is off, because the way without
it is slower and never wrong. The probe (`flows.storage.probe`) finds out at set-up whether a profile fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from flows.core.errors import ConfigurationError

MIB = 1024 * 1024

SSE_S3, SSE_KMS, SSE_C = "sse-s3", "sse-kms", "sse-c"
ENCRYPTIONS = frozenset({SSE_S3, SSE_KMS, SSE_C})
STANDARD = "STANDARD"
# Classes whose objects have to be ordered hours before they can be read.
ARCHIVE_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})


@dataclass(frozen=True, slots=True)
class ProviderProfile:
    """What one provider's store can do.

    Args:
        name: As operators type it.
        checksums: When the SDK adds checksum headers of its own. Stores that do not know them answer Unauthorized or
            NotImplemented, so `when_required` where they are not known to work.
        sha256: Where a SHA-256 goes along for the store to verify and keep: with `parts` of an upload and single
            puts, with `single` puts only, or `nowhere`. For parts the SDK appends it as a trailer, which not every
            store that knows the header can read.
        conditional_writes: Whether `If-None-Match: *` makes the store refuse a key that is taken. A store that ignores
            it overwrites and answers 200, hence off where it is not documented.
        versions: Whether a deletion without the id of a version only hides: `never`, `always`, or as each `bucket` is
            set.
        object_lock: Whether objects can be locked; None where nobody knows before it was tried.
        encryption: The ways in which the store encrypts when it is asked to.
        storage_classes: Those that can be asked for, with the days that an object of each is billed for at least; None
            where any name may be one.
        lists_uploads: Whether unfinished uploads are listed by folder. MinIO lists them by exact key only, and removes
            them after a day by itself.
        addressing: Where the bucket goes: first in the host name (`virtual`), in the `path`, or as the SDK sees fit.
        region: What to sign for where the operator names none.
        min_part_bytes: [bytes] the smallest part of a multipart upload that is not the last.
    """

    name: str
    checksums: Literal["when_supported", "when_required"] = "when_required"
    sha256: Literal["parts", "single", "nowhere"] = "nowhere"
    conditional_writes: bool = False
    versions: Literal["never", "always", "bucket"] = "bucket"
    object_lock: bool | None = None
    encryption: frozenset[str] = ENCRYPTIONS
    storage_classes: Mapping[str, int] | None = field(default_factory=lambda: MappingProxyType({STANDARD: 0}))
    lists_uploads: bool = True
    addressing: Literal["auto", "virtual", "path"] = "path"
    region: str = "us-east-1"
    min_part_bytes: int = 5 * MIB


PROFILES: dict[str, ProviderProfile] = {
    profile.name: profile
    for profile in (
        ProviderProfile(
            "aws",
            checksums="when_supported",
            sha256="parts",
            conditional_writes=True,
            object_lock=True,
            storage_classes=MappingProxyType(
                {STANDARD: 0, "STANDARD_IA": 30, "ONEZONE_IA": 30, "INTELLIGENT_TIERING": 0, "GLACIER_IR": 90}
            ),
            addressing="auto",
        ),
        # R2 takes the header of a SHA-256 and refuses the trailer.
        ProviderProfile(
            "r2",
            sha256="single",
            conditional_writes=True,
            versions="never",
            object_lock=False,
            encryption=frozenset({SSE_C}),
            storage_classes=MappingProxyType({STANDARD: 0, "STANDARD_IA": 30}),
            region="auto",
        ),
        ProviderProfile("b2", versions="always", object_lock=True, encryption=frozenset({SSE_S3, SSE_C})),
        ProviderProfile("spaces", object_lock=False, encryption=frozenset({SSE_C}), addressing="virtual"),
        ProviderProfile(
            "minio",
            conditional_writes=True,
            object_lock=True,
            storage_classes=MappingProxyType({STANDARD: 0, "REDUCED_REDUNDANCY": 0}),
            lists_uploads=False,
        ),
        ProviderProfile("other", storage_classes=None),
    )
}


def profile(name: str) -> ProviderProfile:
    """The profile of this name.

    Raises:
        ConfigurationError: There is none; the hint lists those that there are.
    """
    if name not in PROFILES:
        raise ConfigurationError("no such provider", hint=f"Use one of {', '.join(PROFILES)}.", got=name)
    return PROFILES[name]
