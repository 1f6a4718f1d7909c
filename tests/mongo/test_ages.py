"""How many documents a TTL rule would delete is counted with a backup, whatever the index looks like."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from flows.core.selection import Selection
from flows.core.ttl import Ages
from flows.mongo.source import MongoSource

Client = MongoClient[dict[str, Any]]
DAY_MS = 86_400_000
FIRST = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


PARTIAL = {"partialFilterExpression": {"x": 1}}
UNDATED: list[dict[str, Any]] = [{"at": "text"}, {"at": None}, {}, {"at": 5}]


def day(number: int) -> dt.datetime:
    return FIRST + dt.timedelta(days=number)


def milliseconds(number: int) -> int:
    return int(day(number).timestamp() * 1000)


def ages(source: MongoSource, database: str) -> tuple[Ages, ...]:
    (info,) = source.listing(Selection((database,)), users=False).collections
    return info.ages


@pytest.mark.parametrize(
    ("field", "options", "documents"),
    [
        pytest.param("at", {}, [{"at": day(i)} for i in range(160)], id="plain"),
        pytest.param("a.at", {}, [{"a": {"at": day(i)}} for i in range(160)], id="deep"),
        pytest.param("at", {}, [{"at": [day(i), day(i)]} for i in range(160)], id="list"),
        pytest.param("at", PARTIAL, [{"at": day(i // 2), "x": i % 2} for i in range(320)], id="partial"),
        pytest.param("at", {"sparse": True}, [{"at": day(i)} for i in range(160)], id="sparse"),
        pytest.param("at", {}, [*({"at": day(i)} for i in range(160)), *UNDATED], id="mixed"),
    ],
)
def test_documents_are_counted_by_their_date(
    source: MongoSource, mongo_client: Client, database: str, field: str, options: Any, documents: list[dict[str, Any]]
) -> None:
    collection = mongo_client[database]["c"]
    collection.create_index([(field, -1)], name="ttl", expireAfterSeconds=10**9, **options)
    collection.insert_many(documents)
    (found,) = ages(source, database)
    assert (found.index, found.dated) == ("ttl", 160)
    for number in (0, 1, 37, 80, 159):
        assert abs(found.older_than(milliseconds(number)) - number) <= 1
    assert found.older_than(milliseconds(-1)) == 0
    assert found.older_than(milliseconds(160)) == 160


def test_dates_that_python_cannot_hold_are_counted(source: MongoSource, mongo_client: Client, database: str) -> None:
    collection = mongo_client[database]["c"]
    collection.create_index("at", expireAfterSeconds=10**9)
    collection.insert_many([{"at": dt.datetime(1, 1, 1, tzinfo=dt.UTC)}, {"at": day(0)}])
    collection.update_one({"at": day(0)}, [{"$set": {"at": {"$toDate": 2**62}}}])
    (found,) = ages(source, database)
    assert (found.dated, found.older_than(2**61), found.older_than(2**62 + 1)) == (2, 1, 2)


def test_a_collection_without_dates_has_none(source: MongoSource, mongo_client: Client, database: str) -> None:
    mongo_client[database]["c"].create_index("at", name="ttl", expireAfterSeconds=60)
    mongo_client[database]["c"].insert_one({"a": 1})
    assert ages(source, database) == (Ages("ttl", ()),)


def test_without_a_rule_nothing_is_counted(source: MongoSource, mongo_client: Client, database: str) -> None:
    mongo_client[database]["c"].create_index("at")
    mongo_client[database]["c"].insert_one({"at": day(0)})
    assert ages(source, database) == ()


def test_a_clustered_collection_is_counted_by_its_id(source: MongoSource, mongo_client: Client, database: str) -> None:
    db = mongo_client[database]
    db.create_collection("c", clusteredIndex={"key": {"_id": 1}, "unique": True}, expireAfterSeconds=10**9)
    db["c"].insert_many([{"_id": day(i)} for i in range(32)])
    (found,) = ages(source, database)
    assert (found.index, found.dated, found.older_than(milliseconds(16))) == (None, 32, 16)


def test_a_time_series_collection_is_counted_by_its_buckets(
    source: MongoSource, mongo_client: Client, database: str
) -> None:
    db = mongo_client[database]
    db.create_collection("c", timeseries={"timeField": "at"}, expireAfterSeconds=10**9)
    db["c"].insert_many([{"at": day(i), "v": n} for i in range(8) for n in range(3)])
    assert isinstance(db["system.buckets.c"].find_one()["_id"], ObjectId)  # type: ignore[index]
    (found,) = ages(source, database)
    assert (found.index, found.dated, found.older_than(milliseconds(4))) == (None, 8, 4)


def test_a_hidden_index_is_not_counted(source: MongoSource, mongo_client: Client, database: str) -> None:
    """The server refuses to use it, and a look at every document would be too much."""
    mongo_client[database]["c"].create_index("at", expireAfterSeconds=10**9, hidden=True)
    mongo_client[database]["c"].insert_one({"at": day(0)})
    assert ages(source, database) == ()
