"""One run of a plan at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency

from flows.core.errors import PlanBusy
from flows.core.keys import check_plan_name
from flows.tasks.settings import Overlap

logger = logging.getLogger(__name__)

# A run that is killed gives its slot back after this time [s]; a living one renews it long before.
_LEASE_SECONDS = 120.0
# For the slot, where two runs begin at once [s]. A server under load needs seconds to answer, which with less patience
# would be taken for a plan that is held.
_PATIENCE_SECONDS = 30.0


@contextmanager
def hold_plan(plan: str, overlap: Overlap) -> Iterator[None]:
    """Hold a plan for the length of the block, so that no two runs write or prune its repository at once.

    The limit is kept by the Prefect server, so it holds across workers and machines; it is made on first use.

    Raises:
        PlanBusy: With `refuse`, where another run holds the plan.
    """
    with _held(f"mongo-backup-{check_plan_name(plan)}", overlap, "plan", plan):
        yield


@contextmanager
def hold_dataset(dataset: str, overlap: Overlap = Overlap.WAIT) -> Iterator[None]:
    """Hold a data set of exports for the length of the block, so that no two runs make a new version of it at once.

    Raises:
        PlanBusy: With `refuse`, where another run holds it.
    """
    with _held(f"mongo-backup-export-{check_plan_name(dataset)}", overlap, "data set", dataset):
        yield


@contextmanager
def _held(name: str, overlap: Overlap, kind: str, what: str) -> Iterator[None]:
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, 1)
        held = client.read_global_concurrency_limit_by_name(name).active_slots > 0
    if held and overlap is Overlap.REFUSE:
        raise _busy(kind, what)
    if held:
        logger.info("another run holds the %s %s: waiting for its end", kind, what)
    with ExitStack() as stack:
        try:
            stack.enter_context(_slot(name, timeout_seconds=_PATIENCE_SECONDS if overlap is Overlap.REFUSE else None))
        except TimeoutError as error:
            raise _busy(kind, what) from error
        yield


def _busy(kind: str, what: str) -> PlanBusy:
    return PlanBusy(
        f"another run holds this {kind}",
        hint="Wait until it has ended, or set `overlap` to `wait`. A killed run lets go after two minutes.",
        **{kind.replace(" ", ""): what},
    )


def _slot(name: str, *, timeout_seconds: float | None) -> AbstractContextManager[None]:
    return concurrency(name, occupy=1, timeout_seconds=timeout_seconds, lease_duration=_LEASE_SECONDS, strict=True)
