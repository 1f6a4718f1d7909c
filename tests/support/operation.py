"""Backups in operation: a Prefect server, and a worker that takes the runs of its deployments."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun

from deployments import embedded
from flows.storage.repository import Repository
from flows.storage.s3 import S3Store
from tests.support.fault_proxy import FaultProxy, Request, call

PREFECT = Path(sys.executable).with_name("prefect")


def until(look: Callable[[], Any], what: str, seconds: float = 90, *, worker: embedded.Process | None = None) -> Any:
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"waited in vain for {what}\n{worker.tail(60) if worker else ''}"
        time.sleep(0.2)
    return seen


@dataclass(frozen=True)
class Operation:
    """A Prefect server with the deployments, a worker, and the blocks that they name.

    Attributes:
        pages: Address of the UI.
        proxy: Before the store `slow`; the other one, `backups`, has none.
    """

    pages: str
    client: SyncPrefectClient
    environment: dict[str, str]
    checkout: Path
    spool: Path
    store: S3Store
    proxy: FaultProxy
    worker: embedded.Process

    def command(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """A `prefect` command in the folder of the checkout."""
        return subprocess.run(
            [PREFECT, *argv], cwd=self.checkout, env=self.environment, capture_output=True, text=True, timeout=120
        )

    def start(self, deployment: str, **parameters: Any) -> UUID:
        """What `Custom run` does in the UI."""
        found = self.client.read_deployment_by_name(deployment)
        return self.client.create_flow_run_from_deployment(found.id, parameters=parameters).id

    def end(self, run: UUID) -> FlowRun:
        """A run that has ended."""

        def ended() -> FlowRun | None:
            found = self.client.read_flow_run(run)
            return found if found.state is not None and found.state.is_final() else None

        found: FlowRun = until(ended, "the end of a run", worker=self.worker)
        return found

    def complete(self, run: UUID) -> None:
        """See that a run ends well."""
        state = self.end(run).state
        assert state is not None
        assert state.is_completed(), f"{state.message}\n{self.worker.tail(60)}"

    def artifacts(self, run: UUID) -> dict[str | None, str]:
        """What a run left in the UI: the texts under each key."""
        only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        texts: dict[str | None, str] = {}
        for artifact in self.client.read_artifacts(artifact_filter=only):
            texts[artifact.key] = texts.get(artifact.key, "") + str(artifact.data)
        return texts

    def logs(self, run: UUID) -> dict[str, str]:
        """The lines of a run, by their text; the value is the logger."""
        only = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
        return {log.message: log.name for log in self.client.read_logs(log_filter=only)}


@contextmanager
def sending(operation: Operation, invoices: str) -> Iterator[tuple[UUID, threading.Event]]:
    """A backup that sends parts of objects which the network holds back: the run, and what lets them pass, slowly."""
    begun, passing = threading.Event(), threading.Event()

    def held(_: Request) -> None:
        begun.set()
        passing.wait(240)
        time.sleep(5)

    operation.proxy.reset()
    operation.proxy.fail("PUT /backups/default/backups/2", times=None, action=call(before=held))
    # Segments as they are, of two parts each.
    how = {"segment_mib": 32, "segments_in_flight": 2, "compression": "none"}
    run = operation.start("backup/nightly", store="slow", databases=[invoices], **how)
    try:
        until(begun.is_set, "an upload", worker=operation.worker)
        assert [path.name for path in operation.spool.iterdir()] == [str(run)]
        assert len(list(operation.store.uploads(""))) > 0
        yield run, passing
    finally:
        passing.set()


def nothing_is_left(operation: Operation, run: UUID, state: str = "Cancelled") -> None:
    """See that a run that was stopped has ended in that state, and tidied up."""
    # Prefect kills what has not ended after 30 s. It then takes its time to say that the run is cancelled.
    until(lambda: not list(operation.spool.iterdir()), "an empty spool", seconds=35)
    assert operation.end(run).state_name == state
    assert list(operation.store.uploads("")) == []
    assert Repository(operation.store, "default").backup_ids() == []
