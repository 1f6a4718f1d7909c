"""Asking a second person before something that cannot be undone."""

from __future__ import annotations

import logging
from datetime import timedelta
from enum import StrEnum
from typing import Any, cast

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from pydantic import Field

from flows.core.errors import Refused
from flows.core.report import format_duration

logger = logging.getLogger(__name__)

_LOOK_EVERY_SECONDS = 5


class Decision(StrEnum):
    """What the second person says."""

    APPROVE = "approve"
    REFUSE = "refuse"


class Approval(RunInput):
    """The form that the Prefect UI shows when a paused restore is resumed."""

    decision: Decision = Field(description="Whether this restore may go on as planned.")
    name: str = Field(min_length=2, description="Your name; it goes into the report.")
    comment: str = Field(default="", description="For the report.")


def wait_for_approval(page: str, *, patience: timedelta) -> str:
    """Pause this flow run until somebody resumes it with a decision; its process waits meanwhile.

    Args:
        page: What is to be decided, as Markdown; the form shows it.
        patience: How long to wait.

    Returns:
        Who approved, and the comment.

    Raises:
        Refused: Somebody refused, or nobody decided in time.
    """
    length = format_duration(patience)
    logger.info("waiting up to %s for an approval: resume this run in the Prefect UI", length)
    form = Approval.with_initial_data(description=page)
    try:
        answer = cast(
            Approval,
            cast(Any, pause_flow_run)(
                wait_for_input=form, timeout=max(1, int(patience.total_seconds())), poll_interval=_LOOK_EVERY_SECONDS
            ),
        )
    except FlowPauseTimeout as error:
        raise Refused(
            "nobody approved this restore in time",
            hint="Nothing has been written. Start it again when somebody can decide.",
            waited=length,
        ) from error
    said = f"{answer.name} ({answer.comment})" if answer.comment else answer.name
    if answer.decision is Decision.REFUSE:
        raise Refused("this restore was refused", hint="Nothing has been written.", by=said)
    logger.info("approved by %s", said)
    return said
