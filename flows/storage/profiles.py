"""What differs between providers of S3-compatible storage.

Only what a provider documents, or what was tried, is switched on; what nobody has tried is off, because the way without
it is slower and never wrong. `S3Store.check` finds out at set-up whether a profile fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flows.core.errors import ConfigurationError

MIB = 1024 * 1024


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
        addressing: Where the bucket goes: first in the host name (`virtual`), in the `path`, or as the SDK sees fit.
        region: What to sign for where the operator names none.
        min_part_bytes: [bytes] the smallest part of a multipart upload that is not the last.
    """

    name: str
    checksums: Literal["when_supported", "when_required"] = "when_required"
    sha256: Literal["parts", "single", "nowhere"] = "nowhere"
    conditional_writes: bool = False
    addressing: Literal["auto", "virtual", "path"] = "path"
    region: str = "us-east-1"
    min_part_bytes: int = 5 * MIB


PROFILES: dict[str, ProviderProfile] = {
    profile.name: profile
    for profile in (
        ProviderProfile("aws", checksums="when_supported", sha256="parts", conditional_writes=True, addressing="auto"),
        # R2 takes the header of a SHA-256 and refuses the trailer.
        ProviderProfile("r2", sha256="single", conditional_writes=True, region="auto"),
        ProviderProfile("b2"),
        ProviderProfile("spaces", addressing="virtual"),
        ProviderProfile("minio", conditional_writes=True),
        ProviderProfile("other"),
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
