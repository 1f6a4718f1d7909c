"""Finding out whether a backup may be read, and by which key, with one small request."""

from __future__ import annotations

from flows.core.access import Access, check_signer
from flows.core.encryption import HEADER_BYTES, Identities, Identity
from flows.core.errors import ConfigurationError, IntegrityError
from flows.core.manifest import Manifest
from flows.storage.store import ObjectStore


def check_access(store: ObjectStore, manifest: Manifest, identities: Identities) -> Access:
    """See that a trusted signer signed the manifest and that one of the identities opens the backup.

    Raises:
        IntegrityError: The signature is missing or a stranger's, or the object is not what the manifest says.
        ConfigurationError: No identity was given, or none of them opens it.
    """
    check_signer(manifest, identities)
    return Access(identities, opening_identity(store, manifest, identities) if manifest.recipients else None)


def opening_identity(store: ObjectStore, manifest: Manifest, identities: Identities) -> Identity:
    """Say which of the identities opens an encrypted backup: it is tried on the header of the first segment.

    Raises:
        ConfigurationError: No identity was given, or none of them opens it.
        IntegrityError: The header is damaged, or the object is not encrypted to those whom the manifest names.
    """
    if not identities:
        raise ConfigurationError(
            "the backup is encrypted, and no identities were given",
            hint="Set `identities` to the name of a MongoDB Backup Identities block that holds "
            + ("its passphrase." if manifest.identity else "the secret key of one of its recipients."),
            backup=manifest.backup,
            **_wanted(manifest),
        )
    first = manifest.segments[0]
    where = {"key": manifest.segment_key(first), "segment": first.name}
    start = store.get_start(where["key"], size=HEADER_BYTES)
    tried = []
    for candidate in identities.candidates(manifest.identity):
        opens = candidate.opens(start, **where)
        if opens != (candidate.public in manifest.recipients):
            raise IntegrityError(
                "a segment is not encrypted to the recipients that the manifest names",
                hint="The object or the manifest was replaced: restore an older backup, and find out who writes to the "
                "bucket.",
                **where,
                expected=manifest.recipients,
                got=f"{'also ' if opens else 'not '}{candidate.public}",
            )
        if opens:
            return candidate
        tried.append(candidate.public)
    raise ConfigurationError(
        "none of the identities opens this backup",
        hint="Add to the MongoDB Backup Identities block "
        + ("the passphrase" if manifest.identity else "the secret key")
        + " that belongs to it. Without it nobody can read this backup.",
        backup=manifest.backup,
        **_wanted(manifest),
        got=tried or "passphrases that do not fit",
    )


def _wanted(manifest: Manifest) -> dict[str, object]:
    return {"expected": "a passphrase" if manifest.identity else manifest.recipients}
