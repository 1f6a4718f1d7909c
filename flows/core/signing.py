"""Ed25519 signatures: who wrote a record, and that nobody has changed it since.

A key is one line of text, so that it fits into a field of a form: `ed25519:` and 64 hex digits are a public key,
`ed25519-secret:` and 64 hex digits the secret one (RFC 8032). Hex has one spelling for each key; of base64 the last
letter has several.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from flows.core.errors import ConfigurationError, IntegrityError, UnsupportedVersion

ALGORITHM = "ed25519"
_PUBLIC, _SECRET = f"{ALGORITHM}:", f"{ALGORITHM}-secret:"
_DIGITS = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature, as a record holds it."""

    algorithm: str
    public_key: str  # 64 hex digits
    value: str  # 128 hex digits

    @property
    def signer(self) -> str:
        """The public key as operators see it."""
        return f"{self.algorithm}:{self.public_key}"

    def check(self, message: bytes, *, domain: str) -> None:
        """Do nothing if the message is the one that was signed, in the same domain.

        Whether the signer is somebody to trust is another question.

        Raises:
            UnsupportedVersion: The algorithm is not known here.
            IntegrityError: The message or the signature was changed.
        """
        if self.algorithm != ALGORITHM:
            raise UnsupportedVersion(
                "the signature has an algorithm that is not known here",
                hint="Use the release of mongo-backup-flows that wrote it, or a newer one.",
                expected=ALGORITHM,
                got=self.algorithm,
            )
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public_key))
            key.verify(bytes.fromhex(self.value), _framed(message, domain))
        except (InvalidSignature, ValueError) as error:
            raise IntegrityError(
                f"the signature of the {domain} is wrong: it was changed after it was signed",
                hint="Do not rely on it; take an older one, and find out who writes to the bucket.",
                signer=self.signer,
            ) from error


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A secret key."""

    secret: str = field(repr=False)  # `ed25519-secret:…`

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new one."""
        return cls(_SECRET + Ed25519PrivateKey.generate().private_bytes_raw().hex())

    @property
    def public(self) -> str:
        """What others trust: `ed25519:…`."""
        return _PUBLIC + self._key().public_key().public_bytes_raw().hex()

    def sign(self, message: bytes, *, domain: str) -> Signature:
        """Sign a message.

        Args:
            message: What is signed.
            domain: What kind of record it is, in a word: a signature of one kind is none of another.
        """
        value = self._key().sign(_framed(message, domain)).hex()
        return Signature(ALGORITHM, self.public.removeprefix(_PUBLIC), value)

    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(self.secret.removeprefix(_SECRET)))


def signing_key(text: str) -> SigningKey:
    """Read a secret key that somebody typed or pasted. No error quotes it.

    Raises:
        ConfigurationError: It is none; says what to give instead.
    """
    given = text.strip()
    if given.startswith(_PUBLIC):
        raise ConfigurationError(
            "this is a public key, and signing needs the secret one",
            hint=f"Give the line that begins with {_SECRET}, which `python -m flows keys` prints.",
        )
    if not _is(_SECRET, given):
        raise ConfigurationError(
            "not a signing key",
            hint=f"Give the line {_SECRET}… that `python -m flows keys` prints: 64 hex digits behind the colon.",
        )
    return SigningKey(given)


def trusted_signer(text: str) -> str:
    """Read the public key of somebody whose signatures are trusted. No error quotes it: it may be the secret one.

    Raises:
        ConfigurationError: It is none; says what to give instead.
    """
    given = text.strip()
    if given.startswith(_SECRET):
        raise ConfigurationError(
            "this is a secret signing key, and trusting needs only the public one",
            hint=f"Give the line that begins with {_PUBLIC}. If the secret key was saved here, make a new one: it was "
            "readable for everybody who can see the block.",
        )
    if not _is(_PUBLIC, given):
        raise ConfigurationError(
            "not the public key of a signer",
            hint=f"Give the line {_PUBLIC}… that `python -m flows keys` prints: 64 hex digits behind the colon. "
            "The page of a signed backup shows it too.",
        )
    return given


def _is(prefix: str, text: str) -> bool:
    return text.startswith(prefix) and _DIGITS.fullmatch(text.removeprefix(prefix)) is not None


def _framed(message: bytes, domain: str) -> bytes:
    """What is signed in truth. No message of one domain is one of another: no domain has a line feed in it."""
    return f"mongo-backup-flows {domain} v1\n".encode() + message
