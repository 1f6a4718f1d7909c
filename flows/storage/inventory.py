"""What is in the repository of a plan, from one listing and as few reads as can be.

Ten thousand manifests must not be in memory at a time: each is reduced to its facts as it is read, and the objects of
a listing to their number and size as they pass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import TypeVar

from flows.core.errors import BackupError
from flows.core.holds import Holds
from flows.core.index import INDEX_LIMIT_BYTES, BackupFacts, IndexEntry, read_index
from flows.core.keys import (
    MANIFEST_NAME,
    SEGMENT_PREFIX,
    backups_prefix,
    holds_prefix,
    index_key,
    is_backup_id,
    is_folder,
)
from flows.core.results import RESULT_PREFIX, Standing, StoredResult, standing
from flows.core.retention import Candidate
from flows.storage.holds import holds_from, read_act
from flows.storage.manifests import read_manifest
from flows.storage.store import ReadableStore, StoredObject

logger = logging.getLogger(__name__)

_READERS = 8  # threads; each holds one manifest at a time

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class ListedBackup:
    """A listed backup whose manifest could be read.

    Attributes:
        manifest: The manifest, as the listing shows it.
        facts: What was in it.
        damage: Why it does not count as verified; empty where it does.
        indexed: Whether the facts are only the index's word.
        standing: What verifications say of it.
    """

    manifest: StoredObject
    facts: BackupFacts
    damage: str
    indexed: bool
    standing: Standing


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A listed backup whose manifest cannot be used."""

    backup: str
    problem: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is in the repository of a plan, oldest first."""

    backups: tuple[ListedBackup, ...]
    unreadable: tuple[Unreadable, ...]
    garbage: tuple[StoredObject, ...]  # objects that belong to no backup
    holds: dict[str, Holds]  # of the backups that have any, and of what is left of others
    strays: tuple[str, ...]  # keys among the holds that are none: nothing tells which backup they hold

    def held(self, backup: str, now: datetime) -> tuple[str, ...]:
        """Why a backup, or what is left of one, is held."""
        strays = (f"counts as held, because this is among the holds and is none: {key}" for key in self.strays)
        return (*self.holds.get(backup, Holds()).reasons(now), *strays)

    def strangers(self, signers: Collection[str]) -> tuple[ListedBackup, ...]:
        """The backups that no trusted signer signed; none where nobody is trusted by name.

        Args:
            signers: Public keys of those who are trusted.
        """
        return tuple(listed for listed in self.backups if signers and listed.facts.signer not in signers)

    def candidates(self, now: datetime, signers: Collection[str] = ()) -> list[Candidate]:
        """All listed backups, for retention.

        Args:
            now: For holds that end by themselves, aware.
            signers: Where there are any, backups that none of them signed do not count as verified: whoever can write
                to the bucket could otherwise push out good backups with forged ones.
        """
        strangers = {listed.facts.backup for listed in self.strangers(signers)}
        readable = (
            Candidate(
                listed.facts.backup,
                stored_bytes=listed.facts.stored_bytes,
                verified=not listed.damage and listed.facts.backup not in strangers,
                held=self.held(listed.facts.backup, now),
            )
            for listed in self.backups
        )
        unreadable = (
            Candidate(item.backup, verified=False, held=self.held(item.backup, now), unreadable=item.problem)
            for item in self.unreadable
        )
        return [*readable, *unreadable]


@dataclass(slots=True)
class _Objects:
    changed: datetime  # when the newest of manifest and segments was written
    segments: int = 0
    bytes: int = 0  # of segments
    results: list[StoredResult] = field(default_factory=list)


@dataclass
class Listing:
    """The objects of a plan, as a listing of the store passes by in any order."""

    plan: str
    manifests: dict[str, StoredObject] = field(default_factory=dict)  # by backup
    index: StoredObject | None = None
    holds: dict[str, list[str]] = field(default_factory=dict)  # keys, by backup
    strays: list[str] = field(default_factory=list)
    _objects: dict[str, _Objects] = field(default_factory=dict)
    _unlisted: dict[str, list[StoredObject]] = field(default_factory=dict)  # by folder: no manifest has come by yet

    def __post_init__(self) -> None:
        self._backups, self._holds = backups_prefix(self.plan), holds_prefix(self.plan)
        self._index = index_key(self.plan)

    def add(self, item: StoredObject) -> None:
        """Take note of an object; what is neither a backup's nor a hold is no concern of ours."""
        if item.key == self._index:
            self.index = item
        elif is_folder(item.key):
            return
        elif item.key.startswith(self._backups):
            self._add_object(item, *item.key.removeprefix(self._backups).split("/", 1))
        elif item.key.startswith(self._holds):
            backup, _, name = item.key.removeprefix(self._holds).partition("/")
            if is_backup_id(backup) and name:
                self.holds.setdefault(backup, []).append(item.key)
            else:
                self.strays.append(item.key)

    def _add_object(self, item: StoredObject, folder: str, name: str = "") -> None:
        if name == MANIFEST_NAME and is_backup_id(folder):
            self.manifests[folder] = item
            self._objects[folder] = _Objects(item.modified)
            for earlier in self._unlisted.pop(folder, []):
                self._add_object(earlier, *earlier.key.removeprefix(self._backups).split("/", 1))
        elif folder not in self.manifests:
            self._unlisted.setdefault(folder, []).append(item)
        elif name.startswith(SEGMENT_PREFIX):
            objects = self._objects[folder]
            objects.segments += 1
            objects.bytes += item.size
            objects.changed = max(objects.changed, item.modified)
        elif name.startswith(RESULT_PREFIX):
            self._objects[folder].results.append(StoredResult(name, item.modified))

    def damage(self, facts: BackupFacts) -> str:
        """Why the objects of a backup are not those that it names; empty where they are."""
        stored = self._objects[facts.backup]
        return facts.damage(segments=stored.segments, stored_bytes=stored.bytes)

    def standing(self, backup: str) -> Standing:
        """What verifications say of a listed backup."""
        stored = self._objects[backup]
        return standing(backup, stored.results, segments=stored.segments, changed=stored.changed)

    def results(self, backup: str) -> tuple[str, ...]:
        """The names of the results of a listed backup."""
        return tuple(item.name for item in self._objects[backup].results)

    def listed(self, facts: BackupFacts, *, indexed: bool) -> ListedBackup:
        """A backup with all that the listing says of it."""
        said = self.standing(facts.backup)
        damage = self.damage(facts) or "; ".join(said.marks)
        return ListedBackup(self.manifests[facts.backup], facts, damage, indexed, said)

    def garbage(self) -> tuple[StoredObject, ...]:
        """Objects that belong to no listed backup; the index too, once it is that of none."""
        index = [self.index] if self.index is not None and not self.manifests else []
        return (*chain.from_iterable(self._unlisted.values()), *index)

    def folder(self, item: StoredObject) -> str:
        """What garbage was a part of, by its name: the id of a backup, as a rule."""
        return item.key.removeprefix(self._backups).partition("/")[0]


def read_facts(store: ReadableStore, plan: str, backups: Iterable[str]) -> dict[str, BackupFacts | Unreadable]:
    """Really read the manifests of some backups, several at a time.

    Raises:
        StoreUnavailable: Where the store may answer in a minute.
    """

    def read(backup: str) -> BackupFacts | Unreadable:
        try:
            return BackupFacts.of(read_manifest(store, plan, backup))
        except BackupError as error:
            if error.retryable:
                raise
            return Unreadable(backup, str(error))

    return _at_once(read, backups)


def take_inventory(store: ReadableStore, listing: Listing, *, use_index: bool = True) -> Inventory:
    """Find out what the listed backups are.

    The index is believed only of a manifest that the listing shows as it was, and only where it says that all is well:
    a backup that it makes look damaged is read.

    Args:
        store: Where they are.
        listing: Complete.
        use_index: Whether to believe the index at all.
    """
    plan, listed = listing.plan, sorted(listing.manifests)
    entries = _index(store, listing) if use_index else {}
    indexed = {
        backup: entry.facts
        for backup in listed
        if (entry := entries.get(backup)) is not None
        and (entry.size, entry.modified) == (listing.manifests[backup].size, listing.manifests[backup].modified)
        and not listing.damage(entry.facts)
    }
    read = read_facts(store, plan, (backup for backup in listed if backup not in indexed))
    facts = [indexed.get(backup) or read[backup] for backup in listed]
    garbage = listing.garbage()
    concerned = listing.manifests.keys() | {listing.folder(item) for item in garbage}
    keys = [key for backup, keys in listing.holds.items() if backup in concerned for key in keys]
    acts = _at_once(lambda key: read_act(store, key), keys)
    return Inventory(
        backups=tuple(
            listing.listed(item, indexed=item.backup in indexed) for item in facts if isinstance(item, BackupFacts)
        ),
        unreadable=tuple(item for item in facts if isinstance(item, Unreadable)),
        garbage=garbage,
        holds={
            backup: holds_from(acts[key] for key in keys)
            for backup, keys in listing.holds.items()
            if backup in concerned
        },
        strays=tuple(listing.strays),
    )


def _index(store: ReadableStore, listing: Listing) -> dict[str, IndexEntry]:
    if listing.index is None:
        return {}
    try:
        return read_index(listing.plan, store.get(listing.index.key, limit=INDEX_LIMIT_BYTES))
    except BackupError as error:
        if error.retryable:
            raise
        logger.warning("the index of %s cannot be used, so every manifest is read: %s", listing.plan, error)
        return {}


def _at_once(read: Callable[[K], V], keys: Iterable[K]) -> dict[K, V]:
    wanted = list(keys)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="inventory") as pool:
        return dict(zip(wanted, pool.map(read, wanted), strict=True))
