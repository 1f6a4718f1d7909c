"""Blocks for the keys: public ones where backups are taken, secret ones where they are restored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from blocks.form import lines
from flows.core import encryption, signing
from flows.core.errors import ConfigurationError

T = TypeVar("T")


def _read(read: Callable[[str], T], text: str) -> T:
    """What a key is read with, for a validator: Pydantic wants a ValueError."""
    try:
        return read(text)
    except ConfigurationError as error:
        raise ValueError(f"{error.message}. {error.hint}") from None


class BackupEncryption(Block):
    """
    How backups are protected: to whom they are encrypted, and who signs them.

    With recipients the machine that takes backups cannot read them. Make keys with `python -m flows keys` or
    `age-keygen`, and keep the secret ones where this block is not: in a safe, and in a MongoDB Backup Identities block.

    Example:
        ```python
        from blocks import BackupEncryption

        encryption = BackupEncryption.load("BLOCK_NAME")
        print(encryption.recipients)
        ```
    """

    _block_type_name = "MongoDB Backup Encryption"
    _block_type_slug = "mongodb-backup-encryption"
    _description = "How backups are protected: to whom they are encrypted, and who signs them."

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    recipients: str = Field(
        default="",
        title="Recipients",
        description="Public keys of age to which backups are encrypted, `age1…`, one a line; each of their secret keys "
        "opens them alone. Give two at least: a backup whose secret keys are all lost is lost.",
    )
    passphrase: SecretStr = Field(
        default=SecretStr(""),
        title="Passphrase",
        description="In place of recipients, for a small set-up: whoever has it opens the backups, and so could the "
        "machine that takes them.",
    )
    signing_key: SecretStr = Field(
        default=SecretStr(""),
        title="Signing key",
        description="Secret key `ed25519-secret:…` with which the manifest is signed, so that nobody who can write to "
        "the bucket can forge a backup; `python -m flows keys` makes one. Empty: not signed.",
    )

    _as_lines = field_validator("recipients", mode="before")(lines)

    @field_validator("recipients")
    @classmethod
    def _are_recipients(cls, value: str) -> str:
        found = [_read(encryption.recipient, text) for text in value.split()]
        if len(found) > encryption.MOST_RECIPIENTS:
            raise ValueError(f"more than {encryption.MOST_RECIPIENTS} recipients")
        return "\n".join(found)

    @field_validator("passphrase")
    @classmethod
    def _is_long_enough(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text != text.strip():
            raise ValueError("the passphrase begins or ends with a space: leave it out, `age` would want it typed")
        if text and len(text) < encryption.LEAST_PASSPHRASE:
            raise ValueError(
                f"the passphrase is too short: take at least {encryption.LEAST_PASSPHRASE} characters, better six "
                "random words. Whoever can read the bucket can try as many as they like"
            )
        return value

    @field_validator("signing_key")
    @classmethod
    def _is_a_signing_key(cls, value: SecretStr) -> SecretStr:
        if value:
            _read(signing.signing_key, value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _encrypts(self) -> BackupEncryption:
        if self.recipients and self.passphrase:
            raise ValueError(
                "recipients and a passphrase do not go together: age takes either. Leave one of them empty; with "
                "recipients the machine that takes backups cannot read them"
            )
        if not self.recipients and not self.passphrase:
            raise ValueError("nothing to encrypt with: give recipients (`python -m flows keys` makes a pair of keys)")
        return self

    def open(self) -> encryption.Protection:
        """What a backup is protected with. With a passphrase this makes the pair of keys of one backup: 256 MiB."""
        key = self.signer()
        if self.passphrase:
            return encryption.Protection.by_passphrase(self.passphrase.get_secret_value(), key)
        return encryption.Protection(tuple(self.recipients.split()), signing_key=key)

    def signer(self) -> signing.SigningKey | None:
        """The key that signs; None where there is none."""
        return signing.signing_key(self.signing_key.get_secret_value()) if self.signing_key else None


class BackupIdentities(Block):
    """
    What opens encrypted backups, and whose signatures are trusted.

    Example:
        ```python
        from blocks import BackupIdentities

        identities = BackupIdentities.load("BLOCK_NAME")
        print(identities.trusted_signers)
        ```
    """

    _block_type_name = "MongoDB Backup Identities"
    _block_type_slug = "mongodb-backup-identities"
    _description = "What opens encrypted backups, and whose signatures are trusted."

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    identities: SecretStr = Field(
        default=SecretStr(""),
        title="Identities",
        description="Secret keys of age, `AGE-SECRET-KEY-1…`, one a line, the newest first; the files of age-keygen as "
        "they are will do. Keep an old one as long as there are backups that only it opens.",
    )
    passphrases: SecretStr = Field(
        default=SecretStr(""),
        title="Passphrases",
        description="Passphrases that backups were encrypted with, one a line.",
    )
    trusted_signers: str = Field(
        default="",
        title="Trusted signers",
        description="Public keys of those who may sign backups, `ed25519:…`, one a line. Where there is one, nothing "
        "else is restored. Empty: signatures are shown and not asked for.",
    )

    _as_lines = field_validator("identities", "passphrases", "trusted_signers", mode="before")(lines)

    @field_validator("identities")
    @classmethod
    def _are_identities(cls, value: SecretStr) -> SecretStr:
        keys = _read(encryption.identities, value.get_secret_value())
        return SecretStr("\n".join(key.secret for key in keys))

    @field_validator("trusted_signers")
    @classmethod
    def _are_signers(cls, value: str) -> str:
        return "\n".join(_read(signing.trusted_signer, text) for text in value.split())

    @model_validator(mode="after")
    def _holds_something(self) -> BackupIdentities:
        if not (self._passphrases() or self.identities or self.trusted_signers):
            raise ValueError("the block is empty: give an identity, a passphrase or a trusted signer")
        return self

    def open(self) -> encryption.Identities:
        """The keys, for the layer below."""
        return encryption.Identities(
            encryption.identities(self.identities.get_secret_value()),
            self._passphrases(),
            tuple(self.trusted_signers.split()),
        )

    def _passphrases(self) -> tuple[str, ...]:
        lines = self.passphrases.get_secret_value().splitlines()
        return tuple(line.strip() for line in lines if line.strip())
