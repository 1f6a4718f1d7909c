"""The backups of one plan in one store. `flows/core/FORMAT.md` describes the keys and the rules for crashes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

from flows.core.errors import BackupNotFound, IntegrityError, ObjectMissing, Refused, StoreDenied, StoreError
from flows.core.holds import HoldRequest, Holds
from flows.core.index import IndexEntry, write_index
from flows.core.keys import (
    MANIFEST_NAME,
    backup_prefix,
    backup_time,
    backups_prefix,
    holds_prefix,
    index_key,
    is_backup_id,
    is_folder,
    manifest_key,
)
from flows.core.manifest import MANIFEST_LIMIT_BYTES, Manifest
from flows.storage.holds import change_holds, read_holds
from flows.storage.inventory import Inventory, Listing, read_facts, take_inventory
from flows.storage.manifests import hash_manifest, manifest_bytes, read_manifest
from flows.storage.store import Leftover, Lock, ObjectStore, Obstacle, PendingUpload, StoredObject

LATEST = "latest"
PROBE_PREFIX = ".probe-"  # then the id of the backup that saw with it that the store works

logger = logging.getLogger(__name__)

# Fewer manifests than these are read rather than written about: so small repositories have no index, and that of a
# large one is not written at each backup.
_INDEX_AFTER = 32


@dataclass(frozen=True, slots=True)
class Garbage:
    """What a crash left: it belongs to no backup and is old enough that no run can still be writing it."""

    objects: tuple[StoredObject, ...]
    uploads: tuple[PendingUpload, ...]

    @property
    def bytes(self) -> int:
        """Size of the objects [bytes]; the store does not tell that of unfinished uploads."""
        return sum(item.size for item in self.objects)


@dataclass(frozen=True, slots=True)
class Removal:
    """What became of a backup that was to be deleted."""

    objects: int  # whose data is gone
    leftovers: tuple[Leftover, ...]
    whole: bool = False  # its manifest is locked, so nothing of it was deleted
    held: bool = False  # somebody holds it, so it is there as before


class Repository:
    """The backups of one plan in one store."""

    def __init__(self, store: ObjectStore, plan: str) -> None:
        self._store = store
        self.plan = plan
        self._prefix = backups_prefix(plan)

    def backup_ids(self) -> list[str]:
        """Ids of all listed backups, oldest first: those that have a manifest."""
        return sorted(self._listed())

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
        return read_manifest(self._store, self.plan, self.named(backup))

    def manifest_bytes(self, backup: str) -> bytes:
        """Read the manifest of a backup as it is stored.

        Raises:
            BackupNotFound: Where there is none.
        """
        return manifest_bytes(self._store, self.plan, backup)

    def manifest_hash(self, backup: str) -> tuple[str, int]:
        """SHA-256 and size [bytes] of a manifest as it is stored, whatever is in it.

        Raises:
            BackupNotFound: Where there is none.
        """
        return hash_manifest(self._store, self.plan, backup)

    def change_holds(self, backup: str, request: HoldRequest, *, at: datetime) -> tuple[str, Holds]:
        """Set or lift a hold of a backup, see `change_holds`; gives its id and all its holds.

        Args:
            backup: An id, or `latest` for the newest backup.
            request: What to do.
            at: Now, aware.
        """
        found = self.named(backup, at)
        backup_time(found)  # refuses what is no id: it becomes part of a key
        return found, change_holds(self._store, self.plan, found, request, at=at)

    def named(self, backup: str, now: datetime | None = None) -> str:
        """The id of a backup that may have been given as `latest`.

        Raises:
            BackupNotFound: With `latest`, where there is none.
        """
        if backup != LATEST:
            return backup
        ids = self.backup_ids()
        if not ids:
            raise BackupNotFound(
                "there is no backup of this plan",
                hint="Check the plan and the store; the inventory flow lists what is there.",
                plan=self.plan,
                store=self._store.location,
            )
        if now is not None and backup_time(ids[-1]) > now:
            # A clock was wrong. To take it is to restore the same old data for years; not to, if it was the clock of
            # this machine, is to leave out what is really the newest.
            raise Refused(
                "the newest backup is dated in the future, so `latest` does not say which one is meant",
                hint="Check the clocks, and give the id of the backup that you want.",
                plan=self.plan,
                store=self._store.location,
                future=ids[-1],
                before=next((found for found in reversed(ids) if backup_time(found) <= now), None),
            )
        return ids[-1]

    def inventory(self, *, use_index: bool = True) -> Inventory:
        """List the backups, and what else is there.

        Args:
            use_index: Whether to believe the index where it fits the listing; else every manifest is read.
        """
        listing = Listing(self.plan)
        for item in chain(self._store.list(self._prefix), self._store.list(holds_prefix(self.plan))):
            listing.add(item)
        return take_inventory(self._store, listing, use_index=use_index)

    def bears_out(self, inventory: Inventory, backups: Iterable[str]) -> bool:
        """Really read the manifests of some backups: whether they are what the inventory has of them from the index.

        Args:
            inventory: Just taken.
            backups: Ids of backups in it.
        """
        wanted = set(backups)
        believed = {b.facts.backup: b.facts for b in inventory.backups if b.indexed and b.facts.backup in wanted}
        return read_facts(self._store, self.plan, believed) == believed

    def index(self, inventory: Inventory, *, without: Iterable[str], anew: bool) -> None:
        """Write the index where that will save many reads.

        Credentials that may not write it are fine: it is only a cache.

        Args:
            inventory: What was found.
            without: Ids of backups that have been removed since.
            anew: Write it whatever it saves: the one that is there is wrong.
        """
        gone = set(without)
        kept = [listed for listed in inventory.backups if listed.facts.backup not in gone]
        if not anew and sum(not listed.indexed for listed in kept) < _INDEX_AFTER:
            return
        entries = (IndexEntry(listed.manifest.size, listed.manifest.modified, listed.facts) for listed in kept)
        try:
            self._store.put(index_key(self.plan), write_index(self.plan, entries))
        except StoreDenied as error:
            logger.warning("the index of %s is not written: %s", self.plan, error.message)

    def prepare(self, backup: str, *, lock_until: datetime | None = None, anew: bool = True) -> tuple[str, ...]:
        """See that a backup can be written: the store works, and nothing is stored under this id.

        Args:
            backup: Its id.
            lock_until: Until when it will be locked, aware; None: it will not.
            anew: Whether nothing of it may be there; else it is what an earlier try left.

        Returns:
            What the operator should know, as sentences: credentials that cannot delete can still back up.

        Raises:
            StoreError: Where the store does not let an object be written or read, or cannot lock.
            Refused: Where there is any object of this id.
        """
        if lock_until is not None:
            self._store.extend_lock([], lock_until)  # nothing to lock yet; it says whether that will be possible
        # Not below the id of the backup: what a crash leaves here is swept with the garbage.
        probe = f"{self._prefix}{PROBE_PREFIX}{backup}"
        content = b"written to see that the store works; may be deleted\n"
        self._store.put(probe, content)
        if self._store.get(probe, limit=len(content)) != content:
            raise StoreError(
                "the store gives back something else than what was written",
                hint="Check the store with the block's `check()`; do not rely on it as it is.",
                store=self._store.location,
                key=probe,
            )
        warnings: tuple[str, ...] = ()
        try:
            self._store.delete([probe])
        except StoreDenied:
            warnings = (f"the store's credentials cannot delete: other ones have to prune, and remove {probe}",)
        taken = next(iter(self._store.list(backup_prefix(self.plan, backup))), None)
        if anew and taken is not None:
            raise Refused(
                "there are objects of a backup with this id already",
                hint="Two runs of this plan began in the same second; run the backup again.",
                backup=backup,
                key=taken.key,
            )
        return warnings

    def commit(self, manifest: Manifest, *, lock_until: datetime | None = None) -> None:
        """Make the backup exist. The last write of a backup; everything that it names has been confirmed before.

        A manifest that is there already is not overwritten unless it is the same one, from an earlier try.

        Args:
            manifest: The backup.
            lock_until: Until when nobody can delete it, aware, where the store locks objects.

        Raises:
            IntegrityError: Where the store afterwards has something else.
        """
        manifest.check()
        self._commit(manifest.key, manifest.to_json(), lock_until)

    def commit_copy(self, data: bytes, *, lock_until: datetime | None = None) -> None:
        """Make a backup exist that was brought from another store: its manifest stays as it is, to the byte.

        So its signature holds, and nobody needs a key to copy a backup.

        Args:
            data: What the other store has as its manifest. Its objects have been confirmed in this store.
            lock_until: As in `commit`.

        Raises:
            ObjectMissing, IntegrityError: Where an object is not there in full size, or this store has another manifest
                afterwards.
        """
        manifest = Manifest.from_json(data)
        self.check_objects(manifest)
        self._commit(manifest.key, data, lock_until)

    def _commit(self, key: str, data: bytes, lock_until: datetime | None) -> None:
        if self._get(key) != data:
            self._store.put(key, data, if_absent=True, lock_until=lock_until)
            if self._get(key) != data:
                raise IntegrityError(
                    "the store took the manifest and has something else",
                    hint="Check the store, then run it again; this backup must not be relied on.",
                    key=key,
                )

    def whole(self, backup: str, *, now: datetime | None = None) -> Manifest:
        """Read a manifest, and see that the objects of the backup are there in full size.

        Args:
            backup: An id, or `latest` for the newest backup.
            now: Aware; with it, `latest` is never one from the future.

        Raises:
            BackupNotFound: Where there is no such backup.
            Refused: Where the newest is dated after `now`.
            ObjectMissing: Where one is not there.
            IntegrityError: Where one has another size.
        """
        manifest = self.manifest(self.named(backup, now))
        self.check_objects(manifest)
        return manifest

    def check_objects(self, manifest: Manifest) -> None:
        """See that the objects that a manifest names are there in full size.

        Raises:
            ObjectMissing, IntegrityError: See `whole`.
        """
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

    def lock(self, backup: str) -> Lock | None:
        """What keeps a listed backup from being deleted: the lock of its manifest, over or not; None without one."""
        return self._store.lock(manifest_key(self.plan, backup))

    def extend_lock(self, manifest: Manifest, until: datetime) -> None:
        """Lock a backup at least until a time, aware."""
        # The manifest last: its lock tells how long all of the backup is locked.
        self._store.extend_lock([*map(manifest.segment_key, manifest.segments), manifest.key], until)

    def delete(self, backup: str, *, now: datetime) -> Removal:
        """Remove a backup, unless it is held or locked. Safe to repeat after a crash.

        Args:
            backup: Its id.
            now: For holds that end by themselves, aware.
        """
        key = manifest_key(self.plan, backup)
        manifest = self._get(key)
        if read_holds(self._store, self.plan, backup).reasons(now):
            return Removal(0, (), held=True)
        # The manifest first: a crash then leaves segments that no backup names, which cost money until they are
        # swept, and never a listed backup that cannot be restored.
        left = self._store.delete([key])
        if any(item.why is Obstacle.LOCKED for item in left):
            return Removal(0, left, whole=True)  # still listed, so it has to stay so
        # Whoever set a hold since then and found the manifest still there was told that it stands.
        if manifest is not None and read_holds(self._store, self.plan, backup).reasons(now):
            self._store.put(key, manifest, if_absent=True)
            return Removal(0, (), held=True)
        objects = self._store.list(backup_prefix(self.plan, backup))
        rest = [item.key for item in objects if not is_folder(item.key)]
        left += self._store.delete(rest)
        return Removal(len(rest) + 1 - len(left), left)

    def garbage(self, inventory: Inventory, *, now: datetime, grace: timedelta) -> Garbage:
        """Find what crashed runs left behind.

        Args:
            inventory: What is in the repository, just read.
            now: Time of the decision, aware.
            grace: How long ago it must have been written. Longer than any run, because the objects of
                a backup that is being written look the same.
        """
        return Garbage(
            tuple(
                item
                for item in inventory.garbage
                if now - item.modified >= grace and not inventory.held(self._backup_of(item.key), now)
            ),
            tuple(u for u in self._store.uploads(self._prefix) if now - u.started >= grace),
        )

    def sweep(self, garbage: Garbage) -> tuple[Leftover, ...]:
        """Remove garbage, and say what of it lives on. Looks again first: a backup committed since is left alone."""
        left: tuple[Leftover, ...] = ()
        if garbage.objects:
            listed = self._listed()
            left = self._store.delete([item.key for item in garbage.objects if self._backup_of(item.key) not in listed])
        for upload in garbage.uploads:
            self._store.abort(upload)
        return left

    def abort_uploads(self, prefixes: Iterable[str]) -> int:
        """Abort the uploads of runs that are dead for certain, whatever their age; gives how many there were.

        Args:
            prefixes: What the keys began with that these runs wrote. Those of other plans are left alone.
        """
        dead = tuple(prefix for prefix in prefixes if prefix.startswith(self._prefix))
        found = [upload for upload in self._store.uploads(self._prefix) if upload.key.startswith(dead)] if dead else []
        for upload in found:
            self._store.abort(upload)
        return len(found)

    def _listed(self) -> set[str]:
        return {
            backup
            for item in self._store.list(self._prefix)
            if item.key.endswith(MANIFEST_NAME)
            and is_backup_id(backup := self._backup_of(item.key))
            and item.key == manifest_key(self.plan, backup)
        }

    def _backup_of(self, key: str) -> str:
        return key.removeprefix(self._prefix).partition("/")[0]

    def _get(self, key: str) -> bytes | None:
        try:
            return self._store.get(key, limit=MANIFEST_LIMIT_BYTES)
        except ObjectMissing:
            return None
