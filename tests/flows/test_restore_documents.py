"""Single documents come back through the flow, and nothing else is touched."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest
from bson import Decimal128
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from pymongo import MongoClient

from deployments import embedded
from flows.core.document_page import DocumentsReport
from flows.core.document_plan import ExistingDocuments, Into
from flows.core.errors import (
    BackupError,
    ConfigurationError,
    IntegrityError,
    Refused,
    RestoreIncomplete,
    TargetError,
    TargetNotEmpty,
)
from flows.restore_documents import restore_documents
from tests.flows.conftest import RESTORE_USER, Repo, back_up
from tests.support.fault_proxy import FaultProxy, Request, call
from tests.support.flow_runs import FlowRunRecord, flow_run_record, logged, run_flow

Client = MongoClient[dict[str, Any]]
CANARY = "anna.canary@example.com"


@pytest.fixture
def stored(mongo_client: Client, invoices: str, repo: Repo) -> str:
    """A database that was backed up and has gone on since; its name.

    Since the backup: 42 was deleted, 43 and 44 were changed, 600 was made.
    """
    live = mongo_client[invoices]["invoices"]
    live.update_many({}, {"$set": {"mail": CANARY, "total": Decimal128("1.19")}})
    live.create_index("number", unique=True)
    back_up(databases=[invoices])
    live.delete_one({"_id": 42})
    live.update_one({"_id": 43}, {"$set": {"status": f"paid by {CANARY}", "total": Decimal128("2.00")}})
    live.update_one({"_id": 44}, {"$set": {"total": 1.19}})
    live.insert_one({"_id": 600, "number": "INV-000600"})
    return invoices


def everything(client: Client, database: str) -> dict[str, Any]:
    """All documents, and which collections there are."""
    db = client[database]
    return {name: {d["_id"]: d for d in db[name].find()} for name in db.list_collection_names()}


def pages(run: FlowRunRecord) -> list[str]:
    """The pages that a run has left, oldest first."""
    with get_client(sync_client=True) as client:
        only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        found = client.read_artifacts(artifact_filter=only)
    return [str(a.data) for a in sorted(found, key=lambda a: str(a.created)) if a.type == "markdown"]


def document(number: int) -> dict[str, Any]:
    return {"_id": number, "number": f"INV-{number:06d}", "mail": CANARY, "total": Decimal128("1.19")}


def test_one_deleted_invoice_comes_back_and_the_rest_stays_newer(mongo_client: Client, stored: str) -> None:
    before = everything(mongo_client, stored)

    run = run_flow(restore_documents, namespace=f"{stored}.invoices", filter={"number": "INV-000042"})

    after = everything(mongo_client, stored)
    assert after["invoices"].pop(42) == document(42)
    assert after == before  # no scratch either
    report: DocumentsReport = run.value
    assert (report.matching, report.missing, report.inserted, report.replaced) == (1, 1, 1, 0)
    diff, done = pages(run)
    assert "**Differences: nothing has been written**" in diff
    assert "**The filter matches** 1 of 500 documents" in diff
    assert f"| missing | 1 | inserted into `{stored}.invoices` |" in diff
    assert '| `{"_id":{"$numberInt":"42"}}` |' in diff
    assert "**Complete: 1 inserted, 0 replaced" in done


def test_a_dry_run_shows_the_differences_and_writes_nothing(mongo_client: Client, stored: str) -> None:
    before = everything(mongo_client, stored)

    run = run_flow(
        restore_documents,
        namespace=f"{stored}.invoices",
        filter='{"_id": {"$gte": 41, "$lt": 46}}',
        existing=ExistingDocuments.OVERWRITE,
        dry_run=True,
    )

    assert everything(mongo_client, stored) == before
    report = run.value
    assert (report.missing, report.different, report.equal, report.inserted, report.dry_run) == (1, 2, 2, 0, True)
    (diff,) = pages(run)
    assert "| different | 2 | replaced |" in diff
    assert '| `{"_id":{"$numberInt":"43"}}` | total, status |' in diff
    assert '| `{"_id":{"$numberInt":"44"}}` | total |' in diff


@pytest.mark.parametrize("existing", list(ExistingDocuments))
def test_what_differs_is_kept_or_overwritten(mongo_client: Client, stored: str, existing: ExistingDocuments) -> None:
    before = everything(mongo_client, stored)["invoices"]

    report = restore_documents(
        namespace=f"{stored}.invoices",
        filter={"_id": {"$in": [42, 43, 44, 45]}},
        existing=existing,
        confirm=stored if existing is ExistingDocuments.OVERWRITE else "",
    )

    overwritten = {43: document(43), 44: document(44)} if existing is ExistingDocuments.OVERWRITE else {}
    assert everything(mongo_client, stored) == {"invoices": {**before, 42: document(42), **overwritten}}
    assert (report.inserted, report.replaced) == (1, len(overwritten))


def test_overwriting_wants_the_name_of_the_database(mongo_client: Client, stored: str, proxy: FaultProxy) -> None:
    before, asked = everything(mongo_client, stored), len(proxy.requests)
    for typed in ("", "yes", "invoices"):
        with pytest.raises(Refused) as refused:
            restore_documents(
                namespace=f"{stored}.invoices", filter={}, existing=ExistingDocuments.OVERWRITE, confirm=typed
            )
        assert str(refused.value) == (
            f"overwriting documents was not confirmed (expected='{stored}', got='{typed}')\n"
            f"HINT: Set `confirm` to '{stored}', or keep what is there with `existing: keep`. "
            "A dry run shows the differences."
        )
    assert everything(mongo_client, stored) == before
    assert len(proxy.requests) == asked


def test_documents_can_go_into_a_new_collection_beside(mongo_client: Client, stored: str, repo: Repo) -> None:
    before = everything(mongo_client, stored)
    wanted = {"namespace": f"{stored}.invoices", "filter": {"_id": {"$in": [42, 43]}}, "into": Into.BESIDE}

    report = restore_documents(**wanted)

    beside = f"invoices_restored_{report.backup.replace('-', '')}"
    assert everything(mongo_client, stored) == {**before, beside: {42: document(42), 43: document(43)}}
    assert (report.destination, report.missing, report.different, report.inserted) == (f"{stored}.{beside}", 1, 1, 2)
    with pytest.raises(TargetNotEmpty, match=f"the collection that would be made exists .*{beside}"):
        restore_documents(**wanted)


def test_the_collation_of_the_backup_decides_what_matches(mongo_client: Client, database: str, repo: Repo) -> None:
    people = mongo_client[database].create_collection("people", collation={"locale": "fr", "strength": 1})
    people.insert_many([{"_id": 1, "name": "René"}, {"_id": 2, "name": "RENE"}, {"_id": 3, "name": "Irene"}])
    back_up(databases=[database])
    people.delete_many({})

    report = restore_documents(namespace=f"{database}.people", filter={"name": "rene"}, into=Into.BESIDE)
    assert report.matching == 2
    restore_documents(namespace=f"{database}.people", filter={"name": "rene"})
    assert [d["_id"] for d in people.find(sort=[("_id", 1)])] == [1, 2]

    # As in the collection itself: the live one may have another collation by now.
    people.drop()
    mongo_client[database].create_collection("people")
    assert restore_documents(namespace=f"{database}.people", filter={"name": "rene"}).inserted == 2


def test_expressions_dates_and_decimals_in_the_filter(mongo_client: Client, database: str, repo: Repo) -> None:
    live = mongo_client[database]["payments"]
    at = dt.datetime(2026, 3, 6, 4, tzinfo=dt.UTC)
    live.insert_many(
        {"_id": i, "ref": f"Pay-{i:02d}", "at": at + dt.timedelta(hours=i), "amount": Decimal128(f"{i}.10")}
        for i in range(20)
    )
    back_up(databases=[database])
    live.delete_many({})
    wanted = {
        "ref": {"$regex": "^pay-1", "$options": "i"},
        "at": {"$lt": {"$date": "2026-03-06T22:00:00Z"}},
        "amount": {"$gt": {"$numberDecimal": "15.1"}},
    }
    restore_documents(namespace=f"{database}.payments", filter=wanted)
    assert [d["_id"] for d in live.find(sort=[("_id", 1)])] == [16, 17]


def test_a_collection_in_many_segments_and_another_database(mongo_client: Client, database: str, repo: Repo) -> None:
    large = mongo_client[database]["large"]
    large.insert_many([{"_id": i, "pad": bytes(1_000_000)} for i in range(40)])
    back_up(databases=[database], segment_mib=16)
    other = f"{database}-copy"
    mongo_client[other].create_collection("large")
    try:
        report = restore_documents(
            namespace=f"{database}.large", filter={"_id": {"$mod": [13, 0]}}, database=other, segments_in_flight=2
        )
        assert report.inserted == 4
        assert [d["_id"] for d in mongo_client[other]["large"].find({}, {"pad": 0}, sort=[("_id", 1)])] == [
            0,
            13,
            26,
            39,
        ]
        assert mongo_client[other].list_collection_names() == ["large"]
    finally:
        mongo_client.drop_database(other)


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"namespace": "invoices"}, ConfigurationError, "not a namespace"),
        ({"namespace": "{db}.invoice"}, ConfigurationError, "Did you mean '{db}.invoices'?"),
        ({"filter": "number: 42"}, ConfigurationError, "the filter is not a document in Extended JSON"),
        ({"filter": {"$nonsense": 1}}, ConfigurationError, "unknown top level operator: $nonsense"),
        ({"filter": {"number": "INV-1"}}, ConfigurationError, "the filter matches no document of the backup"),
        ({"filter": {"number": "INV-1"}, "dry_run": True}, ConfigurationError, "matches no document"),
        ({"segments_in_flight": 0}, ConfigurationError, "the number of segments in flight is out of range"),
        ({"database": "nowhere"}, ConfigurationError, "the target does not have this collection"),
        ({"backup": "2001-01-01T00-00-00Z"}, BackupError, "no such backup in this plan"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(
    mongo_client: Client, stored: str, given: dict[str, Any], kind: type[BackupError], text: str
) -> None:
    before = everything(mongo_client, stored)
    asked: dict[str, Any] = {"namespace": "{db}.invoices", "filter": {"_id": 42}, **given}
    asked["namespace"] = asked["namespace"].format(db=stored)

    with pytest.raises(kind) as error:
        restore_documents(**asked)

    assert text.format(db=stored) in str(error.value)
    assert everything(mongo_client, stored) == before


def test_views_time_series_and_capped_collections(mongo_client: Client, database: str, repo: Repo) -> None:
    db = mongo_client[database]
    db["invoices"].insert_one({"_id": 1})
    db.create_collection("open", viewOn="invoices", pipeline=[])
    db.create_collection("metrics", timeseries={"timeField": "at"}).insert_one({"at": dt.datetime(2026, 3, 6)})
    db.create_collection("log", capped=True, size=65536).insert_one({"_id": 1})
    back_up(databases=[database])
    for name, why in (
        ("open", "a view has no documents of its own"),
        ("metrics", "measurements of a time-series collection have no unique _id"),
        ("log", "documents cannot be put back into a capped collection"),
    ):
        with pytest.raises(Refused, match=why):
            restore_documents(namespace=f"{database}.{name}", filter={})
    assert restore_documents(namespace=f"{database}.log", filter={}, into=Into.BESIDE).inserted == 1


def test_the_scratch_is_gone_after_a_failure(mongo_client: Client, stored: str, repo: Repo, proxy: FaultProxy) -> None:
    seen: list[str] = []

    def look(_: Request) -> None:
        seen.extend(n for n in mongo_client[stored].list_collection_names() if n.startswith("mongo_backup_scratch_"))

    proxy.fail(lambda r: r.method == "GET" and "/segment-" in r.path, times=None, action=call(before=look))
    path = repo.path(repo.repository.backup_ids()[0])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    before = everything(mongo_client, stored)

    run = run_flow(restore_documents, namespace=f"{stored}.invoices", filter={"_id": 42})

    assert isinstance(run.error, IntegrityError)
    assert seen == [f"mongo_backup_scratch_{run.id.hex}"]
    assert everything(mongo_client, stored) == before


def test_the_scratch_is_gone_after_a_failed_write(mongo_client: Client, stored: str) -> None:
    mongo_client[stored]["invoices"].insert_one({"_id": "taken", "number": "INV-000042"})
    before = everything(mongo_client, stored)

    run = run_flow(restore_documents, namespace=f"{stored}.invoices", filter={"_id": 42})

    assert isinstance(run.error, RestoreIncomplete)
    assert "number_1" in str(run.error)
    assert everything(mongo_client, stored) == before


def test_values_of_documents_are_in_no_artifact_and_no_log(mongo_client: Client, stored: str) -> None:
    namespace = f"{stored}.invoices"
    wanted = {"_id": {"$gte": 40, "$lt": 50}}
    runs = [
        run_flow(restore_documents, namespace=namespace, filter=wanted, dry_run=True),
        run_flow(restore_documents, namespace=namespace, filter={"$expr": {"$gt": [{"$toInt": "$mail"}, 1]}}),
        run_flow(
            restore_documents,
            namespace=namespace,
            filter=wanted,
            existing=ExistingDocuments.OVERWRITE,
            confirm=stored,
        ),
    ]
    mongo_client[stored]["invoices"].drop_index("number_1")
    mongo_client[stored]["invoices"].delete_one({"_id": 49})
    mongo_client[stored]["invoices"].delete_many({"_id": {"$ne": 48}})
    mongo_client[stored]["invoices"].create_index("mail", unique=True)
    runs.append(run_flow(restore_documents, namespace=namespace, filter={"_id": 49}))

    assert [run.state.is_completed() for run in runs] == [True, False, True, False]
    assert isinstance(runs[1].error, ConfigurationError)
    assert "the server cannot apply the filter" in str(runs[1].error)
    assert "mail_1" in str(runs[3].error)
    for run in runs:
        said = "\n".join(
            [*logged(run.id), *pages(run), str(run.state.message), flow_run_record(run.id).model_dump_json()]
        )
        assert "canary" not in said
        assert "restore-documents" in said
    assert '"43"' in pages(runs[0])[0]


def test_a_scratch_is_not_backed_up(mongo_client: Client, invoices: str, repo: Repo) -> None:
    # It may be dropped while a backup runs, which would fail the backup.
    mongo_client[invoices]["mongo_backup_scratch_1"].insert_one({"_id": 1})
    taken = back_up(databases=[invoices])
    assert [str(record.namespace) for record in repo.verify(taken).namespaces] == [f"{invoices}.invoices"]


@pytest.fixture
def shop(admin: Client) -> Iterator[str]:
    admin["shop"]["orders"].insert_many([{"_id": 1}, {"_id": 2}])
    yield "shop"
    admin.drop_database("shop")


def test_a_user_who_may_only_restore_is_told_what_is_missing(
    guarded: embedded.Mongod, guarded_blocks: None, admin: Client, shop: str, repo: Repo
) -> None:
    back_up(source="guarded-source", databases=[shop])
    admin[shop]["orders"].delete_one({"_id": 1})
    wanted = {"target": "guarded-target", "namespace": "shop.orders", "filter": {"_id": 1}}

    with pytest.raises(TargetError) as error:
        restore_documents(**wanted)
    assert "the user may not read the target" in str(error.value)
    assert "grant `readWrite` on the database 'shop' beside it" in str(error.value)
    assert admin[shop].list_collection_names() == ["orders"]

    admin["admin"].command("grantRolesToUser", RESTORE_USER, roles=[{"role": "readWrite", "db": "shop"}])
    try:
        assert restore_documents(**wanted).inserted == 1
        admin[shop]["orders"].update_one({"_id": 2}, {"$set": {"a": 1}})
        again = {**wanted, "filter": {}, "existing": ExistingDocuments.OVERWRITE, "confirm": shop}
        assert restore_documents(**again).replaced == 1
    finally:
        admin["admin"].command("revokeRolesFromUser", RESTORE_USER, roles=[{"role": "readWrite", "db": "shop"}])
    assert list(admin[shop]["orders"].find()) == [{"_id": 2}, {"_id": 1}]


def test_the_form_has_an_editor_for_the_filter() -> None:
    properties = restore_documents.parameters.properties
    assert [kind["type"] for kind in properties["filter"]["anyOf"]] == ["object", "string"]
    assert "INV-000042" in json.dumps(properties["filter"]["description"])
