"""The facts of each backup that inventory and retention need, and the index that keeps them at hand.

The index is only a cache: an object beside the backups that says of each manifest how the listing showed it and what
was in it. `FORMAT.md` describes when it is believed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from flows.core.errors import FormatError
from flows.core.fields import parse_versioned
from flows.core.keys import is_backup_id
from flows.core.manifest import Manifest
from flows.core.source import Consistency

FORMAT_VERSION = 1
INDEX_LIMIT_BYTES = 64 * 1024 * 1024  # a hundred thousand backups stay below it
_PROOFS = frozenset({"store checksum", "read back"})  # how a store can have proved that it holds a segment


@dataclass(frozen=True, slots=True)
class BackupFacts:
    """What inventory and retention need of a manifest: so little that those of ten thousand fit into memory."""

    backup: str  # its id
    documents: int
    bytes: int  # [bytes] of BSON
    stored_bytes: int  # [bytes] in all segments
    segments: int
    consistency: Consistency
    confirmed: bool  # whether the store has proved that it holds every segment
    encrypted: bool  # by us
    signer: str  # its public key; empty: not signed. Whether to trust it is for those to judge who know whom to trust

    @classmethod
    def of(cls, manifest: Manifest) -> BackupFacts:
        """Those of a manifest."""
        return cls(
            backup=manifest.backup,
            documents=manifest.documents,
            bytes=manifest.bson_bytes,
            stored_bytes=manifest.stored_bytes,
            segments=len(manifest.segments),
            consistency=manifest.consistency,
            confirmed=all(segment.confirmed in _PROOFS for segment in manifest.segments),
            encrypted=bool(manifest.recipients),
            signer=manifest.signature.signer if manifest.signature else "",
        )

    def damage(self, *, segments: int, stored_bytes: int) -> str:
        """Why the backup does not count as verified, as a lower-case fact; empty where it does.

        Args:
            segments: How many the listing shows.
            stored_bytes: Their size in all [bytes], as the listing shows it.
        """
        if (segments, stored_bytes) != (self.segments, self.stored_bytes):
            return (
                f"the store has {segments} segments of {stored_bytes} bytes, "
                f"the manifest names {self.segments} of {self.stored_bytes}"
            )
        return "" if self.confirmed else "a segment was never confirmed by the store"


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """The facts of a backup, and how the listing showed the manifest that they are from."""

    size: int  # [bytes]
    modified: datetime  # aware
    facts: BackupFacts


def write_index(plan: str, entries: Iterable[IndexEntry]) -> bytes:
    """Write the index of a plan as canonical JSON."""
    value = {
        "format": FORMAT_VERSION,
        "plan": plan,
        "backups": [
            {
                "backup": entry.facts.backup,
                "manifest": {"bytes": entry.size, "modified": entry.modified.isoformat()},
                "documents": entry.facts.documents,
                "bson_bytes": entry.facts.bytes,
                "stored_bytes": entry.facts.stored_bytes,
                "segments": entry.facts.segments,
                "consistency": entry.facts.consistency.value,
                "confirmed": entry.facts.confirmed,
                "encrypted": entry.facts.encrypted,
                "signer": entry.facts.signer,
            }
            for entry in entries
        ],
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def read_index(plan: str, data: bytes) -> dict[str, IndexEntry]:
    """Read the index of a plan: entries by the id of the backup.

    Raises:
        UnsupportedVersion: For a format version that this project does not know.
        FormatError: For anything else that is no index of this plan. Nothing of it is to be used then.
    """
    top = parse_versioned(data, "index", version=FORMAT_VERSION)
    if top.text("plan") != plan:
        raise FormatError("the index is that of another plan", at="index.plan", expected=plan, got=top.text("plan"))
    entries: dict[str, IndexEntry] = {}
    for item in top.items("backups"):
        backup = item.text("backup")
        if not is_backup_id(backup) or backup in entries:
            raise FormatError("the index has a backup twice, or what is none", at="index.backups", got=backup)
        manifest = item.inner("manifest")
        facts = BackupFacts(
            backup=backup,
            documents=item.integer("documents"),
            bytes=item.integer("bson_bytes"),
            stored_bytes=item.integer("stored_bytes"),
            segments=item.integer("segments"),
            consistency=item.member("consistency", Consistency),
            confirmed=item.boolean("confirmed"),
            encrypted=item.boolean("encrypted"),
            signer=item.text("signer"),
        )
        entries[backup] = IndexEntry(manifest.integer("bytes"), manifest.time("modified"), facts)
    return entries
