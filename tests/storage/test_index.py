"""The index makes an inventory fast and never wrong, whatever is in it."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from flows.core.errors import ConfigurationError, Refused, StoreDenied, StoreUnavailable
from flows.core.holds import HoldAction, HoldKind, HoldRequest
from flows.core.inventory import InventoryRow
from flows.core.keys import index_key
from flows.storage.inventory import Inventory
from flows.storage.listing import list_repository
from flows.storage.memory import MemoryStore
from flows.storage.repository import Repository
from flows.storage.store import StoredObject
from tests.support.repositories import NOW, CountingStore, HookedStore, backup_at, plant, prune
from tests.support.samples import STARTED

INDEX = index_key("mpg")
ENOUGH = 32  # manifests for an index
MADE = [backup_at(STARTED + timedelta(hours=hour)) for hour in range(40)]
ALL = {"days": 365, "grace_hours": 10**6}


@pytest.fixture
def store() -> CountingStore:
    """Forty backups, and an index that a prune has made."""
    store = CountingStore(MemoryStore(clock=lambda: NOW - timedelta(hours=1)))
    plant(store, *MADE)
    prune(store, **ALL)
    store.requests.clear()
    return store


def inventory(store: MemoryStore) -> Inventory:
    return Repository(store, "mpg").inventory()


def rows(store: MemoryStore) -> list[InventoryRow]:
    return list_repository(store, None, now=NOW)


def rewrite(store: MemoryStore, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the entries of the index."""
    value = json.loads(store.get(INDEX, limit=10**6))
    change(value["backups"])
    store.put(INDEX, json.dumps(value).encode())


def without_index(store: MemoryStore) -> list[InventoryRow]:
    bare = MemoryStore()
    vars(bare).update(vars(store), _objects={k: v for k, v in vars(store)["_objects"].items() if k != INDEX})
    return rows(bare)


def test_an_inventory_reads_the_index_and_no_manifest(store: CountingStore) -> None:
    shown = rows(store)
    assert store.requests == {"list": 1, "get": 1}
    assert shown == without_index(store)
    assert [row.backup for row in shown] == [made.backup for made in MADE]
    assert {row.state for row in shown} == {"listed"}


def test_the_order_of_a_listing_does_not_matter(store: CountingStore) -> None:
    class Backwards(MemoryStore):
        def list(self, prefix: str) -> Iterator[StoredObject]:
            return reversed(list(super().list(prefix)))

    backwards = Backwards()
    vars(backwards).update(vars(store))
    assert rows(backwards) == rows(store)
    assert Repository(backwards, "mpg").inventory().garbage == ()


def test_only_manifests_that_it_does_not_know_are_read(store: CountingStore) -> None:
    plant(store, backup_at(NOW - timedelta(hours=2)), backup_at(NOW - timedelta(hours=3)))
    store.requests.clear()
    assert len(inventory(store).backups) == 42
    assert store.requests == {"list": 2, "get": 3}


@pytest.mark.parametrize("number", [ENOUGH - 1, ENOUGH])
def test_it_is_written_once_it_saves_enough_reads(number: int) -> None:
    store = CountingStore()
    plant(store, *MADE[:number])
    for look in (inventory, rows, lambda tried: prune(tried, dry_run=True, **ALL)):
        look(store)
    assert not any(item.key == INDEX for item in store.list(""))
    store.requests.clear()
    prune(store, **ALL)
    assert store.requests["put"] == (number == ENOUGH)
    prune(store, **ALL)
    assert store.requests["put"] == (number == ENOUGH)


def test_it_is_written_without_what_was_removed(store: CountingStore) -> None:
    later = [backup_at(NOW - timedelta(hours=100 - i)) for i in range(ENOUGH)]
    plant(store, *later)
    report = prune(store)
    assert report.plan.remove == tuple(made.backup for made in MADE)
    entries = json.loads(store.get(INDEX, limit=10**6))["backups"]
    assert [item["backup"] for item in entries] == [made.backup for made in later]


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_manifest_that_was_written_again_is_read(store: CountingStore, change: str) -> None:
    made = dataclasses.replace(MADE[3], warnings=("written again",) if change == "size" else ())
    vars(store)["_clock"] = lambda: NOW if change == "time" else NOW - timedelta(hours=1)
    store.put(made.key, made.to_json())
    store.requests.clear()
    assert [listed.facts.backup for listed in inventory(store).backups if not listed.indexed] == [made.backup]
    assert store.requests["get"] == 2


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b"\xff", b'{"format":2}', b"x" * (65 * 1024 * 1024)])
def test_a_damaged_index_makes_things_slow_and_is_written_anew(
    store: CountingStore, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store.put(INDEX, data)
    store.requests.clear()
    with caplog.at_level(logging.WARNING):
        assert rows(store) == without_index(store)
    assert store.requests["get"] == 41
    assert "the index of mpg cannot be used, so every manifest is read: " in caplog.text
    prune(store, **ALL)
    store.requests.clear()
    rows(store)
    assert store.requests["get"] == 1


@pytest.mark.parametrize("what", [INDEX, MADE[0].key, "mpg/holds/"])
def test_what_a_store_that_is_down_does_not_give_is_not_damaged(store: CountingStore, what: str) -> None:
    request = HoldRequest(HoldAction.SET, HoldKind.PIN, "Anna", "before the migration")
    Repository(store, "mpg").change_holds(MADE[0].backup, request, at=NOW)
    if what == MADE[0].key:
        store.delete([INDEX])

    def down(kind: str, key: str) -> None:
        if kind == "get" and key.startswith(what):
            raise StoreUnavailable("the store does not answer")

    with pytest.raises(StoreUnavailable):
        inventory(HookedStore(store, down))


def test_other_objects_do_not_matter(store: CountingStore) -> None:
    shown = rows(store)
    for key in (f"mpg/backups/{MADE[0].backup}/notes.txt", "mpg/oplog/1", "My_App/backups/dump.gz", "mpg/notes.txt"):
        store.put(key, b"put there by somebody")
    assert rows(store) == shown
    assert list_repository(store, "mpg", now=NOW) == shown
    assert list_repository(store, "other", now=NOW) == []
    with pytest.raises(ConfigurationError, match="not a name for a plan"):
        list_repository(store, "My_App", now=NOW)


def test_credentials_that_may_not_write_it_are_fine(store: CountingStore, caplog: pytest.LogCaptureFixture) -> None:
    def deny(kind: str, key: str) -> None:
        if kind == "put":
            raise StoreDenied("the store denies access")

    store.delete([INDEX])
    prune(HookedStore(store, deny), **ALL)
    assert "the index of mpg is not written: the store denies access" in caplog.text
    assert not any(item.key == INDEX for item in store.list(""))


def test_it_is_no_garbage_while_there_are_backups(store: CountingStore) -> None:
    assert prune(store, days=365).garbage_objects == 0
    store.delete([item.key for item in list(store.list("mpg/backups")) if item.key != INDEX])
    assert prune(store).garbage_objects == 1
    assert list(store.list("")) == []


# An index that says what is not so


def test_it_cannot_hide_that_objects_are_missing(store: CountingStore) -> None:
    store.delete([MADE[5].segment_key(MADE[5].segments[0])])
    assert [row.backup for row in rows(store) if row.state != "listed"] == [MADE[5].backup]
    assert rows(store)[5].state == ("not verified: the store has 1 segments of 6 bytes, the manifest names 2 of 12")


def test_it_is_not_believed_where_it_makes_a_backup_look_damaged(store: CountingStore) -> None:
    """It could cost a good backup its place."""
    rewrite(store, lambda entries: [item.update(confirmed=False) for item in entries[:3]])
    rewrite(store, lambda entries: [item.update(segments=1) for item in entries[3:6]])
    store.requests.clear()
    assert {row.state for row in rows(store)} == {"listed"}
    assert store.requests["get"] == 1 + 6


@pytest.mark.parametrize("unreadable", [True, False], ids=["unreadable", "not confirmed"])
def test_a_prune_removes_nothing_on_its_word(store: CountingStore, unreadable: bool) -> None:
    """The newest ten are worthless, and the index says that all is well with them."""
    for made in MADE[-10:]:
        doubtful = tuple(dataclasses.replace(part, confirmed="") for part in made.segments)
        data = dataclasses.replace(made, segments=doubtful).to_json()
        store.put(made.key, b"{}".ljust(len(data)) if unreadable else data)
    listed = {item.key: item for item in store.list("mpg/backups")}

    def lie(entries: list[dict[str, Any]]) -> None:
        for item, made in zip(entries, MADE, strict=True):
            found = listed[made.key]
            item["manifest"] = {"bytes": found.size, "modified": found.modified.isoformat()}

    rewrite(store, lie)
    assert {row.state for row in rows(store)} == {"listed"}  # so the lie is a good one
    if unreadable:
        with pytest.raises(Refused, match="a manifest in this repository cannot be read"):
            prune(store, at_least=3, days=1)
        assert len(inventory(store).backups) == 40
        return
    report = prune(store, at_least=3, days=1)
    # The newest three, good or not, and the newest three that are good.
    kept = [*MADE[-13:-10], *MADE[-3:]]
    assert [made.backup for made in kept] == Repository(store, "mpg").backup_ids()
    assert len(report.plan.remove) == 34
    # And it was written anew.
    assert [row.state[:12] for row in rows(store)] == ["listed"] * 3 + ["not verified"] * 3


def test_a_prune_reads_just_what_others_go_for(store: CountingStore) -> None:
    prune(store, days=0, last=30, at_least=3)
    # The index, the thirty that stay as the last, and the ten that go, whose manifests may have to be put back.
    assert store.requests["get"] == 1 + 30 + 10
    store.requests.clear()
    prune(store, days=0, last=30, at_least=3)
    assert store.requests["get"] == 1


def test_a_wrong_number_in_it_is_found_before_anything_is_removed(store: CountingStore) -> None:
    rewrite(store, lambda entries: entries[-1].update(documents=7))
    prune(store, days=1)
    assert json.loads(store.get(INDEX, limit=10**6))["backups"][-1]["documents"] == MADE[-1].documents
