"""Restoring into collections that have documents: what is missing comes back, and the rest is treated by the rule."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from flows.core.errors import Refused, RestoreIncomplete, TargetError, TargetNotEmpty
from flows.core.merge import Duplicates
from flows.core.restore_plan import RestoreMode
from flows.restore import restore
from flows.storage.repository import Repository
from flows.tasks.settings import WriteConcern
from tests.flows.conftest import RESTORE_USER, Repo, back_up
from tests.support import zoo
from tests.support.contents import Contents, contents
from tests.support.flow_runs import page, run_flow

Client = MongoClient[dict[str, Any]]
WITHOUT_CAPPED = ["zoo.capped"]


@pytest.fixture
def copy(mongo_client: Client, database: str) -> Iterator[str]:
    """The name of a database to merge into."""
    yield f"{database}-copy"
    mongo_client.drop_database(f"{database}-copy")


def merge(**parameters: Any) -> Any:
    return restore(**{"into_source": True, "mode": RestoreMode.MERGE, **parameters})


def merge_zoo(copy: str, **parameters: Any) -> Any:
    return merge(store="zoo", rename={"zoo": copy}, **parameters)


def without_views(found: Contents) -> dict[str, str]:
    """A definition names its database, so that of a copy differs."""
    return {name: value for name, value in found.hashes.items() if name != "system.views"}


def test_into_nothing_a_merge_is_a_whole_restore(mongo_client: Client, stored_zoo: Contents, copy: str) -> None:
    report = merge_zoo(copy)
    found = contents(mongo_client, copy)
    assert without_views(found) == without_views(stored_zoo)
    assert (found.options, found.indexes) == (stored_zoo.options, stored_zoo.indexes)
    assert report.documents == zoo.DOCUMENTS


def test_what_was_lost_of_every_kind_comes_back(mongo_client: Client, stored_zoo: Contents, copy: str) -> None:
    restore(into_source=True, store="zoo", rename={"zoo": copy})
    db = mongo_client[copy]
    db["invoices"].delete_many({"status": "open"})
    db["invoices"].drop_index("number_unique")
    db["types"].delete_many({"_id": {"$type": ["string", "object", "null", "date"]}})
    db["validated"].delete_many({})
    db["clustered"].delete_many({"_id": {"$gte": 10}})
    db["collated"].delete_one({"_id": "été"})
    db["system.buckets.metrics"].delete_many({"meta": "h1"})
    db["pdfs.chunks"].delete_many({})
    for name in ("big", "open_invoices", "with.dots", "empty_indexed", "ünïcode €"):
        db[name].drop()

    run = run_flow(
        restore,
        store="zoo",
        rename={"zoo": copy},
        mode=RestoreMode.MERGE,
        into_source=True,
        exclude=WITHOUT_CAPPED,
    )

    assert run.value.safety_backup == ""  # nothing was endangered
    found = contents(mongo_client, copy)
    assert without_views(found) == without_views(stored_zoo)
    assert (found.options, found.indexes) == (stored_zoo.options, stored_zoo.indexes)
    shown = page(run.id)
    assert "| " + f"{copy}.invoices | 167 inserted, 333 equal | 1 | - | none |" in shown


def test_a_capped_collection_is_not_added_to(mongo_client: Client, stored_zoo: Contents, copy: str) -> None:
    mongo_client[copy].create_collection("capped", capped=True, size=65536)
    before = contents(mongo_client, copy)
    with pytest.raises(TargetNotEmpty, match=r"it is capped: each document that is added pushes out another"):
        merge_zoo(copy)
    run = run_flow(restore, store="zoo", rename={"zoo": copy}, mode=RestoreMode.MERGE, into_source=True, dry_run=True)
    assert f"| zoo.capped → {copy}.capped | REFUSED: it is capped" in page(run.id)
    assert contents(mongo_client, copy) == before


@pytest.fixture
def changed(mongo_client: Client, invoices: str, repo: Repo) -> str:
    """A database that was backed up and has changed since: 10 invoices are gone, 5 differ, 3 are new."""
    back_up(databases=[invoices])
    collection = mongo_client[invoices]["invoices"]
    collection.delete_many({"_id": {"$lt": 10}})
    collection.update_many({"_id": {"$gte": 10, "$lt": 15}}, {"$set": {"paid": True}})
    collection.insert_many([{"_id": f"new {i}"} for i in range(3)])
    return invoices


def test_documents_that_differ_are_kept(mongo_client: Client, changed: str) -> None:
    run = run_flow(restore, into_source=True, mode=RestoreMode.MERGE)

    assert run.value.documents == 500
    collection = mongo_client[changed]["invoices"]
    assert collection.count_documents({}) == 503
    assert collection.count_documents({"paid": True}) == 5
    assert sorted(d["number"] for d in collection.find({"_id": {"$lt": 10}})) == [f"INV-{i:06d}" for i in range(10)]
    assert "10 inserted, 5 kept as they were, 485 equal" in page(run.id)
    assert "* **Wrote**: 10 documents in 1 namespace, of 500 in the backup, and 0 indexes" in page(run.id)


def test_documents_that_differ_are_overwritten_where_that_was_confirmed(
    mongo_client: Client, changed: str, repo: Repo
) -> None:
    with pytest.raises(Refused, match="overwrites what is there and was not confirmed"):
        merge(duplicates=Duplicates.OVERWRITE)
    before = contents(mongo_client, changed)

    done = merge(duplicates=Duplicates.OVERWRITE, confirm=changed)

    collection = mongo_client[changed]["invoices"]
    assert collection.count_documents({}) == 503
    assert collection.count_documents({"paid": True}) == 0
    safety = Repository(repo.block.open(), "default-before-restore")
    (kept,) = safety.backup_ids()
    assert done.safety_backup == f"backup {kept} of plan default-before-restore"
    restore(plan="default-before-restore", into_source=True, mode=RestoreMode.REPLACE, confirm=changed)
    assert contents(mongo_client, changed).hashes == before.hashes


def test_the_first_document_that_differs_ends_the_merge_where_that_was_asked_for(
    mongo_client: Client, changed: str
) -> None:
    with pytest.raises(RestoreIncomplete) as stopped:
        merge(duplicates=Duplicates.FAIL)
    assert "the target has other documents under an `_id` of the backup" in stopped.value.message
    assert "Run it again to add what is still missing" in stopped.value.hint
    assert mongo_client[changed]["invoices"].count_documents({"paid": True}) == 5

    mongo_client[changed]["invoices"].delete_many({"paid": True})
    merge(duplicates=Duplicates.FAIL)  # equal ones are no conflict
    assert mongo_client[changed]["invoices"].count_documents({}) == 503


def test_a_unique_index_of_the_target_is_not_broken(mongo_client: Client, changed: str) -> None:
    collection = mongo_client[changed]["invoices"]
    collection.delete_many({"_id": {"$type": "string"}})
    collection.insert_one({"_id": "another", "number": "INV-000003"})
    collection.create_index("number", unique=True)
    with pytest.raises(RestoreIncomplete, match="the target refused documents") as stopped:
        merge()
    assert "code=11000" in str(stopped.value)
    assert "INV-000003" not in str(stopped.value)  # a message holds no values of documents
    collection.delete_one({"_id": "another"})
    merge()
    assert collection.count_documents({}) == 500


def test_documents_of_a_collection_with_its_own_expiry_are_added_and_may_go(
    mongo_client: Client, database: str, repo: Repo
) -> None:
    db = mongo_client[database]
    mongo_client.admin.command("setParameter", 1, ttlMonitorEnabled=False)
    try:
        old = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        db["sessions"].create_index("at", name="by_at", expireAfterSeconds=60)
        db["sessions"].insert_many([{"_id": i, "at": old} for i in range(20)])
        back_up(databases=[database])
        db["sessions"].delete_many({"_id": {"$lt": 5}})
        with pytest.raises(Refused, match="deletes old ones by a rule of its own"):
            merge(hold_ttl=True)
        assert db["sessions"].count_documents({}) == 15

        db["sessions"].drop_index("by_at")
        run = run_flow(restore, into_source=True, mode=RestoreMode.MERGE, hold_ttl=True)
        assert run.value.indexes == 1
        assert db["sessions"].index_information()["by_at"]["expireAfterSeconds"] == 2**31 - 1
        assert 'collMod: "sessions", index: {name: "by_at", expireAfterSeconds: 60}' in page(run.id)
        assert db["sessions"].count_documents({}) == 20
    finally:
        mongo_client.admin.command("setParameter", 1, ttlMonitorEnabled=True)


def test_a_view_of_another_definition_stays_or_is_replaced(mongo_client: Client, database: str, repo: Repo) -> None:
    db = mongo_client[database]
    db["orders"].insert_one({"_id": 1})
    db.create_collection("some", viewOn="orders", pipeline=[{"$limit": 1}])
    back_up(databases=[database])
    db["some"].drop()
    db.create_collection("some", viewOn="orders", pipeline=[{"$limit": 2}])

    merge()
    assert db["some"].options()["pipeline"] == [{"$limit": 2}]
    merge(duplicates=Duplicates.OVERWRITE, confirm=database)
    assert db["some"].options()["pipeline"] == [{"$limit": 1}]


def test_a_user_who_may_only_restore_cannot_merge_into_what_it_cannot_read(
    admin: Client, guarded_blocks: None, invoices: str, repo: Repo
) -> None:
    back_up(databases=[invoices])
    admin[invoices]["invoices"].insert_one({"_id": "precious"})
    try:
        with pytest.raises(TargetError, match="the user may not read the target"):
            restore(target="guarded-target", mode=RestoreMode.MERGE)
        assert list(admin[invoices]["invoices"].find()) == [{"_id": "precious"}]
        admin.admin.command("grantRolesToUser", RESTORE_USER, roles=[{"role": "readWrite", "db": invoices}])
        restore(target="guarded-target", mode=RestoreMode.MERGE)
        assert admin[invoices]["invoices"].count_documents({}) == 501
    finally:
        admin.admin.command("revokeRolesFromUser", RESTORE_USER, roles=[{"role": "readWrite", "db": invoices}])
        admin.drop_database(invoices)


@pytest.mark.parametrize("mode", [RestoreMode.INTO_NEW, RestoreMode.MERGE])
def test_the_primary_alone_may_confirm_until_the_end(
    mongo_client: Client, invoices: str, repo: Repo, copy: str, mode: RestoreMode
) -> None:
    back_up(databases=[invoices])
    restore(into_source=True, rename={invoices: copy}, mode=mode, write_concern=WriteConcern.PRIMARY)
    assert contents(mongo_client, copy).hashes == contents(mongo_client, invoices).hashes
