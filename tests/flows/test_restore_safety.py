"""What keeps a tired person from doing harm with a restore."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from bson import Int64
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from pymongo import MongoClient

from flows.backup import backup
from flows.core.errors import Refused
from flows.core.keys import backup_time
from flows.core.restore_plan import RestoreMode
from flows.core.ttl import NEVER_SECONDS
from flows.hold import hold
from flows.restore import restore
from flows.storage.repository import Repository
from tests.flows.conftest import Repo, back_up
from tests.support.contents import contents
from tests.support.flow_runs import flow_run_record, logged, page, run_flow

Client = MongoClient[dict[str, Any]]


def test_the_source_itself_is_written_only_where_that_was_asked_for(
    mongo_client: Client, invoices: str, repo: Repo
) -> None:
    back_up(databases=[invoices])
    mongo_client.drop_database(invoices)
    with pytest.raises(Refused, match="the very MongoDB that this backup was taken of"):
        restore()
    assert invoices not in mongo_client.list_database_names()
    assert restore(dry_run=True).dry_run  # the plan may be looked at
    assert restore(into_source=True).documents > 0


def test_the_plan_can_be_looked_at_where_the_restore_would_be_refused(
    mongo_client: Client, invoices: str, repo: Repo
) -> None:
    back_up(databases=[invoices])
    before = contents(mongo_client, invoices)
    run = run_flow(restore, dry_run=True)
    assert run.value.dry_run
    assert f"| {invoices}.invoices | REFUSED: it exists | collection |" in page(run.id)
    assert contents(mongo_client, invoices) == before


def test_old_safety_backups_that_cannot_be_pruned_stop_no_restore(
    mongo_client: Client, invoices: str, repo: Repo
) -> None:
    """Nobody should have to repair a repository, or find other credentials, before a disaster can be mended."""
    back_up(databases=[invoices])
    repo.block.open().put("default-before-restore/backups/2026-03-06T04-00-00Z/manifest.json", b"{")
    mongo_client[invoices]["invoices"].delete_many({"_id": {"$lt": 100}})
    run = run_flow(restore, into_source=True, mode=RestoreMode.REPLACE, confirm=invoices)
    assert run.value.safety_backup.endswith(" of plan default-before-restore")
    assert mongo_client[invoices]["invoices"].count_documents({}) == 500
    told = "old backups of plan default-before-restore were not pruned: a manifest in this repository cannot be read"
    assert any(line.startswith(told) for line in logged(run.id))


def test_latest_is_not_guessed_where_a_backup_is_dated_in_the_future(
    mongo_client: Client, invoices: str, repo: Repo
) -> None:
    taken = back_up(databases=[invoices])
    repo.repository.commit(dataclasses.replace(repo.repository.manifest(taken), backup="2099-01-01T00-00-00Z"))
    mongo_client.drop_database(invoices)
    for ask in (restore, partial(hold, backup="latest", why="case 42")):
        with pytest.raises(Refused, match="the newest backup is dated in the future") as caught:
            ask()
        assert caught.value.facts["before"] == taken
    assert restore(backup=taken, into_source=True).backup == taken


def test_what_a_restore_overwrites_can_be_brought_back(mongo_client: Client, invoices: str, repo: Repo) -> None:
    back_up(databases=[invoices])
    db = mongo_client[invoices]
    db["invoices"].update_many({}, {"$set": {"number": "changed since"}})
    db["untouched"].insert_one({"made": "since"})
    changed = contents(mongo_client, invoices)

    done = restore(into_source=True, mode=RestoreMode.REPLACE, confirm=invoices)

    safety = Repository(repo.block.open(), "default-before-restore")
    (kept,) = safety.backup_ids()
    assert done.safety_backup == f"backup {kept} of plan default-before-restore"
    assert [str(record.namespace) for record in safety.manifest(kept).namespaces] == [f"{invoices}.invoices"]
    assert contents(mongo_client, invoices).hashes["invoices"] != changed.hashes["invoices"]

    restore(
        plan="default-before-restore",
        into_source=True,
        mode=RestoreMode.REPLACE,
        confirm=invoices,
        safety_backup=False,
    )
    assert contents(mongo_client, invoices).hashes == changed.hashes
    assert safety.backup_ids() == [kept]


def test_nothing_is_dropped_where_it_could_not_be_backed_up(
    admin: Client, guarded_blocks: None, invoices: str, repo: Repo
) -> None:
    """The user of that target has the role `restore`, and may not read what it would drop."""
    back_up(databases=[invoices])
    admin[invoices]["invoices"].insert_one({"_id": "precious"})
    try:
        with pytest.raises(Refused) as refused:
            restore(target="guarded-target", mode=RestoreMode.REPLACE, confirm=invoices)
        assert "nothing was restored, because what would be overwritten could not be backed up" in str(refused.value)
        assert "turn `safety_backup` off" in refused.value.hint
        assert list(admin[invoices]["invoices"].find()) == [{"_id": "precious"}]

        restore(target="guarded-target", mode=RestoreMode.REPLACE, confirm=invoices, safety_backup=False)
        assert admin[invoices]["invoices"].find_one({"_id": "precious"}) is None
    finally:
        admin.drop_database(invoices)


def test_the_newest_backup_before_a_time_is_taken(mongo_client: Client, invoices: str, repo: Repo) -> None:
    first = back_up(databases=[invoices])
    mongo_client[invoices]["invoices"].delete_many({})
    time.sleep(max(0.0, 1.1 - (datetime.now(UTC) - backup_time(first)).total_seconds()))  # ids count in seconds
    second = backup(databases=[invoices], retention=None).backup
    assert second > first
    mongo_client.drop_database(invoices)

    done = restore(into_source=True, before=backup_time(first))

    assert done.backup == first
    assert mongo_client[invoices]["invoices"].count_documents({}) == done.documents > 0


def test_documents_do_not_expire_where_expiry_is_held(mongo_client: Client, database: str, repo: Repo) -> None:
    db = mongo_client[database]
    old = datetime(2020, 1, 1, tzinfo=UTC)
    mongo_client.admin.command("setParameter", 1, ttlMonitorEnabled=False)
    db["sessions"].create_index("at", name="by_at", expireAfterSeconds=60)
    db["sessions"].insert_many([{"_id": i, "at": old} for i in range(100)])
    db.create_collection("metrics", timeseries={"timeField": "t"}, expireAfterSeconds=3600)
    db["metrics"].insert_one({"t": old, "v": 1})
    before = contents(mongo_client, database)
    back_up(databases=[database])
    try:
        mongo_client.drop_database(database)
        planned = page(run_flow(restore, into_source=True, dry_run=True).id)
        for name, expired in (("sessions", "100 of 100"), ("metrics", "1 of 1")):
            (line,) = [line for line in planned.splitlines() if f"{database}.{name}: " in line]
            assert f"Now it would delete {expired} in the backup" in line
        restore(into_source=True)
        assert contents(mongo_client, database) == before

        mongo_client.drop_database(database)
        restore(into_source=True, hold_ttl=True)
        held = contents(mongo_client, database)
        assert held.hashes == before.hashes
        (by_at,) = [index for index in held.indexes["sessions"] if index["name"] == "by_at"]
        assert by_at["expireAfterSeconds"] == NEVER_SECONDS
        assert "expireAfterSeconds" not in db["metrics"].options()

        db.command("collMod", "sessions", index={"name": "by_at", "expireAfterSeconds": 60})  # as the report says
        db.command("collMod", "metrics", expireAfterSeconds=Int64(3600))
        assert contents(mongo_client, database) == before
    finally:
        mongo_client.admin.command("setParameter", 1, ttlMonitorEnabled=True)


@contextmanager
def somebody(answer: dict[str, str]) -> Iterator[None]:
    """Resumes the flow run that pauses within the block, through the API, as the Prefect UI does."""
    over = threading.Event()

    def watch() -> None:
        paused = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))
        with get_client(sync_client=True) as client:
            while not over.wait(0.2):
                for run in client.read_flow_runs(flow_run_filter=paused):
                    client.resume_flow_run(run.id, run_input=answer)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_second_person_approves_or_refuses(mongo_client: Client, invoices: str, repo: Repo) -> None:
    back_up(databases=[invoices])
    mongo_client.drop_database(invoices)

    with somebody({"decision": "refuse", "name": "Ada", "comment": "not tonight"}), pytest.raises(Refused) as refused:
        restore(into_source=True, approval=True)
    assert str(refused.value).startswith("this restore was refused (by='Ada (not tonight)')")
    assert invoices not in mongo_client.list_database_names()

    with somebody({"decision": "approve", "name": "Ada"}):
        done = restore(into_source=True, approval=True)
    assert mongo_client[invoices]["invoices"].count_documents({}) == done.documents > 0


def test_without_an_approval_in_time_nothing_is_written(mongo_client: Client, invoices: str, repo: Repo) -> None:
    back_up(databases=[invoices])
    mongo_client.drop_database(invoices)
    run = run_flow(restore, into_source=True, approval=True, approval_minutes=0.01)
    assert isinstance(run.error, Refused)
    ended = flow_run_record(run.id).state
    assert ended is not None
    assert ended.is_failed()
    assert "nobody approved this restore in time" in str(ended.message)
    assert "Nothing has been written. Start it again when somebody can decide." in str(ended.message)
    assert invoices not in mongo_client.list_database_names()
