"""What an operator's identities say of one backup: who signed it, what opens it, and how its pages tell both."""

from __future__ import annotations

from dataclasses import dataclass, field

from flows.core.encryption import Identities, Identity, Protection
from flows.core.errors import IntegrityError
from flows.core.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Access:
    """How one backup is read. Made once its signer was checked and its header opened."""

    identities: Identities = field(default_factory=Identities)
    identity: Identity | None = None  # the one that opens it; None where it is not encrypted

    def lines(self, manifest: Manifest) -> list[str]:
        """Two lines of a page: signature and encryption."""
        if manifest.signature is None:
            signature = "not signed: whoever may write to the bucket can change it"
        elif self.identities.signers:
            signature = f"signed by `{manifest.signature.signer}`, a trusted signer"
        else:
            signature = f"signed by `{manifest.signature.signer}`, not checked: no trusted signers were given"
        if self.identity is None:
            encryption = "not encrypted"
        elif self.identity.of_passphrase:
            encryption = "opened by a passphrase"
        else:
            encryption = f"opened by `{self.identity.public}`"
        return [f"* **Signature**: {signature}", f"* **Encryption**: {encryption}"]

    def opened(self, manifest: Manifest) -> Manifest:
        """The manifest with all that it holds, see `Manifest.opened`."""
        return manifest.opened(self.identity) if self.identity is not None else manifest

    def encrypts(self, manifest: Manifest) -> bool:
        """Whether a backup of what a restore of this one overwrites is encrypted: see `protection`."""
        return bool(manifest.recipients or self.identities)

    def protection(self, manifest: Manifest) -> Protection:
        """How to protect a backup of what a restore of this one overwrites: so that the same people can read it.

        A manifest that nobody vouches for may name the key of an intruder. Of its recipients only those are taken
        then whose secret keys are at hand. It is never signed: the signing key is where backups are taken.
        """
        if not manifest.recipients:
            return self.identities.protection()
        if self.identities.signers:
            return Protection(manifest.recipients, manifest.identity)
        held = {key.public for key in (*self.identities.keys, *([self.identity] if self.identity else []))}
        return Protection(tuple(name for name in manifest.recipients if name in held), manifest.identity)


def check_signer(manifest: Manifest, identities: Identities) -> None:
    """Refuse a manifest that no trusted signer signed; where none was given, do nothing.

    Raises:
        IntegrityError: It is not signed, or by somebody else. Whether the signature is right was seen on reading it.
    """
    if not identities.signers:
        return
    if manifest.signature is None:
        raise IntegrityError(
            "the manifest is not signed, and only signed backups are to be trusted",
            hint="Whoever may write to the bucket may have made it. Take a signed backup; to restore this one all the "
            "same, give identities without trusted signers.",
            key=manifest.key,
            expected=identities.signers,
        )
    if manifest.signature.signer not in identities.signers:
        raise IntegrityError(
            "the manifest is signed by somebody who is not trusted",
            hint="If you know that signer, add the key to the trusted signers of the MongoDB Backup Identities block. "
            "If not, find out who writes to the bucket, and take another backup.",
            key=manifest.key,
            expected=identities.signers,
            got=manifest.signature.signer,
        )
