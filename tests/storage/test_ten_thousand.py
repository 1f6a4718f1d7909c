"""Ten thousand backups in one repository: how many requests it takes, and how much memory."""

from __future__ import annotations

import dataclasses
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from flows.core.encryption import Identities
from flows.core.index import BackupFacts, IndexEntry, write_index
from flows.core.keys import backup_id, index_key
from flows.core.results import ALL, Outcome, ResultName, result_key
from flows.core.verification import Walk
from flows.storage.listing import list_repository
from flows.storage.memory import MemoryStore
from flows.storage.repository import Repository
from flows.storage.s3 import S3Store
from flows.storage.store import ObjectStore
from flows.storage.verifying import keep_result, open_backup, plan_verification, verify_stored
from tests.storage.conftest import MIB, Server
from tests.support.repositories import DATA, NOW, CountingStore, HookedStore, backup_at, plant, prune
from tests.support.samples import STARTED, collection, entry, manifest, segment

NUMBER = 10_000
MODEL = backup_at(STARTED, segments=1)
IDS = [backup_id(NOW - timedelta(hours=hour)) for hour in range(NUMBER, 0, -1)]
RULES = {"days": 30, "daily": 60, "monthly": 24, "yearly": 5, "at_least": 3, "grace_hours": 12}
# Of what these rules keep those that others go for: 60 days, to 2026-02-05; the newest of the twelve months before
# February, of which one is the newest of its year; and two more of the newest three.
RELIED_ON = 60 + 12 + 2
PAGES = 2 * NUMBER // 1000  # of a listing: each backup has a manifest and a segment


def objects(backups: list[str]) -> dict[str, bytes]:
    """By key."""
    data = MODEL.to_json()
    found = {}
    for backup in backups:
        folder = f"mpg/backups/{backup}"
        found[f"{folder}/manifest.json"] = data.replace(MODEL.backup.encode(), backup.encode())
        found[f"{folder}/segment-00000.archive.gz"] = DATA
    return found


def index_of(store: ObjectStore, backups: list[str] = IDS) -> bytes:
    """As a prune would write it, without reading ten thousand manifests."""
    manifests = [item for item in store.list("mpg/backups") if item.key.endswith("/manifest.json")]
    facts = {backup: dataclasses.replace(BackupFacts.of(MODEL), backup=backup) for backup in backups}
    return write_index("mpg", (IndexEntry(i.size, i.modified, facts[i.key.split("/")[2]]) for i in manifests))


def peak_memory(act: Callable[[], object]) -> int:
    """[bytes] while something is done."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def filled() -> MemoryStore:
    """To be copied and left as it is."""
    store = MemoryStore(clock=lambda: NOW)
    for key, data in objects(IDS).items():
        store.put(key, data)
    return store


@pytest.fixture
def store(filled: MemoryStore) -> CountingStore:
    copy = MemoryStore()
    vars(copy).update(vars(filled), _objects=dict(vars(filled)["_objects"]))
    return CountingStore(copy)


def test_the_requests_and_the_memory_of_ten_thousand_backups(store: CountingStore) -> None:
    def requests(act: Callable[[], object]) -> Counter[str]:
        store.requests.clear()
        act()
        return store.requests

    # Without an index each manifest is read.
    assert requests(lambda: list_repository(store, "mpg", now=NOW)) == {"list": PAGES, "get": NUMBER}
    store.put(index_key("mpg"), index_of(store))
    # With one: its object makes the listing a page longer, holds are a listing of their own.
    assert requests(lambda: list_repository(store, "mpg", now=NOW)) == {"list": PAGES + 1, "get": 1}
    # All of the index is in memory at a time, and of manifests only a few: see below.
    assert peak_memory(lambda: requests(lambda: prune(store, dry_run=True, **RULES))) < 40 * MIB
    assert store.requests == {"list": PAGES + 2, "get": 1}
    assert requests(lambda: Repository(store, "mpg").manifest("latest")) == {"list": PAGES + 1, "get": 1}

    # The seventeen backups of 416 days and more go; each is an hour older than the next.
    rules = {**RULES, "days": 416}
    plan = prune(store, dry_run=True, **rules).plan
    assert (len(plan.remove), len(plan.relied_on)) == (17, RELIED_ON)
    # Of each that goes: lock looked at, manifest read, holds listed, manifest deleted, holds listed again; the rest is
    # listed and deleted.
    assert requests(lambda: prune(store, **rules)) == {
        "list": PAGES + 2 + 3 * 17,
        "get": 1 + RELIED_ON + 17,
        "delete": 2 * 17,
        "lock": 17,
    }
    # The index still has them, and is good enough.
    assert requests(lambda: list_repository(store, "mpg", now=NOW)) == {"list": PAGES, "get": 1}


def test_the_requests_of_verifying_ten_thousand_backups(store: CountingStore) -> None:
    """A seventh each day. What it leaves is one small object for each backup: ten pages of a listing more."""
    store.put(index_key("mpg"), index_of(store))
    store.requests.clear()
    plan = plan_verification(store, "mpg", backup=None, share="1/7", now=NOW)
    assert store.requests == {"list": PAGES + 2, "get": 1}
    assert 1200 < len(plan.due) < 1700
    assert plan.due[0].backup == IDS[-1]

    # Of one, besides its segments: manifest and objects; whether it is still there (a HEAD); the result, written and
    # read back; a look for older ones, and their deletion.
    store.requests.clear()
    opened = open_backup(store, "mpg", plan.due[5], Identities(), now=NOW)
    assert opened is not None
    checks = [
        verify_stored(store, opened, record, phase=0, walk=Walk.SAMPLE, progress=lambda _: None)
        for record in opened.segments
    ]
    keep_result(store, opened, checks)
    assert store.requests == {"get": 2, "list": 2, "put": 1, "delete": 1}

    for backup in IDS:
        name = ResultName(NOW, ALL, Outcome.SOUND, "0" * 12, "1" * 12)
        store.put(result_key("mpg", backup, name), b"{}\n")
    store.requests.clear()
    rows = list_repository(store, "mpg", now=NOW)
    assert sum(row.standing.verified == NOW for row in rows) == NUMBER
    assert sum(row.state == "listed" for row in rows) == NUMBER - 1
    assert store.requests == {"list": PAGES + 11, "get": 1}


def test_no_more_manifests_are_in_memory_than_are_read_at_a_time() -> None:
    infos = [collection(f"mpg.c{i:03d}") for i in range(100)]
    store = MemoryStore()
    for hour in range(60):
        started = STARTED + timedelta(hours=hour)
        plant(store, manifest(infos, [segment(0, *(entry(info, b"") for info in infos))], started=started))
    readers = []

    def look(kind: str, key: str) -> None:
        if kind == "get":
            time.sleep(0.01)  # stands for the network; meanwhile others begin
            readers.append(sum(thread.name.startswith("inventory") for thread in threading.enumerate()))

    slow = Repository(HookedStore(store, look), "mpg")
    of_one = peak_memory(lambda: slow.manifest("latest"))
    assert peak_memory(slow.inventory) < 10 * of_one
    assert max(readers) == 8


def test_thousands_of_backups_in_a_real_store(rclone: Server) -> None:
    """3,000 of them, since this server walks all files for each page."""
    assert rclone.folder is not None
    backups, pages = IDS[-3000:], 6
    for key, data in objects(backups).items():
        path = rclone.folder / "backups" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    client, requests = rclone.client(), Counter[str]()
    client.meta.events.register("before-send.s3", lambda event_name, **_: requests.update([event_name.split(".")[-1]]))
    store = S3Store(client, rclone.bucket, "backups", rclone.profile)
    store.put(index_key("mpg"), index_of(store, backups))

    requests.clear()
    rows = list_repository(store, "mpg", now=NOW)
    assert [row.backup for row in rows] == backups
    assert {row.state for row in rows} == {"listed"}
    assert requests == {"ListObjectsV2": pages + 1, "GetObject": 1}
    requests.clear()
    plan = prune(store, dry_run=True, **RULES).plan
    assert len(plan.remove) > 2_000
    assert requests == {"ListObjectsV2": pages + 2, "GetObject": 1, "ListMultipartUploads": 1}
