"""A database with one of everything that a logical backup has to carry."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import gridfs
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from pymongo import MongoClient
from pymongo.database import Database

DOCUMENTS = 694  # what the server stores: a time-series collection counts by its buckets
DEFINITIONS = 3  # two views, and the one that a time-series collection is to its buckets
LEGACY = {"legacy": "breaks the validator"}


def fill(client: MongoClient[dict[str, Any]], name: str) -> None:
    """Drop the database and make it anew."""
    client.drop_database(name)
    db = client[name]
    _types(db)
    _invoices(db)
    _kinds(db)
    _names(db)
    gridfs.GridFS(db, "pdfs").put(
        b"%PDF-1.7 fake invoice " * 20000, filename="INV-000001.pdf", metadata={"org": "acme"}
    )


def _at(seconds: int) -> dt.datetime:
    return dt.datetime(2026, 3, 6, 4, 0, 0, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)


def everything() -> list[dict[str, Any]]:
    """Documents with every type, and with every type of `_id`."""
    types = {
        "_id": 1,
        "double": 1.5,
        "nan": float("nan"),
        "inf": float("inf"),
        "negzero": -0.0,
        "str": "grüße €42 \U0001f9fe",
        "empty": "",
        "doc": {"a": {"b": {"c": 1}}},
        "arr": [1, "x", None, [2]],
        "bin": Binary(b"\x00\xff" * 10, 0),
        "uuid": Binary(uuid.UUID(int=5).bytes, 4),
        "md5": Binary(b"m" * 16, 5),
        "oid": ObjectId("65e7f0000000000000000001"),
        "t": True,
        "f": False,
        "date": _at(0),
        "olddate": dt.datetime(1901, 1, 1, tzinfo=dt.UTC),
        "null": None,
        "regex": Regex("^inv-\\d+$", "im"),
        "dbref": DBRef("invoices", 7),
        "code": Code("function(){return 1}"),
        "codews": Code("function(){return x}", {"x": 1}),
        "i32": 2**31 - 1,
        "ts": Timestamp(1772769600, 7),
        "i64": Int64(2**63 - 1),
        "dec": Decimal128("12345678901234567890.123456789012"),
        "decnan": Decimal128("NaN"),
        "min": MinKey(),
        "max": MaxKey(),
    }
    ids = [
        "string id",
        2.5,
        Decimal128("7.1"),
        _at(1),
        Binary(b"k", 0),
        None,
        True,
        Int64(2**40),
    ]
    strange = {"_id": {"compound": [1, 2]}, "a.dotted": 1, "$dollar": 2, "": "empty field name"}
    return [types, strange, *({"_id": value} for value in ids)]


def _types(db: Database[dict[str, Any]]) -> None:
    db["types"].insert_many(everything())
    db["big"].insert_one({"_id": "big", "blob": Binary(bytes(range(256)) * ((16 * 1024 * 1024 - 200) // 256))})


def _invoices(db: Database[dict[str, Any]]) -> None:
    invoices = db["invoices"]
    invoices.insert_many(
        {
            "_id": i,
            "number": f"INV-{i:06d}",
            "email": f"u{i % 50}@example.com",
            "total": Decimal128(f"{i * 1.19:.2f}"),
            "status": ["paid", "open", "void"][i % 3],
            "at": _at(i * 60),
            "loc": {"type": "Point", "coordinates": [i % 180 / 2, i % 90 / 2]},
            "tags": [f"t{i % 7}", f"t{i % 5}"],
            "txt": f"word{i} alpha beta",
        }
        for i in range(500)
    )
    invoices.create_index("number", unique=True, name="number_unique")
    invoices.create_index([("email", 1), ("at", -1)], collation={"locale": "de", "strength": 2})
    invoices.create_index("at", expireAfterSeconds=10**9)
    invoices.create_index([("loc", "2dsphere")])
    invoices.create_index([("txt", "text")], default_language="german", weights={"txt": 3})
    invoices.create_index([("status", "hashed")])
    invoices.create_index([("$**", 1)], name="wild", wildcardProjection={"tags": 1})
    invoices.create_index("total", partialFilterExpression={"status": "open"})
    invoices.create_index("tags", sparse=True, hidden=True)
    db.create_collection(
        "open_invoices",
        viewOn="invoices",
        pipeline=[{"$match": {"status": "open"}}, {"$project": {"number": 1, "total": 1}}],
    )
    db.create_collection("view_of_view", viewOn="open_invoices", pipeline=[{"$limit": 3}])


def _kinds(db: Database[dict[str, Any]]) -> None:
    db.create_collection("empty")
    db.create_collection("empty_indexed").create_index("a", unique=True)
    db.create_collection("capped", capped=True, size=65536, max=100).insert_many([{"n": i} for i in range(150)])
    amount = {"bsonType": "decimal", "minimum": Decimal128("0")}
    validated = db.create_collection(
        "validated",
        validator={"$jsonSchema": {"bsonType": "object", "required": ["amount"], "properties": {"amount": amount}}},
        validationLevel="moderate",
        validationAction="error",
    )
    validated.insert_one({"amount": Decimal128("1.00")})
    validated.insert_one(dict(LEGACY), bypass_document_validation=True)
    collated = db.create_collection("collated", collation={"locale": "fr", "caseLevel": True})
    collated.insert_many([{"_id": word} for word in ("été", "ete", "Ete")])
    clustered = db.create_collection("clustered", clusteredIndex={"key": {"_id": 1}, "unique": True, "name": "by id"})
    clustered.insert_many([{"_id": i, "v": i * i} for i in range(64)])
    metrics = db.create_collection(
        "metrics",
        timeseries={"timeField": "at", "metaField": "host", "granularity": "minutes"},
        expireAfterSeconds=10**9,
    )
    metrics.insert_many([{"at": _at(i * 30), "host": f"h{i % 3}", "cpu": i / 7} for i in range(400)])
    metrics.create_index([("host", 1), ("at", -1)])
    db.create_collection("changes", changeStreamPreAndPostImages={"enabled": True}).insert_one({"a": 1})


def _names(db: Database[dict[str, Any]]) -> None:
    for name in ("with.dots", "with space", "ünïcode €", "slash/and\\back", "percent%41", "UPPER"):
        db[name].insert_one({"name": name})
    db["n" * 200].insert_one({"long": "name"})
