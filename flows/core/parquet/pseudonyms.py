"""Keyed pseudonyms: one value has one pseudonym within a domain, and without the key nobody gets from one to the other.

A hash without a key would be no protection: all telephone numbers, and all IBANs of a bank, are hashed in minutes. The
pseudonym of a text is

    HMAC-SHA256(sub-key of the domain, text) as hex, cut to the length that the rule says
    sub-key of a domain = HKDF-SHA256(root key, no salt, info = "mongo-backup-flows pseudonym v1\\n" + domain), 32 bytes

so that whoever has the root key can compute it again, and destroying the key makes all pseudonyms meaningless.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from flows.core.errors import ConfigurationError

_PREFIX = "pseudonym-secret:"
_DIGITS = re.compile(r"[0-9a-f]{64}")
_INFO = "mongo-backup-flows pseudonym v1\n"
# Values whose pseudonyms are remembered, of each domain: about 20 MB. Columns have the same values again and again.
_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class RootKey:
    """A secret key of 32 bytes, `pseudonym-secret:` and 64 hex digits as text."""

    secret: str = field(repr=False)

    @classmethod
    def generate(cls) -> RootKey:
        """Make a new one."""
        return cls(_PREFIX + secrets.token_hex(32))

    @classmethod
    def parse(cls, text: str) -> RootKey:
        """Read a key that somebody typed or pasted. No error quotes it.

        Raises:
            ConfigurationError: It is none; says what to give instead.
        """
        given = text.strip()
        if not given.startswith(_PREFIX) or _DIGITS.fullmatch(given.removeprefix(_PREFIX)) is None:
            raise ConfigurationError(
                "not a key for pseudonyms",
                hint=f"Give the line {_PREFIX}… that `python -m flows keys` prints: 64 hex digits behind the colon.",
            )
        return cls(given)

    @property
    def id(self) -> str:
        """Names the key where it must not be itself: 16 hex digits, which tell nothing of it."""
        return hashlib.blake2b(self._bytes, digest_size=8, person=b"pseudonym key id").hexdigest()

    def of_domain(self, domain: str) -> bytes:
        """The sub-key of a domain: 32 bytes."""
        return HKDF(SHA256(), 32, salt=None, info=(_INFO + domain).encode()).derive(self._bytes)

    @property
    def _bytes(self) -> bytes:
        return bytes.fromhex(self.secret.removeprefix(_PREFIX))


class Pseudonyms:
    """The pseudonyms of one domain. Threads may share it."""

    def __init__(self, key: RootKey, domain: str) -> None:
        self._key = key.of_domain(domain)
        self._known: dict[bytes, str] = {}

    def of(self, data: bytes, bits: int) -> str:
        """The pseudonym of a value.

        Args:
            data: The value as bytes.
            bits: Length, a multiple of 8 up to 256.
        """
        found = self._known.get(data)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known = {}  # of another thread that still reads the old one: it only computes some again
            found = self._known[data] = hmac.digest(self._key, data, "sha256").hex()
        return found[: bits // 4]


class Keys:
    """The root keys of an export: the first makes pseudonyms, all of them find what they have made.

    Args:
        keys: The newest first; none where no rule makes pseudonyms.
    """

    def __init__(self, keys: Sequence[RootKey] = ()) -> None:
        self._keys = {key.id: key for key in keys}
        self._domains: dict[tuple[str, str], Pseudonyms] = {}

    def __reduce__(self) -> tuple[type[Keys], tuple[tuple[RootKey, ...]]]:
        # To another process go the keys alone, and not the values that were seen.
        return Keys, (tuple(self._keys.values()),)

    @property
    def ids(self) -> tuple[str, ...]:
        """Of all keys, the newest first."""
        return tuple(self._keys)

    @property
    def id(self) -> str:
        """Of the key that makes pseudonyms; empty where there is none."""
        return next(iter(self._keys), "")

    def pseudonyms(self, domain: str, key: str = "") -> Pseudonyms:
        """The pseudonyms of a domain.

        Args:
            domain: As `NamespaceRules.domain` gives it.
            key: Id of the root key; empty for the newest.

        Raises:
            ConfigurationError: There is no key, or not this one.
        """
        wanted = key or self.id
        if wanted not in self._keys:
            raise ConfigurationError(
                "a key for pseudonyms is missing",
                hint="Put it into the MongoDB Export Rules block; `python -m flows keys` makes a first one.",
                key=wanted or "any",
            )
        # Two threads may make the same one at once: either will do.
        return self._domains.setdefault((wanted, domain), Pseudonyms(self._keys[wanted], domain))
