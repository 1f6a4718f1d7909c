"""What all tasks have in common: retries, and how their logs reach the Prefect UI."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.futures import PrefectFuture
from prefect.logging.handlers import APILogHandler
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.core.errors import BackupError

# What may pass in seconds, in a minute, and after a restart of the other side [s]. The drivers repeat a single
# request by themselves; beyond that the stage is repeated, and nothing in between.
_DELAYS = [float(part) for part in os.environ.get("MONGO_BACKUP_RETRY_DELAYS", "10,60,300").split(",") if part]


P = ParamSpec("P")
R = TypeVar("R")

_stops: dict[str, threading.Event] = {}


def stop_event(run: str) -> threading.Event:
    """The stop signal of a flow run in this process, by the id of the run. Set once it is over, for whatever reason."""
    return _stops.setdefault(run, threading.Event())


def is_retryable(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001 - Prefect's signature
    """Retry what may pass, while the run lives. A wrong checksum or parameter is the same in a minute."""
    if stop_event(str(run.flow_run_id)).is_set():
        return False
    error = state.result(raise_on_failure=False)
    return isinstance(error, BackupError) and error.retryable


def stage(name: str, task_run_name: str, *, retries: bool = True) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a Prefect task, the way all tasks of this project are.

    Args:
        name: Of the task.
        task_run_name: Of each of its runs; a template over the parameters.
        retries: Whether it is safe to run again.
    """

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        return Task(
            fn=function,
            name=name,
            task_run_name=task_run_name,
            retries=len(_DELAYS) if retries else 0,
            retry_delay_seconds=_DELAYS,
            retry_condition_fn=is_retryable,
            # A stage is run again for its effects, and its inputs hold blocks that must not be hashed or kept.
            cache_policy=NO_CACHE,
            persist_result=False,
        )

    return decorate


def impatient(task: Task[P, R]) -> Task[P, R]:
    """The same stage without its last and longest wait, for where others wait along with it."""
    return task.with_options(retries=len(_DELAYS[:-1]), retry_delay_seconds=_DELAYS[:-1])


def threads(most: int) -> TaskRunner[PrefectFuture[Any]]:
    """Run the tasks of a flow in threads of its process; they wait for disks and networks most of the time."""
    return cast(TaskRunner[PrefectFuture[Any]], ThreadPoolTaskRunner(max_workers=most))


def attempt() -> int:
    """Which try of the current task this is, from 1."""
    context = TaskRunContext.get()
    return context.task_run.run_count if context is not None else 1


def send_logs() -> None:
    """Send the records of this project's loggers to the Prefect API too.

    Prefect does so only for loggers that `PREFECT_LOGGING_EXTRA_LOGGERS` names, and without that variable a run
    would show no progress in the UI.
    """
    logger = logging.getLogger("flows")
    if not any(isinstance(handler, APILogHandler) for handler in logger.handlers):
        handler = APILogHandler()
        # Prefect warns of lines that belong to no run, such as those after its end.
        handler.addFilter(lambda _: FlowRunContext.get() is not None or TaskRunContext.get() is not None)
        logger.addHandler(handler)
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
