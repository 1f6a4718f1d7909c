"""A mark of damage survives, and goes only for a good reason; results come and go with their backup."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from flows.core.encryption import Identities
from flows.core.errors import StoreDenied
from flows.core.results import Outcome, Scope
from flows.core.verification import Walk
from flows.storage.listing import list_repository
from flows.storage.memory import MemoryStore
from flows.storage.repository import Repository
from flows.storage.store import Leftover
from flows.storage.verifying import (
    Due,
    keep_result,
    open_backup,
    plan_verification,
    read_standing,
    verify_stored,
    warned,
)
from tests.support.protected import unsigned
from tests.support.repositories import Crash, CrashingStore, prune
from tests.support.verifications import (
    KEY,
    NOW,
    OPEN,
    OPERATOR,
    SEALED,
    STRANGER,
    Scene,
    good,
    scene_of,
    states,
    verify,
)


@pytest.fixture(params=["open", "sealed"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    return scene_of({"open": dataclasses.replace(OPEN, signing_key=KEY), "sealed": SEALED}[request.param], tmp_path)


def test_a_mark_stands_until_all_of_the_same_bytes_is_found_sound(scene: Scene) -> None:
    before = scene.get(scene.key(1))
    scene.flip(scene.key(1), 700)
    verify(scene.store, backup=scene.backup.backup)
    mark = read_standing(scene.store, "mpg", scene.backup.backup).marks
    assert mark == ("the verification of 2026-03-09 04:00 UTC found it damaged",)
    scene.store.put(scene.key(1), before)
    # Not by being put right, not by a part, not by one that opened nothing, and not by one from before.
    assert read_standing(scene.store, "mpg", scene.backup.backup).marks == mark
    verify_part(scene)
    assert read_standing(scene.store, "mpg", scene.backup.backup).marks == mark
    verify(scene.store, now=NOW - timedelta(hours=1))
    assert read_standing(scene.store, "mpg", scene.backup.backup).marks == mark
    if scene.backup.recipients:
        verify(scene.store, identities=Identities(), now=NOW + timedelta(days=8))
        assert read_standing(scene.store, "mpg", scene.backup.backup).marks == mark

    verify(scene.store, now=NOW + timedelta(days=9))

    assert read_standing(scene.store, "mpg", scene.backup.backup).marks == ()
    assert good(scene.store) == {scene.backup.backup, scene.other.backup}
    assert any("-damaged-" in item.key for item in scene.store.list("mpg"))  # the history stays


def verify_part(scene: Scene) -> None:
    """A third of the older backup, a day later; the plan would read all of one that is marked."""
    due = Due(scene.backup.backup, Scope(1, 3), 0)
    opened = open_backup(scene.store, "mpg", due, OPERATOR, now=NOW + timedelta(days=1))
    assert opened is not None
    assert len(opened.segments) == 1
    check = verify_stored(scene.store, opened, opened.segments[0], phase=0, walk=Walk.SAMPLE, progress=lambda _: None)
    kept = keep_result(scene.store, opened, [check])
    assert kept is not None
    assert (kept.scope, kept.outcome) == ("1of3", Outcome.SOUND)


def test_a_mark_is_not_cleared_by_a_manifest_that_was_made_to_fit(tmp_path: Path) -> None:
    scene = scene_of(OPEN, tmp_path)
    # In what nothing but the SHA-256 covers: the version of the tool that wrote the archive.
    scene.flip(scene.key(1), scene.get(scene.key(1)).index(b"tool_version\0") + 18)
    (_, marked) = verify(scene.store, identities=Identities())
    assert [finding.what for finding in marked.findings] == ["the SHA-256 of the object is not the one in the manifest"]
    data = scene.get(scene.key(1))
    fits = dataclasses.replace(scene.backup.segments[1], sha256=hashlib.sha256(data).hexdigest())
    parts = (scene.backup.segments[0], fits, scene.backup.segments[2])
    scene.store.put(scene.backup.key, dataclasses.replace(scene.backup, segments=parts).to_json())
    (_, fitting) = verify(scene.store, identities=Identities(), now=NOW + timedelta(days=1))
    assert fitting.outcome is Outcome.SOUND
    assert read_standing(scene.store, "mpg", scene.backup.backup).marks != ()


def test_a_mark_of_a_forged_manifest_is_cleared_by_the_right_one(scene: Scene) -> None:
    right = scene.get(scene.backup.key)
    scene.store.put(scene.backup.key, unsigned(scene.backup).signed(STRANGER).to_json())
    verify(scene.store)
    scene.store.put(scene.backup.key, right)
    assert good(scene.store) == {scene.other.backup}
    verify(scene.store, now=NOW + timedelta(days=1))
    assert good(scene.store) == {scene.backup.backup, scene.other.backup}


def test_what_was_written_since_was_not_verified(scene: Scene) -> None:
    verify(scene.store)
    scene.store.put(scene.key(1), scene.get(scene.key(1)))
    assert read_standing(scene.store, "mpg", scene.backup.backup).verified is None
    assert read_standing(scene.store, "mpg", scene.other.backup).verified == NOW


def test_a_result_that_cannot_be_read_counts_as_a_mark(scene: Scene) -> None:
    scene.store.put(f"mpg/backups/{scene.backup.backup}/verified-by-a-later-release.json", b"?")
    assert good(scene.store) == {scene.other.backup}
    assert "verified-by-a-later-release.json" in states(scene.store)[scene.backup.backup]


def test_a_result_that_says_sound_makes_no_backup_good(scene: Scene) -> None:
    scene.store.delete([scene.key(1)])
    scene.store.put(
        f"mpg/backups/{scene.backup.backup}/verified-2026-03-09T04-00-00Z-all-sound-{'0' * 12}-{'0' * 12}.json", b""
    )
    assert good(scene.store) == {scene.other.backup}


def test_a_restore_is_told(scene: Scene) -> None:
    assert warned(scene.store, scene.backup) == scene.backup
    scene.flip(scene.key(1), 700)
    verify(scene.store)
    assert warned(scene.store, scene.backup).warnings == (
        "the verification of 2026-03-09 04:00 UTC found it damaged: it may not restore, or not to what was backed up; "
        "the inventory shows the others",
    )


def test_a_crash_at_any_write_leaves_a_mark_or_none_and_the_next_run_ends_right(tmp_path: Path) -> None:
    scene = scene_of(OPEN, tmp_path)
    verify(scene.store, identities=Identities())
    later = NOW + timedelta(days=1)
    for after in (False, True):
        for number in range(4):
            store = MemoryStore()
            vars(store).update(vars(scene.store), _objects=dict(vars(scene.store)["_objects"]))
            with pytest.raises(Crash):
                verify(CrashingStore(store, number, after=after), identities=Identities(), now=later)
            assert good(store) == {scene.backup.backup, scene.other.backup}
            verify(store, identities=Identities(), now=later)
            assert {row.standing.verified for row in list_repository(store, "mpg", now=NOW)} == {later}
            assert sum("/verified-" in item.key for item in store.list("mpg")) == 2


def test_results_go_with_their_backup(scene: Scene) -> None:
    scene.flip(scene.key(1), 700)
    verify(scene.store)
    Repository(scene.store, "mpg").delete(scene.backup.backup, now=NOW)
    assert [item.key for item in scene.store.list(f"mpg/backups/{scene.backup.backup}")] == []
    # One that came too late is garbage like all that belongs to no backup.
    late = f"mpg/backups/{scene.backup.backup}/verified-2026-03-09T04-00-00Z-all-sound-{'0' * 12}-{'0' * 12}.json"
    scene.store.put(late, b"")
    assert prune(scene.store, days=365).garbage_objects == 1
    assert scene.backup.backup not in states(scene.store)


def test_a_backup_that_is_removed_while_it_is_read_is_no_finding(scene: Scene) -> None:
    due = plan_verification(scene.store, "mpg", backup=scene.backup.backup, share="all", now=NOW).due[0]
    opened = open_backup(scene.store, "mpg", due, OPERATOR, now=NOW)
    assert opened is not None
    Repository(scene.store, "mpg").delete(scene.backup.backup, now=NOW)
    checks = [
        verify_stored(scene.store, opened, record, phase=0, walk=Walk.SAMPLE, progress=lambda _: None)
        for record in opened.segments
    ]
    assert keep_result(scene.store, opened, checks) is None
    assert open_backup(scene.store, "mpg", due, OPERATOR, now=NOW) is None
    assert [item.key for item in scene.store.list(f"mpg/backups/{scene.backup.backup}")] == []


def test_credentials_that_cannot_delete_still_verify(scene: Scene) -> None:
    class AppendOnly(MemoryStore):
        def delete(self, keys: object) -> tuple[Leftover, ...]:
            raise StoreDenied("no", store=self.location)

    store = AppendOnly()
    vars(store).update(vars(scene.store))
    verify(store)
    verify(store, now=NOW + timedelta(days=1))
    assert read_standing(store, "mpg", scene.backup.backup).verified == NOW + timedelta(days=1)
