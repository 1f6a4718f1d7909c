"""A backup is brought from one store to another: whole or not listed, whatever happens, and never sent twice."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest

from flows.core.errors import BackupNotFound, IntegrityError, ObjectMissing, Refused
from flows.core.manifest import Manifest
from flows.core.signing import SigningKey
from flows.storage.copying import commit_copy, copy_segment, plan_copy
from flows.storage.memory import MemoryStore
from flows.storage.repository import Repository
from tests.support.repositories import (
    DATA,
    NOW,
    CountingStore,
    Crash,
    CrashingStore,
    assert_every_listed_backup_is_whole,
    backup_at,
    plant,
)
from tests.support.samples import STARTED

MADE = backup_at(STARTED, segments=3).signed(SigningKey.generate())
WRITES = 1 + 1 + 3 + 1  # the probe is put and deleted, the segments, the manifest


@pytest.fixture
def source() -> MemoryStore:
    store = MemoryStore(clock=lambda: NOW)
    plant(store, MADE)
    return store


def copy(source: MemoryStore, target: MemoryStore, folder: Path, backup: str = MADE.backup) -> int:
    """What the flow does for one backup; gives how many segments were brought."""
    ends = Repository(source, "mpg"), Repository(target, "mpg")
    planned = plan_copy(*ends, backup, lock_until=None)
    if planned.whole:
        return 0
    brought = 0
    for part in planned.manifest.segments:
        brought += copy_segment(
            source,
            target,
            planned.manifest.segment_key(part),
            folder / part.name,
            sha256=part.sha256,
            size=part.bytes,
            lock_until=None,
            progress=lambda _: None,
        )
    if not planned.listed:
        commit_copy(*ends, planned.manifest, lock_until=None)
    assert list(folder.iterdir()) == []
    return brought


def everything(store: MemoryStore) -> dict[str, bytes]:
    return {item.key: store.get(item.key, limit=10**6) for item in store.list("")}


def test_a_copy_is_the_same_to_the_byte_and_a_second_one_sends_nothing(source: MemoryStore, tmp_path: Path) -> None:
    target = CountingStore(MemoryStore(clock=lambda: NOW))
    assert copy(source, target, tmp_path) == 3
    assert everything(target) == everything(source)
    target.requests.clear()
    assert copy(source, target, tmp_path) == 0
    assert target.requests["put"] == target.requests["delete"] == 0


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("crash_at", range(WRITES))
def test_a_copy_that_dies_lists_nothing_that_is_not_whole_and_the_next_goes_on(
    source: MemoryStore, tmp_path: Path, crash_at: int, after: bool
) -> None:
    target = MemoryStore(clock=lambda: NOW)
    spool, other = tmp_path / "spool", tmp_path / "other"
    spool.mkdir()
    other.mkdir()
    with pytest.raises(Crash):
        copy(source, CrashingStore(target, crash_at, after=after), spool)
    over = crash_at == WRITES - 1 and after
    assert assert_every_listed_backup_is_whole(target, other) == ([MADE.backup] if over else [])
    arrived = min(3, max(0, crash_at + after - 2))
    assert copy(source, target, spool) == 3 - arrived
    # The probe that a crash leaves is under the same name, so it is overwritten and deleted.
    assert everything(target) == everything(source)


def test_a_copy_has_as_many_writes_as_the_crashes_try(source: MemoryStore, tmp_path: Path) -> None:
    assert copy(source, CrashingStore(MemoryStore(), WRITES, after=False), tmp_path) == 3


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "no manifest"])
def test_what_is_damaged_is_not_copied(source: MemoryStore, tmp_path: Path, damage: str) -> None:
    key = MADE.segment_key(MADE.segments[1])
    error: type[Exception] = IntegrityError
    if damage == "flipped":
        source.put(key, b"sTored")
    elif damage == "cut":
        source.put(key, DATA[:-1])
    elif damage == "missing":
        source.delete([key])
        error = ObjectMissing
    else:
        source.delete([MADE.key])
        error = BackupNotFound
    target = MemoryStore()
    with pytest.raises(error):
        copy(source, target, tmp_path)
    assert Repository(target, "mpg").backup_ids() == []
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_has_lost_a_segment_is_mended(source: MemoryStore, tmp_path: Path) -> None:
    target = MemoryStore()
    # Both stores got it from one backup, so their manifests differ in how each store proved what it has.
    proved = tuple(dataclasses.replace(part, confirmed="store checksum") for part in MADE.segments)
    plant(target, dataclasses.replace(MADE, segments=proved, signature=None))
    manifest = target.get(MADE.key, limit=10**6)
    target.delete([MADE.segment_key(MADE.segments[2])])
    assert copy(source, target, tmp_path) == 1
    assert assert_every_listed_backup_is_whole(target, tmp_path) == [MADE.backup]
    assert target.get(MADE.key, limit=10**6) == manifest


def test_another_backup_of_the_same_id_is_left_alone(source: MemoryStore, tmp_path: Path) -> None:
    target = MemoryStore()
    other = backup_at(STARTED, segments=2)
    plant(target, other)
    before = everything(target)
    with pytest.raises(Refused, match="another backup under this id"):
        copy(source, target, tmp_path)
    assert everything(target) == before


@pytest.mark.parametrize("key", [MADE.key, MADE.segment_key(MADE.segments[0])], ids=["manifest", "segment"])
def test_what_changes_during_a_copy_is_not_listed(source: MemoryStore, tmp_path: Path, key: str) -> None:
    """A manifest that is replaced in the source, and a segment that the other store loses, before the commit."""
    target = MemoryStore()
    ends = Repository(source, "mpg"), Repository(target, "mpg")
    for part in MADE.segments:
        target.put(MADE.segment_key(part), DATA)
    if key == MADE.key:
        replaced: Manifest = backup_at(STARTED, segments=2)
        source.put(key, replaced.to_json())
    else:
        target.delete([key])
    with pytest.raises((IntegrityError, ObjectMissing)):
        commit_copy(*ends, MADE, lock_until=None)
    assert ends[1].backup_ids() == []


def test_a_copy_is_locked_as_its_store_wants_it(source: MemoryStore, tmp_path: Path) -> None:
    target = MemoryStore(clock=lambda: NOW)
    until = NOW + timedelta(days=9)
    ends = Repository(source, "mpg"), Repository(target, "mpg")
    planned = plan_copy(*ends, MADE.backup, lock_until=until)
    for part in MADE.segments:
        key = MADE.segment_key(part)
        copy_segment(
            source,
            target,
            key,
            tmp_path / "part",
            sha256=part.sha256,
            size=part.bytes,
            lock_until=until,
            progress=lambda _: None,
        )
    commit_copy(*ends, planned.manifest, lock_until=until)
    locks = [target.lock(item.key) for item in target.list("")]
    assert [lock and lock.until for lock in locks] == [until] * 4
