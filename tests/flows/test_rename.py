"""Restoring under other names: the data is the same, and views see what they saw."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from blocks import MongoDBTarget
from deployments import embedded
from flows.backup import backup
from flows.core.errors import ConfigurationError, Refused
from flows.core.restore_plan import RestoreMode
from flows.restore import restore
from tests.flows.conftest import store_of_a_module
from tests.support.contents import Contents, contents

Client = MongoClient[dict[str, Any]]

ORDERS_OF_CUSTOMER = [{"$match": {"$expr": {"$eq": ["$customer", "$$id"]}}}, {"$count": "orders"}]
# Every way in which a view can look at another collection.
PIPELINE: list[dict[str, Any]] = [
    {
        "$graphLookup": {
            "from": "orders",
            "startWith": "$after",
            "connectFromField": "after",
            "connectToField": "_id",
            "as": "line",
        }
    },
    {"$set": {"line": {"$size": "$line"}}},  # they come in no order
    {"$facet": {"some": [{"$match": {"open": True}}, {"$unionWith": "customers"}], "all": [{"$count": "orders"}]}},
    {
        "$unionWith": {
            "coll": "customers",
            "pipeline": [
                {"$lookup": {"from": "orders", "let": {"id": "$_id"}, "pipeline": ORDERS_OF_CUSTOMER, "as": "orders"}}
            ],
        }
    },
]
COLLECTIONS = {name: name for name in ("orders", "customers", "metrics")}
VIEWS = {name: name for name in ("overview", "first_two", "cpu", "buckets")}
START = dt.datetime(2026, 3, 6, 4, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def shop(mongo_client: Client, s3: embedded.S3Server) -> Iterator[Contents]:
    """What is in the database `renamed`, of which the store `renamed` has a backup."""
    db = mongo_client["renamed"]
    db["orders"].insert_many({"_id": i, "customer": i % 3, "open": i % 2 == 0, "after": i - 7} for i in range(50))
    db["orders"].create_index("customer")
    db.create_collection("customers", collation={"locale": "de"}, validator={"name": {"$exists": True}})
    db["customers"].insert_many({"_id": i, "name": f"customer {i}"} for i in range(3))
    db.create_collection("metrics", timeseries={"timeField": "at", "metaField": "host"})
    db["metrics"].insert_many(
        {"at": START + dt.timedelta(minutes=i), "host": f"h{i % 3}", "cpu": i / 7} for i in range(200)
    )
    db["metrics"].create_index([("host", 1), ("at", -1)])
    db.create_collection("overview", viewOn="orders", pipeline=PIPELINE)
    db.create_collection("first_two", viewOn="overview", pipeline=[{"$limit": 2}])
    db.create_collection("cpu", viewOn="metrics", pipeline=[{"$group": {"_id": "$host", "cpu": {"$max": "$cpu"}}}])
    packed = {"coll": "system.buckets.metrics", "pipeline": [{"$project": {"meta": 1}}]}
    db.create_collection("buckets", viewOn="metrics", pipeline=[{"$limit": 1}, {"$unionWith": packed}])
    store_of_a_module(s3, "renamed")
    backup(store="renamed", databases=["renamed"], retention=None)
    yield contents(mongo_client, "renamed")
    mongo_client.drop_database("renamed")


@pytest.fixture
def copy(mongo_client: Client) -> Iterator[str]:
    """The name of a database to restore into."""
    yield "renamed_copy"
    mongo_client.drop_database("renamed_copy")


def seen(client: Client, database: str, views: dict[str, str]) -> dict[str, list[str]]:
    """What views show, in no order, by their original name."""
    return {old: sorted(map(repr, client[database][new].find())) for old, new in views.items()}


def data(found: Contents, names: dict[str, str]) -> dict[str, tuple[str, Any, list[Any]]]:
    """Hash of the documents, options and indexes of collections, by their original name."""
    hashed = {old: new.replace("metrics", "system.buckets.metrics") for old, new in names.items()}
    return {old: (found.hashes[hashed[old]], found.options[new], found.indexes[new]) for old, new in names.items()}


def test_a_whole_database_is_restored_by_a_pattern_and_its_views_see_what_they_saw(
    mongo_client: Client, shop: Contents, copy: str
) -> None:
    restore(into_source=True, store="renamed", rename={"renamed.*": f"{copy}.*.old"})

    assert sorted(mongo_client[copy].list_collection_names()) == [
        *sorted(f"{name}.old" for name in (*COLLECTIONS, *VIEWS)),
        "system.buckets.metrics.old",
        "system.views",
    ]
    restored = contents(mongo_client, copy)
    assert data(restored, {name: f"{name}.old" for name in COLLECTIONS}) == data(shop, COLLECTIONS)
    shown = seen(mongo_client, copy, {name: f"{name}.old" for name in VIEWS})
    assert shown == seen(mongo_client, "renamed", VIEWS)
    assert all(shown.values())


def test_collections_by_exact_name_and_a_view_are_restored_beside_the_originals(
    mongo_client: Client, shop: Contents
) -> None:
    wanted = ("orders", "metrics", "cpu")
    new = {name: f"{name}_old" for name in wanted}

    report = restore(
        into_source=True,
        store="renamed",
        include=[f"renamed.{name}" for name in wanted],
        rename={f"renamed.{name}": f"renamed.{new[name]}" for name in wanted},
    )

    restored = contents(mongo_client, "renamed")
    # The new ones are the same, and nothing became of the others, whose names the backup has too.
    assert data(restored, {name: new.get(name, name) for name in COLLECTIONS}) == data(shop, COLLECTIONS)
    assert data(restored, COLLECTIONS) == data(shop, COLLECTIONS)
    assert (report.namespaces, report.documents) == (3, 50 + 12)
    mongo_client["renamed"]["metrics_old"].insert_one({"at": START, "host": "only in the new one", "cpu": 1})
    shown = seen(mongo_client, "renamed", {"cpu": "cpu", "cpu_old": "cpu_old"})
    assert len(shown["cpu_old"]) == len(shown["cpu"]) + 1
    for name in new.values():
        mongo_client["renamed"].drop_collection(name)
    assert contents(mongo_client, "renamed") == shop


def test_two_collections_change_names_in_a_replacement(mongo_client: Client, shop: Contents, copy: str) -> None:
    for name in ("orders", "customers"):
        mongo_client[copy][name].insert_one({"in": "the way"})

    restore(
        into_source=True,
        store="renamed",
        include=["renamed.orders", "renamed.customers"],
        rename={"renamed.orders": f"{copy}.customers", "renamed.customers": f"{copy}.orders"},
        mode=RestoreMode.REPLACE,
        confirm=copy,
    )

    changed = data(contents(mongo_client, copy), {"orders": "customers", "customers": "orders"})
    assert changed == data(shop, {"orders": "orders", "customers": "customers"})


@pytest.mark.parametrize(
    ("rename", "new"),
    [({"renamed.orders": "renamed.orders_old"}, "renamed.orders_old"), ({"renamed": "elsewhere"}, "elsewhere.orders")],
    ids=["beside", "another database"],
)
def test_no_collection_that_stays_loses_its_name_to_one_that_is_restored_with_its_uuid(
    mongo_client: Client, shop: Contents, rename: dict[str, str], new: str
) -> None:
    with pytest.raises(Refused) as refused:
        restore(into_source=True, store="renamed", include=["renamed.orders"], rename=rename, preserve_uuid=True)
    assert contents(mongo_client, "renamed") == shop
    assert "elsewhere" not in mongo_client.list_database_names()
    assert str(refused.value) == (
        "a collection of the target has the uuid that another one would be restored with "
        f"(namespace='{new}', has_it='renamed.orders')\n"
        "HINT: It is most likely the original. Turn `preserve_uuid` off: the restored one gets a new uuid."
    )


@pytest.mark.parametrize(
    ("rename", "text"),
    [
        ({"renamed.*": "copy"}, "a rename rule names a collection on one side and a database on the other (rule="),
        ({"renamed.ordres": "renamed.x"}, "a rename rule matches nothing in the backup (backup="),
        ({"*.cpu": "config.*"}, "not a name for the database to restore into (rule='*.cpu: config.*', "),
        ({"renamed.orders": "renamed.metrics"}, "two namespaces would be restored into one (first='renamed.metrics', "),
    ],
)
def test_a_rule_that_cannot_work_is_refused_before_the_target_is_asked(
    shop: Contents, rename: dict[str, str], text: str
) -> None:
    MongoDBTarget(host="127.0.0.1", port=1, timeout_seconds=1).save("nowhere", overwrite=True)
    with pytest.raises(ConfigurationError) as caught:
        restore(into_source=True, store="renamed", target="nowhere", rename=rename)
    assert str(caught.value).startswith(text)


def test_a_view_is_not_parted_from_its_collection(mongo_client: Client, shop: Contents, copy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        restore(
            into_source=True, store="renamed", rename={"renamed.orders": f"{copy}.orders", "renamed.*": "elsewhere.*"}
        )
    assert str(caught.value) == (
        "a view would be in another database than a collection that it looks at (view='renamed.overview', "
        f"goes_to='elsewhere.overview', looks_at='renamed.orders', which_goes_to='{copy}.orders')\n"
        "HINT: A view sees its own database only: rename both into the same one, for example with "
        "`renamed: elsewhere`, or leave the view out with `exclude`."
    )
    assert not {copy, "elsewhere"} & set(mongo_client.list_database_names())
