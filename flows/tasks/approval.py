"""Asking a second person before something that cannot be undone."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, cast

from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.states import Running
from pydantic import Field

from flows.core.errors import Refused
from flows.core.markup import visible
from flows.core.report import format_duration, format_time

logger = logging.getLogger(__name__)

_LOOK_EVERY_SECONDS = 5


class Decision(StrEnum):
    """What the second person says."""

    APPROVE = "approve"
    REFUSE = "refuse"


class Approval(RunInput):
    """The form that the Prefect UI shows when a paused restore is resumed."""

    decision: Decision = Field(
        description="Approve: the restore begins. Refuse: the run ends, and nothing is written. "
        "The button below sends either of them."
    )
    # The UI has fields of several lines only: blanks and line breaks around a name are none of it.
    name: str = Field(min_length=2, pattern=r"\S", description="Your name. It goes into the report.")
    comment: str = Field(default="", description="Why. It goes into the report too.")


def wait_for_approval(page: str, *, until: datetime, patience: timedelta) -> str:
    """Pause this flow run until somebody resumes it with a decision; its process waits meanwhile.

    Args:
        page: What is to be decided, as Markdown; the form shows it.
        until: When the patience ends, for people, aware.
        patience: How long to wait.

    Returns:
        Under which name it was approved, and the comment.

    Raises:
        Refused: Somebody refused, or nobody decided in time.
    """
    logger.info(
        "waiting until %s for an approval: a second person opens this run in the Prefect UI, chooses Resume at the "
        "top right, or in the menu ⋮ there, reads the plan, and approves or refuses",
        format_time(until),
    )
    form = Approval.with_initial_data(description=page)
    try:
        answer = cast(
            Approval,
            cast(Any, pause_flow_run)(
                wait_for_input=form, timeout=max(1, int(patience.total_seconds())), poll_interval=_LOOK_EVERY_SECONDS
            ),
        )
    except FlowPauseTimeout as error:
        _end_pause()
        raise Refused(
            "nobody approved this restore in time",
            hint="Nothing has been written. Start it again when somebody can decide.",
            waited=format_duration(patience),
        ) from error
    name, comment = visible(answer.name), visible(answer.comment)
    said = f"{name} ({comment})" if comment else name
    if answer.decision is Decision.REFUSE:
        raise Refused("this restore was refused", hint="Nothing has been written.", by=said)
    logger.info("approved under the name %s", said)
    return said


def _end_pause() -> None:
    """Let this run go on to its end. Of a paused one whose time is over the server says only that it never resumed."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run.id, Running(), force=True)
