"""The maintenance window around a restore: what is stopped before it, and started again whatever happens."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.core.errors import BackupError
from flows.core.maintenance import Mask, Phase, Procedure, Step, StepResult, may_be_down, not_closed, not_opened
from flows.steps.run import perform
from flows.tasks.options import stage
from flows.tasks.run import Run

logger = logging.getLogger(__name__)

Tell = Callable[[str, Sequence[StepResult]], None]


# Not repeated by itself: nobody knows how far a step came. A health check has attempts of its own.
@stage(name="maintenance-step", task_run_name="{phase.value}: {step.name}", retries=False)
def run_step(step: Step, phase: Phase, mask: Mask) -> State[Any]:
    """Run one step. One that fails is shown as failed, and its result is in the state."""
    result = perform(step, phase, mask)
    if result.ok:
        logger.info("%s: %s: done in %.1f s", phase.value, result.name, result.seconds)
    else:
        logger.error("%s: %s: failed: %s", phase.value, result.name, result.problem)
    if result.output:
        logger.info("output of %s:\n%s", result.name, result.output)
    return Completed(data=result) if result.ok else Failed(data=result, message=result.problem)


@contextmanager
def maintenance_window(run: Run, procedure: Procedure, tell: Tell) -> Iterator[list[StepResult]]:
    """Run the steps before, then the block, then the steps after: on success, failure and cancellation.

    The steps after begin when no task of the run writes any more, and a signal cannot interrupt them: it is heard
    when they are done. A process that is killed runs none of them.

    Args:
        run: The flow run.
        procedure: The steps; there may be none.
        tell: Called when something failed, with a headline and the results: for the report.

    Yields:
        The results so far; after the block, those of all steps.

    Raises:
        MaintenanceFailed: Where a step before failed, so the block was not run; or where the block is done and a step
            after failed. An error of the block stays what it is.
    """
    results: list[StepResult] = []
    problem: BaseException | None = None
    try:
        _open(procedure, results)
        yield results
    except BaseException as error:  # noqa: BLE001 - raised again below, when the services are started
        problem = error
    with _signals_held_back():
        if problem is not None:
            _settle(run)
        results += [_result_of(step, Phase.AFTER, procedure.mask) for step in procedure.after]
        if down := may_be_down(results):
            logger.error(down)
            if problem is None:
                problem = not_closed(results)
            elif isinstance(problem, BackupError):
                problem.hint = f"{down} {problem.hint}".strip()
        if problem is not None and (procedure.before or procedure.after):
            _tell(tell, problem, results)
    if problem is not None:
        raise problem


def _settle(run: Run) -> None:
    """Wait until nothing writes any more; whatever goes wrong here, the services have to be started."""
    try:
        run.settle()
    except Exception:
        logger.exception("it is not known whether all tasks have stopped")


def _open(procedure: Procedure, results: list[StepResult]) -> None:
    """Run the steps before, up to the first that fails."""
    for step in procedure.before:
        results.append(_result_of(step, Phase.BEFORE, procedure.mask))
        if not results[-1].ok:
            raise not_opened(results[-1])


def _result_of(step: Step, phase: Phase, mask: Mask) -> StepResult:
    try:
        found = run_step(step, phase, mask, return_state=True).result(raise_on_failure=False)
    except Exception as error:  # noqa: BLE001 - one step that cannot be run keeps no other from running
        found = error
    if isinstance(found, StepResult):
        return found
    problem = mask.text(f"it could not be run: {type(found).__name__}: {found}")
    logger.error("%s: %s: failed: %s", phase.value, mask.text(step.name), problem)
    return StepResult(phase, mask.text(step.name), seconds=0.0, problem=problem)


def _tell(tell: Tell, problem: BaseException, results: Sequence[StepResult]) -> None:
    if isinstance(problem, BackupError):
        headline = problem.message
    else:
        headline = type(problem).__name__ if isinstance(problem, Exception) else "the run was cancelled"
    try:
        tell(headline, results)
    except Exception:
        # What went wrong before matters more, and is in the log and in the state of the run.
        logger.exception("the report could not be written")


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let a cancellation or Ctrl-C be heard at the end of the block, and not in it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears of them
        return
    heard: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: heard.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if heard:
        signal.raise_signal(heard[0])
