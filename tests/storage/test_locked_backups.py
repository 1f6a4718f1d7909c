"""Pruning what Object Lock protects: a listed backup is whole, and what stays is said with its date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.core.errors import StoreUnavailable
from flows.core.keys import backup_id
from flows.core.manifest import Manifest
from flows.core.report import format_time
from flows.core.retention import RetentionPolicy
from flows.storage.memory import MemoryStore
from flows.storage.pruning import PruneReport, prune_repository
from flows.storage.repository import Repository
from flows.storage.store import Leftover, ObjectStore, Obstacle
from tests.storage.conftest import Server
from tests.storage.test_repository import Crash, CrashingStore, assert_every_listed_backup_is_whole, backup_at
from tests.support.fault_proxy import DEAD, DEAD_AFTER, Action, FaultProxy, conceal, status

# Stores judge locks by their own clock, so that the time of the tests is that of the machine.
NOW = datetime.now(UTC).replace(microsecond=0)
DENIED = status(403, "AccessDenied")
UNSEEN = "locked without an end that can be seen: by a legal hold, or the credentials may not read its lock"


def prune(store: ObjectStore, *, days: int = 7, lock_days: int | None = None, now: datetime = NOW) -> PruneReport:
    return prune_repository(
        Repository(store, "mpg"),
        RetentionPolicy(days=days, at_least=1),
        now=now,
        grace=timedelta(days=-1),  # garbage of any age
        dry_run=False,
        lock_days=lock_days,
    )


def write(store: ObjectStore, folder: Path, *, age: float, segments: float | None, manifest: float | None) -> Manifest:
    """Take a backup of an age in days, its objects locked for so many days from now; none: not locked."""

    def until(days: float | None) -> datetime | None:
        return None if days is None else NOW + timedelta(days=days)

    made = backup_at(NOW - timedelta(days=age))
    path = folder / "segment"
    path.write_bytes(b"stored")
    for part in made.segments:
        store.put_file(made.segment_key(part), path, lock_until=until(segments))
    Repository(store, "mpg").commit(made, lock_until=until(manifest))
    return made


@pytest.fixture(params=["memory", "moto"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "memory":
        return MemoryStore()
    server: Server = request.getfixturevalue("locking")
    return server.store(lock="governance")


def keys(store: ObjectStore) -> list[str]:
    return sorted(item.key for item in store.list(""))


def test_a_backup_whose_manifest_is_locked_stays_whole(store: ObjectStore, tmp_path: Path) -> None:
    old = write(store, tmp_path, age=30, segments=None, manifest=2)  # its segments could be deleted
    new = write(store, tmp_path, age=1, segments=None, manifest=None)
    before = keys(store)

    report = prune(store)

    assert keys(store) == before
    assert assert_every_listed_backup_is_whole(store, tmp_path) == [old.backup, new.backup]
    assert report.plan.remove == ()
    assert report.plan.decisions[-1].reason == (
        "30.0 days old, kept until 7 days; stays whole, because it is locked until "
        + format_time(NOW + timedelta(days=2))
    )
    assert (report.objects, report.leftovers, report.findings) == (0, (), ())
    assert prune(store, now=NOW + timedelta(days=1, hours=23)).plan.remove == ()


def test_locked_segments_are_reported_and_the_rest_goes(store: ObjectStore, tmp_path: Path) -> None:
    old = write(store, tmp_path, age=30, segments=2, manifest=None)
    older = write(store, tmp_path, age=40, segments=None, manifest=None)
    new = write(store, tmp_path, age=1, segments=None, manifest=None)

    report = prune(store)

    until = NOW + timedelta(days=2)
    left = tuple(Leftover(old.segment_key(part), Obstacle.LOCKED, until) for part in old.segments)
    assert report.plan.remove == (older.backup, old.backup)
    assert report.objects == 4
    assert report.leftovers == left
    assert report.findings == (
        f"mpg/backups/{old.backup}: 2 deleted objects are still in the store, locked until {format_time(until)}",
    )
    assert assert_every_listed_backup_is_whole(store, tmp_path) == [new.backup]
    # The next prune tries again, and says so again.
    again = prune(store)
    assert (again.garbage_objects, again.leftovers) == (2, left)
    assert set(keys(store)) >= {item.key for item in left}


def test_a_locked_backup_is_removed_when_its_lock_is_over(store: ObjectStore, tmp_path: Path) -> None:
    write(store, tmp_path, age=30, segments=-1, manifest=-1)
    new = write(store, tmp_path, age=1, segments=None, manifest=None)
    report = prune(store)
    assert (report.objects, report.leftovers) == (3, ())
    assert assert_every_listed_backup_is_whole(store, tmp_path) == [new.backup]


def test_backups_that_stay_are_locked_anew_for_no_longer_than_they_are_kept(store: ObjectStore, tmp_path: Path) -> None:
    ages = {"new": 0, "fresh": 1, "ending": 3, "floor": 40, "gone": 50}
    made = {name: write(store, tmp_path, age=age, segments=4 - age, manifest=4 - age) for name, age in ages.items()}
    report = prune_repository(
        Repository(store, "mpg"),
        RetentionPolicy(days=6, at_least=4),
        now=NOW,
        grace=timedelta(days=-1),  # garbage of any age
        dry_run=False,
        lock_days=4,
    )
    assert (report.locked, report.objects, report.plan.remove) == (2, 3, (made["gone"].backup,))
    expected = {"new": 4, "fresh": 3, "ending": 3, "floor": 4}  # days from now; two of them as they were
    for name, days in expected.items():
        for key in [*map(made[name].segment_key, made[name].segments), made[name].key]:
            lock = store.lock(key)
            assert lock is not None
            assert (name, lock.until) == (name, NOW + timedelta(days=days))
    assert report.warnings == ()


def test_a_dry_run_locks_nothing_and_looks_at_locks(store: ObjectStore, tmp_path: Path) -> None:
    old = write(store, tmp_path, age=30, segments=2, manifest=2)
    new = write(store, tmp_path, age=1, segments=None, manifest=None)
    report = prune_repository(
        Repository(store, "mpg"),
        RetentionPolicy(days=7, at_least=1),
        now=NOW,
        grace=timedelta(days=-1),  # garbage of any age
        dry_run=True,
        lock_days=7,
    )
    assert report.plan.keep == (new.backup, old.backup)
    assert store.lock(new.key) is None


def test_a_lock_longer_than_the_retention_is_a_warning(store: ObjectStore, tmp_path: Path) -> None:
    write(store, tmp_path, age=1, segments=30, manifest=30)
    assert prune(store, days=7, lock_days=30).findings == (
        "backups are locked for 30 days and kept for 7: they stay until their locks end",
    )


def test_a_damaged_backup_does_not_keep_the_others_from_being_locked(store: ObjectStore, tmp_path: Path) -> None:
    damaged = write(store, tmp_path, age=2, segments=None, manifest=None)
    whole = write(store, tmp_path, age=1, segments=None, manifest=None)
    gone = damaged.segment_key(damaged.segments[1])
    store.delete([gone])
    report = prune(store, lock_days=5)
    assert report.locked == 1
    assert store.lock(whole.key) is not None
    assert report.warnings == (f"{damaged.backup} could not be locked, an object is missing: {gone}",)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("crash_at", range(4))
def test_a_crash_while_locked_backups_are_pruned_leaves_every_listed_one_whole(
    tmp_path: Path, crash_at: int, after: bool
) -> None:
    store = MemoryStore()
    write(store, tmp_path, age=40, segments=2, manifest=None)
    write(store, tmp_path, age=30, segments=None, manifest=2)
    write(store, tmp_path, age=20, segments=None, manifest=None)
    new = write(store, tmp_path, age=1, segments=None, manifest=None)
    with pytest.raises(Crash):
        prune(CrashingStore(store, crash_at, after=after))
    assert_every_listed_backup_is_whole(store, tmp_path)
    prune(store)
    listed = assert_every_listed_backup_is_whole(store, tmp_path)
    assert listed == [backup_id(NOW - timedelta(days=30)), new.backup]


def test_a_manifest_whose_lock_cannot_be_seen_keeps_its_backup_whole(locking: Server, tmp_path: Path) -> None:
    old = write(locking.store(lock="governance"), tmp_path, age=30, segments=None, manifest=2)
    write(locking.store(), tmp_path, age=1, segments=None, manifest=None)
    with FaultProxy(locking.host, locking.port) as proxy:
        store = locking.store(endpoint=proxy.url)
        # What credentials without s3:GetObjectRetention see.
        proxy.fail("HEAD", times=None, action=conceal("x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"))
        before = keys(store)
        report = prune(store)
    assert keys(locking.store()) == before
    assert assert_every_listed_backup_is_whole(locking.store(), tmp_path)[0] == old.backup
    assert (report.objects, report.plan.remove) == (0, ())
    assert report.plan.decisions[-1].reason.endswith("stays whole, because it is " + UNSEEN)


def test_a_locked_backup_is_not_hidden_by_credentials_that_may_only_hide(locking: Server, tmp_path: Path) -> None:
    old = write(locking.store(lock="governance"), tmp_path, age=30, segments=2, manifest=2)
    new = write(locking.store(), tmp_path, age=1, segments=None, manifest=None)
    with FaultProxy(locking.host, locking.port) as proxy:
        proxy.fail("GET ?versions", times=None, action=DENIED)
        report = prune(locking.store(endpoint=proxy.url))
    assert assert_every_listed_backup_is_whole(locking.store(), tmp_path) == [old.backup, new.backup]
    assert (report.objects, report.leftovers) == (0, ())


def versions_of(server: Server) -> set[tuple[str, str]]:
    found = server.client().list_object_versions(Bucket=server.bucket)
    return {(item["Key"], item["VersionId"]) for item in found.get("Versions", []) + found.get("DeleteMarkers", [])}


PRUNE_WRITES = 4  # manifest and segments of one backup, those of the other; garbage has none


@pytest.mark.parametrize("action", [DEAD, DEAD_AFTER], ids=["before", "after"])
@pytest.mark.parametrize("n", range(PRUNE_WRITES))
def test_a_store_that_dies_at_any_write_of_a_prune_leaves_every_listed_backup_whole(
    locking: Server, tmp_path: Path, n: int, action: Action
) -> None:
    """On a bucket with versions, each object written twice, as by an upload that was repeated."""
    direct = locking.store(lock="governance")
    for _ in range(2):
        for age in (40, 30):
            write(direct, tmp_path, age=age, segments=None, manifest=None)
    new = write(direct, tmp_path, age=1, segments=None, manifest=None)
    kept = {key for key in versions_of(locking) if new.backup in key[0]}
    with FaultProxy(locking.host, locking.port) as proxy:
        proxy.at_write(n, action)
        with pytest.raises(StoreUnavailable):
            prune(locking.store(endpoint=proxy.url, lock="governance"))
        assert_every_listed_backup_is_whole(direct, tmp_path)
        proxy.reset()
        prune(locking.store(endpoint=proxy.url, lock="governance"))
    assert assert_every_listed_backup_is_whole(direct, tmp_path) == [new.backup]
    assert versions_of(locking) == kept


def test_a_prune_has_as_many_writes_as_the_crashes_try(locking: Server, tmp_path: Path) -> None:
    for age in (40, 30, 1):
        write(locking.store(), tmp_path, age=age, segments=None, manifest=None)
    with FaultProxy(locking.host, locking.port) as proxy:
        prune(locking.store(endpoint=proxy.url))
        assert len(proxy.writes) == PRUNE_WRITES


def test_credentials_that_may_only_hide_say_so_and_no_listed_backup_is_broken(moto: Server, tmp_path: Path) -> None:
    moto.client().put_bucket_versioning(Bucket=moto.bucket, VersioningConfiguration={"Status": "Enabled"})
    old = write(moto.store(), tmp_path, age=30, segments=None, manifest=None)
    new = write(moto.store(), tmp_path, age=1, segments=None, manifest=None)
    with FaultProxy(moto.host, moto.port) as proxy:
        proxy.fail("GET ?versions", times=None, action=DENIED)
        report = prune(moto.store(endpoint=proxy.url))
    assert assert_every_listed_backup_is_whole(moto.store(), tmp_path) == [new.backup]
    assert report.objects == 0
    assert report.findings == (
        f"mpg/backups/{old.backup}: 3 deleted objects are still in the store, hidden, since the credentials may not "
        "delete versions: the data lives and no rule that could be read ends that",
    )
