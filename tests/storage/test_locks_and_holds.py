"""Where locks, holds and versions meet: what is held stays whole, what is locked says until when."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from flows.core.holds import HoldAction, HoldKind, HoldRequest
from flows.core.report import format_time
from flows.core.retention import RetentionPolicy
from flows.storage.pruning import PruneReport, prune_repository
from flows.storage.repository import Repository
from flows.storage.store import ObjectStore
from tests.storage.conftest import Server
from tests.storage.test_locked_backups import NOW, prune, write
from tests.support.fault_proxy import FaultProxy, Request, call
from tests.support.repositories import assert_every_listed_backup_is_whole


@pytest.fixture
def store(locking: Server) -> ObjectStore:
    return locking.store(lock="governance")


def act(store: ObjectStore, backup: str, action: HoldAction = HoldAction.SET) -> None:
    request = HoldRequest(action, HoldKind.LEGAL_HOLD, "Anna", "case 42")
    Repository(store, "mpg").change_holds(backup, request, at=NOW)


def why(report: PruneReport, backup: str) -> str:
    return next(decision.reason for decision in report.plan.decisions if decision.backup == backup)


def test_a_held_backup_is_locked_anew_and_stays_until_hold_and_lock_are_over(
    store: ObjectStore, tmp_path: Path
) -> None:
    held = write(store, tmp_path, age=30, segments=-1, manifest=-1)
    new = write(store, tmp_path, age=1, segments=None, manifest=None)
    act(store, held.backup)
    report = prune(store, lock_days=5)
    assert (report.plan.keep, report.locked) == ((new.backup, held.backup), 2)
    lock = store.lock(held.key)
    assert lock is not None
    assert lock.until == NOW + timedelta(days=5)

    act(store, held.backup, HoldAction.LIFT)
    report = prune(store)
    assert why(report, held.backup).endswith(f"stays whole, because it is locked until {format_time(lock.until)}")
    assert assert_every_listed_backup_is_whole(store, tmp_path) == [held.backup, new.backup]


def test_without_a_rule_of_days_what_stays_is_locked_for_the_days_of_the_store(
    store: ObjectStore, tmp_path: Path
) -> None:
    old = write(store, tmp_path, age=3, segments=None, manifest=None)
    new = write(store, tmp_path, age=1, segments=None, manifest=None)
    report = prune_repository(
        Repository(store, "mpg"),
        RetentionPolicy(days=0, last=1, at_least=1),
        now=NOW,
        grace=timedelta(0),
        dry_run=False,
        lock_days=5,
    )
    assert (report.plan.remove, report.locked) == ((old.backup,), 1)
    assert report.findings == ("backups are locked for 5 days: those that no rule keeps stay until their locks end",)
    lock = store.lock(new.key)
    assert lock is not None
    assert lock.until == NOW + timedelta(days=5)


def test_a_hold_set_while_the_versions_of_a_manifest_are_deleted_wins(locking: Server, tmp_path: Path) -> None:
    direct = locking.store()
    for _ in range(2):
        old = write(direct, tmp_path, age=30, segments=None, manifest=None)
        direct.put(old.key, old.to_json())  # a second version
    new = write(direct, tmp_path, age=1, segments=None, manifest=None)

    def meanwhile(_: Request) -> None:
        act(locking.store(), old.backup)

    with FaultProxy(locking.host, locking.port) as proxy:
        proxy.fail("POST", times=1, action=call(before=meanwhile))  # the deletion of the manifest's versions
        report = prune(locking.store(endpoint=proxy.url))
    assert why(report, old.backup).endswith("stays whole, because it is held since this was decided")
    assert report.objects == 0
    assert assert_every_listed_backup_is_whole(direct, tmp_path) == [old.backup, new.backup]
