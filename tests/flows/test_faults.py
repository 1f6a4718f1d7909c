"""Faults on purpose: the store, the source and the stored bytes fail at chosen points, and nothing stays silent."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import Binary
from prefect import flow
from pymongo import MongoClient

from blocks import MongoDBSource, MongoDBTarget
from deployments import embedded
from flows.backup import backup
from flows.core.errors import (
    IntegrityError,
    ObjectMissing,
    PlanBusy,
    RestoreIncomplete,
    SourceUnavailable,
    Stopped,
    StoredWrongly,
    StoreUnavailable,
)
from flows.core.restore_plan import RestoreMode, RestoreRequest
from flows.restore import restore
from flows.tasks.fetch import fetch
from flows.tasks.load import load
from flows.tasks.restore_job import RestoreJob
from flows.tasks.run import open_run
from flows.tasks.settings import Overlap, Retention
from flows.tasks.target import compare, finish, plan_restore_into, prepare
from tests.flows.conftest import Repo, back_up
from tests.support.contents import contents
from tests.support.fault_proxy import (
    DEAD,
    DEAD_AFTER,
    SWALLOW,
    FaultProxy,
    Request,
    call,
    flip_request,
    status,
)
from tests.support.flow_runs import eventually, run_flow, tries

Client = MongoClient[dict[str, Any]]

# Probe put, probe removed, segment, manifest; a test below sees that there are no others.
WRITES = 4
SWEEP = Retention(garbage_after_hours=0)


@pytest.fixture
def two_segments(mongo_client: Client, database: str) -> str:
    """A database whose backup with 16 MiB segments has more than one: its name."""
    mongo_client[database]["large"].insert_many([{"_id": i, "pad": Binary(bytes(1_000_000))} for i in range(20)])
    return database


@pytest.fixture
def profiled(mongo_client: Client, invoices: str) -> str:
    """A database in which the server writes down every command: its name."""
    mongo_client[invoices].command("profile", 2)
    return invoices


def test_a_failed_upload_is_sent_again_without_reading_the_source_again(
    mongo_client: Client, profiled: str, repo: Repo, proxy: FaultProxy
) -> None:
    # Twice, because the SDK repeats a request once by itself.
    proxy.fail(_segment_put, times=2, action=status(503))

    run = run_flow(backup, databases=[profiled], retention=None)

    repo.verify(run.value.backup)
    expected = {
        "dump segment 0": 1,
        "compress segment 0": 1,
        "upload segment 0 to backups": 2,
        "verify segment 0 in backups": 1,
    }
    assert {stage: tries(run.id, stage) for stage in expected} == expected
    # Planning looks at one document; only the dump reads without a limit.
    finds = {"ns": f"{profiled}.invoices", "command.find": "invoices", "command.limit": {"$exists": False}}
    assert mongo_client[profiled]["system.profile"].count_documents(finds) == 1


def test_a_source_that_dies_during_the_dump_leaves_nothing(parts: embedded.Parts, repo: Repo, spool: Path) -> None:
    mongod = parts.mongod(extra=["--setParameter", "enableTestCommands=1"])
    MongoDBSource(host=mongod.host, port=mongod.port, replica_set="rs0", timeout_seconds=1).save("dying")
    client: Client
    with MongoClient(mongod.uri, serverSelectionTimeoutMS=2000) as client:
        client["mpg"]["invoices"].insert_many([{"_id": i, "pad": Binary(bytes(1_000_000))} for i in range(20)])
        # No answer is larger than 16 MiB, so there is a second batch, and for that the server makes the dump wait.
        client.admin.command(
            {
                "configureFailPoint": "failCommand",
                "mode": "alwaysOn",
                "data": {
                    "failCommands": ["getMore"],
                    "appName": "mongo-backup-flows",
                    "blockConnection": True,
                    "blockTimeMS": 60_000,
                },
            }
        )

        def kill() -> None:
            client.admin.command({"waitForFailPoint": "failCommand", "timesEntered": 1, "maxTimeMS": 60_000})
            mongod.kill()

        with ThreadPoolExecutor(1) as pool:
            killed = pool.submit(kill)
            run = run_flow(backup, source="dying", databases=["mpg"])
            killed.result()

    assert isinstance(run.error, SourceUnavailable)
    assert str(run.error) == (
        "the source cannot be reached (namespace='mpg.invoices', "
        f"got='{mongod.host}:{mongod.port}: [Errno 111] Connection refused "
        "(configured timeouts: socketTimeoutMS: 1000.0ms, connectTimeoutMS: 1000.0ms)')\n"
        "HINT: Check host, port, replica set name and firewall; a server that wants TLS closes other connections."
    )
    assert tries(run.id, "dump segment 0") == 3
    assert repo.repository.backup_ids() == []
    assert repo.files == []
    assert list(spool.iterdir()) == []


def test_a_backup_writes_so_many_times(invoices: str, proxy: FaultProxy) -> None:
    backup(databases=[invoices], retention=SWEEP)

    assert [_short(write) for write in proxy.writes] == [
        "PUT .probe",
        "POST ?delete",
        "PUT segment-00000.archive.gz",
        "PUT manifest.json",
    ]
    assert len(proxy.writes) == WRITES


@pytest.mark.parametrize("n", range(WRITES))
def test_a_store_that_dies_at_a_write_leaves_a_whole_backup_or_garbage(
    invoices: str, repo: Repo, proxy: FaultProxy, spool: Path, n: int
) -> None:
    for action in (DEAD, DEAD_AFTER):  # before the store hears of the write, and before anybody hears of its answer
        proxy.at_write(n, action)
        run = run_flow(backup, databases=[invoices], retention=SWEEP)
        assert isinstance(run.error, StoreUnavailable)
        assert run.error.message == "the store does not answer"
        assert list(spool.iterdir()) == []
        proxy.reset()
    # Only the last write makes a backup, even if nobody heard that it did.
    listed = repo.repository.backup_ids()
    assert len(listed) == (1 if n == WRITES - 1 else 0)

    good = back_up(databases=[invoices], retention=SWEEP)

    for whole in [*listed, good]:
        repo.verify(whole)
    assert {Path(name).parts[2] for name in repo.files} == {*listed, good}  # what the crashes left is gone


def test_a_store_that_keeps_nothing_is_found_out(invoices: str, repo: Repo, proxy: FaultProxy, spool: Path) -> None:
    proxy.fail(_segment_put, times=None, action=SWALLOW)

    run = run_flow(backup, databases=[invoices])

    assert isinstance(run.error, StoredWrongly)
    facts = run.error.facts
    assert str(run.error) == (
        f"the store took the upload and kept nothing (store='{repo.block.open().location}', "
        f"key='{facts['key']}', expected={facts['expected']}, got='no object')\n"
        "HINT: The upload is repeated; if it happens again, check the store."
    )
    assert repo.files == []
    assert list(spool.iterdir()) == []


def test_a_byte_that_flips_on_the_way_is_sent_again(invoices: str, repo: Repo, proxy: FaultProxy) -> None:
    proxy.fail(_segment_put, times=1, action=flip_request(40))

    repo.verify(back_up(databases=[invoices]))


def test_bytes_that_always_flip_on_the_way_are_no_backup(invoices: str, repo: Repo, proxy: FaultProxy) -> None:
    proxy.fail(_segment_put, times=None, action=flip_request(40))

    run = run_flow(backup, databases=[invoices])

    assert isinstance(run.error, StoredWrongly)
    facts = run.error.facts
    assert str(run.error) == (
        f"the object in the store has another SHA-256 than what was sent (store='{repo.block.open().location}', "
        f"key='{facts['key']}', expected='{facts['expected']}', got='{facts['got']}')\n"
        "HINT: The upload is repeated; if it happens again, check the store and the disk of this machine."
    )
    assert repo.repository.backup_ids() == []


def test_a_flipped_byte_in_the_store_is_not_restored(
    mongo_client: Client, two_segments: str, repo: Repo, spool: Path
) -> None:
    taken = back_up(databases=[two_segments], segment_mib=16)
    damaged = repo.repository.manifest(taken).segments[1]
    _flip(repo.path(taken, 1))
    mongo_client.drop_database(two_segments)

    run = run_flow(restore, into_source=True, segments_in_flight=1)

    assert isinstance(run.error, RestoreIncomplete)
    key = f"default/backups/{taken}/{damaged.name}"
    assert str(run.error) == (
        "the restore stopped: the SHA-256 of a segment is not the one in the manifest; "
        "the target has 1 of 2 segments for certain, the documents of 0 collections are complete, 1 may be empty or "
        f"incomplete, indexes and views may be missing (key='{key}', store='{repo.block.open().location}', "
        f"expected='{damaged.sha256}', got='{run.error.facts['got']}')\n"
        "HINT: Nothing of this segment was used. Restore an older backup, and find out what changed this object. "
        "To restore this or another backup again, use mode `replace` with `confirm`: "
        "it drops what is there and begins anew."
    )
    whole = mongo_client[two_segments]["large"].count_documents({})
    assert whole == 20 - damaged.entries[0].totals.documents  # those of the other segment, and none of this one
    assert list(spool.iterdir()) == []

    _flip(repo.path(taken, 1))
    restore(into_source=True, mode=RestoreMode.REPLACE, confirm=two_segments)  # as the hint says
    assert mongo_client[two_segments]["large"].count_documents({}) == 20


def test_a_segment_that_arrives_while_another_fails_is_told(
    mongo_client: Client, two_segments: str, repo: Repo, proxy: FaultProxy
) -> None:
    taken = back_up(databases=[two_segments], segment_mib=16)
    mongo_client.drop_database(two_segments)
    second = repo.repository.manifest(taken).segments[1].entries[0].totals.documents
    large = mongo_client[two_segments]["large"]

    def wait(_: Request) -> None:
        eventually(lambda: large.count_documents({}) == second, "the second segment in the target")
        raise ConnectionAbortedError

    proxy.fail("GET segment-00000", times=None, action=call(before=wait))
    run = run_flow(restore, into_source=True)

    assert isinstance(run.error, RestoreIncomplete)
    assert "the target has 1 of 2 segments for certain, the documents of 0 collections are complete, 1 may be" in str(
        run.error
    )


def test_a_try_that_comes_when_its_run_is_over_writes_nothing(mongo_client: Client, invoices: str, repo: Repo) -> None:
    mongo_client[invoices]["invoices"].create_index("number")
    back_up(databases=[invoices])
    mongo_client.drop_database(invoices)

    @flow(persist_result=False)
    def too_late() -> list[BaseException]:
        with open_run() as run:
            job = RestoreJob(run.id, MongoDBTarget.load("target"), repo.block, repo.repository.manifest("latest"))
            plan = plan_restore_into(job, RestoreRequest(), now=datetime.now(UTC))
            prepare(job, plan, preserve_uuid=False)
            path = fetch(job, plan.segments[0])
            compared = compare(job, plan.items, {}, read_back=False, majority=True)
            run.settle()
            states = [
                load(job, plan, plan.segments[0], path, read_back=False, majority=True, return_state=True),
                finish(job, plan.items, compared, hold_ttl=False, return_state=True),
            ]
        states.append(load(job, plan, plan.segments[0], path, read_back=False, majority=True, return_state=True))
        return [state.result(raise_on_failure=False) for state in states]

    assert [type(error) for error in too_late()] == [Stopped] * 3
    assert mongo_client[invoices]["invoices"].count_documents({}) == 0
    assert list(mongo_client[invoices]["invoices"].index_information()) == ["_id_"]


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_backup_that_is_not_whole_is_refused_before_anything_is_written(
    mongo_client: Client, invoices: str, repo: Repo, damage: str
) -> None:
    taken = back_up(databases=[invoices])
    segment = repo.path(taken)
    size = segment.stat().st_size
    if damage == "missing":
        segment.unlink()
    else:
        os.truncate(segment, size - 1)
    before = contents(mongo_client, invoices)

    run = run_flow(restore, into_source=True, mode=RestoreMode.REPLACE, confirm=invoices)

    key = f"default/backups/{taken}/segment-00000.archive.gz"
    if damage == "missing":
        assert isinstance(run.error, ObjectMissing)
        assert str(run.error) == (
            f"an object of this backup is missing in the store (key='{key}', store='{repo.block.open().location}')\n"
            "HINT: This backup cannot be restored in full: take an older one, and find out who deletes objects."
        )
    else:
        assert isinstance(run.error, IntegrityError)
        assert str(run.error) == (
            "an object of this backup has another size than when it was stored "
            f"(key='{key}', expected={size}, got={size - 1})\n"
            "HINT: This backup cannot be restored in full: take an older one, and find out who writes objects."
        )
    assert contents(mongo_client, invoices) == before


@pytest.fixture
def held(invoices: str, proxy: FaultProxy) -> Iterator[tuple[Future[str], threading.Event]]:
    """A backup under way, that goes on when the event is set."""
    uploading, go = threading.Event(), threading.Event()

    def hold(_: Request) -> None:
        uploading.set()
        go.wait(60)

    proxy.fail(_segment_put, times=1, action=call(before=hold))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(back_up, databases=[invoices])
        try:
            assert uploading.wait(60), running.exception(0)
            yield running, go
        finally:
            go.set()


def test_a_second_backup_of_a_plan_can_refuse_to_run(
    invoices: str, repo: Repo, held: tuple[Future[str], threading.Event]
) -> None:
    running, go = held

    with pytest.raises(PlanBusy) as busy:
        backup(databases=[invoices], overlap=Overlap.REFUSE)

    assert str(busy.value) == (
        "another run holds this plan (plan='default')\n"
        "HINT: Wait until it has ended, or set `overlap` to `wait`. A killed run lets go after two minutes."
    )
    go.set()
    only = running.result()
    assert repo.repository.backup_ids() == [only]


def test_a_second_backup_of_a_plan_waits_for_the_first(
    invoices: str,
    repo: Repo,
    proxy: FaultProxy,
    held: tuple[Future[str], threading.Event],
    caplog: pytest.LogCaptureFixture,
) -> None:
    running, go = held
    before = len(proxy.requests)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(back_up, databases=[invoices], overlap=Overlap.WAIT)
        try:
            waits = "another run holds the plan default: waiting for its end"
            eventually(lambda: waits in caplog.messages, "the second run to wait")
            assert len(proxy.requests) == before
        finally:
            go.set()
        ids = [running.result(), second.result()]

    assert ids == sorted(set(ids)) == repo.repository.backup_ids()
    for taken in ids:
        repo.verify(taken)


def _segment_put(request: Request) -> bool:
    return request.method == "PUT" and "/segment-" in request.path


def _short(write: tuple[str, str]) -> str:
    method, path = write
    name = path.rpartition("/")[2]
    return f"{method} {name[name.find('?') :] if '?' in name else name.partition('-20')[0]}"


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
