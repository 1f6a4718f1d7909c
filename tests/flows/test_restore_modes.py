"""A table: each mode of a restore by each kind of collection, compared one by one; users and roles by mode."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from flows.backup import backup
from flows.core.restore_plan import RestoreMode
from flows.restore import restore
from tests.flows.conftest import Repo
from tests.support.contents import Contents, contents
from tests.support.flow_runs import FlowRunRecord, run_flow

Client = MongoClient[dict[str, Any]]
Db = Database[dict[str, Any]]

COLLECTIONS = {
    "types": "every BSON type, and every type of _id",
    "big": "a document of the largest size",
    "invoices": "every kind of index",
    "empty": "nothing in it",
    "empty_indexed": "an index and nothing else",
    "capped": "capped, in the order of insertion",
    "validated": "a document that its validator refuses",
    "collated": "a collation",
    "clustered": "clustered",
    "metrics": "a time series",
    "changes": "pre-images",
    "pdfs.files": "GridFS",
    "pdfs.chunks": "GridFS",
    "with.dots": "a name with dots",
    "with space": "a name with a space",
    "ünïcode €": "a name that is not ASCII",
    "slash/and\\back": "a name that is a path",
    "percent%41": "a name that is quoted already",
    "UPPER": "a name in capitals",
    "n" * 200: "a long name",
}
VIEWS = {"open_invoices": "a view", "view_of_view": "a view of a view"}
NAMES = {**COLLECTIONS, **VIEWS}


def _nothing(db: Db) -> None:
    """For `into_new`."""


def _something_else(db: Db) -> None:
    """For `replace`: under each name another kind than the one in the backup, with documents and an index."""
    for number, name in enumerate(NAMES):
        if name == "metrics" or number % 4 == 0:
            db[name].insert_many([{"_id": i, "old": True} for i in range(3)])
            db[name].create_index("old", name="old")
        elif number % 4 == 1:
            db.create_collection(name, viewOn="untouched", pipeline=[{"$limit": 1}])
        elif number % 4 == 2:
            db.create_collection(name, timeseries={"timeField": "at"})
            db[name].insert_one({"at": dt.datetime(2026, 3, 6, tzinfo=dt.UTC), "old": 1})
        else:
            db.create_collection(name, capped=True, size=4096, collation={"locale": "de"}).insert_one({"old": 1})


def _a_part(db: Db) -> None:
    """For `merge`: of each kind that can be merged into, half of the documents are there, and of some names nothing."""
    restore(into_source=True, store="zoo", rename={"zoo": db.name}, exclude=["zoo.with*", "zoo.capped", "zoo.o*"])
    for name in COLLECTIONS:
        stored = db["system.buckets.metrics" if name == "metrics" else name]
        ids = [document["_id"] for document in stored.find({}, {"_id": 1})]
        stored.delete_many({"_id": {"$in": ids[::2]}})


BEFORE: dict[RestoreMode, Callable[[Db], None]] = {
    RestoreMode.INTO_NEW: _nothing,
    RestoreMode.REPLACE: _something_else,
    RestoreMode.MERGE: _a_part,
}


@dataclass(frozen=True)
class Restored:
    """A restored database beside its source."""

    run: FlowRunRecord
    restored: Db
    expected: Contents
    got: Contents


@pytest.fixture(scope="module", params=BEFORE, ids=str)
def done(request: pytest.FixtureRequest, mongo_client: Client, stored_zoo: Contents) -> Iterator[Restored]:
    """The zoo, restored in one mode into a database that holds what matters to that mode, and something else."""
    mode: RestoreMode = request.param
    db = mongo_client[f"zoo_by_{mode}"]
    db["untouched"].insert_one({"_id": "untouched"})
    BEFORE[mode](db)
    how = {"store": "zoo", "rename": {"zoo": db.name}, "mode": mode, "confirm": db.name, "safety_backup": False}
    run = run_flow(restore, into_source=True, **how)
    yield Restored(run, db, stored_zoo, contents(mongo_client, db.name))
    mongo_client.drop_database(db.name)


def test_nothing_else_is_there_and_what_was_beside_it_still_is(done: Restored) -> None:
    assert done.run.value
    assert {*NAMES, "system.views", "system.buckets.metrics"} == set(done.expected.options), "the table is whole"
    assert set(done.got.options) == {*done.expected.options, "untouched"}
    assert done.restored["untouched"].find().to_list() == [{"_id": "untouched"}]


@pytest.mark.parametrize("name", NAMES, ids=NAMES.values())
def test_it_is_what_it_was(done: Restored, name: str) -> None:
    assert done.got.options[name] == done.expected.options[name]
    if name in VIEWS:
        assert done.restored[name].find_one() is not None
        return
    data = "system.buckets.metrics" if name == "metrics" else name
    assert done.got.hashes[data] == done.expected.hashes[data]
    assert done.got.indexes[name] == done.expected.indexes[name]


def _users_and_roles(admin: Client) -> dict[str, dict[str, Any]]:
    """Those of the database `till`, with their credentials and rights, by name."""
    found: dict[str, dict[str, Any]] = {}
    for collection in ("system.users", "system.roles"):
        found |= {document["_id"]: document for document in admin.admin[collection].find({"db": "till"})}
    return found


@pytest.fixture
def till(admin: Client, guarded_blocks: None, repo: Repo) -> Iterator[Db]:
    """A database that was backed up with its users and roles."""
    db = admin["till"]
    db["sales"].insert_one({"_id": 1})
    sales = {"resource": {"db": "till", "collection": "sales"}, "actions": ["find"]}
    for role in ("cashier", "auditor"):
        db.command("createRole", role, privileges=[sales], roles=[])
    for user in ("anna", "otto"):
        db.command("createUser", user, pwd=f"{user}'s password", roles=["cashier"], customData={"since": 2020})
    backup(source="guarded-source", databases=["till"], include_users=True, retention=None)
    yield db
    for name in ("till", "till_restored"):
        admin.drop_database(name)
        admin[name].command("dropAllUsersFromDatabase")
        admin[name].command("dropAllRolesFromDatabase")


@pytest.mark.parametrize("mode", BEFORE)
def test_users_and_roles_that_are_gone_come_back_in_every_mode_where_that_was_asked_for(
    admin: Client, till: Db, mode: RestoreMode
) -> None:
    stored = _users_and_roles(admin)
    till.command("dropUser", "otto")
    till.command("dropRole", "auditor")
    till.command("updateUser", "anna", pwd="a new one", roles=[])
    till.command("updateRole", "cashier", privileges=[])
    till.command("createUser", "ben", pwd="his password", roles=[])
    changed = _users_and_roles(admin)
    how = {"target": "guarded-target", "into_source": True, "rename": {"till": "till_restored"}, "mode": mode}

    restore(**how)
    assert _users_and_roles(admin) == changed

    admin.drop_database("till_restored")
    restore(**how, include_users=True)
    back = {name: stored[name] for name in ("till.otto", "till.auditor")}
    assert _users_and_roles(admin) == {**changed, **back}
