"""The beginning of every demonstration: the parts, and a payment database in them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from deployments import payments
from deployments.embedded import parts
from deployments.rig import DATABASE, Addresses, Rig, timed
from flows.core.report import format_bytes, format_count


@dataclass(frozen=True, slots=True)
class Stage:
    """What a demonstration begins with.

    Args:
        documents: In the database.
        bucket: The folder whose files are the objects of the store.
    """

    rig: Rig
    documents: int
    bucket: Path


@contextmanager
def stage(bson_bytes: int) -> Iterator[Stage]:
    """Start the parts and fill the database, telling of each; take everything away at the end.

    Args:
        bson_bytes: Size of the database [bytes].
    """
    # The pool is outside: its thread ends when the parts do, and not the other way round.
    with ThreadPoolExecutor(1) as pool, parts() as held:
        starting = pool.submit(held.prefect_server)  # the slow one
        with timed() as line:
            mongod, s3 = held.mongod(), held.s3()
            line.append("MongoDB (a replica set) and an S3 server are running")
        with timed() as line, MongoClient[dict[str, Any]](mongod.uri) as client:
            made = payments.fill(client, DATABASE, bson_bytes=bson_bytes)
            line.append(f"Database `{DATABASE}`: {format_count(made.documents)} documents, {format_bytes(made.bytes)}")
        print(f"  in {made.collections} collections with {made.indexes} indexes, a validator and a view", flush=True)
        with timed() as line:
            server = starting.result()
            line.append("Prefect server is running; it started meanwhile")
        rig = Rig(held, server, Addresses.of(mongod, s3), held.folder / "flows.log")
        yield Stage(rig, made.documents, s3.folder / s3.bucket)
