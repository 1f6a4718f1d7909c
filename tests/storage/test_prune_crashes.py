"""A prune that dies at any write: no listed backup without its objects, and the next one finishes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from flows.core.holds import HoldAction, HoldKind, HoldRequest
from flows.core.keys import index_key
from flows.storage.memory import MemoryStore
from flows.storage.repository import Repository
from tests.support.repositories import (
    NOW,
    Crash,
    CrashingStore,
    assert_every_listed_backup_is_whole,
    backup_at,
    plant,
    prune,
)
from tests.support.samples import STARTED

OLD = [backup_at(STARTED + timedelta(hours=hour)) for hour in range(5)]
HELD = OLD[2]
NEW = [backup_at(NOW - timedelta(hours=hour)) for hour in range(32, 0, -1)]  # enough for an index
GARBAGE = "mpg/backups/2026-01-01T04-00-00Z/segment-00000.archive.gz"
RULES = {"days": 7, "at_least": 3}
# Of each of four backups the manifest and two segments; the index; the garbage.
WRITES = 4 * 3 + 1 + 1


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore(clock=lambda: NOW - timedelta(hours=1))
    plant(store, *OLD, *NEW)
    store.put(GARBAGE, b"of a crash")
    request = HoldRequest(HoldAction.SET, HoldKind.LEGAL_HOLD, "Anna", "case 42")
    Repository(store, "mpg").change_holds(HELD.backup, request, at=NOW)
    return store


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("crash_at", range(WRITES))
def test_a_prune_that_dies_leaves_whole_backups_and_the_next_one_finishes(
    store: MemoryStore, tmp_path: Path, crash_at: int, after: bool
) -> None:
    stay = [HELD.backup, *(made.backup for made in NEW)]
    with pytest.raises(Crash):
        prune(CrashingStore(store, crash_at, after=after), **RULES)
    listed = assert_every_listed_backup_is_whole(store, tmp_path)
    # Oldest first, so what is left is newer than what is gone.
    gone = min(4, (crash_at + after + 2) // 3)
    removable = [made.backup for made in OLD if made is not HELD]
    assert listed == sorted(removable[gone:] + stay)
    # What it has left is garbage, which this one does not let lie, and of what was to go nothing is.
    prune(store, **RULES)
    assert assert_every_listed_backup_is_whole(store, tmp_path) == stay
    kept = {part for made in (HELD, *NEW) for part in (made.key, *map(made.segment_key, made.segments))}
    assert {item.key for item in store.list("mpg/backups")} - {index_key("mpg")} == kept
    assert Repository(store, "mpg").inventory().garbage == ()


def test_a_prune_has_as_many_writes_as_the_crashes_try(store: MemoryStore) -> None:
    report = prune(CrashingStore(store, WRITES, after=False), **RULES)
    assert len(report.plan.remove) == 4
