"""What the tests of drills have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefect import Task

from flows.core.errors import DrillFailed
from flows.core.evidence import Finding
from flows.drill import drill
from flows.storage.evidence import read_chain
from flows.storage.store import ObjectStore
from tests.support.flow_runs import FlowRunRecord, run_flow


@contextmanager
def when_done(task: Task[..., Any], act: Callable[[], object]) -> Iterator[None]:
    """Do something each time a task has come to its end, before what waits for it goes on."""

    def hook(*_: object) -> None:
        act()

    task.on_completion(hook)
    try:
        yield
    finally:
        task.on_completion_hooks.remove(hook)


def failed_drill(evidence: ObjectStore, **parameters: Any) -> tuple[FlowRunRecord, tuple[Finding, ...]]:
    """Run a drill that fails for what it found; gives the findings that are in its record."""
    run = run_flow(drill, **parameters)
    assert isinstance(run.error, DrillFailed), run.error
    newest = list(read_chain(evidence, parameters.get("plan", "default")))[-1].record
    assert newest is not None
    assert newest.record.details["run"] == str(run.id)
    return run, newest.record.findings
