"""What operators type, and what is decided from it."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, ObjectId, Regex
from bson.datetime_ms import DatetimeMS

from flows.core.document_plan import (
    DocumentPlan,
    ExistingDocuments,
    Into,
    LiveCollection,
    plan_documents,
    read_filter,
    request_documents,
)
from flows.core.errors import BackupError, ConfigurationError, Refused, TargetNotEmpty
from flows.core.source import Kind
from tests.support.samples import collection, entry, manifest, segment

INVOICES, NOTES, USERS = collection("mpg.invoices"), collection("mpg.notes"), collection("admin.system.users")
METRICS, OPEN = collection("mpg.metrics", Kind.TIMESERIES), collection("mpg.open", Kind.VIEW)
DOCUMENT = bson.encode({"_id": 1})
BACKUP = manifest(
    [INVOICES, NOTES, USERS, METRICS, OPEN],
    [
        segment(0, entry(USERS, DOCUMENT), entry(METRICS, DOCUMENT), entry(INVOICES, DOCUMENT)),
        segment(1, entry(NOTES, DOCUMENT), entry(OPEN, b""), entry(INVOICES, b"")),
        segment(2, entry(INVOICES, DOCUMENT * 2)),
    ],
)
PLAIN = LiveCollection(Kind.COLLECTION, capped=False, expiring=())


def plan(namespace: str = "mpg.invoices", *, live: LiveCollection | None = PLAIN, **given: Any) -> DocumentPlan:
    request = request_documents(
        namespace,
        given.pop("filter", {}),
        into=given.pop("into", Into.LIVE),
        existing=ExistingDocuments.KEEP,
        database=given.pop("database", None),
    )
    facts = {"run": "12-34", "beside_exists": False, "leftovers": (), **given}
    return plan_documents(BACKUP, request, live=live, **facts)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"number": "INV-000042"}, {"number": "INV-000042"}),
        ('{"number": "INV-000042"}', {"number": "INV-000042"}),
        ({"n": 1, "l": 2**40, "d": 1.5, "x": None}, {"n": 1, "l": Int64(2**40), "d": 1.5, "x": None}),
        ({"t": {"$numberDecimal": "1.19"}}, {"t": Decimal128("1.19")}),
        ({"_id": {"$oid": "65e7f0000000000000000001"}}, {"_id": ObjectId("65e7f0000000000000000001")}),
        ({"at": {"$date": "2026-03-06T04:00:00.123Z"}}, {"at": DatetimeMS(1772769600123)}),
        ({"at": {"$date": "2026-03-06T05:00:00+01:00"}}, {"at": DatetimeMS(1772769600000)}),
        ({"at": {"$date": {"$numberLong": "1772769600000"}}}, {"at": DatetimeMS(1772769600000)}),
        # An operator keeps all of its keys.
        ({"a": {"$regex": "^x", "$options": "i", "$ne": "xy"}}, {"a": {"$regex": "^x", "$options": "i", "$ne": "xy"}}),
        (
            {"a": {"$in": [{"$regularExpression": {"pattern": "^x", "options": "i"}}]}},
            {"a": {"$in": [Regex("^x", "i")]}},
        ),
        ('{"r": {"$ref": "c", "$id": 7}}', {"r": {"$ref": "c", "$id": 7}}),
        ('{"b": 1, "_id": 2}', {"": {"b": 1, "_id": 2}}),
    ],
)
def test_a_filter_is_read_as_canonical_or_relaxed_extended_json(given: Any, meant: dict[str, Any]) -> None:
    expected = bson.encode(meant)
    assert read_filter(given) == (expected[6:-1] if "" in meant else expected)


@pytest.mark.parametrize(
    ("given", "because"),
    [
        ("{number: 1}", "Expecting property name"),
        ("[]", "list is not a JSON object"),
        ('{"$date": "2026-03-06T04:00:00Z"}', "DatetimeMS is not a JSON object"),
        ({"at": {"$date": "2026-03-06T04:00:00"}}, "has no zone; add Z for UTC"),
        ({"at": {"$date": "yesterday"}}, "Invalid isoformat string"),
        ({"n": {"$oid": "42"}}, "not a valid ObjectId"),
        ({"n": 2**70}, "a value has no BSON form"),
        ({"n": float("nan")}, "NaN is not JSON"),
        ({"n": ObjectId()}, "not JSON serializable"),
    ],
)
def test_what_is_not_a_filter_is_refused(given: Any, because: str) -> None:
    with pytest.raises(ConfigurationError, match="the filter is not a document in Extended JSON") as error:
        read_filter(given)
    assert because in error.value.facts["got"]


def test_only_the_segments_that_hold_documents_of_the_namespace_are_read() -> None:
    assert [s.name for s in plan().segments] == ["segment-00000.archive.gz", "segment-00002.archive.gz"]


def test_where_documents_go() -> None:
    assert str(plan().destination) == "mpg.invoices"
    beside = plan(into=Into.BESIDE, database="copy")
    assert str(beside.destination) == "copy.invoices_restored_20260306T040000Z"
    assert str(beside.live) == "copy.invoices"
    assert str(beside.scratch) == "copy.mongo_backup_scratch_1234"
    assert beside.compared
    assert not plan(into=Into.BESIDE, live=None).compared


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"namespace": "invoices"}, ConfigurationError, "not a namespace"),
        ({"namespace": "mpg.invoice"}, ConfigurationError, "Did you mean 'mpg.invoices'?"),
        ({"namespace": "mpg.metrics"}, Refused, "no unique _id"),
        ({"namespace": "mpg.open"}, Refused, "a view has no documents of its own"),
        ({"namespace": "admin.system.users", "database": "x"}, Refused, "users and roles are not restored one by one"),
        ({"namespace": "admin.system.users"}, ConfigurationError, "not a name for the database"),
        ({"database": "a.b"}, ConfigurationError, "not a name for the database"),
        ({"live": None}, ConfigurationError, "the target does not have this collection"),
        ({"live": LiveCollection(Kind.COLLECTION, True, ())}, Refused, "capped"),
        ({"live": LiveCollection(Kind.VIEW, False, ())}, Refused, "is a view"),
        ({"live": LiveCollection(Kind.TIMESERIES, False, ())}, Refused, "is a timeseries"),
        ({"into": Into.BESIDE, "beside_exists": True}, TargetNotEmpty, "invoices_restored_20260306T040000Z"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, Any], kind: type[BackupError], text: str) -> None:
    with pytest.raises(kind) as error:
        plan(**given)
    assert type(error.value) is kind
    assert text in str(error.value)


def test_a_name_that_no_server_takes_is_refused_before_anything_is_read() -> None:
    long = collection("mpg." + "n" * 240)
    request = request_documents(
        str(long.namespace), {}, into=Into.BESIDE, existing=ExistingDocuments.KEEP, database=None
    )
    held = manifest([long], [segment(0, entry(long, DOCUMENT))])
    with pytest.raises(ConfigurationError, match="too long"):
        plan_documents(held, request, run="1", live=PLAIN, beside_exists=False, leftovers=())


def test_what_expires_and_what_was_left_is_told() -> None:
    warned = plan(
        live=LiveCollection(Kind.COLLECTION, False, ("at",)),
        leftovers=["mongo_backup_scratch_1234", "mongo_backup_scratch_99"],
    ).warnings
    assert "removes documents that are old by `at`" in warned[0]
    assert 'db.getSiblingDB("mpg").getCollection("mongo_backup_scratch_99").drop()' in warned[1]
    assert len(warned) == 2


@pytest.mark.parametrize(
    ("into", "existing", "typed", "refused"),
    [
        (Into.LIVE, ExistingDocuments.OVERWRITE, "", True),
        (Into.LIVE, ExistingDocuments.OVERWRITE, "mpg", True),
        (Into.LIVE, ExistingDocuments.OVERWRITE, " shop ", False),
        (Into.LIVE, ExistingDocuments.KEEP, "", False),
        (Into.BESIDE, ExistingDocuments.OVERWRITE, "", False),
    ],
)
def test_only_overwriting_wants_the_name_of_the_database_in_the_target(
    into: Into, existing: ExistingDocuments, typed: str, refused: bool
) -> None:
    request = request_documents("mpg.invoices", {}, into=into, existing=existing, database="shop")
    if not refused:
        request.check_confirmation(typed)
        return
    with pytest.raises(Refused, match="overwriting documents was not confirmed"):
        request.check_confirmation(typed)
