"""The backups of one plan in one store. `flows/core/FORMAT.md` describes the keys and the rules for crashes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.core.errors import (
    BackupError,
    BackupNotFound,
    FormatError,
    IntegrityError,
    ObjectMissing,
    Refused,
    StoreError,
)
from flows.core.keys import backup_prefix, backup_time, backups_prefix, is_backup_id, manifest_key
from flows.core.manifest import MANIFEST_LIMIT_BYTES, Manifest
from flows.storage.store import ObjectStore, PendingUpload, StoredObject

LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A listed backup whose manifest cannot be used."""

    backup: str
    problem: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is in the repository of a plan, oldest first."""

    manifests: tuple[Manifest, ...]
    unreadable: tuple[Unreadable, ...]
    garbage: tuple[StoredObject, ...]  # objects that belong to no backup


@dataclass(frozen=True, slots=True)
class Garbage:
    """What a crash left: it belongs to no backup and is old enough that no run can still be writing it."""

    objects: tuple[StoredObject, ...]
    uploads: tuple[PendingUpload, ...]

    @property
    def bytes(self) -> int:
        """Size of the objects [bytes]; the store does not tell that of unfinished uploads."""
        return sum(item.size for item in self.objects)


class Repository:
    """The backups of one plan in one store."""

    def __init__(self, store: ObjectStore, plan: str) -> None:
        self._store = store
        self.plan = plan
        self._prefix = backups_prefix(plan)

    def backup_ids(self) -> list[str]:
        """Ids of all listed backups, oldest first: those that have a manifest."""
        return sorted(self._listed(self._objects()))

    def newest_before(self, moment: datetime) -> str:
        """Id of the newest backup whose data is not younger than a moment.

        Args:
            moment: Aware.

        Raises:
            BackupNotFound: Where all are younger.
        """
        ids = self.backup_ids()
        old_enough = [backup for backup in ids if backup_time(backup) <= moment]
        if not old_enough:
            raise BackupNotFound(
                "there is no backup of this plan from before that time",
                hint="The inventory flow lists what is there.",
                plan=self.plan,
                store=self._store.location,
                before=moment.isoformat(),
                oldest=ids[0] if ids else None,
            )
        return old_enough[-1]

    def manifest(self, backup: str) -> Manifest:
        """Read the manifest of a backup.

        Args:
            backup: An id, or `latest` for the newest backup.

        Raises:
            BackupNotFound: Where there is none.
            FormatError, IntegrityError: Where the manifest cannot be used.
        """
        if backup == LATEST:
            ids = self.backup_ids()
            if not ids:
                raise BackupNotFound(
                    "there is no backup of this plan",
                    hint="Check the plan and the store; the inventory flow lists what is there.",
                    plan=self.plan,
                    store=self._store.location,
                )
            backup = ids[-1]
        try:
            data = self._store.get(manifest_key(self.plan, backup), limit=MANIFEST_LIMIT_BYTES)
        except ObjectMissing as error:
            raise BackupNotFound(
                "no such backup in this plan",
                hint="The inventory flow lists the ids; `latest` is the newest.",
                plan=self.plan,
                store=self._store.location,
                got=backup,
            ) from error
        try:
            manifest = Manifest.from_json(data)
        except (FormatError, IntegrityError) as error:
            error.facts["key"] = manifest_key(self.plan, backup)
            raise
        if (manifest.plan, manifest.backup) != (self.plan, backup):
            raise IntegrityError(
                "a manifest names another backup than the one that it is stored under",
                hint="Somebody copied or moved it within the bucket; restore an older backup and find out who.",
                key=manifest_key(self.plan, backup),
                expected=f"{self.plan}/{backup}",
                got=f"{manifest.plan}/{manifest.backup}",
            )
        return manifest

    def inventory(self) -> Inventory:
        """Read all manifests, and see what else is there."""
        objects = self._objects()
        listed = self._listed(objects)
        manifests: list[Manifest] = []
        unreadable: list[Unreadable] = []
        for backup in sorted(listed):
            try:
                manifests.append(self.manifest(backup))
            except BackupError as error:
                if error.retryable:
                    raise
                unreadable.append(Unreadable(backup, str(error)))
        garbage = tuple(item for item in objects if self._backup_of(item.key) not in listed)
        return Inventory(tuple(manifests), tuple(unreadable), garbage)

    def prepare(self, backup: str) -> None:
        """See that a backup can be written: the store works, and nothing is stored under this id.

        Raises:
            StoreError: Where the store does not let an object be written, read or deleted.
            Refused: Where there is any object of this id.
        """
        # Not below the id of the backup: what a crash leaves here is swept with the garbage.
        probe = f"{self._prefix}.probe-{backup}"
        content = b"written to see that the store works; may be deleted\n"
        self._store.put(probe, content)
        if self._store.get(probe, limit=len(content)) != content:
            raise StoreError(
                "the store gives back something else than what was written",
                hint="Check the store with the block's `check()`; do not rely on it as it is.",
                store=self._store.location,
                key=probe,
            )
        self._store.delete([probe])
        taken = next(iter(self._store.list(backup_prefix(self.plan, backup))), None)
        if taken is not None:
            raise Refused(
                "there are objects of a backup with this id already",
                hint="Two runs of this plan began in the same second; run the backup again.",
                backup=backup,
                key=taken.key,
            )

    def commit(self, manifest: Manifest) -> None:
        """Make the backup exist. The last write of a backup; everything that it names has been confirmed before.

        A manifest that is there already is not overwritten unless it is the same one, from an earlier try.

        Raises:
            IntegrityError: Where the store afterwards has something else.
        """
        manifest.check()
        data = manifest.to_json()
        if not self._same(manifest.key, data):
            self._store.put(manifest.key, data, if_absent=True)
            if not self._same(manifest.key, data):
                raise IntegrityError(
                    "the store took the manifest and has something else",
                    hint="Check the store, then run the backup again; this one must not be relied on.",
                    key=manifest.key,
                )

    def _same(self, key: str, data: bytes) -> bool:
        try:
            return self._store.get(key, limit=MANIFEST_LIMIT_BYTES) == data
        except ObjectMissing:
            return False

    def whole(self, backup: str) -> Manifest:
        """Read a manifest, and see that the objects of the backup are there in full size.

        Raises:
            BackupNotFound: Where there is no such backup.
            ObjectMissing: Where one is not there.
            IntegrityError: Where one has another size.
        """
        manifest = self.manifest(backup)
        sizes = {item.key: item.size for item in self._store.list(backup_prefix(self.plan, manifest.backup))}
        for segment in manifest.segments:
            key = manifest.segment_key(segment)
            if key not in sizes:
                raise ObjectMissing(
                    "an object of this backup is missing in the store",
                    hint="This backup cannot be restored in full: take an older one, and find out who deletes objects.",
                    key=key,
                    store=self._store.location,
                )
            if sizes[key] != segment.bytes:
                raise IntegrityError(
                    "an object of this backup has another size than when it was stored",
                    hint="This backup cannot be restored in full: take an older one, and find out who writes objects.",
                    key=key,
                    expected=segment.bytes,
                    got=sizes[key],
                )
        return manifest

    def delete(self, backup: str) -> int:
        """Remove a backup; returns the number of objects. Safe to repeat after a crash."""
        # The manifest first: a crash then leaves segments that no backup names, which cost money until they are
        # swept, and never a listed backup that cannot be restored.
        self._store.delete([manifest_key(self.plan, backup)])
        rest = [item.key for item in self._store.list(backup_prefix(self.plan, backup))]
        self._store.delete(rest)
        return len(rest) + 1

    def garbage(self, inventory: Inventory, *, now: datetime, grace: timedelta) -> Garbage:
        """Find what crashed runs left behind.

        Args:
            inventory: What is in the repository, just read.
            now: Time of the decision, aware.
            grace: How long ago it must have been written. Longer than any run, because the objects of
                a backup that is being written look the same.
        """
        return Garbage(
            tuple(item for item in inventory.garbage if now - item.modified >= grace),
            tuple(u for u in self._store.uploads(self._prefix) if now - u.started >= grace),
        )

    def sweep(self, garbage: Garbage) -> None:
        """Remove garbage. Looks again first, so that a backup committed since is left alone."""
        if garbage.objects:
            listed = self._listed(self._objects())
            self._store.delete([item.key for item in garbage.objects if self._backup_of(item.key) not in listed])
        for upload in garbage.uploads:
            self._store.abort(upload)

    def _objects(self) -> list[StoredObject]:
        return list(self._store.list(self._prefix))

    def _listed(self, objects: list[StoredObject]) -> set[str]:
        return set(self._manifest_ids(objects))

    def _manifest_ids(self, objects: list[StoredObject]) -> Iterator[str]:
        for item in objects:
            backup = self._backup_of(item.key)
            if is_backup_id(backup) and item.key == manifest_key(self.plan, backup):
                yield backup

    def _backup_of(self, key: str) -> str:
        return key.removeprefix(self._prefix).partition("/")[0]
