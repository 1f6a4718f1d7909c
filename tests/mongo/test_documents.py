"""Single documents on a real server: what matches, what is compared, what is written."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import bson
import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from flows.core.document_diff import Difference, DocumentDiff
from flows.core.document_page import check_matching
from flows.core.document_plan import DocumentPlan, ExistingDocuments, Into, request_documents
from flows.core.elements import document_of, elements, id_of
from flows.core.errors import ConfigurationError, Refused, RestoreIncomplete
from flows.core.manifest import Manifest
from flows.core.proof import Merged
from flows.mongo.documents import diff_documents, make_scratch, plan_into, write_documents
from flows.mongo.target import MongoTarget
from tests.support import zoo
from tests.support.samples import collection, entry, manifest, segment

Client = MongoClient[dict[str, Any]]


class Case:
    """A backup of one collection in the scratch, and the live collection beside it."""

    def __init__(self, target: MongoTarget, client: Client, database: str) -> None:
        self.target = target
        self.database = database
        self.live = client[database]["c"]
        self.client = client
        self.backup: Manifest = manifest(
            [collection("app.c")], [segment(0, entry(collection("app.c"), bson.encode({"_id": 1})))]
        )

    def plan(self, criteria: Any, documents: list[Any], **given: Any) -> DocumentPlan:
        request = request_documents(
            "app.c",
            criteria,
            **{"into": Into.LIVE, "existing": ExistingDocuments.KEEP, "database": self.database, **given},
        )
        plan = plan_into(self.target, self.backup, request, run=uuid.uuid4().hex)
        make_scratch(self.target, plan)
        for document in documents:
            raw = document if isinstance(document, bytes) else bson.encode(document)
            self.target.insert(plan.scratch, raw, 1, again=False)
        return plan

    def diff(self, plan: DocumentPlan) -> DocumentDiff:
        return diff_documents(self.target, plan, checkpoint=lambda: None)

    def write(self, plan: DocumentPlan) -> Merged:
        return write_documents(self.target, plan, checkpoint=lambda: None)


@pytest.fixture
def case(target: MongoTarget, mongo_client: Client, database: str) -> Case:
    mongo_client[database].create_collection("c")
    return Case(target, mongo_client, database)


def counts(diff: DocumentDiff) -> list[int]:
    return [diff.counts[kind] for kind in (Difference.MISSING, Difference.DIFFERENT, Difference.EQUAL)]


@pytest.mark.parametrize("half", [0, 1])
def test_every_type_is_replaced_and_inserted_byte_by_byte(case: Case, mongo_client: Client, half: int) -> None:
    other = f"{case.database}-zoo"
    zoo.fill(mongo_client, other)
    raw = bson.CodecOptions(document_class=RawBSONDocument)
    kept = mongo_client.get_database(other, raw)
    found = [*kept["types"].find(), *kept["big"].find()]
    documents = [bytes(document.raw) for document in found]
    for document in found[half::2]:
        case.live.insert_one(RawBSONDocument(document_of(b"_id", id_of(bytes(document.raw)))))
    # What is there has the `_id` alone, and some of the documents have no more.
    same = sum(len(list(elements(d))) == 1 for d in documents[half::2])
    there = len(documents[half::2]) - same
    plan = case.plan({}, documents, existing=ExistingDocuments.OVERWRITE)
    assert counts(case.diff(plan)) == [len(documents) - there - same, there, same]
    case.write(plan)
    assert counts(case.diff(plan)) == [0, 0, len(documents)]
    live = mongo_client.get_database(case.database, raw)["c"]
    assert {bytes(document.raw) for document in live.find()} == set(documents)
    assert there >= 1
    mongo_client.drop_database(other)


def test_types_and_order_of_fields_make_a_difference(case: Case) -> None:
    case.live.insert_many([{"_id": 1, "n": 1.0}, {"_id": 2, "b": 1, "a": 1}, {"_id": 3, "n": Int64(1)}, {"_id": 4}])
    documents = [{"_id": 1, "n": 1}, {"_id": 2, "a": 1, "b": 1}, {"_id": 3, "n": 1}, {"_id": 4}]
    plan = case.plan({}, documents, existing=ExistingDocuments.OVERWRITE)
    assert counts(case.diff(plan)) == [0, 3, 1]
    assert case.write(plan).replaced == 3
    assert [(type(d["n"]), d["n"]) for d in case.live.find({"n": 1})] == [(int, 1), (int, 1)]
    assert list(case.live.find_one({"_id": 2}) or {}) == ["_id", "a", "b"]


def test_an_id_that_only_counts_as_the_same_is_found(case: Case) -> None:
    case.live.insert_many([{"_id": 1.0, "x": 1}, {"_id": 2, "x": 1}])
    plan = case.plan({}, [{"_id": 1, "x": 1}, {"_id": 2, "x": 1}, {"_id": 3, "x": 1}])
    diff = case.diff(plan)
    assert counts(diff) == [1, 1, 1]
    assert diff.other_id == 1
    assert case.write(plan) == Merged(inserted=1, kept=1, equal=1)


def test_an_id_that_is_the_same_to_a_collation_is_not_overwritten(
    target: MongoTarget, mongo_client: Client, database: str
) -> None:
    mongo_client[database].create_collection("c", collation={"locale": "fr", "strength": 1})
    case = Case(target, mongo_client, database)
    case.live.insert_one({"_id": "ÉTÉ"})
    plan = case.plan({}, [{"_id": "ete"}, {"_id": "hiver"}], existing=ExistingDocuments.OVERWRITE)
    diff = case.diff(plan)
    assert (counts(diff), diff.other_id) == ([1, 1, 0], 1)
    with pytest.raises(Refused, match="whose _id in the target only counts as the same"):
        check_matching(plan, diff)
    kept = case.plan({}, [{"_id": "ete"}, {"_id": "hiver"}])
    check_matching(kept, case.diff(kept))
    assert case.write(kept) == Merged(inserted=1, kept=1)
    assert [d["_id"] for d in case.live.find()] == ["ÉTÉ", "hiver"]


def test_more_documents_than_are_held_at_a_time(case: Case) -> None:
    case.live.insert_many([{"_id": i, "x": i % 3} for i in range(0, 5000, 2)])
    plan = case.plan({}, [])
    scratch = case.client[case.database][plan.scratch.collection]
    scratch.insert_many([{"_id": i, "x": 0} for i in range(5000)])
    assert counts(case.diff(plan)) == [2500, 1666, 834]
    assert case.write(plan) == Merged(inserted=2500, kept=1666, equal=834)
    assert case.live.count_documents({}) == 5000


@pytest.mark.parametrize(
    ("criteria", "ids"),
    [
        ({"number": {"$regex": "^inv-0", "$options": "i"}}, [1, 2]),
        ({"number": {"$regularExpression": {"pattern": "^INV", "options": ""}}}, [1]),
        ({"number": {"$in": ["inv-02", {"$regularExpression": {"pattern": "^x", "options": "i"}}]}}, [2, 3]),
        ({"at": {"$gte": {"$date": "2026-03-06T04:00:00Z"}}}, [2, 3]),
        ({"at": {"$date": {"$numberLong": "1772769600000"}}}, [2]),
        ({"total": {"$numberDecimal": "1.19"}}, [1]),
        ({"total": {"$gt": {"$numberDecimal": "1.19"}}}, [2, 3]),
        ({"total": 7}, [3]),
        ({"customer": {"$oid": "65e7f0000000000000000001"}}, [3]),
        ({"$expr": {"$eq": [{"$strLenCP": "$number"}, 5]}}, [3]),
        ({"$or": [{"_id": 1}, {"lines.sku": "b"}]}, [1, 3]),
        ({"customer": {"$type": "objectId"}}, [3]),
        ({}, [1, 2, 3]),
    ],
)
def test_the_server_decides_what_matches(case: Case, criteria: dict[str, Any], ids: list[int]) -> None:
    at = dt.datetime(2026, 3, 6, 4, tzinfo=dt.UTC)
    documents = [
        {"_id": 1, "number": "INV-01", "at": at - dt.timedelta(seconds=1), "total": Decimal128("1.19")},
        {"_id": 2, "number": "inv-02", "at": at, "total": Decimal128("1.20")},
        {"_id": 3, "number": "xxxxx", "at": at + dt.timedelta(days=1), "total": Int64(7)},
    ]
    documents[2] |= {"customer": ObjectId("65e7f0000000000000000001"), "lines": [{"sku": "a"}, {"sku": "b"}]}
    case.write(case.plan(criteria, documents))
    assert [d["_id"] for d in case.live.find(sort=[("_id", 1)])] == ids


@pytest.mark.parametrize(
    ("criteria", "said"),
    [
        ({"$nonsense": 1}, "unknown top level operator: $nonsense"),
        ({"number": {"$nonsense": 1}}, "unknown operator: $nonsense"),
        ({"$where": "true"}, "$where is not allowed"),
        ({"number": {"$regex": "("}}, "Regular expression is invalid"),
        ({"$text": {"$search": "x"}}, "text index required"),
    ],
)
def test_a_filter_that_the_server_refuses_is_refused_before_anything_is_loaded(
    case: Case, criteria: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match="the server does not take the filter") as error:
        case.plan(criteria, [])
    assert said in error.value.facts["got"]


def test_a_filter_that_fails_on_a_document_does_not_quote_it(case: Case) -> None:
    plan = case.plan({"$expr": {"$gt": [{"$toInt": "$mail"}, 1]}}, [{"_id": 1, "mail": "anna@example.com"}])
    with pytest.raises(ConfigurationError, match="the server cannot apply the filter") as error:
        case.diff(plan)
    assert error.value.facts["code"] == 241
    assert "anna" not in str(error.value)


def test_a_unique_index_that_stands_against_a_document_is_named_without_its_key(case: Case) -> None:
    case.live.create_index("mail", unique=True)
    case.live.insert_one({"_id": "new", "mail": "anna@example.com"})
    plan = case.plan({}, [{"_id": 1, "mail": "anna@example.com"}, {"_id": 2, "mail": "bert@example.com"}])
    with pytest.raises(RestoreIncomplete, match="restoring documents stopped: the target refused documents") as error:
        case.write(plan)
    assert "mail_1" in str(error.value)
    assert "anna" not in str(error.value)


def test_a_replacement_that_a_unique_index_refuses_is_told_without_its_key(case: Case) -> None:
    case.live.create_index("mail", unique=True)
    case.live.insert_many([{"_id": 1, "mail": "moved"}, {"_id": 2, "mail": "anna@example.com"}])
    plan = case.plan({}, [{"_id": 1, "mail": "anna@example.com"}], existing=ExistingDocuments.OVERWRITE)
    with pytest.raises(RestoreIncomplete, match="the target refused to replace documents") as error:
        case.write(plan)
    assert error.value.facts["code"] == 11000
    assert "anna" not in str(error.value)


def test_a_document_that_is_not_there_as_it_was_written_fails(case: Case, mongo_client: Client) -> None:
    # The server puts its clock where a top-level timestamp is empty.
    plan = case.plan({}, [])
    empty = {"_id": 1, "ts": bson.Timestamp(0, 0)}
    scratch = mongo_client[case.database][plan.scratch.collection]
    scratch.insert_one({"_id": 1})
    scratch.update_one({"_id": 1}, [{"$replaceWith": {"$literal": empty}}])
    assert scratch.find_one() == empty
    with pytest.raises(RestoreIncomplete, match="is not in the target as it was written"):
        case.write(plan)


@pytest.mark.parametrize("existing", list(ExistingDocuments))
def test_a_validator_does_not_hold_documents_back(case: Case, existing: ExistingDocuments) -> None:
    case.live.insert_one({"_id": 1, "a": 1})
    case.client[case.database].command("collMod", "c", validator={"a": {"$exists": True}})
    case.write(case.plan({}, [{"_id": 1}, {"_id": 2}], existing=existing))
    kept = {"_id": 1, "a": 1} if existing is ExistingDocuments.KEEP else {"_id": 1}
    assert list(case.live.find(sort=[("_id", 1)])) == [kept, {"_id": 2}]


def test_a_collection_beside_gets_all_that_match(case: Case) -> None:
    case.live.insert_one({"_id": 1, "a": "newer"})
    plan = case.plan({}, [{"_id": 1, "a": 1}, {"_id": 2}], into=Into.BESIDE)
    assert counts(case.diff(plan)) == [1, 1, 0]
    assert case.write(plan) == Merged(inserted=2)
    assert list(case.client[case.database]["c_restored_20260306T040000Z"].find()) == [{"_id": 1, "a": 1}, {"_id": 2}]
    assert list(case.live.find()) == [{"_id": 1, "a": "newer"}]


def test_indexes_that_remove_old_documents_and_scratch_of_others_are_told(case: Case) -> None:
    case.live.create_index("at", expireAfterSeconds=60)
    case.client[case.database]["mongo_backup_scratch_dead"].insert_one({})
    warnings = case.plan({}, []).warnings
    assert "old by `at`" in warnings[0]
    assert "mongo_backup_scratch_dead" in warnings[1]
    assert len(warnings) == 2


def test_a_large_document_is_held_alone(case: Case) -> None:
    documents = [{"_id": i, "pad": Binary(bytes(15_000_000))} for i in range(3)]
    case.live.insert_one({"_id": 1, "pad": Binary(bytes(16_000_000))})
    plan = case.plan({}, documents, existing=ExistingDocuments.OVERWRITE)
    assert counts(case.diff(plan)) == [2, 1, 0]
    assert case.write(plan) == Merged(2, 1)


def test_a_stop_is_heard_between_batches(case: Case) -> None:
    plan = case.plan({}, [{"_id": 1}])
    with pytest.raises(InterruptedError):
        write_documents(case.target, plan, checkpoint=_stop)
    assert case.live.count_documents({}) == 0


def _stop() -> None:
    raise InterruptedError
