"""Backups that are killed (SIGKILL) at every task boundary and at every write to the store."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_aws import MinIOCredentials
from pymongo import MongoClient

from blocks import BackupStore, MongoDBSource
from deployments import embedded
from flows.core.archive import verify_archive
from flows.core.compress import Compression, open_compressed
from flows.core.manifest import Manifest
from flows.storage.repository import Repository
from flows.storage.s3 import S3Store
from tests.support.crash_runs import CrashRuns
from tests.support.fault_proxy import FaultProxy, Request, call
from tests.support.quick_prefect import LEAN

TASKS = ("plan", "prepare-store", "dump", "compress", "upload", "verify", "commit", "prune")
# Every repository has these two already, both past their time, of which the last stage of a backup removes both.
OLD = ("2026-01-01T04-00-00Z", "2026-01-02T04-00-00Z")
NEW = "new"
# What a backup of two segments into such a repository writes: the probe and its removal, the segments, the
# manifest, and for each of the old ones its manifest, then the rest of it.
WRITES_OF_A_BACKUP = 9
MANIFEST_WRITE, FIRST_REMOVAL, SECOND_REMOVAL = 4, 5, 7


@dataclass(frozen=True)
class Kill:
    """Where a backup dies, and what is listed after it."""

    at: str  # name of a task, or number of a write
    moment: str  # "running" or "completion" of a task, "before" or "after" a write
    listed: tuple[str, ...]

    @property
    def plan(self) -> str:
        return f"{self.at}-{self.moment}"


def _of_tasks() -> Iterator[Kill]:
    for task in TASKS:
        yield Kill(task, "running", (*OLD, NEW) if task == "prune" else OLD)
        after = {"commit": (*OLD, NEW), "prune": (NEW,)}
        yield Kill(task, "completion", after.get(task, OLD))


def _of_writes() -> Iterator[Kill]:
    def listed(done: int) -> tuple[str, ...]:
        old = OLD[(done > FIRST_REMOVAL) + (done > SECOND_REMOVAL) :]
        return (*old, NEW) if done > MANIFEST_WRITE else old

    for number in range(WRITES_OF_A_BACKUP):
        # The store is the same after one write and before the next: both are tried where a backup begins to exist.
        if number in {0, MANIFEST_WRITE}:
            yield Kill(f"write-{number}", "before", listed(number))
        yield Kill(f"write-{number}", "after", listed(number + 1))


KILLS = (*_of_tasks(), *_of_writes())
# The next run is tried after those that leave most behind.
CONTINUED = (
    "dump-completion",  # plain data in the spool
    "upload-completion",  # a segment that no manifest names
    "write-3-after",  # all of them
    "commit-completion",
    "write-4-before",
    f"write-{FIRST_REMOVAL}-after",  # segments that no manifest names any more
)


@dataclass
class Killer:
    """Kills the process of a plan at one of its writes, from within the proxy in front of the store."""

    folder: Path
    numbers: Counter[str] = field(default_factory=Counter)
    now: dict[int, tuple[str, int]] = field(default_factory=dict)

    def before(self, request: Request) -> None:
        if request.write is None:
            return
        # A removal of several objects names them in its body.
        named = request.path.split("/", 2)[2] if request.method == "PUT" else request.body.decode().split("<Key>")[1]
        plan = named.split("/")[0]
        number = self.numbers[plan]
        self.numbers[plan] += 1
        self.now[request.number] = plan, number
        if plan == f"write-{number}-before":
            self.kill(plan)
            raise ConnectionAbortedError  # so that the proxy does not pass on what nobody asks for any more

    def after(self, request: Request) -> None:
        plan, number = self.now.get(request.number, ("", 0))
        if plan == f"write-{number}-after":
            self.kill(plan)

    def kill(self, plan: str) -> None:
        pid = int((self.folder / f"{plan}.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        while is_alive(pid):
            time.sleep(0.005)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@dataclass
class Ward(CrashRuns):
    """The parts, and what the runs have left."""

    store: S3Store
    server: embedded.PrefectServer
    database: str
    proxy: FaultProxy
    killer: Killer

    def repository(self, plan: str) -> Repository:
        return Repository(self.store, plan)

    def spool(self, plan: str) -> list[str]:
        """The files in the spool folders of a plan, without their locks."""
        found = (self.folder / f"{plan}.spool").rglob("*")
        return sorted(path.name for path in found if path.is_file() and path.name != ".lock")

    def run(self, *scenarios: tuple[str, str, str], **parameters: Any) -> dict[str, int]:
        """Run one backup for each (plan, task, moment); gives the exit status by plan."""
        parameters = {"databases": [self.database], "segment_mib": 16, "segments_in_flight": 2, **parameters}
        return self.run_all({"plan": p, "task": t, "moment": m, "parameters": parameters} for p, t, m in scenarios)

    def plant(self, plan: str, manifest: Manifest) -> None:
        """Store a backup in a plan under each of the old ids."""
        file = self.folder / "planted"
        for backup in OLD:
            planted = dataclasses.replace(manifest, plan=plan, backup=backup)
            for segment in manifest.segments:
                self.store.download(manifest.segment_key(segment), file, size=segment.bytes)
                self.store.put_file(planted.segment_key(segment), file)
                file.unlink()
            self.repository(plan).commit(planted)

    def assert_whole(self, plan: str, backup: str) -> None:
        """Read every byte of a backup and compare it with the manifest."""
        manifest = self.repository(plan).whole(backup)
        manifest.check()
        file = self.folder / "read-back"
        for segment in manifest.segments:
            digest = self.store.download(manifest.segment_key(segment), file, size=segment.bytes)
            assert digest == segment.sha256
            with (
                file.open("rb") as stored,
                open_compressed(stored, Compression(segment.compression), name=segment.name) as archive,
            ):
                totals = verify_archive(archive).totals
            file.unlink()
            assert totals == {entry.namespace: entry.totals for entry in segment.entries}

    def expire_lease(self, plan: str) -> None:
        """What an operator can do who does not want to wait until a killed run lets go of its plan."""
        with SyncPrefectClient(self.server.api_url) as client:
            client.delete_global_concurrency_limit_by_name(f"mongo-backup-{plan}")


# The runs here have a Prefect server of their own, and need nothing of what the other tests of flows share.
@pytest.fixture(scope="session", autouse=True)
def _prefect() -> None:
    return


@pytest.fixture(scope="session", autouse=True)
def _blocks() -> None:
    return


@pytest.fixture(autouse=True)
def repo() -> None:
    return


@pytest.fixture(scope="module")
def ward(
    parts: embedded.Parts,
    prefect_database: Path,
    mongod: embedded.Mongod,
    mongo_client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("crashes")
    database = "crashes"
    for name in ("one", "two"):  # together more than the smallest segment, so that there are two
        mongo_client[database][name].insert_many([{"_id": i, "text": "0123456789" * 10_000} for i in range(100)])
    s3, server = parts.s3(), parts.prefect_server(database=prefect_database, settings=LEAN)
    with FaultProxy(s3.host, s3.port) as proxy:
        keys = MinIOCredentials(minio_root_user=s3.access_key, minio_root_password=s3.secret_key)
        with temporary_settings({PREFECT_API_URL: server.api_url}):
            BackupStore(credentials=keys, bucket=s3.bucket, endpoint=proxy.url).save("backups")
            MongoDBSource(connection_string=mongod.uri).save("source")
        store = BackupStore(credentials=keys, bucket=s3.bucket, endpoint=s3.endpoint).open()
        environment = parts.environment(server)
        yield Ward(folder, environment, store, server, database, proxy, Killer(folder))
    server.kill()
    s3.kill()
    mongo_client.drop_database(database)


@pytest.fixture(scope="module")
def killed(ward: Ward) -> dict[str, int]:
    """Exit status of every run: one that lives, then those that are killed."""
    assert ward.run(("seed", "", "")) == {"seed": 0}, ward.log("seed")
    manifest = ward.repository("seed").manifest("latest")
    assert len(manifest.segments) == 2
    for plan in ("alive", *(kill.plan for kill in KILLS)):
        ward.plant(plan, manifest)
    ward.proxy.fail(times=None, action=call(ward.killer.before, ward.killer.after))
    tasks = [(kill.plan, kill.at if kill.at in TASKS else "", kill.moment) for kill in KILLS]
    return ward.run(("alive", "", ""), *tasks)


def test_a_run_that_lives_makes_the_writes_that_are_tried_here(ward: Ward, killed: dict[str, int]) -> None:
    assert killed["alive"] == 0, ward.log("alive")
    assert ward.killer.numbers["alive"] == WRITES_OF_A_BACKUP
    assert len(ward.repository("alive").backup_ids()) == 1
    assert ward.spool("alive") == []


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.plan)
def test_after_a_kill_every_listed_backup_is_whole(ward: Ward, killed: dict[str, int], kill: Kill) -> None:
    assert killed[kill.plan] == -signal.SIGKILL, ward.log(kill.plan)
    listed = ward.repository(kill.plan).backup_ids()
    assert tuple(backup if backup in OLD else NEW for backup in listed) == kill.listed
    for backup in listed:
        ward.assert_whole(kill.plan, backup)


def test_a_killed_run_holds_its_plan_for_a_while(ward: Ward) -> None:
    assert ward.run(("held", "plan", "running")) == {"held": -signal.SIGKILL}
    assert ward.run(("held", "", ""), overlap="refuse") == {"held": 1}
    assert (
        "flows.core.errors.PlanBusy: another run holds this plan (plan='held')\n"
        "HINT: Wait until it has ended, or set `overlap` to `wait`. A killed run lets go after two minutes."
    ) in ward.log("held")


@pytest.fixture(scope="module")
def continued(ward: Ward, killed: dict[str, int]) -> dict[str, int]:
    """Exit status of the next run after some of the kills."""
    assert ward.spool("dump-completion"), "the killed run left nothing to sweep"
    for plan in CONTINUED:
        ward.expire_lease(plan)
    return ward.run(*((plan, "", "") for plan in CONTINUED))


@pytest.mark.parametrize("plan", CONTINUED)
def test_the_run_after_a_kill_succeeds_and_cleans_up(ward: Ward, continued: dict[str, int], plan: str) -> None:
    assert continued[plan] == 0, ward.log(plan)
    inventory = ward.repository(plan).inventory()
    assert (inventory.garbage, inventory.unreadable) == ((), ())
    # The new one, and the one of the killed run where that had come to exist.
    existed = NEW in next(kill.listed for kill in KILLS if kill.plan == plan)
    backups = [listed.facts.backup for listed in inventory.backups]
    assert len(backups) == 1 + existed
    assert not set(backups) & set(OLD)
    for backup in backups:
        ward.assert_whole(plan, backup)
    assert list((ward.folder / f"{plan}.spool").iterdir()) == []
    assert "removed the spool folder of run" in ward.log(plan)
