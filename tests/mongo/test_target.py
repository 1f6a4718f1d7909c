"""A target: what is written, and what the messages say when it cannot be."""

from __future__ import annotations

import dataclasses
import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import bson
import pytest
from pymongo import MongoClient

from deployments.embedded import Parts
from flows.core.errors import IntegrityError, TargetError, TargetUnavailable
from flows.core.extjson import CollectionMetadata, loads_metadata
from flows.core.manifest import SegmentRecord
from flows.core.names import Namespace
from flows.core.source import CollectionInfo, Kind
from flows.mongo.client import TARGET, MongoOptions, connect
from flows.mongo.load import Place, load_segment
from flows.mongo.target import MongoTarget
from tests.support.contents import uuids
from tests.support.samples import archive, collection, entry, segment

Client = MongoClient[dict[str, Any]]


def encoded(*documents: dict[str, Any]) -> bytes:
    return b"".join(map(bson.encode, documents))


def test_a_batch_of_raw_documents_arrives_as_it_was_sent(
    target: MongoTarget, mongo_client: Client, database: str
) -> None:
    documents = [{"_id": i, "b": {"z": 1, "a": [1.5, None]}} for i in range(2000)]
    done = target.insert(Namespace(database, "c"), encoded(*documents), 2000, again=False)
    assert (done.documents, done.present) == (2000, 0)
    assert list(mongo_client[database].c.find()) == documents


def test_a_document_of_the_largest_size_is_inserted(target: MongoTarget, mongo_client: Client, database: str) -> None:
    empty = len(bson.encode({"_id": 1, "x": b""}))
    raw = bson.encode({"_id": 1, "x": b"y" * (16 * 1024 * 1024 - empty)})
    assert len(raw) == 16 * 1024 * 1024
    target.insert(Namespace(database, "c"), raw, 1, again=False)
    assert mongo_client[database].c.count_documents({}) == 1


def test_a_validator_does_not_hold_documents_back(target: MongoTarget, mongo_client: Client, database: str) -> None:
    mongo_client[database].create_collection("c", validator={"a": {"$exists": True}})
    assert target.insert(Namespace(database, "c"), encoded({"_id": 1}), 1, again=False).documents == 1


def test_what_is_there_from_an_earlier_try_is_counted_and_else_refused(target: MongoTarget, database: str) -> None:
    name = Namespace(database, "c")
    target.insert(name, encoded({"_id": 1}), 1, again=False)
    done = target.insert(name, encoded({"_id": 1}, {"_id": 2}), 2, again=True)
    assert (done.documents, done.present) == (1, 1)
    with pytest.raises(TargetError) as caught:
        target.insert(name, encoded({"_id": "secret person"}, {"_id": 2}), 2, again=False)
    assert caught.value.message == "the target refused documents"
    assert caught.value.facts["code"] == 11000


def test_a_key_that_is_refused_is_not_quoted(target: MongoTarget, mongo_client: Client, database: str) -> None:
    mongo_client[database].c.create_index("mail", unique=True)
    name = Namespace(database, "c")
    target.insert(name, encoded({"_id": 1, "mail": "anna@example.com"}), 1, again=False)
    with pytest.raises(TargetError) as caught:
        target.insert(name, encoded({"_id": 2, "mail": "anna@example.com"}), 1, again=False)
    assert "anna" not in str(caught.value)
    assert "mail_1" in str(caught.value)


def test_an_index_without_a_collation_on_a_collated_collection_stays_simple(
    target: MongoTarget, mongo_client: Client, database: str
) -> None:
    metadata = CollectionMetadata(
        options={"collation": {"locale": "fr"}},
        indexes=[{"v": 2, "key": {"_id": 1}, "name": "_id_"}, {"v": 2, "key": {"a": 1}, "name": "a_1"}],
    )
    name = Namespace(database, "c")
    target.create(name, Kind.COLLECTION, metadata, preserve_uuid=False)
    assert target.build_indexes(name, metadata) == 1
    assert target.build_indexes(name, metadata) == 1  # again does no harm
    indexes = {index["name"]: index for index in mongo_client[database].c.list_indexes()}
    assert "collation" not in indexes["a_1"]


def test_a_collection_that_exists_is_not_created_again(
    target: MongoTarget, mongo_client: Client, database: str
) -> None:
    mongo_client[database].c.insert_one({})
    with pytest.raises(TargetError, match=r"the target refused a command \(namespace='.*', action='create', code=48"):
        target.create(Namespace(database, "c"), Kind.COLLECTION, loads_metadata(""), preserve_uuid=False)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Kind.COLLECTION, {"validator": {"a": 1}, "collation": {"locale": "de"}}),
        (Kind.COLLECTION, {"capped": True, "size": 4096}),
        (Kind.TIMESERIES, {"timeseries": {"timeField": "t"}}),
    ],
    ids=["plain", "capped", "timeseries"],
)
def test_a_second_try_takes_what_the_first_one_made_and_nothing_else(
    target: MongoTarget, mongo_client: Client, database: str, kind: Kind, options: dict[str, Any]
) -> None:
    name = Namespace(database, "c")
    target.create(name, kind, CollectionMetadata(options=options), preserve_uuid=False, again=True)
    made = target.metadata(name, kind)
    assert made is not None
    target.create(name, kind, made, preserve_uuid=False, again=True)
    other = CollectionMetadata(options={"capped": True, "size": 8192})
    with pytest.raises(TargetError, match="code=48"):
        target.create(name, kind, other, preserve_uuid=False, again=True)
    mongo_client[database].c.insert_one({"t": datetime(2026, 3, 6, tzinfo=UTC), "a": 1})
    with pytest.raises(TargetError, match="code=48"):
        target.create(name, kind, made, preserve_uuid=False, again=True)


def test_a_collection_that_is_in_the_way_of_a_uuid_is_left_where_it_is(
    target: MongoTarget, mongo_client: Client, database: str
) -> None:
    name, first, other = Namespace(database, "c"), *(CollectionMetadata(uuid=uuid4().hex) for _ in range(2))
    target.create(name, Kind.COLLECTION, first, preserve_uuid=True)
    target.create(name, Kind.COLLECTION, first, preserve_uuid=True, again=True)
    for wanted, again in ((first, False), (other, True)):
        with pytest.raises(TargetError, match="a collection of this name has come into the target"):
            target.create(name, Kind.COLLECTION, wanted, preserve_uuid=True, again=again)
    assert uuids(mongo_client, database) == {"c": first.uuid}


def test_a_target_that_is_not_there_is_told_as_the_target() -> None:
    options = MongoOptions("mongodb://127.0.0.1:1/", {"serverSelectionTimeoutMS": 300})
    with connect(options, TARGET) as client, pytest.raises(TargetUnavailable, match="the target cannot be reached"):
        MongoTarget(client).identity()


def test_a_member_that_is_not_primary_is_refused_before_anything_is_written(parts: Parts) -> None:
    alone = parts.mongod()
    try:
        direct = f"mongodb://{alone.host}:{alone.port}/?directConnection=true"
        with connect(MongoOptions(direct), TARGET) as client:
            client.admin.command({"replSetStepDown": 60, "force": True})
            with pytest.raises(TargetError, match="the target is not a primary"):
                MongoTarget(client).identity()
    finally:
        alone.stop()


DOCUMENTS = encoded(*({"_id": i, "x": "y" * 20} for i in range(300)))
INVOICES, NOTES = collection("mpg.invoices"), collection("mpg.notes")


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, SegmentRecord]:
    path = tmp_path / "segment"
    path.write_bytes(gzip.compress(archive({INVOICES: DOCUMENTS, NOTES: encoded({"_id": 1})})))
    return path, segment(0, entry(INVOICES, DOCUMENTS), entry(NOTES, encoded({"_id": 1})))


def load(
    target: MongoTarget,
    path: Path,
    record: SegmentRecord,
    database: str,
    *,
    again: bool = False,
    described: tuple[CollectionInfo, ...] = (INVOICES, NOTES),
) -> int:
    places = {INVOICES.namespace: Place(Namespace(database, "invoices"))}
    return load_segment(
        target,
        path,
        record,
        key=record.name,
        identity=None,
        places=places,
        described={info.namespace: info.metadata for info in described},
        users=frozenset(),
        again=again,
        progress=lambda *_: None,
    ).documents


def test_only_what_is_wanted_of_a_segment_is_loaded(
    target: MongoTarget, mongo_client: Client, database: str, stored: tuple[Path, SegmentRecord]
) -> None:
    assert load(target, *stored, database) == 300
    assert mongo_client[database].list_collection_names() == ["invoices"]


def test_a_segment_loaded_twice_is_there_once(
    target: MongoTarget, mongo_client: Client, database: str, stored: tuple[Path, SegmentRecord]
) -> None:
    load(target, *stored, database)
    load(target, *stored, database, again=True)
    assert mongo_client[database].invoices.count_documents({}) == 300


def test_a_segment_that_is_not_what_the_manifest_says_is_told(
    target: MongoTarget, database: str, stored: tuple[Path, SegmentRecord]
) -> None:
    other = segment(0, entry(INVOICES, DOCUMENTS), entry(NOTES, encoded({"_id": 2})))
    with pytest.raises(IntegrityError, match=r"a segment does not hold what the manifest says .*namespace='mpg.notes'"):
        load(target, stored[0], other, database)


def test_options_that_are_not_those_of_the_manifest_are_told(
    target: MongoTarget, mongo_client: Client, database: str, stored: tuple[Path, SegmentRecord]
) -> None:
    other = dataclasses.replace(NOTES, metadata=NOTES.metadata.replace("[]", '[{"v":2,"key":{"a":1},"name":"a_1"}]'))
    assert other != NOTES
    with pytest.raises(IntegrityError, match=r"other options or indexes .*namespace='mpg.notes'"):
        load(target, *stored, database, described=(INVOICES, other))
    assert database not in mongo_client.list_database_names()


@pytest.mark.parametrize("command", ["insert", "createIndexes"])
def test_a_write_that_no_majority_confirms_is_tried_again_and_not_believed(parts: Parts, command: str) -> None:
    fails = {"failCommands": [command], "writeConcernError": {"code": 91, "errmsg": "going down"}}
    mongod = parts.mongod(extra=["--setParameter", "enableTestCommands=1"])
    place = Namespace("d", "c")
    try:
        with connect(MongoOptions(mongod.uri), TARGET) as client:
            client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=fails)
            target = MongoTarget(client)
            with pytest.raises(TargetUnavailable, match="a majority of its replica set did not confirm it"):
                target.insert(place, encoded({"_id": 1}), 1, again=False)
                target.build_indexes(place, CollectionMetadata(indexes=[{"v": 2, "key": {"a": 1}, "name": "a_1"}]))
            assert target.insert(place, encoded({"_id": 1}), 1, again=True).present == 1
    finally:
        mongod.stop()
