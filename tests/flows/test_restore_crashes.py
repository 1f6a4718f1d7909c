"""Restores that are killed (SIGKILL) at every task boundary: run again, each comes to the right end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_aws import MinIOCredentials
from pymongo import MongoClient

from blocks import BackupStore, MongoDBSource, MongoDBTarget
from deployments import embedded
from tests.support.contents import Contents, contents
from tests.support.crash_runs import CrashRuns
from tests.support.quick_prefect import LEAN

TASKS = ("plan-restore", "prepare-target", "fetch", "load", "compare", "finish", "finish-views")
KILLS = [(task, moment) for task in TASKS for moment in ("running", "completion")]
# Before these nothing has been written: what was there is as it was.
HARMLESS = {("plan-restore", "running"), ("plan-restore", "completion"), ("prepare-target", "running")}


# The runs here have a Prefect server of their own, and need nothing of what the other tests of flows share.
@pytest.fixture(scope="session", autouse=True)
def _prefect() -> None:
    return


@pytest.fixture(scope="session", autouse=True)
def _blocks() -> None:
    return


@dataclass
class Ward(CrashRuns):
    """The parts, and the database that every restore is to become."""

    client: MongoClient[dict[str, Any]]
    source: Contents


def scenario(task: str, moment: str, *, dies: bool) -> dict[str, Any]:
    """A restore that replaces what is there in a database of its own."""
    name = f"{task}-{moment}"
    parameters = {
        "plan": "seed",
        "rename": {"wounds": name},
        "mode": "replace",
        "confirm": name,
        "into_source": True,
        "safety_backup": False,  # its own crashes are those of a backup
        "segments_in_flight": 2,
    }
    end = {"task": task, "moment": moment} if dies else {}
    return {"plan": name, "flow": "restore", "parameters": parameters, **end}


@pytest.fixture(scope="module")
def ward(
    parts: embedded.Parts,
    prefect_database: Path,
    mongod: embedded.Mongod,
    mongo_client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("wounds")
    database = mongo_client["wounds"]
    for name in ("one", "two"):  # together more than the smallest segment, so that there are two
        database[name].insert_many([{"_id": i, "n": i % 7, "text": "0123456789" * 10_000} for i in range(100)])
        database[name].create_index("n")
    database.create_collection("few", viewOn="one", pipeline=[{"$match": {"n": 3}}])
    s3, server = parts.s3(), parts.prefect_server(database=prefect_database, settings=LEAN)
    keys = MinIOCredentials(minio_root_user=s3.access_key, minio_root_password=s3.secret_key)
    with temporary_settings({PREFECT_API_URL: server.api_url}):
        BackupStore(credentials=keys, bucket=s3.bucket, endpoint=s3.endpoint).save("backups")
        MongoDBSource(connection_string=mongod.uri).save("source")
        MongoDBTarget(connection_string=mongod.uri).save("target")
    ward = Ward(folder, parts.environment(server), mongo_client, contents(mongo_client, "wounds"))
    seed = {"plan": "seed", "parameters": {"databases": ["wounds"], "segment_mib": 16}}
    assert ward.run_all([seed]) == {"seed": 0}, ward.log("seed")
    yield ward
    server.kill()
    s3.kill()
    for name in ("wounds", *(f"{task}-{moment}" for task, moment in KILLS)):
        mongo_client.drop_database(name)


@pytest.fixture(scope="module")
def killed(ward: Ward) -> dict[str, int]:
    """Exit status of every killed restore; each had something to replace."""
    for task, moment in KILLS:
        ward.client[f"{task}-{moment}"]["one"].insert_one({"_id": "there before"})
    return ward.run_all([scenario(task, moment, dies=True) for task, moment in KILLS])


@pytest.fixture(scope="module")
def again(ward: Ward, killed: dict[str, int]) -> dict[str, int]:
    """Exit status of the same restores, run again."""
    for (task, moment), status in zip(KILLS, killed.values(), strict=True):
        name = f"{task}-{moment}"
        assert killed[name] == -signal.SIGKILL, (status, ward.log(name))
        there = ward.client[name]["one"].find_one({"_id": "there before"}) is not None
        assert there == ((task, moment) in HARMLESS)
    return ward.run_all([scenario(task, moment, dies=False) for task, moment in KILLS])


@pytest.mark.parametrize(("task", "moment"), KILLS, ids=str)
def test_a_restore_that_was_killed_comes_to_the_right_end_when_run_again(
    ward: Ward, again: dict[str, int], task: str, moment: str
) -> None:
    name = f"{task}-{moment}"
    assert again[name] == 0, ward.log(name)
    restored = contents(ward.client, name)
    definitions = {found: value for found, value in ward.source.hashes.items() if found != "system.views"}
    assert {found: value for found, value in restored.hashes.items() if found != "system.views"} == definitions
    assert (restored.options, restored.indexes) == (ward.source.options, ward.source.indexes)
