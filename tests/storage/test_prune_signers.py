"""Whoever can write to the bucket can make backups that look whole: they push out none of those that are trusted."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from flows.core.index import IndexEntry, write_index
from flows.core.keys import index_key
from flows.core.manifest import Manifest
from flows.core.signing import SigningKey
from flows.storage.memory import MemoryStore
from flows.storage.repository import Repository
from tests.support.repositories import NOW, backup_at, plant, prune

KEY, OLD_KEY, STRANGER = (SigningKey.generate() for _ in range(3))
TRUSTED = (KEY.public, OLD_KEY.public)
RULES = {"days": 1, "last": 2, "at_least": 2}


def made(days: int, key: SigningKey | None) -> Manifest:
    backup = backup_at(NOW - timedelta(days=days))
    return backup.signed(key) if key else backup


GOOD = [made(20, KEY), made(30, OLD_KEY)]  # newest first
FORGED = [made(10, None), made(11, STRANGER), made(12, None)]
REAL_KEPT, FORGED_KEPT = tuple(b.backup for b in GOOD), tuple(b.backup for b in FORGED[:2])


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore(clock=lambda: NOW - timedelta(hours=1))
    plant(store, *GOOD, made(40, KEY), *FORGED)
    return store


def test_without_trusted_signers_forged_backups_take_all_places(store: MemoryStore) -> None:
    """Why there are trusted signers."""
    assert prune(store, dry_run=True, **RULES).plan.keep == FORGED_KEPT


def test_with_trusted_signers_forged_backups_take_no_place_from_good_ones(store: MemoryStore) -> None:
    report = prune(store, signers=TRUSTED, **RULES)
    assert report.plan.keep == (*FORGED_KEPT, *REAL_KEPT)
    assert report.findings == (
        "no trusted signer signed 3 of the backups, so they do not count as verified; the newest is "
        f"{FORGED[0].backup}",
    )


@pytest.mark.parametrize("lie", ["", STRANGER.public], ids=["not signed", "by a stranger"])
def test_an_index_that_makes_good_backups_look_forged_is_not_believed(store: MemoryStore, lie: str) -> None:
    listed = Repository(store, "mpg").inventory().backups
    value = json.loads(write_index("mpg", (IndexEntry(b.manifest.size, b.manifest.modified, b.facts) for b in listed)))
    for item in value["backups"]:
        item["signer"] = lie
    store.put(index_key("mpg"), json.dumps(value).encode())
    assert prune(store, signers=TRUSTED, **RULES).plan.keep == (*FORGED_KEPT, *REAL_KEPT)


def test_an_index_that_makes_forged_backups_look_good_is_not_believed(store: MemoryStore) -> None:
    listed = Repository(store, "mpg").inventory().backups
    value = json.loads(write_index("mpg", (IndexEntry(b.manifest.size, b.manifest.modified, b.facts) for b in listed)))
    for item in value["backups"]:
        item["signer"] = KEY.public
    store.put(index_key("mpg"), json.dumps(value).encode())
    assert prune(store, signers=TRUSTED, **RULES).plan.keep == (*FORGED_KEPT, *REAL_KEPT)


def test_backups_of_a_key_that_is_no_longer_trusted_stay_as_long_as_rules_keep_them(store: MemoryStore) -> None:
    report = prune(store, signers=(KEY.public,), **RULES)
    assert report.plan.keep == (*FORGED_KEPT, GOOD[0].backup, made(40, KEY).backup)
