"""Legal holds and pins in a store: nothing is lost of them, and nothing that they hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from flows.core.errors import (
    BackupNotFound,
    ConfigurationError,
    IntegrityError,
    Refused,
    RepositoryError,
)
from flows.core.holds import HoldAction, HoldKind, HoldRequest, Holds
from flows.storage.holds import read_holds
from flows.storage.listing import list_repository
from flows.storage.memory import MemoryStore
from flows.storage.repository import Repository
from tests.storage.conftest import Server
from tests.support.repositories import (
    NOW,
    Actor,
    CountingStore,
    Crash,
    CrashingStore,
    HookedStore,
    assert_every_listed_backup_is_whole,
    backup_at,
    plant,
    prune,
)
from tests.support.samples import STARTED

OLD, NEW = backup_at(STARTED), backup_at(NOW - timedelta(days=1))
LATER = NOW + timedelta(hours=1)


def request(action: str = "set", kind: str = "legal-hold", why: str = "case 42", **more: datetime | str) -> HoldRequest:
    return HoldRequest(HoldAction(action), HoldKind(kind), "Anna", why, **more)  # type: ignore[arg-type]


def act(store: MemoryStore, wanted: HoldRequest, *, at: datetime = NOW, backup: str = OLD.backup) -> Holds:
    return Repository(store, "mpg").change_holds(backup, wanted, at=at)[1]


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore(clock=lambda: NOW - timedelta(days=1))
    plant(store, OLD, NEW)
    return store


@pytest.mark.parametrize("server", ["rclone", "moto"])
def test_a_hold_is_set_read_and_lifted_in_a_real_store(server: str, request: pytest.FixtureRequest) -> None:
    from flows.storage.s3 import S3Store

    chosen: Server = request.getfixturevalue(server)
    store: S3Store = chosen.store()
    store.put(OLD.key, OLD.to_json())
    repository = Repository(store, "mpg")
    wanted = HoldRequest(HoldAction.SET, HoldKind.LEGAL_HOLD, "Jörg", "case 42")
    found, holds = repository.change_holds("latest", wanted, at=NOW)
    assert found == OLD.backup
    assert holds.active(NOW)[0].by == "Jörg"
    assert repository.change_holds(found, wanted, at=NOW)[1] == holds  # a task that is tried again
    assert repository.inventory().holds == {OLD.backup: holds}
    lift = HoldRequest(HoldAction.LIFT, HoldKind.LEGAL_HOLD, "Ben", "closed")
    for _ in range(2):
        after = repository.change_holds(found, lift, at=LATER)[1]
        assert after.active(LATER) == ()
        assert len(after.events) == 2


def test_what_is_held_is_not_pruned_and_goes_once_it_is_lifted(store: MemoryStore, tmp_path: Path) -> None:
    hold = act(store, request()).active(NOW)[0]
    report = prune(store)
    assert [d.reason for d in report.plan.decisions][1] == str(hold)
    assert report.plan.remove == ()
    act(store, request("lift"), at=LATER)
    assert prune(store, now=LATER).plan.remove == (OLD.backup,)
    assert assert_every_listed_backup_is_whole(store, tmp_path) == [NEW.backup]
    # The acts stay, for whoever asks in some years.
    assert len(read_holds(store, "mpg", OLD.backup).events) == 2


def test_a_pin_ends_by_itself(store: MemoryStore) -> None:
    act(store, request(kind="pin", until=LATER))
    assert prune(store, now=LATER - timedelta(seconds=1)).plan.remove == ()
    assert prune(store, now=LATER).plan.remove == (OLD.backup,)


def test_the_inventory_shows_who_holds_what(store: MemoryStore) -> None:
    hold = act(store, request()).active(NOW)[0]
    pin = act(store, request(kind="pin", why="before the migration"), backup=NEW.backup).active(NOW)[0]
    held = {row.backup: row.cells()["held"] for row in list_repository(store, None, now=NOW)}
    assert held == {
        OLD.backup: f"legal-hold {hold.id} by Anna since 2026-04-05 04:00 UTC: case 42",
        NEW.backup: f"pin {pin.id} by Anna since 2026-04-05 04:00 UTC: before the migration",
    }


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"{", lambda data: data.replace(b"Anna", b"Nobody"), lambda data: data + b" " * 70_000],
    ids=["no JSON", "changed", "too large"],
)
def test_a_hold_that_cannot_be_read_holds_and_is_told(store: MemoryStore, damage: Callable[[bytes], bytes]) -> None:
    key = act(store, request(kind="pin", until=LATER)).events[0].key
    store.put(key, damage(store.get(key, limit=10_000)))
    rows = {row.backup: row.held for row in list_repository(store, None, now=NOW)}
    assert rows[NEW.backup] == ()
    assert rows[OLD.backup][0].startswith(f"counts as held, because a hold cannot be read: {key}: ")
    # Even when it would have ended long ago.
    assert prune(store, now=LATER + timedelta(days=1)).plan.remove == ()


@pytest.mark.parametrize("name", ["notes.txt", "2026-03-06.json", "2026-03-06T04-00-00Z.json"])
def test_what_is_no_hold_among_the_holds_stops_all_removals(store: MemoryStore, name: str) -> None:
    store.put(f"mpg/holds/{name}", b"keep the old ones please")
    assert prune(store).plan.remove == ()
    why = f"counts as held, because this is among the holds and is none: mpg/holds/{name}"
    assert [row.held for row in list_repository(store, "mpg", now=NOW)] == [(why,), (why,)]


def test_folders_that_a_console_makes_are_nothing(store: MemoryStore) -> None:
    for folder in ("mpg/", "mpg/backups/", "mpg/holds/", f"mpg/holds/{OLD.backup}/", f"mpg/backups/{OLD.backup}/"):
        vars(store)["_objects"][folder] = (b"", STARTED)  # as others write it: no store of ours takes such a key
    report = prune(store)
    assert report.plan.remove == (OLD.backup,)
    assert report.garbage_objects == 0


def test_what_is_left_of_a_held_backup_is_not_swept(store: MemoryStore) -> None:
    act(store, request())
    store.delete([OLD.key])
    prune(store)
    assert [item.key for item in store.list(f"mpg/backups/{OLD.backup}")] == [OLD.segment_key(s) for s in OLD.segments]
    act(store, request("lift"), at=LATER)
    prune(store, now=LATER)
    assert list(store.list(f"mpg/backups/{OLD.backup}")) == []


def test_the_holds_of_backups_that_are_gone_are_not_read(store: MemoryStore) -> None:
    act(store, request())
    store.delete(item.key for item in list(store.list(f"mpg/backups/{OLD.backup}")))
    counting = CountingStore(store)
    assert Repository(counting, "mpg").inventory().holds == {}
    assert counting.requests["get"] == 1  # the manifest of the other one


@pytest.mark.parametrize(
    ("backup", "action", "error"),
    [
        ("2020-01-01T00-00-00Z", "set", BackupNotFound),
        ("../../other", "set", ConfigurationError),
        ("../../other", "lift", ConfigurationError),
        (OLD.backup, "lift", Refused),
    ],
)
def test_what_cannot_be_held_or_lifted_is_refused_and_nothing_is_written(
    store: MemoryStore, backup: str, action: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        act(store, request(action), backup=backup)
    assert list(store.list("mpg/holds")) == []


def test_a_backup_whose_manifest_cannot_be_read_can_be_held(store: MemoryStore) -> None:
    store.put(OLD.key, b"{}")
    act(store, request())
    row = list_repository(store, None, now=NOW)[0]
    assert (row.state[:10], len(row.held)) == ("unreadable", 1)


def test_a_store_that_keeps_nothing_of_a_hold_is_noticed(store: MemoryStore) -> None:
    class Forgetful(MemoryStore):
        def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
            super().put(key, b"{}", if_absent=if_absent)

    forgetful = Forgetful()
    vars(forgetful).update(vars(store))
    with pytest.raises(IntegrityError, match="the store took the hold and has something else"):
        act(forgetful, request())


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_leaves_a_hold_that_stands_or_none_and_the_next_try_works(store: MemoryStore, after: bool) -> None:
    with pytest.raises(Crash):
        act(CrashingStore(store, 0, after=after), request())
    assert len(read_holds(store, "mpg", OLD.backup).active(NOW)) == after
    assert len(act(store, request()).active(NOW)) == 1


# Two at once: every order in which their requests can reach the store


def turns(first: int, second: int) -> list[list[int]]:
    """Orders of so many steps of the one (0) and of the other (1), in which each is interrupted at most twice."""
    return [
        [0] * i + [1] * k + [0] * (j - i) + [1] * (second - k) + [0] * (first - j)
        for i in range(first + 1)
        for j in range(i, first + 1)
        for k in range(second + 1)
    ]


def run(store: MemoryStore, order: list[int], *works: Callable[[MemoryStore], object]) -> list[Actor]:
    actors = [Actor(store, work) for work in works]
    for number in order:
        actors[number].step()
    for actor in actors:
        actor.finish()
    return actors


def copy_of(store: MemoryStore) -> MemoryStore:
    copied = MemoryStore()
    vars(copied).update(vars(store), _objects=dict(vars(store)["_objects"]))
    return copied


def delete_old(store: MemoryStore) -> bool:
    return not Repository(store, "mpg").delete(OLD.backup, now=NOW).held


def hold_old(store: MemoryStore) -> Holds:
    return act(store, request())


def test_a_hold_that_was_said_to_stand_wins_over_a_removal_in_any_order(store: MemoryStore, tmp_path: Path) -> None:
    steps = [Actor(copy_of(store), work).finish() for work in (delete_old, hold_old)]
    ends = set()
    for order in turns(*steps):
        tried = copy_of(store)
        removal, hold = run(tried, order, delete_old, hold_old)
        assert removal.error is None
        listed = assert_every_listed_backup_is_whole(tried, tmp_path)
        if hold.error is None:
            assert OLD.backup in listed, order
        else:
            assert isinstance(hold.error, RepositoryError), order
        assert removal.result == (OLD.backup not in listed), order
        ends.add((hold.error is None, OLD.backup in listed))
    # Both come first in some order, and sometimes the hold fails and the removal gives way: nobody is told too much.
    assert ends == {(True, True), (False, False), (False, True)}


def test_a_hold_that_is_set_while_another_one_is_lifted_stands_in_any_order(store: MemoryStore) -> None:
    act(store, request(why="case 41"), at=NOW - timedelta(days=1))

    def set_another(tried: MemoryStore) -> Holds:
        return act(tried, request(why="case 42"))

    def lift(tried: MemoryStore) -> Holds:
        return act(tried, request("lift", why="case 41 is closed"), at=LATER)

    steps = [Actor(copy_of(store), work).finish() for work in (set_another, lift)]
    for order in turns(*steps):
        tried = copy_of(store)
        setter, lifter = run(tried, order, set_another, lift)
        assert setter.error is None
        standing = {event.why for event in read_holds(tried, "mpg", OLD.backup).active(LATER)}
        # Whoever lifts sees both, and has to say which; or sees one, and lifts that.
        assert standing == ({"case 42"} if lifter.error is None else {"case 41", "case 42"}), order


# Requests of a prune: 0 and 1 list backups and holds, 2 and 3 read manifests. Of what is removed 4 reads the manifest,
# 5 looks at the holds, 6 deletes the manifest, 7 looks again, 8 and 9 list and delete the rest.
@pytest.mark.parametrize("moment", range(11))
def test_a_hold_set_at_any_moment_of_a_prune_wins_or_is_refused(
    store: MemoryStore, tmp_path: Path, moment: int
) -> None:
    said: list[str] = []
    requests = count()

    def meddle(kind: str, key: str) -> None:
        if next(requests) == moment:
            try:
                hold_old(store)
                said.append("held")
            except BackupNotFound:
                said.append("gone")

    report = prune(HookedStore(store, meddle))
    listed = assert_every_listed_backup_is_whole(store, tmp_path)
    assert listed == ([OLD.backup, NEW.backup] if said == ["held"] else [NEW.backup])
    assert report.plan.remove == (() if said == ["held"] else (OLD.backup,))
    assert said == (["held"] if moment <= 6 else ["gone"] if moment <= 9 else [])
