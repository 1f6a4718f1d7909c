"""Bringing one segment into the store, and one back."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path

from flows.core.errors import IntegrityError, StoredWrongly
from flows.storage.store import ObjectStore, Progress


def confirm_stored(
    store: ObjectStore,
    key: str,
    path: Path,
    *,
    sha256: str,
    size: int,
    progress: Progress,
    lock_until: datetime | None = None,
) -> str:
    """Prove that the store holds the bytes of a file; where it does not, send them once more.

    Args:
        store: Where the file was uploaded to.
        key: Its key.
        path: The local file.
        sha256: Of the file.
        size: Of the file [bytes].
        progress: Called with the bytes that are read back.
        lock_until: As it was uploaded with.

    Returns:
        How it was proved: "store checksum" or "read back".

    Raises:
        StoredWrongly: Where the store has something else even after the second upload.
    """
    with suppress(StoredWrongly):
        return store.confirm(key, path=path, sha256=sha256, size=size, progress=progress)
    store.put_file(key, path, lock_until=lock_until)
    return store.confirm(key, path=path, sha256=sha256, size=size, progress=progress)


def fetch_segment(store: ObjectStore, key: str, path: Path, *, sha256: str, size: int, progress: Progress) -> None:
    """Download a segment and check its SHA-256 before anything of it is used.

    Raises:
        IntegrityError: Where the bytes are not those that the manifest names; the file is removed.
    """
    path.unlink(missing_ok=True)
    got = store.download(key, path, size=size, progress=progress)
    if got != sha256:
        path.unlink()
        raise IntegrityError(
            "the SHA-256 of a segment is not the one in the manifest",
            hint="Nothing of this segment was used. Restore an older backup, and find out what changed this object.",
            key=key,
            store=store.location,
            expected=sha256,
            got=got,
        )
