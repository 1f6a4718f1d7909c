"""Flows on real parts: a Prefect server, a MongoDB, and an S3 server with a proxy before it that makes faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect_aws import MinIOCredentials
from pymongo import MongoClient

from blocks import BackupStore, MongoDBSource, MongoDBTarget
from deployments import embedded
from flows.backup import backup
from flows.core.archive import verify_archive
from flows.core.compress import Compression, open_compressed
from flows.core.manifest import Manifest
from flows.storage.repository import Repository
from tests.support import zoo
from tests.support.contents import Contents, contents
from tests.support.exports import Target
from tests.support.fault_proxy import FaultProxy
from tests.support.flow_runs import new_second
from tests.support.quick_prefect import LEAN, flows_report_to, one_authority, schemas_made_once

BACKUP_USER, RESTORE_USER = "backup-user", "restore-user"
# What has to be quoted in a connection string, and a core that can be searched for whatever quoting did to it.
CANARY = "canary7f3e9b2d"
PASSWORD = f"p@ss/w:rd%41?{CANARY}"


@dataclass(frozen=True)
class Repo:
    """The store of one test: the block that is saved as `backups`, and its objects as files."""

    block: BackupStore
    proxy: FaultProxy
    folder: Path

    @property
    def repository(self) -> Repository:
        return Repository(self.block.open(), "default")

    @property
    def files(self) -> list[str]:
        """Everything that is stored, as keys below the prefix."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def path(self, backup: str, segment: int = 0) -> Path:
        """The file behind a stored segment."""
        return next(self.folder.glob(f"default/backups/{backup}/segment-{segment:05d}.*"))

    def verify(self, backup: str) -> Manifest:
        """Prove a listed backup from what is stored: all objects, and in each a whole archive as the manifest says."""
        manifest = self.repository.whole(backup)
        for record in manifest.segments:
            with (
                (self.folder / manifest.segment_key(record)).open("rb") as file,
                open_compressed(file, Compression(record.compression), name=record.name) as stream,
            ):
                summary = verify_archive(stream)
            assert summary.totals == {entry.namespace: entry.totals for entry in record.entries}
        return manifest


@pytest.fixture(scope="session", autouse=True)
def _prefect(parts: embedded.Parts, prefect_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    server = parts.prefect_server(database=prefect_database, settings=LEAN)
    with schemas_made_once(), one_authority(tmp_path_factory.mktemp("prefect")), flows_report_to(server):
        yield


@pytest.fixture(scope="session", autouse=True)
def _blocks(_prefect: None, mongod: embedded.Mongod) -> None:
    """The shared MongoDB is source and target; tests rename, or drop in between."""
    host = {"host": mongod.host, "port": mongod.port, "replica_set": mongod.replica_set, "timeout_seconds": 5}
    MongoDBSource(**host).save("source", overwrite=True)
    MongoDBTarget(**host).save("target", overwrite=True)


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of the spool folders of one test."""
    root = tmp_path / "spool"
    monkeypatch.setenv("MONGO_BACKUP_SPOOL", str(root))
    return root


@pytest.fixture
def repo(_prefect: None, s3: embedded.S3Server, store_prefix: str) -> Iterator[Repo]:
    """A place of its own for each test, saved as the block `backups`; every request goes through its proxy."""
    with FaultProxy(s3.host, s3.port) as proxy:
        block = _saved(s3, "backups", store_prefix, proxy.url)
        yield Repo(block, proxy, s3.folder / s3.bucket / store_prefix)


@pytest.fixture
def proxy(repo: Repo) -> FaultProxy:
    """What stands between the flows and the store of the test."""
    return repo.proxy


def store_of_a_module(s3: embedded.S3Server, name: str) -> None:
    """Save a block for what several tests store once and only read; no proxy is before it."""
    _saved(s3, name, name, s3.endpoint)


def _saved(s3: embedded.S3Server, name: str, prefix: str, endpoint: str) -> BackupStore:
    keys = MinIOCredentials(minio_root_user=s3.access_key, minio_root_password=s3.secret_key)
    block = BackupStore(credentials=keys, bucket=s3.bucket, prefix=prefix, endpoint=endpoint)
    block.save(name, overwrite=True)
    return block


@pytest.fixture
def invoices(mongo_client: MongoClient[dict[str, Any]], database: str) -> str:
    """A small database: its name."""
    mongo_client[database]["invoices"].insert_many([{"_id": i, "number": f"INV-{i:06d}"} for i in range(500)])
    return database


@pytest.fixture(scope="session")
def zoo_database(mongo_client: MongoClient[dict[str, Any]]) -> Iterator[tuple[str, Contents]]:
    """A database with one of everything, to be read and never changed, and what is in it."""
    zoo.fill(mongo_client, "zoo")
    yield "zoo", contents(mongo_client, "zoo")
    mongo_client.drop_database("zoo")


@pytest.fixture(scope="session")
def stored_zoo(_blocks: None, zoo_database: tuple[str, Contents], s3: embedded.S3Server) -> Contents:
    """It is backed up once, in the store `zoo`; what is in it."""
    store_of_a_module(s3, "zoo")
    backup(store="zoo", databases=["zoo"], retention=None)
    return zoo_database[1]


@pytest.fixture(scope="session")
def guarded(parts: embedded.Parts) -> embedded.Mongod:
    """A MongoDB with access control, and a user for each end who has the built-in role of that end and no other."""
    mongod = parts.mongod(auth=("admin", "admin-password"))
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongod.uri) as client:
        client.admin.command("createUser", BACKUP_USER, pwd=PASSWORD, roles=["backup"])
        client.admin.command("createUser", RESTORE_USER, pwd=PASSWORD, roles=["restore"])
    return mongod


@pytest.fixture
def guarded_blocks(_prefect: None, guarded: embedded.Mongod) -> None:
    """Its blocks, `guarded-source` and `guarded-target`."""
    host = {"host": guarded.host, "port": guarded.port, "replica_set": guarded.replica_set, "timeout_seconds": 5}
    MongoDBSource(**host, username=BACKUP_USER, password=PASSWORD).save("guarded-source", overwrite=True)
    MongoDBTarget(**host, username=RESTORE_USER, password=PASSWORD).save("guarded-target", overwrite=True)


@pytest.fixture
def admin(guarded: embedded.Mongod) -> Iterator[MongoClient[dict[str, Any]]]:
    client: MongoClient[dict[str, Any]]
    with MongoClient(guarded.uri) as client:
        yield client


def back_up(**parameters: Any) -> str:
    """Back up into the store of the test, and return the id."""
    with new_second() as made:
        made.append(backup(**{"retention": None, **parameters}).backup)
    return made[0]


@pytest.fixture
def target(_prefect: None, s3: embedded.S3Server, store_prefix: str) -> Iterator[Target]:
    """A store for exports, saved as the block `exports`."""
    with FaultProxy(s3.host, s3.port) as proxy:
        block = _saved(s3, "exports", store_prefix, proxy.url)
        yield Target(block, proxy, s3.folder / s3.bucket / store_prefix)
