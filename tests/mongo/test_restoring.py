"""The end of a restore: whatever is not as in the manifest is found, and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pymongo import MongoClient

from flows.core.errors import RestoreDiffers, TargetError
from flows.core.manifest import NamespaceRecord
from flows.core.names import Namespace
from flows.core.proof import NamespaceProof, check_proofs
from flows.core.restore_plan import Action, RestoreItem, RestoreMode, RestorePlan
from flows.core.selection import Selection
from flows.core.source import Consistency, Kind
from flows.core.tally import Tally
from flows.mongo.restoring import compare_documents, finish_collections, finish_views
from flows.mongo.source import MongoSource
from flows.mongo.target import MongoTarget

Client = MongoClient[dict[str, Any]]


@pytest.fixture
def items(mongo_client: Client, database: str) -> dict[str, RestoreItem]:
    """A collection, a time-series collection and a view, as a manifest would hold them; they stay in the server."""
    db = mongo_client[database]
    db.create_collection("c", validator={"a": {"$gte": 0}}, collation={"locale": "de"})
    db.c.create_index("a", name="by_a", expireAfterSeconds=3600)
    db.c.insert_many([{"_id": i, "a": i} for i in range(3000)])
    db.create_collection("metrics", timeseries={"timeField": "t"})
    db.create_collection("v", viewOn="c", pipeline=[{"$match": {"a": 1}}])
    source = MongoSource(mongo_client)
    found = {}
    for info in source.listing(Selection(databases=(database,)), users=False).collections:
        tally = Tally()
        for batch in source.read(info.data_namespace, at=None) if info.has_documents else ():
            tally.add(batch)
        content = tally.totals().content
        record = NamespaceRecord(info.namespace, info.kind, info.metadata, content, Consistency.NONE)
        found[info.namespace.collection] = RestoreItem(record, info.namespace, Action.CREATE, 0)
    return found


def compare(target: MongoTarget, item: RestoreItem, *, read_back: bool = True) -> tuple[NamespaceProof, ...]:
    return compare_documents(target, [item], merged={}, read_back=read_back, majority=True, progress=lambda _: None)


def prove(target: MongoTarget, item: RestoreItem, *, read_back: bool = True) -> NamespaceProof:
    compared = compare(target, item, read_back=read_back)
    (proof,) = finish_collections(target, [item], compared, hold_ttl=False)
    return proof


def test_what_is_as_in_the_manifest_has_no_differences(target: MongoTarget, items: dict[str, RestoreItem]) -> None:
    for name in ("c", "metrics"):
        proof = prove(target, items[name])
        assert proof.differences == ()
        assert proof.content == items[name].record.content
    (view,) = finish_views(target, RestorePlan("b", RestoreMode.INTO_NEW, (items["v"],), (), ()))
    assert view.differences == ()


def test_what_expires_while_indexes_are_built_again_is_no_difference(
    target: MongoTarget, mongo_client: Client, database: str, items: dict[str, RestoreItem]
) -> None:
    compared = compare(target, items["c"])
    finish_collections(target, [items["c"]], compared, hold_ttl=False)
    mongo_client[database].c.delete_one({"_id": 7})  # what the index on `a` lets the server do, once it is there
    (proof,) = finish_collections(target, [items["c"]], compared, hold_ttl=False)
    assert (proof.differences, proof.content) == ((), items["c"].record.content)


def _change_a_value(db: Any) -> None:
    db.c.update_one({"_id": 7}, {"$set": {"a": 8}})


def _change_a_type(db: Any) -> None:
    db.c.update_one({"_id": 7}, {"$set": {"a": 7.0}})


@pytest.mark.parametrize(
    ("harm", "difference"),
    [
        pytest.param(lambda db: db.c.delete_one({"_id": 7}), "3000 documents expected, 2999 found", id="lost"),
        pytest.param(lambda db: db.c.insert_one({"a": 1}), "3000 documents expected, 3001 found", id="more"),
        pytest.param(_change_a_value, "content digest", id="value"),
        pytest.param(_change_a_type, "content digest", id="type"),
        pytest.param(lambda db: db.c.create_index("b"), "index 'b_1' is not in the backup", id="index"),
        pytest.param(
            lambda db: db.command("collMod", "c", validator={"a": {"$gte": 1}}), "option 'validator' differs", id="rule"
        ),
        pytest.param(
            lambda db: db.command("collMod", "c", validationAction="warn"),
            "option 'validationAction' is not in the backup",
            id="option",
        ),
    ],
)
def test_each_difference_is_found_and_named(
    target: MongoTarget,
    mongo_client: Client,
    database: str,
    items: dict[str, RestoreItem],
    harm: Callable[[Any], object],
    difference: str,
) -> None:
    harm(mongo_client[database])
    proof = prove(target, items["c"])
    assert difference in "; ".join(proof.differences)
    with pytest.raises(RestoreDiffers, match="not what the manifest says"):
        check_proofs([proof])


def test_without_reading_back_documents_are_counted(
    target: MongoTarget, mongo_client: Client, database: str, items: dict[str, RestoreItem]
) -> None:
    _change_a_value(mongo_client[database])
    assert prove(target, items["c"], read_back=False).differences == ()
    mongo_client[database].c.delete_one({})
    assert prove(target, items["c"], read_back=False).differences == ("3000 documents expected, 2999 found",)


def test_a_view_with_another_definition_is_a_difference(
    target: MongoTarget, mongo_client: Client, database: str, items: dict[str, RestoreItem]
) -> None:
    mongo_client[database].v.drop()
    mongo_client[database].create_collection("v", viewOn="c", pipeline=[{"$match": {"a": 2}}])
    (view,) = finish_views(target, RestorePlan("b", RestoreMode.INTO_NEW, (items["v"],), (), ()))
    assert view.differences == ("option 'pipeline' differs",)


def test_a_collection_that_is_gone_is_told(target: MongoTarget, database: str) -> None:
    with pytest.raises(TargetError, match="not there any more"):
        target.metadata(Namespace(database, "nothing"), Kind.COLLECTION)
