"""Small backups that are encrypted and signed, written and read below the flows, so that thousands take seconds."""

from __future__ import annotations

import dataclasses
import random
from datetime import datetime
from pathlib import Path

import bson

from flows.core.archive import verify_archive
from flows.core.compress import Compression, compress_file
from flows.core.encryption import Identities, Protection
from flows.core.errors import IntegrityError
from flows.core.extjson import loads_metadata
from flows.core.keys import segment_name
from flows.core.manifest import Manifest, SegmentRecord
from flows.core.stored import open_segment
from flows.storage.access import check_access
from flows.storage.repository import Repository
from flows.storage.store import ObjectStore
from flows.storage.transfer import fetch_segment
from tests.support.samples import STARTED, archive, collection, entry, manifest

INVOICES = collection("mpg.invoices")
SEGMENTS = 3


def store_backup(
    store: ObjectStore,
    folder: Path,
    protection: Protection,
    *,
    plan: str = "mpg",
    started: datetime = STARTED,
    seed: int = 0,
) -> Manifest:
    """Write a backup of three segments, each of the same size where it is not compressed.

    Args:
        store: Where to.
        folder: For files on the way.
        protection: To whom it is encrypted, and who signs it.
        plan: Its plan.
        started: Gives its id.
        seed: Of its documents.
    """
    made = [_pack(folder, protection, index, seed) for index in range(SEGMENTS)]
    backup = manifest(
        [INVOICES], [record for record, _ in made], started=started, plan=plan, identity=protection.identity
    )
    if protection.signing_key is not None:
        backup = backup.signed(protection.signing_key)
    for record, path in made:
        store.put_file(backup.segment_key(record), path)
    Repository(store, plan).commit(backup)
    return backup


def _pack(folder: Path, protection: Protection, index: int, seed: int) -> tuple[SegmentRecord, Path]:
    noise = random.Random(f"{seed} {index}")
    documents = b"".join(bson.encode({"_id": (index, i), "n": noise.randbytes(30)}) for i in range(20))
    plain = folder / "plain"
    plain.write_bytes(archive({INVOICES: documents}))
    name = segment_name(index, "none", encrypted=bool(protection.recipients))
    packed = compress_file(
        plain, folder / name, Compression.NONE, recipients=protection.recipients, progress=lambda _: None
    )
    record = SegmentRecord(
        name=name,
        bytes=packed.bytes,
        sha256=packed.sha256,
        archive_bytes=plain.stat().st_size,
        compression="none",
        recipients=protection.recipients,
        confirmed="read back",
        entries=(entry(INVOICES, documents),),
    )
    return record, packed.path


def read_backup(
    store: ObjectStore, folder: Path, backup: str, identities: Identities, *, plan: str = "mpg"
) -> Manifest:
    """Read a backup the way a restore does, and hold every archive against the manifest.

    Raises:
        BackupError: For anything that is not as it was stored.
    """
    found = Repository(store, plan).whole(backup)
    access = check_access(store, found, identities)
    for record in access.opened(found).namespaces:
        loads_metadata(record.metadata)
    for part in found.segments:
        key, path = found.segment_key(part), folder / "got"
        fetch_segment(store, key, path, sha256=part.sha256, size=part.bytes, progress=lambda _: None)
        with open_segment(path, part, key=key, identity=access.identity) as stream:
            totals = verify_archive(stream).totals
        if totals != {one.namespace: one.totals for one in part.entries}:
            raise IntegrityError("a segment does not hold what the manifest says", key=key)
    return found


def unsigned(backup: Manifest) -> Manifest:
    """The same without its signature."""
    return dataclasses.replace(backup, signature=None)
