"""The command that makes keys; it needs neither Prefect nor a network."""

from __future__ import annotations

from flows.core.encryption import Identity
from flows.core.parquet.pseudonyms import RootKey
from flows.core.signing import SigningKey

_KEYS = """\
# Keep this in a safe: without the identity nobody can read what was encrypted to its recipient.
# `age -d -i` takes it as a file, as it does that of `age-keygen`.
#
# Encryption
# public, for the recipients of MongoDB Backup Encryption: {recipient}
# SECRET, for the identities of MongoDB Backup Identities:
{identity}
#
# Signatures
# public, for the trusted signers of MongoDB Backup Identities: {signer}
# SECRET, for the signing key of MongoDB Backup Encryption: {signing_key}
#
# Pseudonyms in exports
# SECRET, for the keys of MongoDB Export Rules: {pseudonym_key}"""


def keys() -> None:
    """Make new keys for encryption, for signatures and for pseudonyms, and print them."""
    identity, key = Identity.generate(), SigningKey.generate()
    text = _KEYS.format(
        recipient=identity.public,
        identity=identity.secret,
        signing_key=key.secret,
        signer=key.public,
        pseudonym_key=RootKey.generate().secret,
    )
    print(text)  # noqa: T201 - this is a command
