from __future__ import annotations

import argparse
import hashlib
import zlib
from collections.abc import Iterator
from typing import Any

import bson
import pytest
from bson import Decimal128
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, WriteError

from deployments import payments
from deployments.bench import parse_size
from deployments.demo import differences, fingerprint

SIZE = 2_000_000  # [bytes]


def encoded(size: int = SIZE) -> Iterator[bytes]:
    return (bson.encode(document) for _, batch in payments.batches(size) for document in batch)


def digest() -> str:
    found = hashlib.sha256()
    for document in encoded():
        found.update(document)
    return found.hexdigest()


def test_the_same_size_gives_the_same_bytes_every_time() -> None:
    assert digest() == digest()


@pytest.mark.parametrize("size", [SIZE, 5_000_000])
def test_the_database_has_about_the_size_that_was_asked_for(size: int) -> None:
    assert sum(map(len, encoded(size))) == pytest.approx(size, rel=0.05)


def test_the_demo_has_more_than_200_000_documents() -> None:
    assert sum(share.documents for share in payments.shares(140_000_000)) > 200_000


def test_the_data_compresses_about_as_real_data_does() -> None:
    data = b"".join(encoded())
    assert 2.5 < len(data) / len(zlib.compress(data, 1)) < 4


def test_net_and_vat_of_an_invoice_add_up_to_gross() -> None:
    made = payments.Payments(10)
    for number in range(50):
        totals = made.invoice(number)["totals"]
        assert totals["net"].to_decimal() + totals["vat"].to_decimal() == totals["gross"].to_decimal()


def test_an_iban_has_valid_check_digits() -> None:
    for iban in (payments.Payments(1).customer(number)["iban"] for number in range(20)):
        assert len(iban) == 22
        assert int(iban[4:] + "1314" + iban[2:4]) % 97 == 1


def test_every_document_has_an_id_of_its_own() -> None:
    ids = [document["_id"] for _, batch in payments.batches(SIZE) for document in batch]
    assert len(set(ids)) == len(ids)


def test_fill_says_what_is_in_the_database(mongo_client: MongoClient[dict[str, Any]], database: str) -> None:
    filled = payments.fill(mongo_client, database, bson_bytes=SIZE)
    made = mongo_client[database]
    names = sorted(made.list_collection_names(filter={"type": "collection"}))
    assert names == ["customers", "invoice_pdfs", "invoices", "system.views", "transactions"]
    names.remove("system.views")
    assert filled == payments.Filled(
        documents=sum(made[name].count_documents({}) for name in names),
        bytes=sum(map(len, encoded())),
        collections=len(names),
        indexes=sum(len(made[name].index_information()) - 1 for name in names),
    )
    assert made.open_invoices.count_documents({}) == made.invoices.count_documents({"status": "open"}) > 0


def test_the_validator_and_the_unique_index_work(mongo_client: MongoClient[dict[str, Any]], database: str) -> None:
    payments.fill(mongo_client, database, bson_bytes=100_000)
    made = mongo_client[database]
    with pytest.raises(WriteError, match="failed validation"):
        made.invoices.insert_one({"number": 7})
    taken = next(made.customers.find())["email"]
    with pytest.raises(DuplicateKeyError, match="email"):
        made.customers.insert_one({"number": "C-1", "email": taken})


@pytest.mark.parametrize(
    ("text", "size"), [("1GB", 10**9), ("250MB", 250 * 10**6), ("1.5 GiB", 3 * 2**29), ("64kb", 64_000), ("5000", 5000)]
)
def test_a_size_is_read_with_its_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_what_is_no_size_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a size: 'large'; write 250MB or 1GiB"):
        parse_size("large")


def test_the_proof_names_what_differs(mongo_client: MongoClient[dict[str, Any]], database: str) -> None:
    made = mongo_client[database]
    made.kept.insert_one({"_id": 1, "amount": Decimal128("1.00")})
    made.lost.insert_one({"_id": 1})
    made.indexed.create_index("a")
    before = fingerprint(mongo_client, database)
    assert differences(before, before) == []

    made.kept.update_one({"_id": 1}, {"$set": {"amount": Decimal128("1.0")}})  # equal as a number, not as data
    made.lost.drop()
    made.indexed.drop_index("a_1")
    made.late.insert_one({})
    after = fingerprint(mongo_client, database)
    lines = differences(before, after)
    assert [line.partition(" was ")[0] for line in lines] == [
        "late has come from nowhere",
        "indexed: index a_1",
        "kept: dbHash",
        "lost is missing",
    ]
    assert lines[1].endswith(", is not there")
    assert lines[2] == f"kept: dbHash was {before['kept']['dbHash']}, is {after['kept']['dbHash']}"
