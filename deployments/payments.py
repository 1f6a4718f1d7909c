"""The database of a payment application, for the demo and the benchmark: any size, the same content every time."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import bson
from pymongo import ASCENDING, DESCENDING, IndexModel, MongoClient, WriteConcern
from pymongo.database import Database

from deployments.payment_documents import Document, Payments

_BATCH = 5000  # [documents] of one insert
_THREADS = 2  # that insert, while this one makes the next batch
_SAMPLE = 400  # [documents] of each collection, for its mean size

_INVOICE_SCHEMA = {
    "bsonType": "object",
    "required": ["number", "customerId", "issuedAt", "status", "totals"],
    "properties": {
        "number": {"bsonType": "string", "pattern": "^INV-[0-9]{8}$"},
        "status": {"enum": ["paid", "open", "overdue", "void"]},
        "totals": {"bsonType": "object", "required": ["gross"], "properties": {"gross": {"bsonType": "decimal"}}},
    },
}


@dataclass(frozen=True, slots=True)
class Filled:
    """What `fill` has made."""

    documents: int
    bytes: int  # [bytes] BSON
    collections: int
    indexes: int  # besides those of `_id`


@dataclass(frozen=True, slots=True)
class Share:
    """One collection: how its documents are made and how much of the database they are."""

    name: str
    make: Callable[[Payments, int], Document]
    share: float  # of the bytes
    indexes: tuple[IndexModel, ...]
    documents: int = 0


_SHARES = (
    Share("customers", Payments.customer, 0.10, (IndexModel("email", unique=True), IndexModel("number", unique=True))),
    Share(
        "invoices",
        Payments.invoice,
        0.25,
        (
            IndexModel("number", unique=True),
            IndexModel([("customerId", ASCENDING), ("issuedAt", DESCENDING)]),
            IndexModel("dueAt", partialFilterExpression={"status": "open"}, name="open_by_due_date"),
        ),
    ),
    Share(
        "transactions",
        Payments.transaction,
        0.60,
        (
            IndexModel("reference", unique=True),
            IndexModel([("customerId", ASCENDING), ("createdAt", DESCENDING)]),
            IndexModel([("status", ASCENDING), ("createdAt", ASCENDING)]),
        ),
    ),
    Share("invoice_pdfs", Payments.invoice_pdf, 0.05, (IndexModel("invoiceId", unique=True),)),
)


def shares(bson_bytes: int) -> list[Share]:
    """How many documents of each collection make about `bson_bytes` of BSON, by the mean size of a sample."""
    sampler = Payments(_SAMPLE)
    found = []
    for share in _SHARES:
        size = sum(len(bson.encode(share.make(sampler, n))) for n in range(_SAMPLE)) / _SAMPLE
        found.append(replace(share, documents=max(1, int(bson_bytes * share.share / size))))
    return found


def batches(bson_bytes: int) -> Iterator[tuple[str, list[Document]]]:
    """The whole database as (name of a collection, some of its documents)."""
    planned = shares(bson_bytes)
    payments = Payments(planned[0].documents)
    for share in planned:
        for start in range(0, share.documents, _BATCH):
            numbers = range(start, min(start + _BATCH, share.documents))
            yield share.name, [share.make(payments, number) for number in numbers]


def fill(client: MongoClient[Document], database: str, *, bson_bytes: int) -> Filled:
    """Make the database: collections, a validator, documents, indexes and a view.

    Args:
        client: Connected to a server that takes writes.
        database: Name of a database that does not exist.
        bson_bytes: How large it shall be, about [bytes of BSON, without indexes].

    Raises:
        PyMongoError: The server did not take something.
    """
    target = client.get_database(database, write_concern=WriteConcern(w=1))
    target.create_collection("invoices", validator={"$jsonSchema": _INVOICE_SCHEMA})
    with _no_garbage():
        documents = _insert(target, bson_bytes)
    for share in _SHARES:
        target[share.name].create_indexes(list(share.indexes))
    view = [{"$match": {"status": "open"}}, {"$project": {"number": 1, "dueAt": 1, "totals.gross": 1}}]
    target.create_collection("open_invoices", viewOn="invoices", pipeline=view)
    size = sum(int(target.command("collStats", share.name)["size"]) for share in _SHARES)
    return Filled(documents, size, len(_SHARES), sum(len(share.indexes) for share in _SHARES))


def _insert(target: Database[Document], bson_bytes: int) -> int:
    documents = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        pending: deque[Future[Any]] = deque()
        for name, batch in batches(bson_bytes):
            documents += len(batch)
            pending.append(pool.submit(target[name].insert_many, batch, ordered=False))
            if len(pending) > _THREADS:
                pending.popleft().result()
        for insert in pending:
            insert.result()
    return documents


@contextmanager
def _no_garbage() -> Iterator[None]:
    # The documents have no cycles, and looking for some in all of them takes a quarter of the time.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
