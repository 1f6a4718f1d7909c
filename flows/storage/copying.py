"""Bringing a backup from one store to another, as it is: nothing is decrypted, and no key is needed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flows.core.errors import BackupNotFound, IntegrityError, ObjectMissing, Refused, StoredWrongly
from flows.core.manifest import Manifest
from flows.storage.repository import Repository
from flows.storage.store import ObjectStore, Progress
from flows.storage.transfer import confirm_stored, fetch_segment


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """What has to be done for one backup.

    Attributes:
        manifest: Of the store that has it.
        listed: Whether the other store lists it.
        whole: Whether the other store has all of it too, so that nothing is left to do.
        warnings: What the operator should know of the other store.
    """

    manifest: Manifest
    listed: bool
    whole: bool
    warnings: tuple[str, ...] = ()


def plan_copy(source: Repository, target: Repository, backup: str, *, lock_until: datetime | None) -> CopyPlan:
    """Find out whether a backup can and has to be copied. Writes only a probe.

    Args:
        source: What has the backup.
        target: What gets it.
        backup: Its id.
        lock_until: Until when the copy will be locked, aware; None: it will not.

    Raises:
        BackupNotFound, ObjectMissing, IntegrityError: Where the source does not have all of it.
        Refused: Where the target has another backup of this id.
    """
    manifest = source.whole(backup)
    try:
        there = target.manifest(backup)
    except BackupNotFound:
        return CopyPlan(manifest, False, False, target.prepare(backup, lock_until=lock_until, anew=False))
    if _content(there) != _content(manifest):
        raise Refused(
            "the other store has another backup under this id",
            hint="Two stores are filled by two runs of a plan: give one of them another plan name.",
            backup=backup,
            key=manifest.key,
        )
    try:
        target.check_objects(there)
    except (ObjectMissing, IntegrityError):
        return CopyPlan(manifest, True, False)
    return CopyPlan(manifest, True, True)


def copy_segment(
    source: ObjectStore,
    target: ObjectStore,
    key: str,
    path: Path,
    *,
    sha256: str,
    size: int,
    lock_until: datetime | None,
    progress: Progress,
) -> bool:
    """Copy one segment and prove that it arrived; what an earlier try has brought is left as it is.

    Args:
        source: Where it is.
        target: Where it goes.
        key: Its key in both.
        path: Where it rests in between; there is no such file afterwards.
        sha256: Of it, as the manifest says.
        size: Of it [bytes].
        lock_until: As in `plan_copy`.
        progress: Hears of the bytes of the segment.

    Returns:
        Whether it had to be brought.

    Raises:
        IntegrityError: The source has something else, or the target keeps something else.
    """
    with suppress(StoredWrongly):
        target.confirm(key, path=None, sha256=sha256, size=size)
        progress(size)
        return False
    try:
        fetch_segment(source, key, path, sha256=sha256, size=size, progress=progress)
        target.put_file(key, path, lock_until=lock_until)
        confirm_stored(
            target, key, path, sha256=sha256, size=size, progress=lambda _: progress(0), lock_until=lock_until
        )
    finally:
        path.unlink(missing_ok=True)
    return True


def commit_copy(source: Repository, target: Repository, manifest: Manifest, *, lock_until: datetime | None) -> None:
    """List the copy, once all of its segments are there.

    Raises:
        IntegrityError: Where the manifest of the source is another one by now.
    """
    data = source.manifest_bytes(manifest.backup)
    if Manifest.from_json(data) != manifest:
        raise IntegrityError(
            "the manifest changed while its backup was copied",
            hint="Find out who writes to that store, then run it again.",
            key=manifest.key,
        )
    target.commit_copy(data, lock_until=lock_until)


def _content(manifest: Manifest) -> list[tuple[str, str]]:
    return [(segment.name, segment.sha256) for segment in manifest.segments]
