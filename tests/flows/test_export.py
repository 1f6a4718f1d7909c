"""The export flow: what it leaves in a store, and what other readers make of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from bson import json_util
from bson.raw_bson import RawBSONDocument
from prefect.events import Event, emit_event
from prefect.settings import PREFECT_API_URL
from pymongo import MongoClient

from blocks import BackupEncryption, BackupIdentities
from deployments import embedded
from flows.backup import backup
from flows.cli.app import main
from flows.cli.status import Status
from flows.core.encryption import Identity
from flows.core.errors import ConfigurationError, IntegrityError, StoreUnavailable
from flows.core.names import Namespace
from flows.core.parquet.documents import documents_of
from flows.core.parquet.records import FileRole
from flows.core.parquet.schema import ExportSchema
from flows.export import export
from flows.tasks.export_job import EngineChoice, Runner
from tests.flows.conftest import store_of_a_module
from tests.support.crash_runs import CrashRuns
from tests.support.exports import Target, ask, invoice, revenue
from tests.support.fault_proxy import DEAD, DEAD_AFTER, DROP_ANSWER
from tests.support.flow_runs import FlowRunRecord, logged, new_second, page, run_flow

Client = MongoClient[dict[str, Any]]
SHOP = "export_shop"
INVOICES = f"{SHOP}.invoices"
# Probe, its removal, Parquet, schemas and dictionaries of two collections, views, manifest.
WRITES = 9


@pytest.fixture(scope="module", autouse=True)
def stored(_blocks: None, mongo_client: Client, s3: embedded.S3Server) -> Iterator[str]:
    """A backup of a shop, in the store `shop`; its id."""
    mongo_client[SHOP].invoices.insert_many([invoice(number) for number in range(600)])
    mongo_client[SHOP].create_collection("empty")
    mongo_client[SHOP].create_collection("open", viewOn="invoices", pipeline=[])
    store_of_a_module(s3, "shop")
    yield back_up_shop()
    mongo_client.drop_database(SHOP)


def back_up_shop(**parameters: Any) -> str:
    with new_second() as made:
        made.append(backup(**{"store": "shop", "databases": [SHOP], "retention": None, **parameters}).backup)
    return made[0]


def run_export(**parameters: Any) -> FlowRunRecord:
    with new_second():
        return run_flow(export, **{"store": "shop", "engine": EngineChoice.PYTHON, **parameters})


def gross_in_mongodb(client: Client, database: str = SHOP) -> Decimal:
    (found,) = client[database].invoices.aggregate([{"$group": {"_id": None, "gross": {"$sum": "$totals.gross"}}}])
    return found["gross"].to_decimal()


def test_a_backup_becomes_files_that_readers_sum_as_mongodb_does(
    mongo_client: Client, stored: str, target: Target, spool: Path
) -> None:
    run = run_export()

    report = run.value
    assert (report.documents, report.rows, report.rejected, report.version) == (600, 600, 0, 1)
    assert [str(item.namespace) for item in report.namespaces] == [f"{SHOP}.empty", INVOICES]
    (path,) = target.paths(INVOICES)
    gross, paid = gross_in_mongodb(mongo_client), mongo_client[SHOP].invoices.count_documents({"totals.paid": True})

    # What the manifest names, by the query of its view.
    query = target.current(INVOICES)
    assert ask(f"SELECT sum(totals.gross), sum(totals.paid::INT) FROM ({query})") == [(gross, paid)]
    by_month = ask(f"SELECT coalesce(strftime(issuedAt, '%Y-%m'), ''), sum(totals.gross) FROM ({query}) GROUP BY 1")
    assert dict(by_month) == revenue(invoice(number) for number in range(600))
    # The views, as they are in the store.
    views = (target.folder / "default/export/versions/00000001.sql").read_text()
    assert f"s3://{target.block.bucket}/{target.block.prefix}" in views
    local = views.replace(target.block.location, str(target.folder))
    assert ask(f'{local}; SELECT count(*), sum(items[1].n) FROM "{INVOICES}"') == [(600, 450)]
    # Other readers.
    totals = pq.read_table(path)["totals"].combine_chunks()
    assert pc.sum(totals.field("gross")).as_py() == gross
    assert sum(row["gross"] for row in pd.read_parquet(path)["totals"]) == gross
    assert pl.read_parquet(path)["totals"].struct.field("gross").sum() == gross

    metadata = pq.read_metadata(path).metadata
    dataset = target.dataset()
    record = dataset.exports[0]
    assert metadata[b"mongo-backup.backup"] == stored.encode() == record.backup.encode()
    assert metadata[b"mongo-backup.cluster-time"] == str(record.cluster_time).encode()
    assert metadata[b"mongo-backup.schema"] == dataset.schema(Namespace.parse(INVOICES)).sha256.encode()
    file = dataset.exports[0].named(Namespace.parse(INVOICES)).of(FileRole.ROWS)[0]
    assert (file.sha256, file.rows) == (hashlib.sha256(path.read_bytes()).hexdigest(), 600)
    (dictionary,) = target.paths(INVOICES, "default", FileRole.DICTIONARY)
    assert "/totals/gross" in dictionary.read_text()

    text = page(run.id)
    assert f"Export of backup {stored} of plan default" in text
    assert "**Rejected**: none" in text
    assert f'CREATE OR REPLACE VIEW "{INVOICES}"' in text
    assert not [found for found in spool.rglob("*") if found.is_file()]
    assert len(target.proxy.writes) == WRITES


def test_spark_sums_as_mongodb_does(mongo_client: Client, target: Target) -> None:
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed; it wants a Java, too")
    run_export()
    (path,) = target.paths(INVOICES)
    spark = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        found = spark.read.parquet(str(path)).selectExpr("count(*)", "sum(totals.gross)", "max(issuedAt)").first()
    finally:
        spark.stop()
    newest = max(made["issuedAt"] for made in map(invoice, range(600)) if "issuedAt" in made)
    assert (found[0], found[1], found[2].timestamp()) == (600, gross_in_mongodb(mongo_client), newest.timestamp())


def test_nothing_is_lost_of_any_type(mongo_client: Client, stored_zoo: Any, target: Target) -> None:
    report = run_export(store="zoo").value
    assert report.rejected == 0
    dataset = target.dataset()
    names = {str(item.namespace) for item in report.namespaces}
    assert {"zoo.types", "zoo.invoices"} <= names
    for item in report.namespaces:
        schema = ExportSchema.from_json(json.loads((target.folder / dataset.schema(item.namespace).key).read_bytes()))
        found = [
            document
            for path in target.paths(str(item.namespace))
            for document in documents_of(schema, pq.read_table(path))
        ]
        source = list(mongo_client[item.namespace.database][item.namespace.collection].find())
        assert len(found) == len(source) == item.documents
        assert sorted(map(comparable, found)) == sorted(map(comparable, source)), item.namespace
    # What has no documents of its own is said to stay behind.
    assert any("time-series" in warning for warning in report.warnings)


def comparable(document: dict[str, Any]) -> str:
    """Text that is equal where documents are, but for what the format does not keep: order of keys, widths, 1.10."""
    value = json.loads(json_util.dumps(document, json_options=json_util.RELAXED_JSON_OPTIONS))
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    text = re.sub(r'(?<="\$numberDecimal": ")([^"]+)', lambda found: f"{Decimal(found[1]).normalize() + 0:f}", text)
    return re.sub(r"(?<=[ \[])-?(\d+)\.0(?=[,}\]])", lambda found: found[0].removesuffix(".0").replace("-0", "0"), text)


def test_an_encrypted_backup_wants_an_identity_before_anything_is_written(target: Target) -> None:
    alice = Identity.generate()
    BackupEncryption(recipients=[alice.public]).save("exported", overwrite=True)
    BackupIdentities(identities=[alice.secret]).save("exporter", overwrite=True)
    back_up_shop(plan="sealed", encryption="exported")
    refused = run_export(plan="sealed")
    assert isinstance(refused.error, ConfigurationError)
    assert target.files == []
    run = run_export(plan="sealed", identities="exporter")
    assert run.value.rows == 600
    assert ask(f"SELECT count(*) FROM ({target.current(INVOICES, 'sealed')})") == [(600,)]


def test_a_damaged_backup_is_not_published(s3: embedded.S3Server, target: Target) -> None:
    identifier = back_up_shop(plan="damaged")
    (segment,) = (s3.folder / s3.bucket / "shop").glob(f"damaged/backups/{identifier}/segment-*")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    assert isinstance(run_export(plan="damaged").error, IntegrityError)
    assert target.versions("damaged") == []


def test_a_store_that_dies_at_a_write_shows_the_version_before_or_the_one_after(target: Target) -> None:
    run_export()
    assert len(target.proxy.writes) == WRITES
    query = target.current(INVOICES)
    last = WRITES - 3  # the schemas are there
    for at, action, version in ((last - 1, DEAD_AFTER, 1), (last, DEAD, 1), (last, DEAD_AFTER, 2)):
        target.proxy.reset()
        target.proxy.at_write(at, action)
        assert isinstance(run_export().error, StoreUnavailable), at
        target.proxy.reset()
        assert target.versions()[-1] == version, at
        assert (target.current(INVOICES) == query) == (version == 1)
        assert ask(f"SELECT count(*) FROM ({target.current(INVOICES)})") == [(600,)]
    assert run_export().value.version == 3
    assert ask(f"SELECT count(*) FROM ({target.current(INVOICES)})") == [(600,)]


def test_a_killed_run_leaves_the_version_before_it_or_none(target: Target, tmp_path: Path) -> None:
    # Each has a data set of its own: that of a killed run is held for two minutes.
    deaths = {"after-write": ("write", "completion"), "before-publish": ("publish-version", "running")}
    run_export(dataset="after-write")
    query = target.current(INVOICES, "after-write")
    runs = CrashRuns(tmp_path, {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())})
    parameters = {"store": "shop", "engine": "python"}
    ended = runs.run_all(
        {"plan": name, "flow": "export", "parameters": {**parameters, "dataset": name}, "task": task, "moment": moment}
        for name, (task, moment) in deaths.items()
    )
    assert ended == dict.fromkeys(deaths, -9), runs.log("after-write")
    assert (target.versions("after-write"), target.versions("before-publish")) == ([1], [])
    assert target.current(INVOICES, "after-write") == query
    assert ask(f"SELECT count(*) FROM ({query})") == [(600,)]
    parts = [path for path in target.files if path.endswith("part-00000-000.parquet")]
    assert len(parts) == 3  # what was uploaded is there, and no manifest names it


def test_a_lost_answer_to_the_manifest_is_no_failure(target: Target) -> None:
    target.proxy.fail(
        lambda request: request.method == "PUT" and request.path.endswith("00000001.json"), action=DROP_ANSWER
    )
    assert run_export().value.version == 1
    assert target.versions() == [1]


def test_a_schema_only_grows_and_old_exports_stay(
    mongo_client: Client, target: Target, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    monkeypatch.setattr(
        "flows.tasks.export_run.emit_event", lambda *facts, **more: events.append(emit_event(*facts, **more))
    )
    orders = mongo_client[database].orders
    orders.insert_many([{"_id": number, "n": number, "city": "Köln"} for number in range(10)])
    name = f"{database}.orders"
    first = run_export(source="source", databases=[database], dataset="orders").value
    orders.insert_many([{"_id": "x", "n": "many", "Tags": [1, 2]}, {"_id": 11, "n": 2.5, "city": None}])
    orders.update_many({}, {"$unset": {"city": ""}})

    second = run_export(source="source", databases=[database], dataset="orders").value

    assert {(added.path, added.kind) for added in second.added} >= {("/Tags", "list"), ("/n", "json")}
    assert not any(added.path == "/city" for added in second.added)
    (event,) = events  # of the second one: a schema that is new has not grown
    assert (event.event, event.resource.id) == ("mongo-backup.export.schema-grown", "mongo-backup.dataset.orders")
    assert (event.payload["namespace"], event.payload["version"]) == (name, 2)
    assert {"field": "/Tags", "column": "list"} in event.payload["added"]
    query = target.current(name, "orders")
    assert ask(f"SELECT count(*), sum(n), count(city), list(n__json ORDER BY 1) FROM ({query})") == [
        (12, 45, 0, ['"many"', '{"$numberDouble":"2.5"}'])
    ] or ask(f"SELECT count(*), sum(n), count(city) FROM ({query})") == [(12, 45, 0)]
    assert ask(f"SELECT count(*), count(city) FROM ({target.current(name, 'orders', first.export)})") == [(10, 10)]
    dataset = target.dataset("orders")
    assert (dataset.version, [record.export for record in dataset.exports]) == (2, [first.export, second.export])
    record = dataset.schema(Namespace.parse(name))
    assert (record.version, record.first_seen["/n"], record.first_seen["/Tags"]) == (2, first.export, second.export)
    assert dataset.exports[1].backup == ""
    assert dataset.exports[1].cluster_time is not None


def test_documents_that_no_row_can_hold_are_kept_beside_the_rows(
    mongo_client: Client, target: Target, database: str
) -> None:
    odd = b"\x10_id\x00\x01\x00\x00\x00\x10a\x00\x01\x00\x00\x00\x10a\x00\x02\x00\x00\x00"
    twice = (len(odd) + 5).to_bytes(4, "little") + odd + b"\0"
    mongo_client[database].odd.insert_many([RawBSONDocument(twice), {"_id": 2}])
    run = run_export(source="source", databases=[database], dataset="odd")
    report = run.value
    assert (report.documents, report.rows, report.rejected) == (2, 1, 1)
    (rejects,) = target.paths(f"{database}.odd", "odd", FileRole.REJECTS)
    assert rejects.read_bytes() == twice
    assert "**1 document cannot be rows**" in page(run.id)
    (warning,) = [text for text in report.warnings if "cannot be rows" in text]
    assert warning.startswith(f"1 document of {database}.odd cannot be rows: ")
    assert "twice" in warning or "two" in warning
    assert any("1 document of" in line for line in logged(run.id))


def test_partitions_by_month_and_a_filter_for_ids(target: Target) -> None:
    run = run_export(partition={INVOICES: "issuedAt"}, bloom={INVOICES: "customer.id"}, databases=[SHOP])
    assert run.value.rows == 600
    paths = target.paths(INVOICES)
    assert {path.parent.name for path in paths} == {f"month=2026-0{m}" for m in (1, 2, 3, 4)} | {
        "month=__HIVE_DEFAULT_PARTITION__"
    }
    folder = paths[0].parent.parent
    months = ask(f"SELECT month, sum(totals.gross) FROM read_parquet('{folder}/*/*.parquet') GROUP BY 1")
    expected = revenue(invoice(number) for number in range(600))
    assert {month or "": gross for month, gross in months} == expected
    assert ask(f"SELECT count(*) FROM ({target.current(INVOICES)}) WHERE customer.id = 'C-7'") == [(15,)]
    filters = ask(f"SELECT path_in_schema, bloom_filter_offset FROM parquet_metadata('{paths[0]}')")
    assert [path for path, offset in filters if offset is not None] == ["customer, id"]


@pytest.mark.parametrize("runner", [Runner.PROCESSES, Runner.DASK, Runner.RAY])
def test_units_are_worked_on_in_other_processes(target: Target, runner: Runner) -> None:
    if runner in (Runner.DASK, Runner.RAY):
        pytest.importorskip(f"prefect_{runner.value}", reason=f"prefect-{runner.value} is not installed")
    run = run_export(runner=runner, units_in_flight=1)
    assert run.value.rows == 600
    assert ask(f"SELECT count(*) FROM ({target.current(INVOICES)})") == [(600,)]


def test_a_dry_run_writes_nothing_and_shows_what_would_come(target: Target) -> None:
    run = run_export(dry_run=True)
    assert (run.value.documents, run.value.rows, run.value.dry_run) == (600, 0, True)
    assert target.files == []
    assert target.proxy.writes == []
    text = page(run.id)
    assert "Dry run: nothing has been written" in text
    assert "/totals/gross" in text


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"level": 20}, "no such level"),
        ({"dataset": "Shop!"}, "not a name for a plan"),
        ({"bloom": {INVOICES: "nothing"}}, "no such column"),
        ({"runner": Runner.DASK}, "not installed"),
        ({"source": "source", "backup": "2026-03-06T04-00-00Z"}, "both were named"),
        ({"full_every": -1}, "negative"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_exported(
    target: Target, parameters: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask", None)  # as if it were not installed
    run = run_export(**parameters)
    assert isinstance(run.error, ConfigurationError)
    assert text in str(run.error)
    assert not any("export/data" in name or "export/versions" in name for name in target.files)


def test_from_a_terminal(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    with new_second():
        status = main(["export", "--store", "shop", "--engine", "python", "--partition", f"{INVOICES}=issuedAt"])
    assert status is Status.DONE
    out = capsys.readouterr().out
    assert "Published" in out
    assert "600" in out
