"""What cannot work is refused before anything is written, in words that say what to do."""

from __future__ import annotations

import resource
import shutil
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bson import Binary
from pymongo import MongoClient

from blocks import MongoDBSource
from deployments import embedded
from flows.backup import backup
from flows.core.errors import BackupError
from flows.restore import restore
from tests.flows.conftest import BACKUP_USER, Repo, store_of_a_module
from tests.support.fault_proxy import FaultProxy, status
from tests.support.flow_runs import run_flow, task_runs

Client = MongoClient[dict[str, Any]]

NO_RETENTION = (
    "a retention without any rule is refused: it would keep nothing but the newest few\n"
    "HINT: Set at least one of days, last, hourly, daily, weekly, monthly, yearly."
)
IN_FLIGHT = (
    "the number of segments in flight is out of range (expected='1 to 16', got=0)\n"
    "HINT: More of them need more disk and memory; 3 keep every stage busy."
)


def refused(flow: Any, **parameters: Any) -> str:
    """What a flow says that fails."""
    with pytest.raises(BackupError) as error:
        flow(**parameters)
    return str(error.value)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        pytest.param({"retention": {"days": 0}}, NO_RETENTION, id="retention"),
        pytest.param({"segments_in_flight": 0}, IN_FLIGHT, id="segments in flight"),
        pytest.param(
            {"segment_mib": 15},
            "the segment size is too small (got=15728640)\nHINT: Use at least 16 MiB; 128 MiB is the default.",
            id="segment size",
        ),
        pytest.param(
            {"plan": "Daily"},
            "not a name for a plan (got='Daily')\n"
            "HINT: Use lower-case letters, digits and `-`, at most 63, beginning with a letter or digit.",
            id="plan",
        ),
        pytest.param(
            {"source": "produktion"},
            "there is no block 'produktion' of the type MongoDB Backup Source\n"
            "HINT: Make it in the Prefect UI under Blocks, or give the name of one that is there.",
            id="source block",
        ),
        pytest.param(
            {"store": "attic"},
            "there is no block 'attic' of the type MongoDB Backup Store\n"
            "HINT: Make it in the Prefect UI under Blocks, or give the name of one that is there.",
            id="store block",
        ),
    ],
)
def test_a_parameter_of_a_backup_that_cannot_work(
    invoices: str, proxy: FaultProxy, parameters: dict[str, Any], text: str
) -> None:
    assert refused(backup, **{"databases": [invoices], **parameters}) == text
    assert proxy.requests == []


def test_a_database_that_does_not_exist(invoices: str, proxy: FaultProxy) -> None:
    assert refused(backup, databases=[invoices[:-1]]) == (
        f"no such database in the source (got='{invoices[:-1]}')\nHINT: Did you mean '{invoices}'?"
    )
    assert proxy.requests == []


def test_a_pattern_that_matches_nothing(invoices: str, proxy: FaultProxy) -> None:
    assert refused(backup, databases=[invoices], include=[f"{invoices}.invoice"]) == (
        f"an include pattern matches nothing (got='{invoices}.invoice')\n"
        f"HINT: Among 1 namespaces the first are: {invoices}.invoices."
    )
    assert proxy.requests == []


def test_a_wrong_password(guarded: embedded.Mongod, proxy: FaultProxy) -> None:
    MongoDBSource(host=guarded.host, port=guarded.port, replica_set="rs0", username=BACKUP_USER, password="wrong").save(
        "mistyped", overwrite=True
    )

    assert refused(backup, source="mistyped") == (
        "the source does not accept the user or the password (got='Authentication failed.')\n"
        "HINT: Check user, password and authentication database in the block."
    )
    assert proxy.requests == []


def test_a_certificate_that_does_not_verify(parts: embedded.Parts, proxy: FaultProxy) -> None:
    mongod = parts.mongod(tls=True)
    MongoDBSource(
        host=mongod.host, port=mongod.port, tls=True, tls_ca_file=str(mongod.wrong_ca_file), timeout_seconds=2
    ).save("stranger", overwrite=True)

    text = refused(backup, source="stranger")

    mongod.stop()
    fact, _, hint = text.partition("\nHINT: ")
    assert fact.startswith("the TLS certificate of the source does not verify (got=")
    assert "CERTIFICATE_VERIFY_FAILED" in fact
    assert hint == "Set `tls_ca_file` in the block to the CA that signed it, and use a host name that it names."
    assert proxy.requests == []


def test_a_bucket_that_does_not_exist(invoices: str, repo: Repo, proxy: FaultProxy) -> None:
    repo.block.model_copy(update={"bucket": "no-such-bucket"}).save("backups", overwrite=True)

    run = run_flow(backup, databases=[invoices])

    prefix = repo.block.prefix
    assert isinstance(run.error, BackupError)
    assert str(run.error) == (
        f"bucket does not exist (store='s3://no-such-bucket/{prefix}', key='{run.error.facts['key']}', "
        "operation='PutObject', code='NoSuchBucket')\n"
        "HINT: Create the bucket, or correct its name in the store's block."
    )
    assert len(proxy.writes) == 1  # the probe
    assert {task.name.split()[0] for task in task_runs(run.id)} == {"plan", "prepare"}


def test_a_store_that_must_not_be_written_to(invoices: str, repo: Repo, proxy: FaultProxy) -> None:
    proxy.fail("PUT", times=None, action=status(403, "AccessDenied", "Access Denied"))

    run = run_flow(backup, databases=[invoices])

    assert isinstance(run.error, BackupError)
    assert str(run.error) == (
        f"the store denies access (store='{repo.block.open().location}', key='{run.error.facts['key']}', "
        "operation='PutObject', code='AccessDenied')\n"
        "HINT: Allow s3:PutObject for the store's credentials, on this bucket and prefix."
    )
    assert len(proxy.writes) == 1
    assert repo.files == []
    assert {task.name.split()[0] for task in task_runs(run.id)} == {"plan", "prepare"}


def test_a_spool_disk_that_is_too_small(
    mongo_client: Client, invoices: str, proxy: FaultProxy, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000, 999, 1))  # what the system says, no code of ours

    text = refused(backup, databases=[invoices])

    need = 2 * _size(mongo_client, invoices)  # dumped and packed, of the one segment
    assert text == (
        f"the spool disk has too little free space (folder='{spool}', expected={need}, got=1)\n"
        "HINT: Free some space, set MONGO_BACKUP_SPOOL to a folder on a larger disk, "
        "or choose smaller segments or fewer in flight."
    )
    assert proxy.requests == []
    assert list(spool.iterdir()) == []


def test_a_spool_disk_that_fills_up(mongo_client: Client, database: str, repo: Repo, spool: Path) -> None:
    mongo_client[database]["large"].insert_many([{"_id": i, "pad": Binary(bytes(1_000_000))} for i in range(12)])

    with files_up_to(4_000_000):
        text = refused(backup, databases=[database])

    assert text.startswith(f"the spool disk is full (path='{spool}/")
    assert text.partition("\n")[2] == (
        "HINT: Free some space or set MONGO_BACKUP_SPOOL to a folder on a larger disk, then run again."
    )
    assert repo.files == []
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        pytest.param({"segments_in_flight": 0}, IN_FLIGHT, id="segments in flight"),
        pytest.param(
            {"target": "produktion"},
            "there is no block 'produktion' of the type MongoDB Restore Target\n"
            "HINT: Make it in the Prefect UI under Blocks, or give the name of one that is there.",
            id="target block",
        ),
        pytest.param(
            {"plan": "hourly"},
            "there is no backup of this plan (plan='hourly', store='s3://backups/shop')\n"
            "HINT: Check the plan and the store; the inventory flow lists what is there.",
            id="plan",
        ),
        pytest.param(
            {"backup": "2020-01-01T00-00-00Z"},
            "no such backup in this plan (plan='default', store='s3://backups/shop', got='2020-01-01T00-00-00Z')\n"
            "HINT: The inventory flow lists the ids; `latest` is the newest.",
            id="backup",
        ),
        pytest.param(
            {"databases": ["elsewhere"]},
            "the backup does not hold this database (backup='BACKUP', got='elsewhere')\nHINT: It holds: shop.",
            id="database",
        ),
        pytest.param(
            {"rename": {"shop": "a.b"}},
            "not a name for the database to restore into (database='shop', got='a.b')\n"
            "HINT: At most 63 bytes, without / \\ . \" $ or spaces, and not one of MongoDB's own databases.",
            id="rename",
        ),
        pytest.param(
            {"include_users": True, "rename": {"shop": "elsewhere"}},
            "the backup holds no users and roles (backup='BACKUP')\n"
            "HINT: Turn `include_users` off here, and on in the backups to come.",
            id="users",
        ),
        pytest.param(
            {"approval_minutes": -5},
            "the time to wait for an approval is out of range "
            "(expected='more than 0, at most 10080 minutes', got=-5.0)\n"
            "HINT: The run, and with it the worker's slot, waits for so long.",
            id="patience",
        ),
    ],
)
def test_a_parameter_of_a_restore_that_cannot_work(
    mongo_client: Client, stored_shop: str, parameters: dict[str, Any], text: str
) -> None:
    before = sorted(mongo_client.list_database_names())

    assert refused(restore, **{"store": "shop", **parameters}) == text.replace("BACKUP", stored_shop)

    assert sorted(mongo_client.list_database_names()) == before


@pytest.fixture(scope="module")
def stored_shop(mongo_client: Client, s3: embedded.S3Server) -> str:
    """A backup in the store `shop` of a database that is gone: the id."""
    store_of_a_module(s3, "shop")
    mongo_client["shop"]["orders"].insert_one({"_id": 1})
    try:
        return backup(store="shop", databases=["shop"], retention=None).backup
    finally:
        mongo_client.drop_database("shop")


def _size(client: Client, name: str) -> int:
    return int(client[name].command("collStats", "invoices")["size"])


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes: the kernel then refuses, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
