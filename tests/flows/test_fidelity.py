"""What `dbHash` says of the source it says of the restored database, whatever way the restore is done."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from bson import BSON, Binary, ObjectId
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from deployments import embedded
from flows.backup import backup
from flows.core.archive import ArchiveReader, Batch
from flows.core.compress import Compression, open_compressed
from flows.core.errors import Refused, TargetNotEmpty
from flows.core.extjson import loads_metadata
from flows.core.restore_plan import RestoreMode
from flows.core.source import Consistency
from flows.restore import restore
from tests.flows.conftest import Repo, back_up
from tests.support import zoo
from tests.support.contents import Contents, contents, uuids
from tests.support.fault_proxy import FaultProxy, call

Client = MongoClient[dict[str, Any]]


@pytest.fixture
def copy(mongo_client: Client, database: str) -> Iterator[str]:
    """The name of a database to restore into."""
    yield f"{database}-copy"
    mongo_client.drop_database(f"{database}-copy")


def test_everything_comes_back_as_it_was(mongo_client: Client, repo: Repo) -> None:
    zoo.fill(mongo_client, "zoo_whole")
    before, named = contents(mongo_client, "zoo_whole"), uuids(mongo_client, "zoo_whole")
    taken = backup(databases=["zoo_whole"], retention=None)
    mongo_client.drop_database("zoo_whole")

    report = restore(into_source=True)

    after = contents(mongo_client, "zoo_whole")
    assert after.hashes == before.hashes
    assert after.options == before.options
    assert after.indexes == before.indexes
    assert (taken.documents, report.documents) == (zoo.DOCUMENTS, zoo.DOCUMENTS)
    assert taken.consistency is Consistency.SNAPSHOT
    assert mongo_client["zoo_whole"]["system.views"].count_documents({}) == zoo.DEFINITIONS
    assert mongo_client["zoo_whole"]["validated"].count_documents(zoo.LEGACY) == 1
    assert len(mongo_client["zoo_whole"]["view_of_view"].find().to_list()) == 3
    assert mongo_client["zoo_whole"]["metrics"].count_documents({}) == 400
    new = uuids(mongo_client, "zoo_whole")
    assert new.keys() == named.keys()
    assert not set(new.values()) & set(named.values())
    repo.verify(taken.backup)

    restore(into_source=True, mode=RestoreMode.REPLACE, confirm="zoo_whole", preserve_uuid=True)

    assert contents(mongo_client, "zoo_whole") == before
    with_own = {  # the buckets of a time-series collection have a uuid, and no name that a backup keeps
        record.namespace.collection: loads_metadata(record.metadata).uuid
        for record in repo.repository.manifest("latest").namespaces
    }
    got = uuids(mongo_client, "zoo_whole")
    assert {name: uuid for name, uuid in with_own.items() if uuid} == {
        name: uuid for name, uuid in got.items() if with_own.get(name)
    }
    assert sum(uuid is not None for uuid in with_own.values()) >= 18
    mongo_client.drop_database("zoo_whole")


def test_a_restore_beside_the_original_leaves_the_original_alone(
    mongo_client: Client, stored_zoo: Contents, copy: str
) -> None:
    restore(into_source=True, store="zoo", rename={"zoo": copy})

    restored = contents(mongo_client, copy)
    assert _without_views(restored) == _without_views(stored_zoo)
    assert restored.options == stored_zoo.options
    assert contents(mongo_client, "zoo") == stored_zoo


def test_a_part_is_restored_alone(mongo_client: Client, stored_zoo: Contents, copy: str) -> None:
    report = restore(
        into_source=True,
        store="zoo",
        include=["zoo.invoices", "zoo.pdfs.*", "zoo.metrics"],
        exclude=["*.chunks"],
        rename={"zoo": copy},
    )

    wanted = {"invoices", "pdfs.files", "system.buckets.metrics"}
    restored = _without_views(contents(mongo_client, copy))
    assert set(restored.hashes) == wanted
    assert restored.hashes == {name: stored_zoo.hashes[name] for name in wanted}
    assert restored.indexes == {name: stored_zoo.indexes[name] for name in (*wanted, "metrics")}
    assert report.namespaces == 3


def test_what_is_there_is_only_replaced_when_its_name_was_typed(
    mongo_client: Client, invoices: str, repo: Repo
) -> None:
    back_up(databases=[invoices])
    as_stored = contents(mongo_client, invoices)
    mongo_client[invoices]["invoices"].update_one({"_id": 3}, {"$set": {"number": "changed since"}})
    mongo_client[invoices]["later"].insert_one({"made": "since"})
    changed = contents(mongo_client, invoices)

    with pytest.raises(TargetNotEmpty) as not_empty:
        restore(into_source=True)
    assert str(not_empty.value) == (
        f"the target already has namespaces that this restore would write (namespaces=1, first='{invoices}.invoices')\n"
        "HINT: Restore into another database with `rename`, add what is missing with mode `merge`, or replace them "
        "with mode `replace`."
    )
    for typed in ("", "yes", invoices[:-1]):
        with pytest.raises(Refused) as refused:
            restore(into_source=True, mode=RestoreMode.REPLACE, confirm=typed)
        assert str(refused.value) == (
            f"this restore overwrites what is there and was not confirmed (expected='{invoices}', got='{typed}')\n"
            f"HINT: Set `confirm` to '{invoices}' to overwrite in 1 namespace, "
            "or restore into another database with `rename`."
        )
    restore(into_source=True, mode=RestoreMode.REPLACE, confirm=invoices, dry_run=True)
    assert contents(mongo_client, invoices) == changed

    restore(into_source=True, mode=RestoreMode.REPLACE, confirm=invoices)
    replaced = contents(mongo_client, invoices)
    assert replaced.hashes["invoices"] == as_stored.hashes["invoices"]
    assert replaced.hashes["later"] == changed.hashes["later"]  # not in the backup, so not touched


@pytest.mark.parametrize("compression", [Compression.ZSTD, Compression.NONE])
def test_every_compression_comes_back(
    mongo_client: Client, zoo_database: tuple[str, Contents], repo: Repo, copy: str, compression: Compression
) -> None:
    repo.verify(back_up(databases=["zoo"], compression=compression))

    restore(into_source=True, rename={"zoo": copy})

    assert _without_views(contents(mongo_client, copy)) == _without_views(zoo_database[1])


def test_users_can_log_in_after_a_restore(
    guarded: embedded.Mongod, guarded_blocks: None, admin: Client, repo: Repo
) -> None:
    admin["shop"]["orders"].insert_one({"_id": 1, "total": 12})
    admin["ledger"]["entries"].insert_one({"_id": 1, "amount": 7})
    admin["shop"].command(
        "createRole",
        "clerk",
        privileges=[{"resource": {"db": "shop", "collection": "orders"}, "actions": ["find"]}],
        roles=[],
    )
    admin["shop"].command("createUser", "anna", pwd="her-password", roles=["clerk"])
    before = {name: contents(admin, name) for name in ("shop", "ledger")}

    taken = backup(source="guarded-source", include_users=True, retention=None)
    admin.drop_database("shop")
    admin.drop_database("ledger")
    admin["shop"].command("dropUser", "anna")
    admin["shop"].command("dropRole", "clerk")
    with pytest.raises(OperationFailure, match="Authentication failed"):
        _orders_as_anna(guarded)
    restore(into_source=True, target="guarded-target", include_users=True)

    assert {name: contents(admin, name) for name in ("shop", "ledger")} == before
    assert _orders_as_anna(guarded) == [{"_id": 1, "total": 12}]
    assert repo.verify(taken.backup).users
    names = {user["user"] for user in admin["admin"].command("usersInfo")["users"]}
    assert names == {"admin", "backup-user", "restore-user"}
    admin.drop_database("shop")
    admin.drop_database("ledger")
    admin["shop"].command("dropUser", "anna")
    admin["shop"].command("dropRole", "clerk")


def test_a_large_collection_is_cut_into_ranges_and_shows_one_point_in_time(
    mongo_client: Client, database: str, repo: Repo, proxy: FaultProxy, copy: str
) -> None:
    ledger, balances = mongo_client[database]["ledger"], mongo_client[database]["balances"]
    kinds = [lambda i: i, lambda i: f"key {i}", lambda i: ObjectId(f"{i:024x}"), lambda i: {"year": i, "no": [i]}]
    ids: list[Any] = [kind(i) for kind in kinds for i in range(240)]
    padding = Binary(bytes(64 * 1024))
    ledger.insert_many([{"_id": value, "n": 0, "padding": padding} for value in ids])
    pairs = ids[::60]
    balances.insert_many([{"_id": value, "n": 0} for value in pairs])
    rounds = itertools.count(1)

    def transact(_: object) -> None:
        """Between two segments: change every pair of documents, and add one, each in a transaction."""
        n = next(rounds)
        with mongo_client.start_session() as session:
            for value in pairs:
                with session.start_transaction():
                    ledger.update_one({"_id": value}, {"$set": {"n": n}}, session=session)
                    balances.update_one({"_id": value}, {"$set": {"n": n}}, session=session)
            with session.start_transaction():
                ledger.insert_one({"_id": f"added {n}", "n": n}, session=session)
                balances.insert_one({"_id": f"added {n}", "n": n}, session=session)

    proxy.fail("PUT /", times=None, action=call(before=transact))
    # One in flight: the next segment is read after the upload of the one before, so after its transactions.
    taken = back_up(databases=[database], segment_mib=16, segments_in_flight=1)
    manifest = repo.verify(taken)
    written = next(rounds) - 1
    assert written == len(proxy.writes) - 1  # all but the removal of the probe
    restore(into_source=True, rename={database: copy}, segments_in_flight=4)

    parts = [_ids(repo, taken, index, f"{database}.ledger") for index in range(len(manifest.segments))]
    held = [repr(value) for part in parts for value in part]
    assert sum(1 for part in parts if part) >= 4
    assert sorted(held) == sorted(map(repr, ids))  # each in one range, and in one only
    restored = {repr(found["_id"]): found["n"] for found in mongo_client[copy]["ledger"].find({}, {"n": 1})}
    balanced = {repr(found["_id"]): found["n"] for found in mongo_client[copy]["balances"].find()}
    # The point in time was chosen before the first write to the store, so none of the transactions shows.
    assert restored == dict.fromkeys(map(repr, ids), 0)
    assert balanced == dict.fromkeys(map(repr, pairs), 0)
    assert mongo_client[database]["balances"].find_one({"_id": pairs[0]}) == {"_id": pairs[0], "n": written}


def _without_views(found: Contents) -> Contents:
    """Definitions are stored under names that hold that of the database; `options` has what they say."""
    return Contents(
        hashes={name: value for name, value in found.hashes.items() if name != "system.views"},
        options={},
        indexes={name: value for name, value in found.indexes.items() if name != "system.views"},
    )


def _orders_as_anna(mongod: embedded.Mongod) -> list[dict[str, Any]]:
    client: Client
    with MongoClient(
        mongod.host, mongod.port, username="anna", password="her-password", authSource="shop", directConnection=True
    ) as client:
        return client["shop"]["orders"].find().to_list()


def _ids(repo: Repo, backup_id: str, segment: int, namespace: str) -> list[Any]:
    """The `_id` of every document of a namespace in one stored segment."""
    with (
        repo.path(backup_id, segment).open("rb") as file,
        open_compressed(file, Compression.GZIP, name=file.name) as stream,
    ):
        batches = [e for e in ArchiveReader(stream) if isinstance(e, Batch) and str(e.namespace) == namespace]
        return [BSON(document).decode()["_id"] for batch in batches for document in batch.documents()]
