"""The repository: what is listed is whole, whatever write a crash comes at."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.core.errors import (
    BackupNotFound,
    FormatError,
    IntegrityError,
    ObjectExists,
    ObjectMissing,
    Refused,
    StoreError,
)
from flows.core.holds import HoldAction, HoldKind, HoldRequest
from flows.core.keys import backup_id
from flows.storage.listing import list_repository
from flows.storage.memory import MemoryStore
from flows.storage.repository import Repository
from flows.storage.transfer import confirm_stored, fetch_segment
from tests.support.repositories import (
    DATA,
    NOW,
    SHA256,
    CountingStore,
    Crash,
    CrashingStore,
    assert_every_listed_backup_is_whole,
    backup_at,
    prune,
    take,
)
from tests.support.samples import STARTED


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=lambda: NOW - timedelta(days=1))


WRITES = 5  # probe, its removal, two segments, manifest


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("crash_at", range(WRITES))
def test_a_crash_at_any_write_of_a_backup_lists_it_whole_or_not_at_all(
    store: MemoryStore, tmp_path: Path, crash_at: int, after: bool
) -> None:
    made = backup_at(STARTED)
    with pytest.raises(Crash):
        take(CrashingStore(store, crash_at, after=after), made, tmp_path)
    listed = assert_every_listed_backup_is_whole(store, tmp_path)
    assert listed == ([made.backup] if (crash_at, after) == (WRITES - 1, True) else [])
    # The next run succeeds and cleans up.
    later = backup_at(STARTED + timedelta(hours=1))
    take(store, later, tmp_path)
    prune(store, days=365)
    assert assert_every_listed_backup_is_whole(store, tmp_path) == [*listed, later.backup]
    assert Repository(store, "mpg").inventory().garbage == ()


def test_a_backup_has_as_many_writes_as_the_crashes_try(store: MemoryStore, tmp_path: Path) -> None:
    take(CrashingStore(store, WRITES, after=False), backup_at(STARTED), tmp_path)
    assert len(Repository(store, "mpg").backup_ids()) == 1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("crash_at", range(3))
def test_a_crash_at_any_write_of_a_prune_leaves_no_listed_backup_that_is_not_whole(
    store: MemoryStore, tmp_path: Path, crash_at: int, after: bool
) -> None:
    old, new = backup_at(STARTED), backup_at(NOW - timedelta(days=1))
    take(store, old, tmp_path)
    take(store, new, tmp_path)
    with pytest.raises(Crash):
        prune(CrashingStore(store, crash_at, after=after))
    assert new.backup in assert_every_listed_backup_is_whole(store, tmp_path)
    prune(store)
    assert [item.key for item in store.list("")] == [item.key for item in store.list(f"mpg/backups/{new.backup}")]


def test_garbage_stays_until_it_is_old_enough(store: MemoryStore, tmp_path: Path) -> None:
    with pytest.raises(Crash):
        take(CrashingStore(store, 3, after=True), backup_at(STARTED), tmp_path)
    repository = Repository(store, "mpg")
    prune(store, grace_hours=25)
    assert len(repository.inventory().garbage) == 2
    prune(store, grace_hours=24)
    assert repository.inventory().garbage == ()


def test_a_dry_run_removes_nothing(store: MemoryStore, tmp_path: Path) -> None:
    take(store, backup_at(STARTED), tmp_path)
    take(store, backup_at(STARTED + timedelta(days=1)), tmp_path)
    before = [item.key for item in store.list("")]
    prune(store, dry_run=True)
    assert [item.key for item in store.list("")] == before


def test_a_prune_that_removes_nothing_lists_backups_and_holds_once(tmp_path: Path) -> None:
    """Stores bill each listing, and some hash every object for it."""
    store = CountingStore()
    take(store, backup_at(NOW - timedelta(days=1)), tmp_path)
    store.requests.clear()
    prune(store)
    assert store.requests["list"] == 2


def test_a_backup_committed_while_garbage_was_listed_is_left_alone(store: MemoryStore, tmp_path: Path) -> None:
    made = backup_at(STARTED)
    repository = Repository(store, "mpg")
    with pytest.raises(Crash):
        take(CrashingStore(store, 4, after=False), made, tmp_path)
    garbage = repository.garbage(repository.inventory(), now=NOW, grace=timedelta(0))
    assert len(garbage.objects) == 2
    assert garbage.bytes == 2 * len(DATA)
    repository.commit(made)
    repository.sweep(garbage)
    assert assert_every_listed_backup_is_whole(store, tmp_path) == [made.backup]


def test_latest_is_the_newest(store: MemoryStore, tmp_path: Path) -> None:
    for hours in (2, 0, 1):
        take(store, backup_at(STARTED + timedelta(hours=hours)), tmp_path)
    assert Repository(store, "mpg").manifest("latest").started == STARTED + timedelta(hours=2)


def test_latest_is_never_a_backup_from_the_future(store: MemoryStore, tmp_path: Path) -> None:
    made = [backup_at(STARTED + timedelta(days=days)) for days in (0, 1, 3650)]
    for backup in made:
        take(store, backup, tmp_path)
    repository = Repository(store, "mpg")
    request = HoldRequest(HoldAction.SET, HoldKind.PIN, "Anna", "before the migration")
    for ask in (
        lambda: repository.whole("latest", now=NOW),
        lambda: repository.change_holds("latest", request, at=NOW),
    ):
        with pytest.raises(Refused, match="the newest backup is dated in the future") as caught:
            ask()
        assert (caught.value.facts["future"], caught.value.facts["before"]) == (made[2].backup, made[1].backup)
    assert repository.whole(made[2].backup, now=NOW) == made[2]
    repository.delete(made[2].backup, now=NOW)
    assert repository.whole("latest", now=NOW) == made[1]


def test_the_newest_before_a_time(store: MemoryStore, tmp_path: Path) -> None:
    for hours in (2, 0, 1):
        take(store, backup_at(STARTED + timedelta(hours=hours)), tmp_path)
    repository = Repository(store, "mpg")
    for minutes, expected in ((0, 0), (59, 0), (60, 1), (999, 2)):
        assert repository.newest_before(STARTED + timedelta(minutes=minutes)) == backup_id(
            STARTED + timedelta(hours=expected)
        )
    with pytest.raises(BackupNotFound, match="no backup of this plan from before that time"):
        repository.newest_before(STARTED - timedelta(seconds=1))


def test_there_is_no_latest_where_nothing_is(store: MemoryStore) -> None:
    with pytest.raises(BackupNotFound) as caught:
        Repository(store, "mpg").manifest("latest")
    assert str(caught.value) == (
        f"there is no backup of this plan (plan='mpg', store='{store.location}')\n"
        "HINT: Check the plan and the store; the inventory flow lists what is there."
    )


def test_an_unknown_id_is_told(store: MemoryStore) -> None:
    with pytest.raises(BackupNotFound, match=r"no such backup in this plan .*got='2020-01-01T00-00-00Z'"):
        Repository(store, "mpg").manifest("2020-01-01T00-00-00Z")


def test_an_id_with_objects_is_not_used_again(store: MemoryStore, tmp_path: Path) -> None:
    made = backup_at(STARTED)
    take(store, made, tmp_path)
    with pytest.raises(Refused, match="objects of a backup with this id already"):
        Repository(store, "mpg").prepare(made.backup)


def test_a_commit_may_be_repeated_and_never_overwrites_another(store: MemoryStore, tmp_path: Path) -> None:
    made = backup_at(STARTED)
    take(store, made, tmp_path)
    repository = Repository(store, "mpg")
    repository.commit(made)
    with pytest.raises(ObjectExists):
        repository.commit(dataclasses.replace(made, finished=NOW))
    assert repository.manifest(made.backup) == made


def test_a_store_that_takes_and_keeps_nothing_is_noticed() -> None:
    class Forgetful(MemoryStore):
        def put(self, key: str, data: bytes, *, if_absent: bool = False, lock_until: datetime | None = None) -> None:
            super().put(key, b"", if_absent=if_absent, lock_until=lock_until)

    with pytest.raises(StoreError, match="gives back something else than what was written"):
        Repository(Forgetful(), "mpg").prepare("2026-03-06T04-00-00Z")
    with pytest.raises(IntegrityError, match="took the manifest and has something else"):
        Repository(Forgetful(), "mpg").commit(backup_at(STARTED))


def test_a_missing_object_is_found_before_anything_relies_on_it(store: MemoryStore, tmp_path: Path) -> None:
    made = backup_at(STARTED)
    take(store, made, tmp_path)
    key = made.segment_key(made.segments[1])
    store.delete([key])
    with pytest.raises(ObjectMissing) as caught:
        Repository(store, "mpg").whole("latest")
    assert str(caught.value) == (
        f"an object of this backup is missing in the store (key='{key}', store='{store.location}')\n"
        "HINT: This backup cannot be restored in full: take an older one, and find out who deletes objects."
    )


def test_a_truncated_object_is_found_before_anything_relies_on_it(store: MemoryStore, tmp_path: Path) -> None:
    made = backup_at(STARTED)
    take(store, made, tmp_path)
    store.put(made.segment_key(made.segments[0]), DATA[:-1])
    with pytest.raises(IntegrityError, match=r"another size than when it was stored .*expected=6, got=5"):
        Repository(store, "mpg").whole("latest")


def test_a_changed_byte_is_found_by_its_sha256_and_leaves_no_file(store: MemoryStore, tmp_path: Path) -> None:
    store.put("key", b"stoned")
    with pytest.raises(IntegrityError, match="the SHA-256 of a segment is not the one in the manifest"):
        fetch_segment(store, "key", tmp_path / "got", sha256=SHA256, size=6, progress=lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_went_wrong_is_sent_once_more(store: MemoryStore, tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(DATA)
    store.put("key", b"stoned")
    assert confirm_stored(store, "key", path, sha256=SHA256, size=6, progress=lambda _: None) == "read back"
    assert store.get("key", limit=10) == DATA


def test_a_manifest_moved_to_another_id_is_refused(store: MemoryStore, tmp_path: Path) -> None:
    made = backup_at(STARTED)
    take(store, made, tmp_path)
    other = backup_id(STARTED + timedelta(hours=1))
    store.put(f"mpg/backups/{other}/manifest.json", made.to_json())
    with pytest.raises(IntegrityError, match="a manifest names another backup than the one that it is stored under"):
        Repository(store, "mpg").manifest(other)


def test_an_unreadable_manifest_is_shown_and_stops_all_pruning(store: MemoryStore, tmp_path: Path) -> None:
    take(store, backup_at(STARTED), tmp_path)
    take(store, backup_at(NOW), tmp_path)
    damaged = backup_id(STARTED + timedelta(days=1))
    store.put(f"mpg/backups/{damaged}/manifest.json", b"{}")
    rows = list_repository(store, None, now=NOW)
    assert [row.backup for row in rows] == [backup_id(STARTED), damaged, backup_id(NOW)]
    assert rows[1].cells()["state"].startswith("unreadable: a field is missing (at='manifest.format'")
    with pytest.raises(Refused) as caught:
        prune(store)
    assert str(caught.value) == (
        f"a manifest in this repository cannot be read, so nothing is pruned (plan='mpg', backups=['{damaged}'])\n"
        "HINT: Find out what damaged it; when its backup is given up, delete its objects by hand."
    )
    with pytest.raises(FormatError):
        Repository(store, "mpg").manifest(damaged)


def test_plans_of_one_store_do_not_see_each_other(store: MemoryStore, tmp_path: Path) -> None:
    take(store, backup_at(STARTED), tmp_path)
    take(store, dataclasses.replace(backup_at(STARTED), plan="mpg2"), tmp_path)
    prune(store, now=datetime(2030, 1, 1, tzinfo=UTC))
    assert [row.plan for row in list_repository(store, None, now=NOW)] == ["mpg", "mpg2"]
    assert len(Repository(store, "mpg2").backup_ids()) == 1
