"""Running a flow in this process, and asking the Prefect server what became of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import Artifact, FlowRun, Log, State, TaskRun

from flows.core.keys import backup_time

_PATIENCE_SECONDS = 120
_last = [0]  # second of the id that the last backup of these tests has, or can have


@dataclass(frozen=True)
class FlowRunRecord:
    """A flow run that has ended."""

    id: UUID
    state: State[Any]

    @property
    def value(self) -> Any:
        """What the flow returned, or its error raised."""
        return self.state.result()

    @property
    def error(self) -> BaseException:
        """What the flow raised."""
        error = self.state.result(raise_on_failure=False)
        assert isinstance(error, BaseException), f"the run {self.state.name} and returned {error}"
        return error


@contextmanager
def new_second() -> Iterator[list[str]]:
    """Ids of backups have seconds: no backup begins in that of the one before. The block says which id it has made."""
    while int(time.time()) <= _last[0]:
        time.sleep(0.01)
    made: list[str] = []
    try:
        yield made
    finally:
        _last[0] = int(backup_time(made[0]).timestamp() if made else time.time())


def run_flow(flow: Flow[..., Any], **parameters: Any) -> FlowRunRecord:
    """Run a flow to its end, whatever that is."""
    with new_second() if flow.name == "backup" else nullcontext():
        state: State[Any] = flow(**parameters, return_state=True)
    assert state.state_details.flow_run_id is not None
    return FlowRunRecord(state.state_details.flow_run_id, state)


def eventually(look: Callable[[], Any], what: str) -> Any:
    """Look until something true is seen: the server hears of tasks and logs a moment after they happen."""
    until, pause = time.monotonic() + _PATIENCE_SECONDS, 0.05
    while not (seen := look()):
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(pause)
        pause = min(2 * pause, 2.0)  # each look is work for a server that is behind already
    return seen


def task_runs(run: UUID) -> list[TaskRun]:
    """All task runs of a flow run, once the server knows the end of each."""

    def ended() -> list[TaskRun]:
        with get_client(sync_client=True) as client:
            found = client.read_task_runs(flow_run_filter=_only(run), limit=200)
        return found if found and all(map(_is_over, found)) else []

    runs: list[TaskRun] = eventually(ended, "the end of all task runs")
    return runs


def tries(run: UUID, stage: str) -> int:
    """How often a stage such as `upload segment 0` was run."""
    return int(
        eventually(lambda: [t for t in task_runs(run) if t.name == stage], f"the task run {stage!r}")[0].run_count
    )


def flow_run_record(run: UUID) -> FlowRun:
    """What the server keeps of a flow run."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run)


def page(run: UUID) -> str:
    """The newest page that a flow run has left."""
    return str(_artifacts(run, "markdown")[-1].data)


def table(run: UUID) -> list[dict[str, str]]:
    """The newest table that a flow run has left."""
    rows: list[dict[str, str]] = json.loads(str(_artifacts(run, "table")[-1].data))
    return rows


def _artifacts(run: UUID, kind: str) -> list[Artifact]:
    """Oldest first."""
    with get_client(sync_client=True) as client:
        only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        found = [artifact for artifact in client.read_artifacts(artifact_filter=only) if artifact.type == kind]
    return sorted(found, key=lambda artifact: str(artifact.created))


def logged(run: UUID) -> list[str]:
    """The log of a flow run as the UI shows it, to its last line."""

    def whole() -> list[str]:
        lines: list[Log] = []
        with get_client(sync_client=True) as client:
            only = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
            while page := client.read_logs(only, limit=200, offset=len(lines)):
                lines += page
        # Tasks say the same when they end.
        last = [line for line in lines if line.task_run_id is None and line.message.startswith("Finished in state")]
        return [line.message for line in lines] if last else []

    lines: list[str] = eventually(whole, "the last line of the log")
    return lines


def _is_over(task: TaskRun) -> bool:
    # A stage behind one that failed stays what it is: not ready.
    return task.state is not None and (task.state.is_final() or task.state.name == "NotReady")


def _only(run: UUID) -> FlowRunFilter:
    return FlowRunFilter(id=FlowRunFilterId(any_=[run]))
