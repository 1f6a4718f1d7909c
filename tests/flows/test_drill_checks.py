"""The operator's own checks of a restored backup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError
from pymongo import MongoClient

from blocks import BackupStore, DrillChecks
from deployments.embedded import S3Server
from flows.core.errors import ConfigurationError
from flows.drill import drill
from tests.flows.conftest import back_up, store_of_a_module
from tests.support.drills import failed_drill
from tests.support.flow_runs import page, run_flow

Client = MongoClient[dict[str, Any]]
SHOP = "checked-shop"
PERSON = "anna.meier@example.com"


@pytest.fixture(scope="module")
def shop(mongo_client: Client, s3: S3Server, _blocks: None) -> Iterator[str]:
    """A database that is backed up in a store of the same name."""
    newest = datetime.now(UTC) - timedelta(hours=2)
    mongo_client[SHOP]["invoices"].insert_many(
        {"_id": i, "customer": i % 7, "email": PERSON, "at": newest - timedelta(hours=i)} for i in range(100)
    )
    mongo_client[SHOP]["customers"].insert_many({"_id": i} for i in range(6))
    store_of_a_module(s3, SHOP)
    back_up(store=SHOP, databases=[SHOP])
    yield SHOP
    mongo_client.drop_database(SHOP)


def orphans(shop: str) -> dict[str, Any]:
    return {
        "name": "no invoice without a customer",
        "namespace": f"{shop}.invoices",
        "pipeline": [
            {"$lookup": {"from": "customers", "localField": "customer", "foreignField": "_id", "as": "found"}},
            {"$match": {"found": []}},
        ],
    }


def count(shop: str, **bounds: Any) -> dict[str, Any]:
    return {"name": "invoices are there", "namespace": f"{shop}.invoices", **bounds}


def newest(shop: str, hours: float, field: str = "at") -> dict[str, Any]:
    fields = {"name": "the last invoice is fresh", "namespace": f"{shop}.invoices", "field": field}
    return {**fields, "younger_than_hours": hours}


def test_checks_of_a_block_and_of_the_run_are_asked(shop: str) -> None:
    DrillChecks(checks=[count(shop, at_least=100, at_most=100), newest(shop, 2.5)]).save("shop", overwrite=True)
    none = {**orphans(shop), "pipeline": [{"$match": {"email": {"$exists": False}}}]}
    run = run_flow(drill, store=shop, checks="shop", assertions=[none])
    assert run.value.passed
    rows = [(result.name, result.ok, result.got) for result in run.value.checks]
    assert [row[:2] for row in rows] == [
        ("invoices are there", True),
        ("the last invoice is fresh", True),
        ("no invoice without a customer", True),
    ]
    assert rows[0][2] == "100 documents"
    ages = r"(1 h 59|2 h \d) min before the backup, 2 h \d min before the drill"
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d UTC, {ages}", rows[1][2])
    assert rows[2][2] == "0 documents"


def test_a_check_that_fails_says_what_was_expected_and_no_more_of_a_document_than_its_time(
    shop: str,
) -> None:
    inner = {"$lookup": {"from": "invoices", "pipeline": [], "as": "y"}}
    slow = [{"$lookup": {"from": "invoices", "pipeline": [inner], "as": "x"}}, {"$match": {"x.y.none": 1}}]
    quoting = {"$match": {"$expr": {"$eq": [{"$toInt": "$email"}, 1]}}}
    failing = [
        count(shop, filter={"customer": 6}, at_least=15),
        count(shop, filter={"customer": {"$lt": 6}}, at_most=85),
        newest(shop, 1.5),
        newest(shop, 1.5, field="email"),
        orphans(shop),
        {**orphans(shop), "pipeline": slow, "timeout_seconds": 0.002},
        {**orphans(shop), "pipeline": [quoting]},
        {**orphans(shop), "namespace": f"{shop}.refunds"},
    ]
    run, findings = failed_drill(BackupStore.load(shop).open(), store=shop, assertions=failing)
    assert [(found.what, found.got) for found in findings if "before" not in found.got] == [
        ("the check 'invoices are there' failed", "14 documents"),
        ("the check 'invoices are there' failed", "86 documents"),
        ("the check 'the last invoice is fresh' failed", "no document with a date there"),
        ("the check 'no invoice without a customer' failed", "14 documents"),
        ("the check 'no invoice without a customer' failed", "no answer within 0.002 s"),
        (
            "the check 'no invoice without a customer' failed",
            "the server refused it with the code 241 ConversionFailure",
        ),
        ("the check 'no invoice without a customer' failed", "the backup does not have this namespace"),
    ]
    assert [found.expected for found in findings[:4]] == [
        "at least 15 documents",
        "at most 85 documents",
        "newest `at` less than 1 h 30 min before the backup",
        "newest `email` less than 1 h 30 min before the backup",
    ]
    assert len(findings) == 8
    assert PERSON not in page(run.id)
    assert "| invoices are there |" in page(run.id)


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ([{"$out": "x"}], "Leave out $out"),
        ([{"$facet": {"a": [{"$merge": "x"}]}}], "Leave out $merge"),
        ('[{"$match": {"$where": "1"}}]', "Leave out $where"),
        ([{"$project": {"x": {"$function": {"body": "1", "args": [], "lang": "js"}}}}], "Leave out $function"),
        ("{}", "the pipeline is not an aggregation"),
        ([], "the pipeline is not an aggregation"),
    ],
)
def test_a_check_that_does_more_than_read_is_refused(pipeline: Any, message: str) -> None:
    with pytest.raises(ParameterTypeError, match=re.escape(message)):
        drill(assertions=[{**orphans("shop"), "pipeline": pipeline}])


def test_a_check_that_cannot_fail_is_refused() -> None:
    with pytest.raises(ParameterTypeError, match="set `at_least`, `at_most` or both"):
        drill(assertions=[count("shop")])


def test_a_check_that_the_server_does_not_take_is_told_before_anything_is_restored(shop: str) -> None:
    with pytest.raises(ConfigurationError, match=r"the server does not take a check .*unknown operator: \$gtt"):
        drill(store=shop, assertions=[count(shop, filter={"customer": {"$gtt": 1}}, at_least=1)])
