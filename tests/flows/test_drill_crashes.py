"""Drills that are killed, or cancelled: what they restored is gone, at once or by the next run."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_aws import MinIOCredentials
from pymongo import MongoClient

from blocks import BackupStore, MongoDBSource, MongoDBTarget
from deployments import embedded
from flows.mongo.scratch import LEASE_SECONDS
from tests.support.crash_runs import CrashRuns
from tests.support.quick_prefect import LEAN

# Name of the run, with its target, and how it ends while the documents are in the scratch.
ENDS = {
    "own-killed": (None, "completion"),
    "own-cancelled": (None, "ended"),
    "given-killed": ("other", "completion"),
    "given-cancelled": ("other", "ended"),
}


# The runs here have a Prefect server of their own, and need nothing of what the other tests of flows share.
@pytest.fixture(scope="session", autouse=True)
def _prefect() -> None:
    return


@pytest.fixture(scope="session", autouse=True)
def _blocks() -> None:
    return


@dataclass
class Ward(CrashRuns):
    """The parts, and what the runs have left."""

    other: MongoClient[dict[str, Any]]

    def spool(self, name: str) -> list[str]:
        """What is in the root of the spool folders of a run."""
        return sorted(path.name for path in (self.folder / f"{name}.spool").iterdir())

    def drilled(self) -> list[str]:
        return [name for name in self.other.list_database_names() if name.startswith("drill_")]

    def port(self, name: str) -> int:
        """That of the throw-away MongoDB of a run."""
        (port,) = re.findall(r"started a throw-away MongoDB on port (\d+)", self.log(name))
        return int(port)

    def scratch(self, name: str) -> str:
        """What the databases of a run are called, by its log."""
        (run,) = set(re.findall(r"drill_[0-9a-f]{12}", self.log(name)))
        return run


def drill(name: str, target: str | None, moment: str = "") -> dict[str, Any]:
    parameters = {"plan": "seed", "target": target}
    return {"plan": name, "flow": "drill", "parameters": parameters, "task": "load" if moment else "", "moment": moment}


@pytest.fixture(scope="module")
def ward(
    parts: embedded.Parts,
    prefect_database: Path,
    mongod: embedded.Mongod,
    mongo_client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("drills")
    mongo_client["drilled"]["people"].insert_many([{"_id": i, "name": f"person {i}"} for i in range(100)])
    s3, server, other = (
        parts.s3(),
        parts.prefect_server(database=prefect_database, settings=LEAN),
        parts.mongod(replica_set="others"),
    )
    keys = MinIOCredentials(minio_root_user=s3.access_key, minio_root_password=s3.secret_key)
    with temporary_settings({PREFECT_API_URL: server.api_url}):
        BackupStore(credentials=keys, bucket=s3.bucket, endpoint=s3.endpoint).save("backups")
        MongoDBSource(connection_string=mongod.uri).save("source")
        MongoDBTarget(connection_string=other.uri).save("other")
    client: MongoClient[dict[str, Any]]
    with MongoClient(other.uri) as client:
        ward = Ward(folder, parts.environment(server), client)
        seed = {"plan": "seed", "parameters": {"databases": ["drilled"]}}
        assert ward.run_all([seed]) == {"seed": 0}, ward.log("seed")
        yield ward
    for part in (server, s3, other):
        part.kill()
    mongo_client.drop_database("drilled")


@pytest.fixture(scope="module")
def ended(ward: Ward) -> dict[str, int]:
    """Exit status of the drills that are killed or cancelled."""
    return ward.run_all([drill(name, target, moment) for name, (target, moment) in ENDS.items()])


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_cancelled_drill_leaves_nothing(ward: Ward, ended: dict[str, int]) -> None:
    for name in ("own-cancelled", "given-cancelled"):
        assert ended[name] not in (0, -signal.SIGKILL), ward.log(name)
        assert ward.spool(name) == []
    assert not answers(ward.port("own-cancelled"))
    assert not any(name.startswith(ward.scratch("given-cancelled")) for name in ward.drilled())


def test_the_own_mongodb_of_a_killed_drill_ends_at_once(ward: Ward, ended: dict[str, int]) -> None:
    assert ended["own-killed"] == -signal.SIGKILL
    port, spool = ward.port("own-killed"), ward.folder / "own-killed.spool"
    until(lambda: not answers(port), "the end of the MongoDB")
    until(lambda: not list(spool.glob("*/mongo-backup-parts-*")), "the end of its data")


def test_the_next_run_sweeps_what_a_killed_one_left(ward: Ward, ended: dict[str, int]) -> None:
    assert ended["given-killed"] == -signal.SIGKILL
    (left,) = {name[: len("drill_0123456789ab")] for name in ward.drilled()}
    assert ward.drilled() == [left, f"{left}_drilled"]
    # The lease is fresh: for all that another drill knows, that one lives.
    assert ward.run_all([drill("neighbour", "other")]) == {"neighbour": 0}, ward.log("neighbour")
    assert ward.drilled() == [left, f"{left}_drilled"]

    old = [{"$set": {"seen": {"$subtract": ["$seen", 1000 * LEASE_SECONDS]}}}]
    assert ward.other[left]["lease"].update_one({}, old).modified_count == 1
    again = {"own-killed": None, "given-killed": "other"}
    assert all(ward.spool(name) for name in again)
    assert ward.run_all(drill(name, target) for name, target in again.items()) == dict.fromkeys(again, 0)
    for name in again:
        assert ward.spool(name) == []
        assert "removed the spool folder of run" in ward.log(name)
    assert ward.drilled() == []
    assert f"dropped the databases {left}_… of a drill that was killed" in ward.log("given-killed")
