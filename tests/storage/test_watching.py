"""What a watch sees of a store: listings, manifests and evidence, also where they are not what they should be."""

from __future__ import annotations

import dataclasses
import os
from datetime import datetime, timedelta
from pathlib import Path

import bson
import pytest

from flows.core.encryption import Identities, Protection
from flows.core.errors import StoreUnavailable
from flows.core.evidence import EvidenceKind
from flows.core.keys import backup_prefix
from flows.core.manifest import Manifest
from flows.core.watch import Kind, Limits, Sighting, StoreWatch
from flows.storage import evidence
from flows.storage.folder import FolderStore
from flows.storage.memory import MemoryStore
from flows.storage.repository import Repository
from flows.storage.store import ReadableStore
from flows.storage.watching import look, watch_store
from tests.support.evidence import KEY, STRANGER, history, looked_at, record
from tests.support.repositories import CountingStore, HookedStore, backup_at, plant
from tests.support.samples import STARTED, collection, entry, manifest, segment
from tests.support.verifications import EVE, OPEN, SEALED, scene_of, states, verify
from tests.support.verifications import KEY as SIGNER

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def watched(store: ReadableStore, now: datetime, *, trusted: tuple[str, ...] = (), **limits: object) -> StoreWatch:
    chosen = dataclasses.replace(Limits(), **limits)  # type: ignore[arg-type]
    return watch_store(store, "mpg", chosen, name="backups", now=now, trusted=trusted)


def kinds(found: StoreWatch) -> list[Kind]:
    return [fact.kind for fact in found.facts]


def test_thirty_days_of_backups_verifications_and_drills_are_well_with_few_requests() -> None:
    store = CountingStore()
    now = history(store, days=28, gap=range(0))
    store.requests.clear()
    found = watched(store, now)
    assert found.facts == ()
    assert (found.listed, found.good) == (14, 14)
    assert found.taken == STARTED + 27 * DAY
    assert found.verified == STARTED + 27 * DAY + timedelta(hours=2, minutes=7 * 27)
    assert found.drilled == found.verified + HOUR
    # Every manifest once, since there is no index, and the newest eight again; a record of each kind.
    assert store.requests == {"list": 2, "get": 14 + 8 + 2}


def test_a_drill_that_failed_is_told_until_one_passes() -> None:
    store = MemoryStore()
    now = history(store, days=20, gap=range(0), failed=18)
    found = watched(store, now)
    assert kinds(found) == [Kind.DRILL_FAILED]
    assert "the content digest is another one (2026-03-24T04-00-00Z, mpg.invoices)" in found.facts[0].what
    assert found.drilled is not None
    assert found.drilled.date() == (STARTED + 15 * DAY).date()


def test_only_what_trusted_signers_have_signed_counts() -> None:
    store = MemoryStore()
    now = history(store, days=20, gap=range(0), key=KEY)
    assert kinds(watched(store, now, trusted=(STRANGER.public,), backup=None)) == [
        Kind.BACKUP_LATE,
        Kind.SIGNER_UNKNOWN,
    ]
    sighting = look(store, "mpg", now=now, trusted=(STRANGER.public,))
    assert (sighting.verified, sighting.drills.passed) == (None, None)
    assert [why for _, why in sighting.unusable] == ["nobody who is trusted has signed the record"] * 2


def test_evidence_that_was_changed_or_is_of_the_future_does_not_count() -> None:
    store = MemoryStore()
    now = history(store, days=4, gap=range(0))
    newest = max(evidence.record_names(store, "mpg"), key=lambda name: name.sequence)
    assert newest.kind == "drill"
    data = store.get(str(newest), limit=10**6)
    store.put(str(newest), data.replace(b'"passed"', b'"failed"'))
    found = watched(store, now)
    assert kinds(found) == [Kind.EVIDENCE_UNREADABLE]
    assert found.drilled == STARTED + timedelta(hours=3)  # the one before
    later = now + DAY
    evidence.append(store, "mpg", record(EvidenceKind.DRILL, at=later), None, now=later)
    store.put(str(newest), data)
    assert watched(store, now).drilled != later


def test_a_verification_that_read_nothing_is_none() -> None:
    store = MemoryStore()
    plant(store, backup_at(STARTED))
    evidence.append(store, "mpg", record(at=STARTED + HOUR), None, now=STARTED)
    assert look(store, "mpg", now=STARTED + 2 * HOUR).verified is None
    evidence.append(store, "mpg", record(at=STARTED + HOUR, backups=(looked_at(STARTED, size=1),)), None, now=STARTED)
    assert look(store, "mpg", now=STARTED + 2 * HOUR).verified == STARTED + HOUR


def test_a_failed_attempt_is_seen_in_what_it_left() -> None:
    store = MemoryStore()
    plant(store, backup_at(STARTED))
    for key in ("2026-03-06T05-00-00Z/segment-00000.archive.gz", "2026-03-06T05-00-00Z/segment-00001.archive.gz"):
        store.put(f"mpg/backups/{key}", b"x")
    attempt = look(store, "mpg", now=STARTED + HOUR).attempt
    assert attempt is not None
    assert (attempt.began, attempt.objects) == (STARTED + HOUR, 2)
    store.put("mpg/backups/.probe-2026-03-06T06-00-00Z", b"x")
    attempt = look(store, "mpg", now=STARTED + HOUR).attempt
    assert attempt is not None
    assert (attempt.began, attempt.objects) == (STARTED + 2 * HOUR, 1)
    empty = MemoryStore()
    empty.put("mpg/backups/.index.json", b"{}")
    assert look(empty, "mpg", now=STARTED) == Sighting(empty.location)


@pytest.mark.parametrize("protection", [dataclasses.replace(OPEN, signing_key=SIGNER), SEALED], ids=["open", "sealed"])
def test_what_a_verification_found_is_seen_and_what_was_mended_is_well_again(
    tmp_path: Path, protection: Protection
) -> None:
    scene = scene_of(protection, tmp_path)
    now = STARTED + 3 * HOUR
    newest = scene.other
    key = newest.segment_key(newest.segments[0])
    sound = scene.get(key)
    scene.flip(key, 100)
    verify(scene.store, now=now)
    found = watched(scene.store, now + HOUR, drill=None)
    (fact,) = found.facts
    assert fact.kind is Kind.BACKUP_DAMAGED
    assert fact.what == (
        f"the newest backup {newest.backup} is no good copy: the verification of 2026-03-06 07:00 UTC found it damaged"
    )
    assert (found.listed, found.good, found.newest) == (2, 1, scene.backup.backup)
    scene.store.put(key, sound)
    verify(scene.store, now=now + HOUR)
    assert watched(scene.store, now + 2 * HOUR, drill=None).facts == ()


def test_a_backup_that_no_identity_opens_is_no_good_copy(tmp_path: Path) -> None:
    scene = scene_of(SEALED, tmp_path)
    verify(scene.store, identities=Identities((EVE,)), now=STARTED + 3 * HOUR)
    found = watched(scene.store, STARTED + 4 * HOUR, drill=None, verification=None)
    assert kinds(found) == [Kind.BACKUP_LATE, Kind.BACKUP_DAMAGED, Kind.BACKUP_DAMAGED]
    assert "could not open it with the identities given" in found.facts[1].what


def test_an_unreadable_manifest_is_seen_also_where_an_index_says_that_it_is_fine() -> None:
    store = MemoryStore()
    made = [backup_at(STARTED + n * HOUR) for n in range(40)]
    plant(store, *made)
    repository = Repository(store, "mpg")
    repository.index(repository.inventory(), without=(), anew=True)
    newest = made[-1]
    written = next(item.modified for item in store.list(backup_prefix("mpg", newest.backup)) if "manifest" in item.key)
    data = bytearray(newest.to_json())
    data[len(data) // 2] = 0
    store._objects[newest.key] = (bytes(data), written)  # as a bad disk does: size and time are what they were
    assert states(store)[newest.backup] == "listed"
    found = watched(store, STARTED + 40 * HOUR, verification=None, drill=None)
    (fact,) = found.facts
    assert fact.kind is Kind.MANIFEST_UNREADABLE
    assert fact.what.startswith(f"the manifest of the newest backup {newest.backup} cannot be used: ")
    assert "HINT" not in fact.what
    assert found.newest == made[-2].backup


def test_a_backup_that_is_pruned_while_it_is_listed_is_no_alarm() -> None:
    store = MemoryStore()
    old, new = backup_at(STARTED), backup_at(STARTED + HOUR)
    plant(store, old, new)
    listings = []

    def prune(kind: str, key: str) -> None:
        if kind == "get" and not listings:
            listings.append(key)
            Repository(store, "mpg").delete(old.backup, now=STARTED)

    hooked = HookedStore(store, prune)
    found = watched(hooked, STARTED + 2 * HOUR, verification=None, drill=None)
    assert listings
    assert found.facts == ()
    assert found.listed == 1


def test_a_namespace_that_vanished_and_a_count_that_fell_are_read_from_the_manifests() -> None:
    store = MemoryStore()
    many = b"".join(bson.encode({"_id": n}) for n in range(400))
    few = b"".join(bson.encode({"_id": n}) for n in range(40))

    def stored(at: datetime, **documents: bytes) -> Manifest:
        infos = [collection(f"mpg.{name}") for name in documents]
        return manifest(infos, [segment(0, *map(entry, infos, documents.values()))], started=at)

    plant(store, stored(STARTED, customers=many, invoices=many), stored(STARTED + HOUR, invoices=few))
    found = watched(store, STARTED + 2 * HOUR, verification=None, drill=None)
    assert [fact.what.partition(": ")[2] for fact in found.facts] == [
        "mpg.customers (400 documents)",
        "mpg.invoices 400 before, 40 now",
    ]
    assert watched(store, STARTED + 2 * HOUR, verification=None, drill=None, ignore=("mpg.*",)).facts == ()


def test_a_store_that_does_not_answer_is_the_callers_matter() -> None:
    store = MemoryStore()
    plant(store, backup_at(STARTED))

    def away(kind: str, key: str) -> None:
        if kind == "get":
            raise StoreUnavailable("the store does not answer")

    with pytest.raises(StoreUnavailable):
        watched(HookedStore(store, away), STARTED)


def test_a_folder_with_a_copy_says_the_same(tmp_path: Path) -> None:
    store = MemoryStore(clock=lambda: STARTED)
    now = history(store, days=15, gap=range(0))
    for item in store.list(""):
        path = tmp_path / "copy" / item.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.get(item.key, limit=10**9))
        os.utime(path, (item.modified.timestamp(), item.modified.timestamp()))
    (tmp_path / "copy" / "mpg" / "backups" / "link").symlink_to(tmp_path)
    copied = watched(FolderStore(tmp_path / "copy"), now)
    assert copied == dataclasses.replace(watched(store, now), location=str(tmp_path / "copy"))
    assert copied.listed == 14
