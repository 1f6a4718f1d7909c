"""Alarms: automations of the Prefect server that tell somebody, as data.

Events of runs are told apart by the names of flow and deployment and not by ids, so that a deployment that was deleted
and made again is still watched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from deployments.setup.settings import Common, Plan

TAG = "mongo-backup"  # that all deployments of this project have
PREFIX = "MongoDB backup: "  # of the names of automations
_FAILED = ["prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"]
_COMPLETED = ["prefect.flow-run.Completed"]
# A run beats every 180 s. Whoever misses three is dead.
_DEAD_AFTER = timedelta(seconds=540)
_WHAT_FAILED = (
    ("backup", "a backup failed", "The message of the run says why, and what to do. Older backups stay as they are."),
    ("verify", "a verification failed", "A stored backup may be damaged: the page of the run names it."),
    (
        "drill",
        "a drill failed",
        "A backup could not be restored, or is not what it should be: see the page of the run.",
    ),
)
_RUN = "\n\n{{ flow_run.name }}: {{ flow_run.state.name }}\n{{ flow_run.state.message }}\n{{ flow_run|ui_url or '' }}"


def alarms(
    plans: Sequence[Plan], common: Common, deployments: Sequence[Mapping[str, Any]], block: str
) -> list[dict[str, Any]]:
    """The automations that are wanted, each as the API takes it.

    Args:
        plans: Each gets an alarm for late backups and one for overdue drills.
        common: Work pool, and when a drill is overdue.
        deployments: As they are deployed: those with a schedule are waited for.
        block: Id of the notification block.
    """

    def tell(subject: str, body: str) -> list[dict[str, Any]]:
        return [{"type": "send-notification", "block_document_id": block, "subject": PREFIX + subject, "body": body}]

    def automation(name: str, why: str, trigger: dict[str, Any], actions: list[dict[str, Any]]) -> dict[str, Any]:
        return {"name": PREFIX + name, "description": why, "trigger": {"type": "event"} | trigger, "actions": actions}

    wanted = [
        automation(what, todo, _reaction(_FAILED, related=[_flow(flow), _tagged()]), tell(what, todo + _RUN))
        for flow, what, todo in _WHAT_FAILED
    ]
    for plan in plans:
        for flow, within, what in (
            ("backup", plan.late, f"the backup of {plan.name} is late"),
            ("drill", common.drill_overdue, f"the drill of {plan.name} is overdue"),
        ):
            for deployment in _scheduled(deployments, flow, plan.name):
                todo = (
                    f"None succeeded in {_span(within)}. Look whether a worker runs, whether the schedule of "
                    f"{flow}/{deployment} is active, and what its last runs say."
                )
                trigger = _absence(_COMPLETED, within, related=[_flow(flow), _named(deployment)])
                wanted.append(automation(what, todo, trigger, tell(what, todo)))
    pool = f"no worker in {common.pool}"
    todo = f"Nothing runs until one is back: python -m deployments.worker --pool {common.pool}"
    match = {"prefect.resource.id": "prefect.work-pool.*", "prefect.resource.name": common.pool}
    wanted.append(automation(pool, todo, _reaction(["prefect.work-pool.not-ready"], match=match), tell(pool, todo)))
    wanted.append(
        automation(
            "a run died with its worker",
            "Marks runs as crashed that no longer give a sign of life, so that the other alarms hear of them.",
            {
                "after": ["prefect.flow-run.heartbeat"],
                "expect": ["prefect.flow-run.*"],
                "for_each": ["prefect.resource.id"],
                "match": {"prefect.resource.id": "prefect.flow-run.*"},
                "match_related": [_tagged()],
                "posture": "Proactive",
                "threshold": 1,
                "within": _DEAD_AFTER.total_seconds(),
            },
            [{"type": "change-flow-run-state", "state": "CRASHED", "message": "The worker of this run is gone."}],
        )
    )
    return wanted


def _scheduled(deployments: Iterable[Mapping[str, Any]], flow: str, plan: str) -> list[str]:
    """Names of the deployments of a flow that run by a schedule for a plan."""
    return [
        stanza["name"]
        for stanza in deployments
        if stanza["entrypoint"] == f"flows.{flow}.{flow}"
        and stanza.get("schedules")
        and stanza["parameters"].get("plan") == plan
    ]


def _reaction(expect: Iterable[str], **match: Any) -> dict[str, Any]:
    return {
        "expect": list(expect),
        "match": match.get("match", {"prefect.resource.id": "prefect.flow-run.*"}),
        "match_related": match.get("related", {}),
        "posture": "Reactive",
        "threshold": 1,
        "within": 0.0,
    }


def _absence(expect: list[str], within: timedelta, *, related: list[dict[str, Any]]) -> dict[str, Any]:
    """Nothing of what is expected, for so long since it was seen last or since the automation was made.

    The event is named in `after`, too: otherwise windows lie end to end, and a success at the beginning of one would
    hide for almost two of them that none follows.
    """
    return {
        "after": expect,
        "expect": expect,
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": related,
        "posture": "Proactive",
        "threshold": 1,
        "within": within.total_seconds(),
    }


def _flow(name: str) -> dict[str, Any]:
    return {"prefect.resource.role": "flow", "prefect.resource.name": name}


def _named(deployment: str) -> dict[str, Any]:
    return {"prefect.resource.role": "deployment", "prefect.resource.name": deployment}


def _tagged() -> dict[str, Any]:
    return {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}


def _span(time: timedelta) -> str:
    hours = time.total_seconds() / 3600
    return f"{hours:g} hours" if hours < 72 else f"{hours / 24:g} days"
