"""Somebody changes what is stored: bits, lengths, places. With a signature all of it is noticed; without, not all.

Below the flows and on small backups, so that thousands of changes take seconds.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.core.encryption import Identities, Identity, Protection
from flows.core.errors import BackupError, FormatError, IntegrityError, ObjectMissing
from flows.core.manifest import Manifest
from flows.core.signing import SigningKey
from flows.storage.memory import MemoryStore
from flows.storage.repository import Repository
from tests.support.protected import read_backup, store_backup, unsigned
from tests.support.samples import STARTED

ALICE, BOB = Identity.generate(), Identity.generate()
KEY, STRANGER = SigningKey.generate(), SigningKey.generate()
OPERATOR = Identities((ALICE,), signers=(KEY.public,))
NOBODY_TRUSTED = Identities((ALICE,))
LATER = STARTED + timedelta(hours=1)
FLIPS, CUTS = 1000, 50

PROTECTIONS = {
    "encrypted": Protection((BOB.public, ALICE.public), signing_key=KEY),
    "open": Protection(signing_key=KEY),
}


@dataclasses.dataclass(frozen=True)
class Stored:
    """A backup in a store of its own, and what reads it."""

    store: MemoryStore
    folder: Path
    backup: Manifest

    @property
    def objects(self) -> dict[str, bytes]:
        keys = [self.backup.key, *map(self.backup.segment_key, self.backup.segments)]
        return {key: self.store.get(key, limit=10**6) for key in keys}

    def read(self, identities: Identities = OPERATOR) -> Manifest:
        return read_backup(self.store, self.folder, self.backup.backup, identities)

    def problem(self, identities: Identities = OPERATOR) -> BackupError | None:
        try:
            self.read(identities)
        except BackupError as error:
            return error
        return None

    def refused(self, kind: type[BackupError], message: str, identities: Identities = OPERATOR) -> None:
        """See that it is refused, for this reason, and that the error names an object of this backup."""
        with pytest.raises(kind, match=message) as caught:
            self.read(identities)
        assert str(caught.value.facts["key"]).startswith(f"mpg/backups/{self.backup.backup}/")

    def put(self, backup: Manifest) -> None:
        """Write another manifest in place of the one that is there."""
        self.store.put(self.backup.key, backup.to_json())


@pytest.fixture(params=PROTECTIONS)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Stored:
    store = MemoryStore()
    made = Stored(store, tmp_path, store_backup(store, tmp_path, PROTECTIONS[request.param]))
    assert made.read() == made.backup
    return made


def changes(
    objects: dict[str, bytes], count: int, change: Callable[[bytes, random.Random], bytes]
) -> Iterator[tuple[str, bytes]]:
    """So many changes, spread over all objects alike however large they are."""
    chance = random.Random(4)
    for number in range(count):
        key = list(objects)[number % len(objects)]
        yield key, change(objects[key], chance)


def flip(data: bytes, chance: random.Random) -> bytes:
    place, bit = chance.randrange(len(data)), chance.randrange(8)
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


@pytest.mark.parametrize(("change", "count"), [(flip, FLIPS), (cut, CUTS)], ids=["flipped bit", "truncation"])
def test_every_change_of_a_signed_backup_is_noticed_and_its_object_named(
    stored: Stored, change: Callable[[bytes, random.Random], bytes], count: int
) -> None:
    for key, data in changes(before := stored.objects, count, change):
        stored.store.put(key, data)
        problem = stored.problem()
        assert isinstance(problem, IntegrityError | FormatError), (key, problem)
        assert problem.facts["key"] == key
        stored.store.put(key, before[key])
    assert stored.read() == stored.backup


# What a flipped bit changes unnoticed in a manifest that is not signed. All else is held against the objects or against
# itself, or sealed. A bit in the name of a field that older releases did not write makes it one that is not known.
UNPROTECTED = {
    "started",
    "finished",
    "cluster_time.seconds",
    "cluster_time.increment",
    "source.server_version",
    "source.topology",
    "source.replica_set",
    "source.replica_set_id",
    "versions.mongo-backup-flows",
    "namespaces[].ages",
    "selection",
    "segments[].archive_bytes",
    "segments[].confirmed",
    "segments[].store_encryption",
    "segments[].store_key",
    "identity",
    "signature",
}


def test_an_unsigned_manifest_protects_only_what_the_objects_confirm(stored: Stored) -> None:
    stored.put(unsigned(stored.backup))
    before = stored.objects[stored.backup.key]
    unnoticed: set[str] = set()
    for place in range(len(before)):
        # One bit of each byte where segments are encrypted: to look into them takes time. Else two, so that a number of
        # one digit becomes another one.
        for bit in (place % 8,) if stored.backup.recipients else (place % 8, (place + 4) % 8):
            data = before[:place] + bytes([before[place] ^ 1 << bit]) + before[place + 1 :]
            stored.store.put(stored.backup.key, data)
            if stored.problem(NOBODY_TRUSTED) is None:
                unnoticed |= differences(json.loads(before), json.loads(data))
    if stored.backup.recipients:
        assert unnoticed < UNPROTECTED
    else:
        assert unnoticed == UNPROTECTED | {"namespaces[].metadata", "sealed"}


def test_what_a_forger_changes_in_an_unsigned_manifest_is_not_noticed(stored: Stored) -> None:
    """Why there are signatures."""
    for forged in (
        dataclasses.replace(unsigned(stored.backup), started=STARTED - timedelta(days=9), warnings=("fine",)),
        dataclasses.replace(
            unsigned(stored.backup),
            namespaces=tuple(dataclasses.replace(r, metadata="{}") for r in stored.backup.namespaces),
            sealed=None,
        ),
    ):
        stored.put(forged)
        assert stored.read(NOBODY_TRUSTED) == forged
        stored.refused(IntegrityError, "the manifest is not signed")


def test_a_whole_backup_that_somebody_else_made_is_noticed(stored: Stored, tmp_path: Path) -> None:
    """Public keys are public: whoever has them can encrypt to them."""
    protection = dataclasses.replace(PROTECTIONS["encrypted"], signing_key=STRANGER)
    stored.store.delete(stored.objects)
    forged = Stored(stored.store, tmp_path, store_backup(stored.store, tmp_path, protection, seed=1))
    assert forged.read(NOBODY_TRUSTED) == forged.backup
    forged.refused(IntegrityError, "the manifest is signed by somebody who is not trusted")
    forged.put(unsigned(forged.backup))
    forged.refused(IntegrityError, "the manifest is not signed")


def test_a_signature_of_another_manifest_does_not_fit(stored: Stored, tmp_path: Path) -> None:
    other = store_backup(stored.store, tmp_path, PROTECTIONS["open"], started=LATER, seed=1)
    stored.put(dataclasses.replace(stored.backup, signature=other.signature))
    stored.refused(IntegrityError, "the signature of the manifest is wrong")


def test_segments_that_changed_places_are_noticed(stored: Stored) -> None:
    first, second = (stored.backup.segment_key(part) for part in stored.backup.segments[:2])
    objects = stored.objects
    stored.store.put(first, objects[second])
    stored.store.put(second, objects[first])
    # Encrypted ones differ in size by what age adds by chance.
    stored.refused(IntegrityError, "the SHA-256 of a segment is not the one|another size than when it was stored")


def test_segments_that_changed_places_in_the_manifest_are_noticed(stored: Stored) -> None:
    first, second, third = stored.backup.segments
    stored.put(dataclasses.replace(stored.backup, segments=(second, first, third)))
    stored.refused(IntegrityError, "the signature of the manifest is wrong")


def test_a_segment_that_was_left_out_is_noticed(stored: Stored) -> None:
    stored.put(dataclasses.replace(stored.backup, segments=stored.backup.segments[:2]))
    stored.refused(IntegrityError, "the signature of the manifest is wrong")
    stored.put(dataclasses.replace(unsigned(stored.backup), segments=stored.backup.segments[:2]))
    stored.refused(IntegrityError, "the segments do not add up to the namespace", NOBODY_TRUSTED)


@pytest.mark.parametrize("plan", ["mpg", "other"], ids=["same plan", "other plan"])
def test_a_segment_of_another_backup_is_noticed(stored: Stored, tmp_path: Path, plan: str) -> None:
    other = store_backup(stored.store, tmp_path, PROTECTIONS["open"], plan=plan, started=LATER, seed=1)
    key = stored.backup.segment_key(stored.backup.segments[1])
    stored.store.put(key, stored.store.get(other.segment_key(other.segments[1]), limit=10**6))
    stored.refused(IntegrityError, "the SHA-256 of a segment is not the one|another size than when it was stored")


@pytest.mark.parametrize(
    ("plan", "hours"), [("other", 0), ("mpg", -1), ("mpg", 1)], ids=["other plan", "older one", "newer one"]
)
@pytest.mark.parametrize("whole", [False, True], ids=["manifest", "with its segments"])
def test_the_manifest_of_another_backup_is_noticed(
    stored: Stored, tmp_path: Path, plan: str, hours: int, whole: bool
) -> None:
    """Among them an older one that was put back, to make last month's data look like last night's."""
    other = store_backup(
        stored.store, tmp_path, PROTECTIONS["open"], plan=plan, started=STARTED + timedelta(hours=hours), seed=1
    )
    stored.store.put(stored.backup.key, other.to_json())
    for part in other.segments if whole else ():
        moved = stored.store.get(other.segment_key(part), limit=10**6)
        stored.store.put(f"mpg/backups/{stored.backup.backup}/{part.name}", moved)
    stored.refused(IntegrityError, "a manifest names another backup than the one that it is stored under")


def test_a_removed_backup_whose_manifest_was_put_back_is_noticed(stored: Stored) -> None:
    Repository(stored.store, "mpg").delete(stored.backup.backup, now=STARTED)
    stored.put(stored.backup)
    stored.refused(ObjectMissing, "an object of this backup is missing")


def test_an_encrypted_backup_cannot_be_passed_off_as_an_open_one(tmp_path: Path) -> None:
    store = MemoryStore()
    stored = Stored(store, tmp_path, store_backup(store, tmp_path, PROTECTIONS["encrypted"]))
    for ending in (".archive", ".archive.age"):
        parts = tuple(
            dataclasses.replace(part, recipients=(), name=f"segment-{i:05d}{ending}")
            for i, part in enumerate(stored.backup.segments)
        )
        stored.put(dataclasses.replace(unsigned(stored.backup), segments=parts))
        assert stored.problem(NOBODY_TRUSTED) is not None


def differences(one: Any, other: Any, path: str = "") -> set[str]:
    """Which fields of the first JSON value the second has otherwise."""
    if isinstance(one, dict) and isinstance(other, dict):
        start = f"{path}." if path else ""
        return set().union(*(differences(part, other.get(name, ...), start + name) for name, part in one.items()))
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return set().union(*(differences(a, b, f"{path}[]") for a, b in zip(one, other, strict=True)))
    return set() if one == other else {path}
