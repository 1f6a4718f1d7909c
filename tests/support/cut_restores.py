"""Restores whose connections are cut: what is restored, and whether what became of it is what was said of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bson
from prefect import flow
from pymongo import MongoClient

from blocks import BackupStore, MongoDBSource
from flows.core.archive import ArchiveReader, Batch
from flows.core.assemble import assemble_manifest
from flows.core.compress import Compression, open_compressed
from flows.core.errors import BackupError, RestoreIncomplete
from flows.core.keys import backup_id, backup_time
from flows.core.manifest import Manifest
from flows.core.restore_plan import RestoreMode
from flows.core.segments import MIN_SEGMENT_BYTES, cut
from flows.core.selection import Selection
from flows.core.version import versions
from flows.restore import restore
from flows.tasks.commit import commit
from flows.tasks.destinations import Destinations
from flows.tasks.job import BackupJob, Destination
from flows.tasks.options import threads
from flows.tasks.plan import plan as plan_backup
from flows.tasks.run import open_run
from flows.tasks.taking import store_segments
from tests.support.contents import Contents, contents
from tests.support.flow_runs import FlowRunRecord, run_flow

Client = MongoClient[dict[str, Any]]
PLAN = "default"
_LARGE = "ledger"
_SEGMENT_BYTES = 6000  # the large collection is cut in two, all others share a third
_BEFORE = {"_id": "there before"}


def fill(client: Client, name: str) -> None:
    """Make a small database with one of every kind that is restored in a way of its own."""
    db = client[name]
    db[_LARGE].insert_many({"_id": i, "number": f"L{i}", "pad": "0123456789" * 40_000} for i in range(8))
    db[_LARGE].create_index("number", unique=True)
    db.create_collection("empty").create_index("a")
    db.create_collection("capped", capped=True, size=65536, max=100).insert_many({"n": i} for i in range(150))
    db.create_collection("validated", validator={"amount": {"$exists": True}})
    db["validated"].insert_one({"no": "amount"}, bypass_document_validation=True)
    db.create_collection("metrics", timeseries={"timeField": "at", "metaField": "host"}, expireAfterSeconds=10**9)
    start = dt.datetime(2026, 3, 6, tzinfo=dt.UTC)
    db["metrics"].insert_many({"at": start + dt.timedelta(minutes=i), "host": i % 3, "cpu": i} for i in range(60))
    db["metrics"].create_index([("host", 1), ("at", -1)])
    db.create_collection("open", viewOn=_LARGE, pipeline=[{"$match": {"number": "L3"}}])


@flow(name="back-up-in-small-segments", task_runner=threads(8), persist_result=False)
def back_up_in_small_segments(database: str, store: str) -> Manifest:
    """A backup with several segments of a database for which the flow would make one."""
    with open_run() as run:
        blocks = MongoDBSource.load("source"), BackupStore.load(store)
        stores = (Destination(store, blocks[1]),)
        job = BackupJob(run.id, PLAN, backup_id(dt.datetime.now(dt.UTC)), blocks[0], stores, Compression.GZIP)
        planned = plan_backup(job, Selection((database,)), users=False, segment_bytes=MIN_SEGMENT_BYTES)
        large = next(info for info in planned.collections if info.namespace.collection == _LARGE)
        with blocks[0].open() as source:
            bounds = {large.namespace: source.split(large, 2)}
        planned = dataclasses.replace(planned, segments=tuple(cut(planned.collections, bounds, _SEGMENT_BYTES)))
        manifest = assemble_manifest(
            plan=PLAN,
            backup=job.backup,
            source=planned.identity,
            at=planned.at,
            collections=planned.collections,
            segments=store_segments(run, job, planned, 2, Destinations(stores))[store],
            users=False,
            warnings=planned.warnings,
            versions=versions(),
            started=backup_time(job.backup),
            finished=dt.datetime.now(dt.UTC),
        )
        commit(job, stores[0], manifest)
        return manifest


@contextmanager
def new_patient(client: Client, folder: Path, *, store: str, target: str) -> Iterator[Patient]:
    """Make a database, back it up and restore it once beside the original.

    Args:
        client: Straight to the server.
        folder: Where the objects of the store are files.
        store: Block of the store, in which nothing fails so far; also the name of the database.
        target: Block of the target.
    """
    fill(client, store)
    patient = Patient(client, back_up_in_small_segments(store, store), folder, store=store, target=target)
    patient.check_restored(patient.restore_into_new())
    yield patient
    for name in (store, patient.name):
        client.drop_database(name)


class Patient:
    """A database that is restored over and over, while somebody cuts the connections."""

    def __init__(self, client: Client, manifest: Manifest, folder: Path, *, store: str, target: str) -> None:
        self.name = f"{store}-restored"
        self._client = client
        self._right = contents(client, store).under_another_name()
        self._segments = [_ids(folder / manifest.segment_key(segment), segment.name) for segment in manifest.segments]
        self._parameters = {"store": store, "target": target, "rename": {store: self.name}, "into_source": True}

    def restore(self, **parameters: Any) -> FlowRunRecord:
        """Replace what is there; a document that the backup does not have is added before."""
        self._client[self.name][_LARGE].update_one(_BEFORE, {"$set": {"number": "old"}}, upsert=True)
        self._before = self._seen()
        return self._run(mode=RestoreMode.REPLACE, confirm=self.name, **parameters)

    def restore_into_new(self, **parameters: Any) -> FlowRunRecord:
        """Restore where nothing is."""
        self._client.drop_database(self.name)
        self._before = self._seen()
        return self._run(mode=RestoreMode.INTO_NEW, **parameters)

    def merge(self, **parameters: Any) -> FlowRunRecord:
        """Add what is missing to a database that has lost documents, and has others that the backup does not have."""
        ledger = self._client[self.name][_LARGE]
        ledger.delete_many({"_id": {"$in": [1, 2, 5, 6]}})
        ledger.insert_one(_BEFORE)
        return self.merge_again(**parameters)

    def merge_again(self, **parameters: Any) -> FlowRunRecord:
        """Add what is missing to what is there."""
        return self._run(mode=RestoreMode.MERGE, exclude=["*.capped"], **parameters)

    def _run(self, **parameters: Any) -> FlowRunRecord:
        return run_flow(restore, **{"safety_backup": False, **self._parameters, **parameters})

    def _seen(self) -> Contents:
        return contents(self._client, self.name).under_another_name()

    def check_restored(self, run: FlowRunRecord) -> None:
        """See that a run succeeded, and that everything is as in the source."""
        assert run.value.documents == sum(len(ids) for segment in self._segments for ids in segment.values())
        assert self._seen() == self._right

    def check_merged(self, run: FlowRunRecord) -> None:
        """See that a run succeeded, and that everything is as in the source, beside what was there."""
        assert run.value
        assert self._client[self.name][_LARGE].delete_one(_BEFORE).deleted_count == 1
        assert self._seen() == self._right

    def check_failed(self, run: FlowRunRecord, *, exactly: bool) -> None:
        """See that a run failed with a true statement, and that it can be run again as the statement says.

        Args:
            run: What was cut.
            exactly: No answer of the target was lost, so the run knew everything that it had done.
        """
        error = run.error
        assert isinstance(error, BackupError)
        after = self._seen()
        if not isinstance(error, RestoreIncomplete):
            assert after == self._before, error
        elif "no documents were loaded" in error.message:
            self._check_preparing(error, after)
        else:
            self._check_loading(error, after, exactly=exactly)
        if isinstance(error, RestoreIncomplete):
            assert "use mode `replace` with `confirm`: it drops what is there and begins anew" in error.hint
        self.check_restored(self._run(mode=RestoreMode.REPLACE, confirm=self.name))

    def _check_preparing(self, error: RestoreIncomplete, after: Contents) -> None:
        told = re.search(r"the (\d+) namespaces to be replaced may be dropped", error.message)
        assert (int(told[1]) if told else 0) == sum(not name.startswith("system.") for name in self._before.options)
        for name, value in after.hashes.items():
            data = self._client[self.name][name]
            assert value == self._before.hashes.get(name) or data.find_one() is None, f"{name}: {error}"

    def _check_loading(self, error: RestoreIncomplete, after: Contents, *, exactly: bool) -> None:
        told = re.search(
            r"the target has (\d+) of (\d+) segments for certain, the documents of (\d+) collections are complete, "
            r"(\d+) may be empty or incomplete, indexes and views may be missing",
            error.message,
        )
        assert told, error
        segments, of, complete, rest = map(int, told.groups())
        assert (of, complete + rest) == (len(self._segments), len(self._right.hashes))
        whole_segments = sum(map(self._is_there, self._segments))
        whole = sum(after.hashes.get(name) == value for name, value in self._right.hashes.items())
        assert segments == whole_segments if exactly else segments <= whole_segments, error
        assert complete <= whole, error

    def _is_there(self, segment: dict[str, list[Any]]) -> bool:
        db = self._client[self.name]
        return all(db[name].count_documents({"_id": {"$in": ids}}) == len(ids) for name, ids in segment.items())


def _ids(path: Path, name: str) -> dict[str, list[Any]]:
    """The `_id` of every document in a stored segment, by collection."""
    found: dict[str, list[Any]] = {}
    with path.open("rb") as file, open_compressed(file, Compression.GZIP, name=name) as stream:
        for event in ArchiveReader(stream):
            if isinstance(event, Batch):
                ids = found.setdefault(event.namespace.collection, [])
                ids += [bson.BSON(document).decode()["_id"] for document in event.documents()]
    return found
