"""The state that the tasks of one flow run share in their process: spool folder, stop signal and progress."""

from __future__ import annotations

import contextvars
import gc
import logging
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run

from flows.core.errors import Stopped
from flows.core.report import format_bytes, format_count
from flows.core.spool import Spool
from flows.tasks.options import send_logs, stop_event

logger = logging.getLogger(__name__)

_REPORT_EVERY_SECONDS = 10.0
# On a cancellation the process has 30 s before it is killed; tasks look at the stop signal between batches.
_SETTLE_SECONDS = 15.0

_runs: dict[str, Run] = {}
T = TypeVar("T")


class Run:
    """One flow run, seen from its tasks. Found by id, because tasks are given values and not objects with threads."""

    def __init__(self, identifier: str, spool: Spool, dead: Iterable[str] = ()) -> None:
        self.id = identifier
        self.spool = spool
        self.dead = tuple(dead)  # where runs of this machine were writing in their store when they were killed
        self.stop = stop_event(identifier)
        self.loaded: set[str] = set()  # names of the segments that a target has as a whole, in whatever order
        self._futures: list[PrefectFuture[Any]] = []
        self._lock = threading.Lock()
        self._total = 0
        self._done = 0
        self._documents = 0
        self._label = ""

    def watch(self, future: PrefectFuture[Any]) -> None:
        """Remember a task, so that the end of the run can wait for it."""
        self._futures.append(future)

    def expect(self, total: int, label: str) -> None:
        """Say how many bytes the stages will pass on in all, for the percentage."""
        with self._lock:
            self._total, self._label = total, label

    def counter(self, *, documents: bool = False) -> Callable[..., None]:
        """Give a stage what it calls after each batch. It raises Stopped once the run is over."""

        def count(*numbers: int) -> None:
            self.checkpoint()
            with self._lock:
                self._done += numbers[-1]
                if documents:
                    self._documents += numbers[0]

        return count

    def checkpoint(self, *_: int) -> None:
        """Raise Stopped once the run is over: what stages call between batches whose bytes do not count as progress."""
        if self.stop.is_set():
            raise _stopped()

    @property
    def label(self) -> str:
        """What is being done; empty before that is known."""
        return self._label

    def percentage(self) -> float:
        """How far the run is, as far as can be told from bytes."""
        with self._lock:
            return min(100.0, 100.0 * self._done / self._total) if self._total else 0.0

    def sentence(self) -> str:
        """Progress for a log line."""
        with self._lock:
            done, documents, label = self._done, self._documents, self._label
        return (
            f"{label}: {self.percentage():.0f} %, {format_count(documents)} documents, {format_bytes(done)} processed"
        )

    def settle(self) -> None:
        """Stop the tasks and wait until they have noticed, so that none writes into a folder that is gone."""
        self.stop.set()
        until = time.monotonic() + _SETTLE_SECONDS
        for future in self._futures:
            future.wait(timeout=max(0.0, until - time.monotonic()))


def last_result(stages: Iterable[PrefectFuture[Any]]) -> Any:
    """Wait for the stages of one segment, and give what the last of them returned.

    Args:
        stages: In the order in which they hand over. Where one fails, Prefect does not start those behind it and says
            of them only that they are pending; the error is that of the first.
    """
    result = None
    for stage in stages:
        result = stage.result()
    return result


def overlapped(
    run: Run,
    items: Iterable[T],
    submit: Callable[[T], tuple[PrefectFuture[Any], ...]],
    *,
    most: int,
    finish: Callable[[tuple[PrefectFuture[Any], ...]], Any] = last_result,
) -> Iterator[Any]:
    """Send items through their stages, a few at a time, and give what came of each, in order.

    The stages of different items overlap. An item begins when the oldest under way is done, so that no more than
    `most` of them rest in the spool.

    Args:
        run: The flow run.
        items: What goes through.
        submit: Starts the stages of one item; gives them in the order in which they hand over.
        most: How many items are worked on at a time.
        finish: Waits for the stages of one item and gives what came of them; else what the last one returned.
    """
    flying: deque[tuple[PrefectFuture[Any], ...]] = deque()
    for item in items:
        if len(flying) == most:
            yield finish(flying.popleft())
        flying.append(submit(item))
        for future in flying[-1]:
            run.watch(future)
    while flying:
        yield finish(flying.popleft())


def current(identifier: str) -> Run:
    """The run of this id in this process.

    Raises:
        Stopped: It is over, and what asks is a task that slept between two tries.
    """
    if identifier not in _runs:
        raise _stopped()
    _runs[identifier].checkpoint()
    return _runs[identifier]


def under_way() -> Run | None:
    """The run of this process that works now; None between runs."""
    return next(reversed(_runs.values()), None)


def _stopped() -> Stopped:
    return Stopped("the run was stopped", hint="Nothing was listed; run it again when you are ready.")


def spool_root() -> Path:
    """Where spool folders are made: `MONGO_BACKUP_SPOOL`, else a private folder below the system's temporary one."""
    given = os.environ.get("MONGO_BACKUP_SPOOL")
    return Path(given) if given else Path(tempfile.gettempdir()) / f"mongo-backup-spool-{os.getuid()}"


@cache
def _freeze_once() -> None:
    """What was imported stays to the end, and looking through it there takes as long as half the imports.

    Once: a process of many runs would keep what each of them left.
    """
    gc.freeze()


@contextmanager
def open_run() -> Iterator[Run]:
    """Make the spool folder of this flow run, sweep those of dead runs, and clean up whatever happens."""
    send_logs()
    _freeze_once()
    identifier = str(flow_run.id)
    with Spool(spool_root(), identifier) as spool:
        swept = spool.sweep()
        for name in swept:
            logger.warning("removed the spool folder of run %s, which was killed", name)
        run = Run(identifier, spool, filter(None, swept.values()))
        _runs[identifier] = run
        try:
            yield run
        finally:
            # Also after a cancellation, which only this thread hears of.
            run.settle()
            del _runs[identifier]


@contextmanager
def shown_progress(run: Run, *, key: str, description: str) -> Iterator[None]:
    """Show a progress bar in the UI and a line in the log every ten seconds, for the length of the block."""
    artifact = create_progress_artifact(progress=0.0, key=key, description=description)
    finished = threading.Event()

    def report() -> None:
        while not finished.wait(_REPORT_EVERY_SECONDS):
            logger.info(run.sentence())
            update_progress_artifact(artifact, progress=run.percentage())  # type: ignore[arg-type]

    # The thread works in a copy of this context, so that its lines belong to this flow run.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(report,), daemon=True, name="progress")
    thread.start()
    try:
        yield
        update_progress_artifact(artifact, progress=100.0)  # type: ignore[arg-type]
    finally:
        finished.set()
        thread.join()
