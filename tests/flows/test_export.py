"""The export flow: what it leaves in a store, and what other readers make of it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from prefect_aws import MinIOCredentials
from pymongo import MongoClient

from blocks import BackupStore
from deployments import embedded
from flows.backup import backup
from flows.export import export
from flows.core.parquet.records import ExportKind
from flows.tasks.export_job import EngineChoice
from tests.flows.conftest import store_of_a_module
from tests.support.exports import Target, ask, invoice
from tests.support.fault_proxy import FaultProxy
from tests.support.flow_runs import logged, page, run_flow

Client = MongoClient[dict[str, Any]]
SHOP = "export_shop"


@pytest.fixture(scope="module", autouse=True)
def stored(_blocks: None, mongo_client: Client, s3: embedded.S3Server) -> Iterator[str]:
    """A backup of a shop, in the store `shop`; its id."""
    mongo_client[SHOP].invoices.insert_many([invoice(number) for number in range(600)])
    mongo_client[SHOP].empty.insert_one({"_id": 1})
    mongo_client[SHOP].empty.delete_one({})
    mongo_client[SHOP].create_collection("open", viewOn="invoices", pipeline=[])
    store_of_a_module(s3, "shop")
    yield backup(store="shop", databases=[SHOP], retention=None).backup
    mongo_client.drop_database(SHOP)


@pytest.fixture
def target(s3: embedded.S3Server, store_prefix: str) -> Iterator[Target]:
    with FaultProxy(s3.host, s3.port) as proxy:
        block = BackupStore(
            credentials=MinIOCredentials(minio_root_user=s3.access_key, minio_root_password=s3.secret_key),
            bucket=s3.bucket,
            prefix=store_prefix,
            endpoint=proxy.url,
        )
        block.save("exports", overwrite=True)
        yield Target(block, proxy, s3.folder / s3.bucket / store_prefix)


def run_export(**parameters: Any):
    return run_flow(export, **{"store": "shop", "engine": EngineChoice.PYTHON, **parameters})


def gross_in_mongodb(client: Client) -> Decimal:
    (found,) = client[SHOP].invoices.aggregate([{"$group": {"_id": None, "gross": {"$sum": "$totals.gross"}}}])
    return found["gross"].to_decimal()


def test_a_backup_becomes_files_that_readers_sum_as_mongodb_does(
    mongo_client: Client, stored: str, target: Target
) -> None:
    run = run_export()
    report = run.value
    assert (report.documents, report.rows, report.rejected, report.version) == (600, 600, 0, 1)
    expected = gross_in_mongodb(mongo_client)
    query = target.current(f"{SHOP}.invoices")
    assert ask(f"SELECT count(*), sum(totals.gross) FROM ({query})") == [(600, expected)]
    print(page(run.id))
    print(target.files)
    print(logged(run.id))
    assert 0
