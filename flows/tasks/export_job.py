"""What the tasks of one export have in common: small values and the blocks to open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from blocks import BackupStore
from flows.core.errors import ConfigurationError
from flows.core.spool import Spool
from flows.tasks.export_origin import Origin, Unit
from flows.tasks.options import send_logs, threads
from flows.tasks.run import Run, current, spool_root


class EngineChoice(StrEnum):
    """What converts documents: `kernel` is compiled, and needs the extra of that name; `auto` takes it if it can."""

    AUTO = "auto"
    PYTHON = "python"
    KERNEL = "kernel"


class Runner(StrEnum):
    """Where units are worked on: in this process, in others on this machine, or by a cluster."""

    THREADS = "threads"
    PROCESSES = "processes"
    DASK = "dask"
    RAY = "ray"

    @property
    def shares_spool(self) -> bool:
        """Whether all units are worked on by this machine."""
        return self in (Runner.THREADS, Runner.PROCESSES)

    @property
    def is_here(self) -> bool:
        """Whether units are worked on in this process."""
        return self is Runner.THREADS


@dataclass(frozen=True)
class Link:
    """How a namespace is compared with an earlier export: what its units leave for each other in the spool."""

    folder: Path  # of this namespace
    secret: bytes = field(repr=False)  # key of the hashes

    def fingerprints(self, unit: int) -> Path:
        """Of all documents of a unit."""
        return self.folder / f"fingerprints-{unit:05d}.arrow"

    def selection(self, unit: int) -> Path:
        """Which documents of a unit have changed; nothing is there where none has."""
        return self.folder / f"selection-{unit:05d}.arrow"


@dataclass(frozen=True)
class ExportJob:
    """One export."""

    run: str  # id of the flow run
    dataset: str
    export: str  # its id
    target: BackupStore
    origin: Origin
    engine: EngineChoice
    runner: Runner

    @contextmanager
    def spool(self, unit: Unit) -> Iterator[Spool]:
        """A folder of its own for a unit, on whatever machine it is worked on."""
        if not self.runner.is_here:
            send_logs()
        with Spool(spool_root(), f"{self.run}-{unit.index}") as spool:
            yield spool

    def counter(self) -> Callable[..., None]:
        """What a stage calls after each batch of documents. In another process nobody counts."""
        return current(self.run).counter(documents=True) if self.runner.is_here else _ignore

    def checkpoint(self) -> Callable[..., None]:
        """What a stage calls between batches that do not count as progress."""
        return current(self.run).checkpoint if self.runner.is_here else _ignore


@contextmanager
def runner_of(run: Run, kind: Runner, most: int) -> Iterator[TaskRunner[Any]]:
    """Start what works on units, for the length of the block. Where the block raises, units stop at their next batch.

    Args:
        run: The flow run.
        kind: Which.
        most: How many units are worked on at a time.

    Raises:
        ConfigurationError: It is not installed.
    """
    with _made(kind, most) as runner:
        try:
            yield runner
        except BaseException:
            # A cancellation too, of which only this thread hears; the end of the runner waits for the units.
            run.stop.set()
            raise


def submit(runner: TaskRunner[Any], task: Task[..., Any], **parameters: Any) -> PrefectFuture[Any]:
    """Hand a task to a runner other than that of the flow."""
    future: PrefectFuture[Any] = runner.submit(task, parameters)
    return future


def check_runner(kind: Runner) -> None:
    """See that what works on units is installed.

    Raises:
        ConfigurationError: It is not.
    """
    _made(kind, 1)


def _made(kind: Runner, most: int) -> TaskRunner[Any]:
    try:
        match kind:
            case Runner.THREADS:
                return threads(most)
            case Runner.PROCESSES:
                return ProcessPoolTaskRunner(max_workers=most)
            case Runner.DASK:
                DaskTaskRunner = import_module("prefect_dask").DaskTaskRunner  # noqa: N806 - a class
                workers = {"n_workers": most, "threads_per_worker": 1}
                dask: TaskRunner[Any] = DaskTaskRunner(cluster_kwargs=workers)
                return dask
            case Runner.RAY:
                RayTaskRunner = import_module("prefect_ray").RayTaskRunner  # noqa: N806 - a class
                ray: TaskRunner[Any] = RayTaskRunner(init_kwargs={"num_cpus": most})
                return ray
    except ImportError as error:
        raise ConfigurationError(
            f"the task runner {kind.value} is not installed",
            hint=f"Install it with: pip install prefect-{kind.value}; or choose `threads` or `processes`.",
            missing=error.name or f"prefect_{kind.value}",
        ) from error


def _ignore(*_: int) -> None:
    return
