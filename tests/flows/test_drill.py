"""Drills: what passes, what is refused, and what a difference between target and manifest comes to."""

from __future__ import annotations

import dataclasses
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from blocks import BackupEncryption, BackupIdentities, BackupStore, MongoDBTarget
from deployments.embedded import Mongod, Parts
from flows.core.encryption import Identity
from flows.core.errors import BackupError, DrillFailed, Refused
from flows.core.evidence import EvidenceKind, Result
from flows.core.signing import SigningKey
from flows.core.verification import NOT_SHOWN
from flows.drill import drill
from flows.storage.evidence import read_chain
from flows.tasks.load import load
from flows.tasks.target import create_views
from tests.flows.conftest import Repo, back_up
from tests.support.contents import Contents
from tests.support.drills import failed_drill, when_done
from tests.support.flow_runs import page, run_flow, task_runs

Client = MongoClient[dict[str, Any]]
ROLES = ["restore", "readWriteAnyDatabase", "dbAdminAnyDatabase", "clusterMonitor"]  # the README names them


@pytest.fixture(scope="module")
def other(parts: Parts, _blocks: None) -> Iterator[Client]:
    """A server that is not the source, as the block `other`, whose user has no more rights than a drill needs."""
    mongod = parts.mongod(replica_set="others", auth=("admin", "admin-password"))
    host = {"host": mongod.host, "port": mongod.port, "replica_set": mongod.replica_set}
    MongoDBTarget(**host, username="driller", password="drill-password").save("other", overwrite=True)
    client: Client
    with MongoClient(mongod.uri) as client:
        client.admin.command("createUser", "driller", pwd="drill-password", roles=ROLES)
        yield client
    mongod.kill()


def drilled(client: Client) -> list[str]:
    return [name for name in client.list_database_names() if name.startswith("drill_")]


def test_a_drill_of_one_of_everything_passes_and_leaves_evidence(stored_zoo: Contents, spool: Path) -> None:
    key = SigningKey.generate()
    BackupEncryption(recipients=[Identity.generate().public], signing_key=key.secret).save(
        "drill-signer", overwrite=True
    )
    store = BackupStore.load("zoo").open()
    run = run_flow(drill, store="zoo", encryption="drill-signer", time_zone="Europe/Berlin")
    report = run.value
    assert report.passed
    assert (report.namespaces, report.read_back) == (22, 20)
    assert (report.backed_up.documents, report.indexes) == (694, 13)
    assert "* **PASSED**" in page(run.id)
    assert list(spool.iterdir()) == []

    chained = list(read_chain(store, "default"))[-1].record
    assert chained is not None
    assert str(chained.key) in page(run.id)
    assert chained.signature is not None
    assert chained.signature.signer == key.public
    record = chained.record
    assert (record.kind, record.result, record.findings) == (EvidenceKind.DRILL, Result.PASSED, ())
    assert record.backups[0].backup == report.backup
    assert {item.key: item.sha256 for item in record.objects} == {
        item.key: store_sha256(store, item.key) for item in record.objects
    }
    assert [item.key.rpartition("/")[2] for item in record.objects] == ["manifest.json", "segment-00000.archive.gz"]
    assert record.figures.rto_ms
    assert record.figures.rpo_ms is not None
    assert "content digests" in record.compared


def store_sha256(store: Any, key: str) -> str:
    import hashlib

    return hashlib.sha256(store.get(key, limit=10**9)).hexdigest()


def test_on_a_given_server_only_databases_of_the_drill_are_touched(stored_zoo: Contents, other: Client) -> None:
    # It looks like one of ours, and has no lease.
    other["drill_0123456789ab_zoo"]["precious"].insert_one({"_id": 1})
    try:
        report = drill(store="zoo", target="other")
        assert report.passed
        assert re.search(r"databases drill_[0-9a-f]{12}_… of a given server: MongoDB", report.target)
        assert drilled(other) == ["drill_0123456789ab_zoo"]
        assert other["drill_0123456789ab_zoo"]["precious"].count_documents({}) == 1
    finally:
        other.drop_database("drill_0123456789ab_zoo")
    assert set(other.list_database_names()) == {"admin", "config", "local"}


def harm_documents(zoo: Database[dict[str, Any]]) -> None:
    """As a loader would that loses one document and changes another."""
    assert zoo["invoices"].delete_one({"_id": 250}).deleted_count == 1
    assert zoo["clustered"].update_one({"_id": 7}, {"$set": {"v": 50}}).modified_count == 1


def harm_definitions(zoo: Database[dict[str, Any]]) -> None:
    zoo.command("collMod", "validated", validator={})
    zoo["invoices"].drop_index("number_unique")
    zoo["invoices"].create_index("number", name="number_unique")
    zoo["UPPER"].drop()
    zoo["stray"].insert_one({})
    zoo.command("collMod", "open_invoices", viewOn="invoices", pipeline=[{"$match": {"status": "paid"}}])


def test_whatever_is_not_as_in_the_manifest_is_found(stored_zoo: Contents, other: Client) -> None:
    def harmed(harm: Callable[[Database[dict[str, Any]]], None]) -> Callable[[], None]:
        return lambda: harm(other[next(name for name in drilled(other) if name.endswith("_zoo"))])

    with when_done(load, harmed(harm_documents)), when_done(create_views, harmed(harm_definitions)):
        run, findings = failed_drill(BackupStore.load("zoo").open(), store="zoo", target="other")

    assert {(found.what, found.namespace.rpartition("zoo.")[2]) for found in findings} == {
        ("another number of documents", "invoices"),
        ("another content of documents", "clustered"),
        ("option 'validator' is missing", "validated"),
        ("index 'number_unique' differs", "invoices"),
        ("a namespace is missing in the scratch target", "UPPER"),
        ("the scratch target has a namespace that the backup has not", "stray"),
        ("option 'pipeline' differs", "open_invoices"),
    }
    assert len(findings) == 7
    by_what = {found.what: found for found in findings}
    count, index = by_what["another number of documents"], by_what["index 'number_unique' differs"]
    assert (count.expected, count.got) == ("500", "499")
    assert '"unique":true' in index.expected
    assert '"unique":true' not in index.got
    assert re.fullmatch("[0-9a-f]{32}", by_what["another content of documents"].expected)
    assert "* **FAILED: 7 findings**" in page(run.id)
    for found in findings:
        assert f"| {found.what} | {found.where} |" in page(run.id)
    assert drilled(other) == []


def test_the_source_under_another_host_name_is_refused_before_anything_is_written(
    mongod: Mongod, mongo_client: Client, stored_zoo: Contents
) -> None:
    assert "localhost" not in mongod.uri
    uri = f"mongodb://localhost:{mongod.port}/?directConnection=true"
    MongoDBTarget(connection_string=uri).save("disguised", overwrite=True)
    before = mongo_client.admin.command("serverStatus")["opcounters"]
    run = run_flow(drill, store="zoo", target="disguised")
    assert isinstance(run.error, Refused)
    assert "the target of the drill is the very MongoDB that this backup was taken of" in str(run.error)
    after = mongo_client.admin.command("serverStatus")["opcounters"]
    assert (after["insert"], after["update"], after["delete"]) == (before["insert"], before["update"], before["delete"])
    assert drilled(mongo_client) == []
    assert "restore" not in {name for task in task_runs(run.id) for name in task.name.split()}


def test_a_server_of_which_nothing_proves_that_it_is_not_the_source_is_refused(
    guarded_blocks: None, admin: Client, repo: Repo
) -> None:
    """Users with no more than the roles `backup` and `restore` cannot read the identity of a replica set."""
    admin["shop"]["orders"].insert_one({"_id": 1})
    try:
        back_up(source="guarded-source", databases=["shop"])
        assert repo.repository.manifest("latest").source.replica_set_id is None
        with pytest.raises(Refused, match=r"the very MongoDB .*collection_with_the_same_uuid='shop\.orders'"):
            drill(target="guarded-target")
        admin["shop"].drop_collection("orders")
        with pytest.raises(Refused, match="nothing proves that the target of the drill is not the MongoDB"):
            drill(target="guarded-target")
        assert drill().passed  # a throw-away one is never the source
    finally:
        admin.drop_database("shop")


def test_nobody_else_can_read_what_is_restored(stored_zoo: Contents, spool: Path) -> None:
    seen: list[object] = []
    ports: list[int] = []

    def look() -> None:
        (log,) = spool.rglob("scratch.log")
        (port,) = re.findall(r'"Waiting for connections","attr":\{"port":(\d+)', log.read_text())
        assert set(re.findall(r'"address":"([^"]+)"', log.read_text())) == {"127.0.0.1"}
        ports.append(int(port))
        seen.append(oct(spool.stat().st_mode)[-3:])
        client: Client
        with MongoClient(f"mongodb://127.0.0.1:{port}/?directConnection=true") as client:
            try:
                client["zoo"]["invoices"].find_one()
            except OperationFailure as error:
                seen.append(error.code)

    with when_done(load, look):
        assert drill(store="zoo").passed
    assert seen == ["700", 13]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", ports[0])), "it has outlived its drill"


def test_limits_that_are_exceeded_fail_the_drill(stored_zoo: Contents) -> None:
    run, findings = failed_drill(
        BackupStore.load("zoo").open(), store="zoo", rto_limit_minutes=0.001, rpo_limit_hours=0.0001
    )
    assert [(found.what, found.expected) for found in findings] == [
        ("the time to recover (RTO) is above its limit", "at most 0.001 min"),
        ("the age of the data (RPO) is above its limit", "at most 0.0001 h"),
    ]
    assert "FAILED: 2 findings" in page(run.id)


def test_an_encrypted_backup_is_compared_with_what_its_manifest_hides(
    mongo_client: Client, invoices: str, repo: Repo
) -> None:
    """Options and indexes are sealed in the manifest; only the identity shows them."""
    reader = Identity.generate()
    BackupEncryption(recipients=[reader.public]).save("drilled", overwrite=True)
    BackupIdentities(identities=[reader.secret]).save("driller", overwrite=True)
    mongo_client[invoices]["invoices"].create_index("number", unique=True)
    taken = back_up(databases=[invoices], encryption="drilled")
    run = run_flow(drill, identities="driller")
    assert (run.value.passed, run.value.indexes) == (True, 1)
    assert f"opened by `{reader.public}`" in page(run.id)
    without = run_flow(drill)
    assert isinstance(without.error, DrillFailed)

    # What differs is for people, and not for whoever reads the bucket.
    hidden = repo.repository.manifest(taken)
    (record,) = hidden.opened(reader).namespaces
    forged = dataclasses.replace(record, metadata=record.metadata.replace('"unique":true', '"sparse":true'))
    (repo.folder / hidden.key).write_bytes(
        dataclasses.replace(hidden, namespaces=(forged,), sealed=None).seal().to_json()
    )
    failed, (found,) = failed_drill(repo.block.open(), identities="driller")
    assert (found.expected, found.got) == (NOT_SHOWN, NOT_SHOWN)
    assert '"sparse":true' in page(failed.id)


def test_backups_are_drilled_in_turn(invoices: str, repo: Repo) -> None:
    one, two = (back_up(databases=[invoices]) for _ in range(2))
    taken = [drill(backup="in-turn").backup for _ in range(3)]
    assert taken == [one, two, one]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rto_limit_minutes": 0}, "parameter='rto_limit_minutes', expected='more than 0', got=0.0"),
        ({"cache_gb": 0.1}, "parameter='cache_gb', expected='at least 0.25', got=0.1"),
        ({"backup": "yesterday"}, "no such backup"),
    ],
)
def test_what_cannot_work_is_refused(stored_zoo: Contents, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(BackupError, match=re.escape(message)):
        drill(store="zoo", **parameters)
