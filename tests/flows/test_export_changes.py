"""Exports of changes: what the view gives is what the collection was, at each of them."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Decimal128, Int64
from pymongo import MongoClient

from blocks import ExportRules
from flows.compact_exports import compact_exports
from flows.core.errors import ConfigurationError
from flows.core.names import Namespace
from flows.core.parquet.pseudonyms import RootKey
from flows.core.parquet.records import Changes, ExportedNamespace, ExportKind, FileRole
from flows.export import export
from flows.tasks.export_job import EngineChoice, Runner
from tests.support.exports import Target, ask
from tests.support.flow_runs import FlowRunRecord, new_second, page, run_flow

Client = MongoClient[dict[str, Any]]


@pytest.fixture
def orders(mongo_client: Client, database: str) -> Any:
    """A collection of its own."""
    return mongo_client[database].orders


def run_export(orders: Any, **parameters: Any) -> FlowRunRecord:
    with new_second():
        return run_flow(
            export,
            **{
                "source": "source",
                "databases": [orders.database.name],
                "engine": EngineChoice.PYTHON,
                "dataset": "orders",
                "incremental": True,
                **parameters,
            },
        )


def order(number: int) -> dict[str, Any]:
    return {"_id": number, "gross": Decimal128(f"{number}.10"), "customer": {"city": f"C{number % 7}"}, "tags": ["a"]}


def change(orders: Any, step: int) -> Changes:
    """Change a collection in a way that was not seen before."""
    if step == 1:
        orders.insert_many([order(number) for number in range(200, 210)])
        orders.insert_one({"_id": "text", "gross": Decimal128("1.00"), "customer": {"city": "C1", "zip": "50667"}})
        orders.update_many({"_id": {"$in": list(range(10))}}, {"$set": {"customer.zip": "10115", "note": "new"}})
        orders.delete_many({"_id": {"$in": list(range(100, 120))}})
        return Changes(11, 10, 20)
    orders.delete_one({"_id": 200})
    orders.delete_one({"_id": "text"})
    orders.delete_one({"_id": 5})
    orders.insert_one({"_id": 110, "gross": "none", "customer": {"city": "Köln"}, "tags": []})  # it was there once
    orders.replace_one({"_id": 6}, {"_id": 6, "gross": Decimal128("6.60"), "customer": {"city": "Bonn"}})
    orders.insert_one({"_id": Int64(300), "gross": Decimal128("3.00")})
    return Changes(2, 1, 3)


def in_mongodb(orders: Any) -> list[tuple[Any, ...]]:
    found = []
    for one in orders.find():
        gross = one.get("gross")
        number = gross.to_decimal() if isinstance(gross, Decimal128) else None
        customer = one.get("customer", {})
        found.append((str(one["_id"]), number, customer.get("city"), customer.get("zip"), one.get("note")))
    return sorted(found)


def in_parquet(target: Target, name: str, export: str = "") -> list[tuple[Any, ...]]:
    dataset = target.dataset("orders")
    chain = dataset.chain(Namespace.parse(name), export)
    newest = len(chain) > 1 or chain[0][1].kind is ExportKind.COMPACTED
    columns = "coalesce(_id::VARCHAR, json_extract_string(_id__json, '$')), gross, customer.city, customer.zip, note"
    if not newest:
        columns = "_id::VARCHAR, gross, customer.city, NULL, NULL"
    return sorted(ask(f"SELECT {columns} FROM ({target.current(name, 'orders', export)})"))


def test_three_exports_of_a_changing_collection(orders: Any, target: Target) -> None:
    name = str(Namespace(orders.database.name, "orders"))
    orders.insert_many([order(number) for number in range(200)])
    states = {}
    first = run_export(orders).value
    states[first.export] = in_mongodb(orders)
    assert first.namespaces[0].kind is ExportKind.FULL
    assert in_parquet(target, name) == states[first.export]
    last = first
    for step in (1, 2):
        changes = change(orders, step)
        run = run_export(orders)
        (item,) = run.value.namespaces
        assert (item.kind, item.since, item.changes) == (ExportKind.CHANGES, last.export, changes)
        assert item.rows == changes.inserted + changes.updated + changes.deleted
        assert f"{changes.inserted} new, {changes.updated} changed, {changes.deleted} gone" in page(run.id)
        last = run.value
        states[last.export] = in_mongodb(orders)
        for at, state in states.items():
            assert in_parquet(target, name, at) == state
    assert in_parquet(target, name) == in_mongodb(orders)
    # Nothing has changed since.
    (item,) = run_export(orders).value.namespaces
    assert (item.changes, item.of(FileRole.CHANGES)) == (Changes(0, 0, 0), ())
    assert in_parquet(target, name) == in_mongodb(orders)

    compact_exports(dataset="orders")
    assert len(target.dataset("orders").exports) == 4
    report = compact_exports(dataset="orders", dry_run=False)
    assert report.rows == orders.count_documents({})
    assert [one.kind for one in items(target, name)] == [ExportKind.COMPACTED]
    assert in_parquet(target, name) == in_mongodb(orders)
    orders.delete_one({"_id": 1})
    (item,) = run_export(orders).value.namespaces
    assert item.changes == Changes(0, 0, 1)
    assert in_parquet(target, name) == in_mongodb(orders)


def items(target: Target, name: str) -> list[ExportedNamespace]:
    return [item for export in target.dataset("orders").exports if (item := export.named(Namespace.parse(name)))]


def test_units_in_processes_and_partitions_and_a_whole_export_again(orders: Any, target: Target) -> None:
    name = str(Namespace(orders.database.name, "orders"))
    orders.insert_many([order(number) for number in range(50)])
    run_export(orders, full_every=2)
    orders.delete_many({"_id": {"$gte": 40}})
    run = run_export(orders, full_every=2, runner=Runner.PROCESSES, units_in_flight=1)
    (item,) = run.value.namespaces
    assert item.changes == Changes(0, 0, 10)
    query = target.current(name, "orders")
    assert ask(f"SELECT count(*), max(_id) FROM ({query})") == [(40, 39)]
    (item,) = run_export(orders, full_every=2).value.namespaces
    assert (item.kind, item.rows) == (ExportKind.FULL, 40)


def test_rules_hide_what_changes_too_and_other_rules_make_it_whole(orders: Any, target: Target) -> None:
    name = f"{orders.database.name}.orders"
    listed = [{"path": "_id", "action": "hmac"}, {"path": "gross", "action": "keep"}]
    rules = {name: {"unlisted": "drop", "rules": listed}}
    ExportRules(rules=rules, keys=RootKey.generate().secret).save("orders", overwrite=True)
    ExportRules(rules={name: {"unlisted": "drop", "rules": listed[1:]}}).save("no-id", overwrite=True)
    orders.insert_many([{**order(number), "name": f"Canary-{number}"} for number in range(30)])
    shown = run_export(orders, rules="orders", dry_run=True)
    assert "Canary" not in page(shown.id)
    assert target.files == []
    run_export(orders, rules="orders")
    orders.update_one({"_id": 3}, {"$set": {"name": "Canary-new", "gross": Decimal128("0.50")}})
    orders.delete_one({"_id": 4})
    (item,) = run_export(orders, rules="orders").value.namespaces
    assert item.changes == Changes(0, 1, 1)
    query = target.current(name, "orders")
    assert ask(f"SELECT count(*), sum(gross) FROM ({query})") == [
        (29, sum(one["gross"].to_decimal() for one in orders.find()))
    ]
    for path in target.files:
        assert b"Canary" not in (target.folder / path).read_bytes(), path
        assert b"customer" not in (target.folder / path).read_bytes(), path
    (item,) = run_export(orders).value.namespaces
    assert item.kind is ExportKind.FULL
    refused = run_export(orders, rules="no-id")
    assert isinstance(refused.error, ConfigurationError)
    assert "needs a key" in str(refused.error)


def test_machines_without_a_common_disk_are_refused(
    orders: Any, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.export.check_runner", lambda _: None)
    orders.insert_one({"_id": 1})
    error = run_export(orders, runner=Runner.DASK).error
    assert isinstance(error, ConfigurationError)
    assert "one machine" in str(error)
    assert target.files == []
