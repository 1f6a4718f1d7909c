"""What every store does that locks objects. A test class derives from `LockContract` and has the fixture `store`."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.core.errors import ObjectMissing
from flows.storage.store import Leftover, ObjectStore, Obstacle
from tests.storage.contract import MIB, file_with, sha

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
LATER = SOON + timedelta(days=1)


class LockContract:
    @pytest.fixture
    def store(self) -> ObjectStore:
        raise NotImplementedError

    def until(self, store: ObjectStore, key: str) -> datetime | None:
        lock = store.lock(key)
        assert lock is not None
        assert lock.mode == "governance"
        return lock.until

    def test_an_object_without_a_lock_has_none(self, store: ObjectStore) -> None:
        store.put("plan/a", b"1")
        assert store.lock("plan/a") is None
        assert store.delete(["plan/a"]) == ()

    @pytest.mark.parametrize("size", [3, 11 * MIB], ids=["single", "parts"])
    def test_a_locked_file_stays_and_those_beside_it_go(self, store: ObjectStore, tmp_path: Path, size: int) -> None:
        data = os.urandom(size)
        store.put_file("plan/locked", file_with(tmp_path, data), lock_until=SOON)
        store.put("plan/free", b"1")
        assert self.until(store, "plan/locked") == SOON
        assert store.delete(["plan/free", "plan/locked", "plan/none"]) == (
            Leftover("plan/locked", Obstacle.LOCKED, SOON),
        )
        assert [item.key for item in store.list("")] == ["plan/locked"]
        store.confirm("plan/locked", path=None, sha256=sha(data), size=size)

    def test_a_small_object_is_locked_too(self, store: ObjectStore) -> None:
        store.put("plan/manifest.json", b"{}", if_absent=True, lock_until=SOON)
        assert self.until(store, "plan/manifest.json") == SOON

    def test_a_lock_is_made_longer_and_never_shorter(self, store: ObjectStore) -> None:
        store.put("plan/a", b"1", lock_until=SOON)
        store.put("plan/b", b"1")
        assert store.extend_lock(["plan/a", "plan/b"], LATER) == 2
        assert store.extend_lock(["plan/a", "plan/b"], LATER) == 0
        assert store.extend_lock(["plan/a", "plan/b"], SOON) == 0
        assert self.until(store, "plan/a") == self.until(store, "plan/b") == LATER
        assert store.get("plan/a", limit=10) == b"1"

    def test_what_is_not_there_cannot_be_locked(self, store: ObjectStore) -> None:
        with pytest.raises(ObjectMissing):
            store.extend_lock(["plan/none"], SOON)
        with pytest.raises(ObjectMissing):
            store.lock("plan/none")

    def test_a_lock_that_is_over_holds_nothing(self, store: ObjectStore) -> None:
        store.put("plan/a", b"1", lock_until=SOON - timedelta(days=2))
        lock = store.lock("plan/a")
        assert lock is not None
        assert not lock.holds(datetime.now(UTC))
        assert store.delete(["plan/a"]) == ()
        assert list(store.list("")) == []
