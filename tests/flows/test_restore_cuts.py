"""Restores with the connection to MongoDB cut at scripted points: right in the end, or a true word on the target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from blocks import MongoDBTarget
from deployments import embedded
from flows.core.errors import Refused, RestoreIncomplete
from tests.flows.conftest import store_of_a_module
from tests.support.cut_restores import Patient, new_patient
from tests.support.mongo_proxy import Cut, Moment, MongoProxy

Client = MongoClient[dict[str, Any]]
BEFORE, WITHIN, REPLY, ANSWER = Moment
ALWAYS = 1000

# Everything that a restore asks of the target, from its first hello to its last look at a view. Each stage has three
# tries, and the driver itself repeats a read once, so that a connection that breaks once or twice is no matter.
SURVIVED = [
    # The first hello of a connection: of the driver's monitors, and of the connections that work.
    *(Cut("ismaster", nth=nth, moment=moment) for nth in (0, 1, 9) for moment in (BEFORE, REPLY)),
    # Plan.
    Cut("buildInfo", moment=REPLY),
    *(Cut("replSetGetConfig", moment=moment) for moment in (BEFORE, REPLY)),
    Cut("listCollections", moment=REPLY),
    Cut("listCollections", moment=ANSWER, at=200),
    Cut("count", "ledger", times=2),
    # Prepare.
    *(Cut("drop", "ledger", moment=moment, at=30) for moment in (BEFORE, WITHIN, REPLY)),
    Cut("drop", "metrics", moment=REPLY),
    *(Cut("create", "ledger", moment=moment, at=40) for moment in (BEFORE, WITHIN, REPLY)),
    Cut("create", "capped", moment=REPLY),
    *(Cut("create", "metrics", moment=moment, at=5) for moment in (BEFORE, ANSWER)),
    # Load: two segments of two batches each, a collection whose order counts, one that is stored as another.
    *(Cut("insert", "ledger", nth, moment, at) for nth in range(4) for moment, at in ((WITHIN, 300_000), (REPLY, 0))),
    Cut("insert", "ledger", 1, ANSWER, 20, times=2),
    *(Cut("insert", "capped", moment=moment, at=2000) for moment in (WITHIN, REPLY)),
    Cut("insert", "capped", moment=REPLY, times=2),
    *(Cut("insert", "system.buckets.metrics", moment=moment) for moment in (BEFORE, REPLY)),
    Cut("insert", "validated", moment=REPLY),
    # Read back: the first batch of an answer, and those that follow unasked.
    *(Cut("find", "ledger", moment=ANSWER, at=at) for at in (0, 300_000)),
    *(Cut("getMore", "ledger", moment=ANSWER, at=at) for at in (500_000, 900_000, 2_300_000)),
    Cut("getMore", "ledger", moment=BEFORE, times=2),
    Cut("find", "ledger", moment=REPLY, times=3),
    Cut("find", "empty", moment=REPLY),
    # Indexes, expiry, and what is listed to compare it.
    *(Cut("createIndexes", "ledger", moment=moment, at=60) for moment in (BEFORE, WITHIN, REPLY)),
    Cut("createIndexes", "ledger", moment=REPLY, times=2),
    *(Cut("collMod", "metrics", moment=moment) for moment in (BEFORE, REPLY)),
    Cut("listCollections", "metrics", moment=REPLY),
    Cut("listIndexes", "ledger", moment=ANSWER, at=50),
    # Views.
    Cut("listCollections", nth=1, moment=REPLY),
    *(Cut("create", "open", moment=moment) for moment in (BEFORE, REPLY)),
    Cut("listCollections", "open", moment=REPLY),
]

# More than is tried again, or for good. Segments that are under way at the same time may lose their answers too.
FATAL = [
    Cut("hello", times=None),
    Cut("count", "ledger", moment=REPLY, times=None),
    Cut("drop", "capped", times=None),
    Cut("drop", "validated", moment=REPLY, times=None),
    Cut("drop", "ledger", moment=REPLY, times=3),
    Cut("create", "ledger", moment=REPLY, times=None),
    Cut("create", "metrics", times=3),
    Cut("insert", "ledger", times=None),
    Cut("insert", "ledger", 2, REPLY, times=None),
    Cut("insert", "ledger", moment=REPLY, times=ALWAYS),
    Cut("insert", "validated", moment=REPLY, times=None),
    Cut("insert", "capped", moment=REPLY, times=3),
    Cut("find", "ledger", moment=ANSWER, at=100, times=None),
    Cut("createIndexes", "ledger", moment=REPLY, times=None),
    Cut("create", "open", moment=REPLY, times=None),
]
# The server does nothing that the run does not hear of, and no other segment is under way: the word has to be exact.
EXACT = [
    Cut("insert", "ledger", times=ALWAYS),
    Cut("insert", "ledger", 2, WITHIN, 200_000, times=ALWAYS),
    Cut("insert", "capped", moment=WITHIN, at=1000, times=ALWAYS),
    Cut("find", "ledger", times=ALWAYS),
]


@pytest.fixture(scope="module")
def proxy(mongod: embedded.Mongod) -> Iterator[MongoProxy]:
    with MongoProxy(mongod.host, mongod.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def patient(
    mongo_client: Client, mongod: embedded.Mongod, s3: embedded.S3Server, proxy: MongoProxy
) -> Iterator[Patient]:
    """Restored through the proxy, by a target that waits for a server, and one that does not wait long."""
    store_of_a_module(s3, "cuts")
    folder = s3.folder / s3.bucket / "cuts"
    host = {"host": "127.0.0.1", "port": proxy.port, "replica_set": mongod.replica_set}
    MongoDBTarget(**host, timeout_seconds=10).save("patient", overwrite=True)
    MongoDBTarget(**host, timeout_seconds=0.4).save("impatient", overwrite=True)
    with new_patient(mongo_client, folder, store="cuts", target="patient") as patient:
        yield patient


@pytest.mark.parametrize("cut", SURVIVED, ids=str)
def test_a_connection_that_breaks_once_or_twice_is_survived(patient: Patient, proxy: MongoProxy, cut: Cut) -> None:
    proxy.plan(cut)
    run = patient.restore()
    assert proxy.cuts == cut.times
    patient.check_restored(run)


@pytest.mark.parametrize("cut", FATAL, ids=str)
def test_a_connection_that_stays_broken_is_told_with_what_the_target_has_for_certain(
    patient: Patient, proxy: MongoProxy, cut: Cut
) -> None:
    proxy.plan(cut)
    run = patient.restore(target="impatient")
    assert proxy.cuts
    proxy.plan(None)
    patient.check_failed(run, exactly=False)


@pytest.mark.parametrize("cut", EXACT, ids=str)
def test_what_the_target_has_is_told_exactly_where_no_answer_was_lost(
    patient: Patient, proxy: MongoProxy, cut: Cut
) -> None:
    proxy.plan(cut)
    run = patient.restore(segments_in_flight=1)
    assert proxy.cuts
    proxy.plan(None)
    assert isinstance(run.error, RestoreIncomplete)
    patient.check_failed(run, exactly=True)


def test_where_nothing_was_a_broken_connection_is_survived_too(patient: Patient, proxy: MongoProxy) -> None:
    proxy.plan(Cut("create", "ledger", moment=REPLY))
    run = patient.restore_into_new()
    assert proxy.cuts == 1
    patient.check_restored(run)


def test_where_nothing_was_nothing_is_said_to_be_replaced(patient: Patient, proxy: MongoProxy) -> None:
    proxy.plan(Cut("create", "metrics", moment=REPLY, times=3))
    run = patient.restore_into_new()
    assert proxy.cuts == 3
    proxy.plan(None)
    assert isinstance(run.error, RestoreIncomplete)
    assert "no documents were loaded, new namespaces may be there, empty" in run.error.message
    patient.check_failed(run, exactly=False)


@pytest.mark.parametrize("moment", [WITHIN, REPLY])
def test_a_connection_that_breaks_while_documents_are_added_is_survived(
    patient: Patient, proxy: MongoProxy, moment: Moment
) -> None:
    proxy.plan(Cut("insert", "ledger", moment=moment, at=100_000))
    run = patient.merge()
    assert proxy.cuts == 1
    patient.check_merged(run)


def test_what_was_added_before_a_failure_is_not_added_again(patient: Patient, proxy: MongoProxy) -> None:
    proxy.plan(Cut("insert", "ledger", 1, REPLY, times=None))
    run = patient.merge(target="impatient")
    assert proxy.cuts
    proxy.plan(None)
    assert isinstance(run.error, RestoreIncomplete)
    assert "Run it again to add what is still missing: what was added counts as equal then." in run.error.hint
    patient.check_merged(patient.merge_again())


def test_a_connection_that_breaks_while_what_is_there_is_backed_up_is_survived(
    patient: Patient, proxy: MongoProxy
) -> None:
    proxy.plan(Cut("getMore", "ledger", moment=ANSWER, at=300_000))
    run = patient.restore(safety_backup=True)
    assert proxy.cuts == 1
    patient.check_restored(run)
    assert run.value.safety_backup


def test_what_cannot_be_backed_up_is_left_as_it_is(patient: Patient, proxy: MongoProxy) -> None:
    proxy.plan(Cut("getMore", "ledger", moment=ANSWER, at=300_000, times=None))
    run = patient.restore(safety_backup=True, target="impatient")
    assert proxy.cuts
    proxy.plan(None)
    assert isinstance(run.error, Refused)
    patient.check_failed(run, exactly=True)
