"""Telling people and machines what is wrong."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from prefect.blocks.abstract import NotificationBlock, NotificationError
from prefect.blocks.core import Block

# The blocks in it can only be loaded by their names once they have been imported.
from prefect.blocks.notifications import CustomWebhookNotificationBlock  # noqa: F401
from prefect.variables import Variable

from blocks import BackupAlarms
from flows.core.messages import Bells, Delivery, Message, Told, due, message, remembered, tellable
from flows.core.report import counted
from flows.core.watch import Fact
from flows.core.watch_report import WatchReport
from flows.steps import announce as steps
from flows.tasks.blocks import load_block
from flows.tasks.options import stage

logger = logging.getLogger(__name__)


def load_bells(name: str | None) -> Bells:
    """Who is told; nobody where no block is named.

    Raises:
        ConfigurationError: As in `load_block`.
    """
    return load_block(BackupAlarms, name).open() if name else Bells()


# None of these is repeated: a message that came late is worse than one that is told as not sent.


@stage(name="tell", task_run_name="tell people about {plan} in {store}", retries=False)
def tell_people(bells: Bells, plan: str, store: str, facts: Sequence[Fact], *, now: datetime, forget: bool) -> Delivery:
    """Send what people have not been told yet; see `tell`."""
    return _logged(tell(bells, plan, store, facts, now=now, forget=forget))


@stage(name="announce-start", task_run_name="announce the start", retries=False)
def announce_start(bells: Bells) -> Delivery:
    """Tell a dead-man's switch that a watch begins."""
    return _logged(steps.announce_start(bells))


@stage(name="announce", task_run_name="announce the result", retries=False)
def announce(bells: Bells, report: WatchReport, metrics_file: Path | None) -> Delivery:
    """Tell machines how a watch went."""
    return _logged(steps.announce(bells, report, metrics_file))


def tell(bells: Bells, plan: str, store: str, facts: Sequence[Fact], *, now: datetime, forget: bool) -> Delivery:
    """Send a message for each fact that people have not been told, or have to be reminded of.

    What they were told is remembered in a variable of Prefect, where the notification blocks are too: so the store need
    not be writable, or even be there. A message counts as told once one of the blocks has taken it.

    Args:
        bells: Whom to tell.
        plan: Whose facts.
        store: Where.
        facts: All that hold, the most urgent first.
        now: Aware.
        forget: See `remembered`.
    """
    if not bells.notify:
        return Delivery()
    name = f"mongo_backup_told_{plan}_{store}"
    told, problem = _read_told(name)
    facts = tellable(facts)
    wanted = due(facts, told, now=now, remind=bells.remind)
    problems = dict.fromkeys(bells.notify, "")
    sent: list[Fact] = []
    for fact in wanted:
        before = told.get(fact.key)
        text = message(fact, at=now, since=before.first if before else None)
        taken = False
        for block in (block for block in bells.notify if not problems[block]):  # one that hangs is not asked ten times
            problems[block] = send(block, text)
            taken = taken or not problems[block]
        sent += [fact] if taken else []
    kept = remembered(told, facts, sent, now=now, forget=forget)
    if kept != told:
        problem = _keep_told(name, kept) or problem
    silent = len(facts) - len(wanted)
    done = (
        *(
            [f"{counted(len(sent), 'message')} about {store}: {', '.join(fact.kind.value for fact in sent)}"]
            if sent
            else []
        ),
        *([f"{counted(silent, 'fact')} about {store} told before, and not again"] if silent else []),
    )
    failed = tuple(f"message to {block}: {why}" for block, why in problems.items() if why)
    return Delivery(done, failed + ((problem,) if problem else ()))


def send(name: str, text: Message) -> str:
    """Send a message with a notification block of Prefect.

    Args:
        name: Its type and name, as `slack-webhook/ops`.
        text: What to send.

    Returns:
        Why that failed, as a lower-case fact, or nothing. Texts of the block's errors are left out: they may quote
        addresses that are secrets.
    """
    try:
        block = Block.load(name)
        if not isinstance(block, NotificationBlock):
            return "it is no notification block"
        with block.raise_on_failure():
            result: Any = block.notify(text.body, text.subject)
            if inspect.isawaitable(result):  # blocks of others may know no other way
                asyncio.run(_finish(result))
    except Exception as error:  # noqa: BLE001 - whatever somebody else's block raises; the others are still asked
        return _reason(error)
    return ""


async def _finish(result: Any) -> None:
    await result


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"the answer has the status {error.response.status_code}"
    if isinstance(error, httpx.TimeoutException):
        return "there was no answer in time"
    if isinstance(error, NotificationError):
        return "the service did not take it"
    if isinstance(error, ValueError) and "Unable to find block document" in str(error):
        return "there is no such block"
    return f"it failed ({type(error).__name__})"


def _read_told(name: str) -> tuple[dict[str, Told], str]:
    try:
        value = Variable.get(name)
    except (httpx.HTTPError, RuntimeError) as error:
        return {}, _not_remembered(error)
    found = {}
    for key, times in value.items() if isinstance(value, Mapping) else ():
        try:
            found[key] = Told(*(datetime.fromisoformat(time) for time in times))
        except (TypeError, ValueError):
            continue  # somebody has edited it: that fact is told again
    return found, ""


def _keep_told(name: str, told: Mapping[str, Told]) -> str:
    value = {key: [one.first.isoformat(), one.last.isoformat()] for key, one in told.items()}
    try:
        Variable.set(name, value, overwrite=True)
    except (httpx.HTTPError, RuntimeError, ValueError) as error:
        return _not_remembered(error)
    return ""


def _not_remembered(error: Exception) -> str:
    return f"what was told is not remembered, so it will be told again ({type(error).__name__})"


def _logged(delivery: Delivery) -> Delivery:
    for line in delivery.done:
        logger.info("told: %s", line)
    for problem in delivery.problems:
        logger.error("not delivered: %s", problem)
    return delivery
