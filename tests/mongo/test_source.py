"""A source: who it is, what it lists, and reading at one point in time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import bson
import pytest
from bson import CodecOptions, Decimal128, Int64, ObjectId
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from pymongo.message import _OpMsg
from pymongo.monitoring import CommandListener, CommandStartedEvent

from deployments.embedded import Mongod, Parts
from flows.core.errors import ConfigurationError, DumpFailed, SourceError, SourceUnavailable
from flows.core.extjson import loads_metadata
from flows.core.names import Namespace
from flows.core.selection import Selection
from flows.core.source import ClusterTime, Kind, parse_release
from flows.mongo.client import SOURCE, MongoOptions, connect
from flows.mongo.planning import plan_source
from flows.mongo.raw import RawBatches
from flows.mongo.source import MongoSource

Client = MongoClient[dict[str, Any]]


def listed(source: MongoSource, database: str, **selection: Any) -> dict[str, Any]:
    found = source.listing(Selection(databases=(database,), **selection), users=False)
    return {info.namespace.collection: info for info in found.collections}


def documents(batches: Iterator[bytes]) -> list[dict[str, Any]]:
    return [document for batch in batches for document in bson.decode_all(batch)]


def test_a_replica_set_says_who_it_is(source: MongoSource, mongod: Mongod) -> None:
    identity = source.identity()
    assert (identity.topology, identity.replica_set) == ("replica set", mongod.replica_set)
    assert identity.replica_set_id is not None
    assert len(identity.replica_set_id) == 24
    assert parse_release(identity.server_version) >= (4, 4)


def test_types_of_options_and_indexes_are_kept(source: MongoSource, mongo_client: Client, database: str) -> None:
    db = mongo_client[database]
    db.create_collection("c", capped=True, size=65536, max=7)
    db.c.create_index([("a", 1), ("b", -1)], partialFilterExpression={"n": {"$gt": Int64(5)}}, name="x")
    db.create_collection("v", viewOn="c", pipeline=[{"$match": {"a": Decimal128("1.0")}}])
    found = listed(source, database)
    metadata = loads_metadata(found["c"].metadata)
    assert metadata.options == {"capped": True, "size": 65536, "max": 7}
    assert [index["name"] for index in metadata.indexes] == ["_id_", "x"]
    assert isinstance(metadata.indexes[1]["partialFilterExpression"]["n"]["$gt"], Int64)
    assert found["c"].capped
    assert found["c"].uuid == metadata.uuid
    assert found["v"].kind is Kind.VIEW
    assert not found["v"].has_documents
    assert loads_metadata(found["v"].metadata).options["pipeline"] == [{"$match": {"a": Decimal128("1.0")}}]


def test_sizes_are_those_of_the_server(source: MongoSource, mongo_client: Client, database: str) -> None:
    mongo_client[database].c.insert_many([{"_id": i, "x": "y" * 100} for i in range(50)])
    info = listed(source, database)["c"]
    assert info.documents == 50
    assert info.bytes == 50 * len(bson.encode({"_id": 1, "x": "y" * 100}))


def test_a_read_at_a_time_does_not_see_what_came_later(
    source: MongoSource, mongo_client: Client, database: str
) -> None:
    collection = mongo_client[database].c
    collection.insert_many([{"_id": i, "v": 0} for i in range(1000)])
    at = source.majority_time()
    collection.update_many({}, {"$set": {"v": 1}})
    collection.insert_one({"_id": "late"})
    collection.delete_one({"_id": 5})
    name = Namespace(database, "c")
    assert documents(source.read(name, at=at)) == [{"_id": i, "v": 0} for i in range(1000)]
    assert len(documents(source.read(name, at=None))) == 1000


class Commands(CommandListener):
    def __init__(self) -> None:
        self.seen: list[CommandStartedEvent] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.seen.append(event)

    def succeeded(self, event: Any) -> None:
        pass

    def failed(self, event: Any) -> None:
        pass


def test_the_driver_sends_the_cluster_time_that_it_is_given(
    mongod: Mongod, mongo_client: Client, database: str
) -> None:
    """The private attribute that `flows.mongo.source` sets still means what it meant."""
    mongo_client[database].c.insert_one({"_id": 1})
    commands = Commands()
    with connect(MongoOptions(mongod.uri, {"event_listeners": [commands]}), SOURCE) as client:
        source = MongoSource(client)
        at = source.majority_time()
        assert at is not None
        commands.seen.clear()
        for _ in range(2):
            assert len(documents(source.read(Namespace(database, "c"), at=at))) == 1
    concerns = [event.command["readConcern"] for event in commands.seen if event.command_name == "find"]
    expected = {"level": "snapshot", "atClusterTime": bson.Timestamp(at.seconds, at.increment)}
    assert [dict(concern) for concern in concerns] == [expected, expected]


def test_raw_batches_are_those_of_the_driver(mongo_client: Client, database: str) -> None:
    """What `flows.mongo.raw` overrides in the driver still gives the same bytes, batch for batch."""
    collection = mongo_client[database].c
    collection.insert_many([{"_id": i, "a": ["x" * (i % 50)], "d": {"e": i}, "n": None} for i in range(5000)])
    collection.insert_one({"_id": "big", "x": "y" * (15 << 20)})
    for arguments in ({}, {"filter": {"_id": {"$gt": 1000}}}, {"batch_size": 700}, {"filter": {"_id": "none"}}):
        assert list(RawBatches(collection, **arguments)) == list(collection.find_raw_batches(**arguments))
    with pytest.raises(OperationFailure, match="unknown operator"):
        list(RawBatches(collection, {"_id": {"$nonsense": 1}}))


def test_the_fields_of_a_reply_may_come_in_any_order(mongo_client: Client) -> None:
    """Servers put the batch first, which has the short way; whatever else they send must not be misread."""
    batch = {"firstBatch": [{"a": 1}, {"a": 2}]}
    rest = {"id": Int64(7), "ns": "db.c"}
    fields = {"cursor": {"firstBatch": 1}}  # as the driver asks for them
    for cursor in (batch | rest, rest | batch):
        for reply in ({"cursor": cursor, "ok": 1.0}, {"ok": 1.0, "cursor": cursor}):
            message = _OpMsg(0, memoryview(bson.encode(reply)))
            (unpacked,) = RawBatches(mongo_client.db.c)._unpack_response(message, None, CodecOptions(), fields)
            assert unpacked["ok"] == 1.0
            assert unpacked["cursor"]["id"] == 7
            assert unpacked["cursor"]["firstBatch"] == [bson.encode({"a": 1}) + bson.encode({"a": 2})]


def test_a_reader_that_stops_early_leaves_nothing_open(
    source: MongoSource, mongo_client: Client, database: str
) -> None:
    """The server sends batch after batch unasked; only a closed connection stops it."""
    mongo_client[database].c.insert_many([{"_id": i, "x": "y" * 1000} for i in range(50_000)])

    def open_cursors() -> int:
        return int(mongo_client.admin.command("serverStatus")["metrics"]["cursor"]["open"]["total"])

    before = open_cursors()
    reading = source.read(Namespace(database, "c"), at=source.majority_time(), document_bytes=1000)
    assert len(next(reading)) < 2 << 20
    assert open_cursors() == before + 1
    reading.close()
    until = time.monotonic() + 20
    while open_cursors() > before and time.monotonic() < until:
        time.sleep(0.05)
    assert open_cursors() == before
    assert len(documents(source.read(Namespace(database, "c"), at=None, document_bytes=1000))) == 50_000


def test_ranges_by_id_span_types_and_meet_without_a_gap(
    source: MongoSource, mongo_client: Client, database: str
) -> None:
    collection = mongo_client[database].mixed
    ids: list[Any] = [*range(300), *(f"k{i}" for i in range(300)), *(ObjectId() for _ in range(300))]
    ids += [{"a": i} for i in range(100)] + [i + 0.5 for i in range(100)] + [None, True, bson.MinKey(), bson.MaxKey()]
    collection.insert_many([{"_id": i} for i in ids])
    info = listed(source, database)["mixed"]
    bounds = source.split(info, 5)
    assert len(bounds) == 4
    edges = [None, *bounds, None]
    name, at = Namespace(database, "mixed"), source.majority_time()
    parts = [b"".join(source.read(name, at=at, lower=lower, upper=upper)) for lower, upper in itertools.pairwise(edges)]
    assert all(parts)
    raw = CodecOptions[Any](document_class=dict)
    got = [bson.encode(d) for part in parts for d in bson.decode_all(part, raw)]
    assert sorted(got) == sorted(bson.encode({"_id": i}) for i in ids)


@pytest.mark.parametrize(
    "options", [{"clusteredIndex": {"key": {"_id": 1}, "unique": True}}, {"collation": {"locale": "fr"}}]
)
def test_ranges_work_where_the_id_index_is_special(
    source: MongoSource, mongo_client: Client, database: str, options: dict[str, Any]
) -> None:
    mongo_client[database].create_collection("c", **options)
    mongo_client[database].c.insert_many([{"_id": f"é{i}"} for i in range(200)])
    bounds = source.split(listed(source, database)["c"], 3)
    edges = [None, *bounds, None]
    found = [
        document["_id"]
        for lower, upper in itertools.pairwise(edges)
        for document in documents(source.read(Namespace(database, "c"), at=None, lower=lower, upper=upper))
    ]
    assert sorted(found) == sorted(f"é{i}" for i in range(200))


def test_a_collection_dropped_meanwhile_is_not_an_empty_one(
    source: MongoSource, mongo_client: Client, database: str
) -> None:
    mongo_client[database].c.insert_one({})
    info = listed(source, database)["c"]
    source.require_same(info)
    mongo_client[database].c.drop()
    with pytest.raises(DumpFailed) as caught:
        source.require_same(info)
    assert str(caught.value) == (
        "a collection was dropped or replaced while it was backed up "
        f"(namespace='{database}.c', expected='{info.uuid}', got='no collection')\n"
        "HINT: Run the backup again; exclude collections that come and go."
    )
    mongo_client[database].c.insert_one({})
    with pytest.raises(DumpFailed, match="dropped or replaced"):
        source.require_same(info)


def test_a_time_that_the_server_no_longer_keeps_is_told_with_the_parameter_to_raise(
    source: MongoSource, mongo_client: Client, database: str
) -> None:
    mongo_client[database].c.insert_one({})
    with pytest.raises(DumpFailed) as caught:
        list(source.read(Namespace(database, "c"), at=ClusterTime(1, 1)))
    assert "the server no longer keeps the point in time that this backup reads" in str(caught.value)
    assert "minSnapshotHistoryWindowInSeconds" in caught.value.hint


def test_an_unreadable_selection_is_refused_before_anything_is_read(source: MongoSource, database: str) -> None:
    with pytest.raises(ConfigurationError, match="no such database"):
        plan_source(source, Selection(databases=(database,)), users=False, segment_bytes=1 << 28)
    with pytest.raises(ConfigurationError, match="segment size is too small"):
        plan_source(source, Selection(), users=False, segment_bytes=1)


def test_a_server_that_is_not_there_is_unavailable_and_the_message_has_no_password() -> None:
    options = MongoOptions("mongodb://root:s3cr3t@127.0.0.1:1/", {"serverSelectionTimeoutMS": 300})
    assert "s3cr3t" not in repr(options)
    with connect(options, SOURCE) as client, pytest.raises(SourceUnavailable) as caught:
        MongoSource(client).identity()
    assert "the source cannot be reached" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "settings"),
    [
        ("mongo://x", {}),
        ("mongodb://h/", {"readPreference": "sometimes"}),
        ("mongodb://h/", {"tls": True, "tlsCAFile": "/no/such/file"}),
    ],
)
def test_settings_that_cannot_work_are_told_before_anything_is_sent(uri: str, settings: dict[str, Any]) -> None:
    with (
        pytest.raises(ConfigurationError, match="the settings of the source cannot be used"),
        connect(MongoOptions(uri, settings), SOURCE),
    ):
        pass


@pytest.fixture(scope="module")
def guarded(parts: Parts) -> Mongod:
    """A replica set with access control and TLS."""
    return parts.mongod(auth=("root", "r00t-p4ss"), tls=True)


@pytest.fixture(scope="module")
def backup_user(guarded: Mongod) -> MongoOptions:
    with MongoClient[dict[str, Any]](guarded.uri) as client:
        client.admin.command("createUser", "saver", pwd="saver-p4ss", roles=["backup"])
        client.admin.command("createUser", "nobody", pwd="nobody-p4ss", roles=[])
        client.shop.c.insert_many([{"_id": i, "x": "y" * 50} for i in range(500)])
    return login(guarded, "saver")


def login(guarded: Mongod, user: str, password: str | None = None, **settings: Any) -> MongoOptions:
    host = (
        f"mongodb://{user}:{password or user + '-p4ss'}@{guarded.host}:{guarded.port}/?replicaSet={guarded.replica_set}"
    )
    return MongoOptions(
        host, {"tls": True, "tlsCAFile": str(guarded.ca_file), "serverSelectionTimeoutMS": 5000, **settings}
    )


def test_the_role_backup_is_enough(backup_user: MongoOptions) -> None:
    with connect(backup_user, SOURCE) as client:
        source = MongoSource(client)
        planned = plan_source(source, Selection(databases=("shop",)), users=True, segment_bytes=1 << 24)
        names = [str(info.namespace) for info in planned.collections]
        assert names == ["shop.$admin.system.version", "shop.c"] or names == ["shop.c"]
        info = planned.collections[-1]
        assert info.documents == 500
        assert 0.9 < info.bytes / (500 * 77) < 1.1
        assert len(documents(source.read(info.namespace, at=planned.at))) == 500
        assert len(source.split(info, 3)) == 2
        everything = plan_source(source, Selection(), users=True, segment_bytes=1 << 24)
        assert str(everything.collections[0].namespace) == "admin.system.users"


def test_a_user_without_rights_is_told_which_role_is_missing(guarded: Mongod, backup_user: MongoOptions) -> None:
    with connect(login(guarded, "nobody"), SOURCE) as client, pytest.raises(SourceError) as caught:
        MongoSource(client).listing(Selection(), users=False)
    assert caught.value.message == "the user may not do this on the source"
    assert caught.value.hint == "Grant the built-in role `backup` on the database admin."


def test_a_user_who_sees_only_some_databases_cannot_back_up_all_of_them(
    guarded: Mongod, backup_user: MongoOptions
) -> None:
    """The server would list what the user may see, and the backup would miss the rest without a word."""
    with MongoClient[dict[str, Any]](guarded.uri) as client:
        client.admin.command("createUser", "reader", pwd="reader-p4ss", roles=[{"role": "read", "db": "shop"}])
    with connect(login(guarded, "reader"), SOURCE) as client:
        source = MongoSource(client)
        assert len(source.listing(Selection(databases=("shop",)), users=False).collections) == 1
        with pytest.raises(SourceError, match="the user may not do this on the source"):
            source.listing(Selection(), users=False)


def test_a_wrong_password_is_told_and_not_shown(guarded: Mongod, backup_user: MongoOptions) -> None:
    with connect(login(guarded, "saver", "wr0ng"), SOURCE) as client, pytest.raises(SourceError) as caught:
        MongoSource(client).listing(Selection(), users=False)
    assert caught.value.message == "the source does not accept the user or the password"
    assert not caught.value.retryable
    assert "wr0ng" not in str(caught.value)


def test_a_certificate_of_another_ca_is_refused(guarded: Mongod, backup_user: MongoOptions) -> None:
    options = login(guarded, "saver", tlsCAFile=str(guarded.wrong_ca_file))
    with connect(options, SOURCE) as client, pytest.raises(SourceError) as caught:
        MongoSource(client).identity()
    assert caught.value.message == "the TLS certificate of the source does not verify"
    assert "tls_ca_file" in caught.value.hint


def test_a_client_certificate_is_accepted(guarded: Mongod, backup_user: MongoOptions) -> None:
    options = login(guarded, "saver", tlsCertificateKeyFile=str(guarded.client_certificate_file))
    with connect(options, SOURCE) as client:
        assert MongoSource(client).identity().replica_set == guarded.replica_set


def test_without_tls_a_server_that_wants_it_cannot_be_reached(guarded: Mongod) -> None:
    plain = MongoOptions(f"mongodb://{guarded.host}:{guarded.port}/", {"serverSelectionTimeoutMS": 500})
    with connect(plain, SOURCE) as client, pytest.raises(SourceUnavailable, match="cannot be reached"):
        MongoSource(client).identity()


def test_a_standalone_has_no_common_point_in_time(parts: Parts) -> None:
    alone = parts.mongod(replica_set=None)
    try:
        with connect(MongoOptions(alone.uri), SOURCE) as client:
            client.d.c.insert_one({})
            planned = plan_source(MongoSource(client), Selection(databases=("d",)), users=False, segment_bytes=1 << 24)
        assert planned.at is None
        assert planned.identity.topology == "standalone"
    finally:
        alone.stop()
