"""Restores with the connection to the store cut at scripted points, alone and together with that to MongoDB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from prefect_aws import MinIOCredentials
from pymongo import MongoClient

from blocks import BackupStore, MongoDBTarget
from deployments import embedded
from flows.core.errors import RestoreIncomplete, StoreUnavailable
from tests.support.cut_restores import Patient, new_patient
from tests.support.fault_proxy import DEAD, DROP, DROP_ANSWER, Action, FaultProxy, cut_answer, status
from tests.support.mongo_proxy import Cut, Moment, MongoProxy

Client = MongoClient[dict[str, Any]]
LISTING, MANIFEST = "GET list-type", "GET manifest.json"
SEGMENTS = [f"GET segment-0000{index}" for index in range(3)]


@dataclass(frozen=True)
class Fault:
    """What happens to so many requests; None is for good."""

    request: str
    action: Action
    times: int | None = 1

    def __str__(self) -> str:
        return f"{self.request} {self.action.kind} {self.action.at} {self.times}x"


# The SDK sends a request twice, a download that breaks goes on where it was unless three requests give nothing, and
# each stage has three tries.
SURVIVED = [
    Fault(LISTING, DROP),
    Fault(LISTING, cut_answer(100)),
    Fault(MANIFEST, DROP_ANSWER, times=2),
    Fault(MANIFEST, cut_answer(0)),
    Fault(MANIFEST, cut_answer(1500)),
    Fault(SEGMENTS[0], DROP),
    Fault(SEGMENTS[0], DROP_ANSWER, times=5),
    Fault(SEGMENTS[0], cut_answer(1000), times=9),
    Fault(SEGMENTS[1], cut_answer(0), times=8),
    Fault(SEGMENTS[1], cut_answer(10_000)),
    Fault(SEGMENTS[2], status(503), times=3),
    Fault(SEGMENTS[2], cut_answer(1)),
]
REFUSED = [
    Fault(LISTING, DEAD),
    Fault(MANIFEST, cut_answer(0), times=None),
]
FATAL = [
    Fault(SEGMENTS[0], DEAD),
    Fault(SEGMENTS[1], DROP_ANSWER, times=None),
    Fault(SEGMENTS[2], cut_answer(0), times=None),
]
BOTH_SURVIVED = [
    (Fault(SEGMENTS[0], DROP, times=2), Cut("insert", "ledger", 1, Moment.REPLY)),
    (Fault(SEGMENTS[2], cut_answer(500), times=3), Cut("create", "metrics", moment=Moment.REPLY)),
]
BOTH_FATAL = [
    (Fault(SEGMENTS[2], DROP_ANSWER, times=None), Cut("insert", "ledger", 1, Moment.REPLY, times=None)),
    (Fault(SEGMENTS[2], cut_answer(0), times=None), Cut("insert", "ledger", moment=Moment.REPLY, times=6)),
]


@pytest.fixture(scope="module")
def store(s3: embedded.S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3.host, s3.port) as proxy:
        BackupStore(
            credentials=MinIOCredentials(minio_root_user=s3.access_key, minio_root_password=s3.secret_key),
            bucket=s3.bucket,
            prefix="store-cuts",
            endpoint=proxy.url,
        ).save("store-cuts", overwrite=True)
        yield proxy


@pytest.fixture(scope="module")
def mongo(mongod: embedded.Mongod) -> Iterator[MongoProxy]:
    with MongoProxy(mongod.host, mongod.port) as proxy:
        host = {"host": "127.0.0.1", "port": proxy.port, "replica_set": mongod.replica_set}
        MongoDBTarget(**host, timeout_seconds=10).save("cut-target", overwrite=True)
        MongoDBTarget(**host, timeout_seconds=0.4).save("impatient-cut-target", overwrite=True)
        yield proxy


@pytest.fixture(scope="module")
def cured(mongo_client: Client, s3: embedded.S3Server, store: FaultProxy, mongo: MongoProxy) -> Iterator[Patient]:
    with new_patient(
        mongo_client, s3.folder / s3.bucket / "store-cuts", store="store-cuts", target="cut-target"
    ) as patient:
        yield patient


@pytest.fixture
def patient(cured: Patient, store: FaultProxy, mongo: MongoProxy) -> Patient:
    """A database that was restored, and connections that hold."""
    store.reset()
    mongo.plan(None)
    return cured


def fail(store: FaultProxy, fault: Fault) -> None:
    store.fail(fault.request, times=fault.times, action=fault.action)


@pytest.mark.parametrize("fault", SURVIVED, ids=str)
def test_a_store_that_fails_now_and_then_is_survived(patient: Patient, store: FaultProxy, fault: Fault) -> None:
    fail(store, fault)
    run = patient.restore()
    patient.check_restored(run)
    assert len([path for _, path in store.requests if fault.request.split()[1] in path]) > (fault.times or 1)


@pytest.mark.parametrize("fault", REFUSED, ids=str)
def test_a_backup_that_cannot_be_found_changes_nothing(patient: Patient, store: FaultProxy, fault: Fault) -> None:
    fail(store, fault)
    run = patient.restore()
    store.reset()
    assert isinstance(run.error, StoreUnavailable)
    patient.check_failed(run, exactly=True)


@pytest.mark.parametrize("fault", FATAL, ids=str)
def test_a_store_that_goes_away_is_told_with_what_the_target_has(
    patient: Patient, store: FaultProxy, fault: Fault
) -> None:
    fail(store, fault)
    run = patient.restore(segments_in_flight=1)
    store.reset()
    assert isinstance(run.error, RestoreIncomplete)
    patient.check_failed(run, exactly=True)


@pytest.mark.parametrize(("fault", "cut"), BOTH_SURVIVED, ids=str)
def test_both_ends_may_break(patient: Patient, store: FaultProxy, mongo: MongoProxy, fault: Fault, cut: Cut) -> None:
    fail(store, fault)
    mongo.plan(cut)
    run = patient.restore()
    assert mongo.cuts == cut.times
    patient.check_restored(run)


@pytest.mark.parametrize(("fault", "cut"), BOTH_FATAL, ids=str)
def test_both_ends_may_go_away(patient: Patient, store: FaultProxy, mongo: MongoProxy, fault: Fault, cut: Cut) -> None:
    fail(store, fault)
    mongo.plan(cut)
    run = patient.restore(target="impatient-cut-target")
    assert mongo.cuts
    store.reset()
    mongo.plan(None)
    assert isinstance(run.error, RestoreIncomplete)
    patient.check_failed(run, exactly=False)
