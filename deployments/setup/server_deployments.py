"""Deployments on the Prefect server."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentScheduleUpdate, DeploymentUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from deployments.setup.alarms import TAG
from deployments.setup.changes import Long, Thing
from flows.core.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
_PAGE = 200  # of a listing


@dataclass(frozen=True, slots=True)
class Form:
    """What a flow tells of itself: its name, its parameters, and the version of its code."""

    flow: str
    schema: Mapping[str, Any]
    version: str | None

    @property
    def parameters(self) -> frozenset[str]:
        """The names of its parameters."""
        return frozenset(self.schema["properties"])


@functools.cache
def form_of(entrypoint: str) -> Form:
    """Load a flow.

    Raises:
        ConfigurationError: There is none.
    """
    try:
        flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint)
    except (ImportError, AttributeError, ValueError, PrefectException) as error:
        raise ConfigurationError(
            "a deployment names a flow that cannot be loaded",
            hint="An entrypoint is a module and the function in it: flows.backup.backup.",
            entrypoint=entrypoint,
            why=str(error),
        ) from error
    # As it comes back from the server, so that the two can be compared.
    schema = json.loads(json.dumps(parameter_schema(flow).model_dump(exclude_unset=True)))
    return Form(flow.name, schema, flow.version)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment of the file, with its flow.

    Attributes:
        pull: Steps that a worker takes before a run.
    """

    stanza: Mapping[str, Any]
    form: Form
    pull: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, stanza: Mapping[str, Any], form: Form, pull: Sequence[Mapping[str, Any]] | None) -> Deployment:
        """Without steps of the file, a worker goes to the folder that this project is in, as with `prefect deploy`."""
        here: list[Mapping[str, Any]] = [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}]
        return cls(stanza, form, pull or here)

    @property
    def name(self) -> str:
        """Flow and deployment, as Prefect calls it."""
        return f"{self.form.flow}/{self.stanza['name']}"

    def thing(self) -> Thing:
        """For the comparison: as the server would show it."""
        stanza = self.stanza
        schedules = {
            schedule["slug"]: {"cron": schedule["cron"], "timezone": schedule["timezone"]}
            for schedule in stanza.get("schedules", [])
        }
        return Thing(
            "deployment",
            self.name,
            ", ".join(f"{at['cron']} {at['timezone']}" for at in schedules.values()) or "by hand",
            {
                "entrypoint": stanza["entrypoint"],
                "description": Long(stanza["description"]),
                "tags": stanza["tags"],
                "work pool": stanza["work_pool"]["name"],
                "job variables": stanza["work_pool"].get("job_variables", {}),
                "folder": self.pull,
                "schedules": schedules,
                "parameters": stanza["parameters"],
                "form": Long(self.form.schema),
                "code": Long(self.form.version),
            },
        )

    def save(self, client: SyncPrefectClient) -> None:
        """Make or change it. A schedule that was paused in the UI stays paused."""
        stanza = self.stanza
        schedules = [
            {"slug": at["slug"], "schedule": CronSchedule(cron=at["cron"], timezone=at["timezone"])}
            for at in stanza.get("schedules", [])
        ]
        fields: dict[str, Any] = {
            "version": self.form.version,
            "description": stanza["description"],
            "tags": stanza["tags"],
            "parameters": stanza["parameters"],
            "work_pool_name": stanza["work_pool"]["name"],
            "job_variables": stanza["work_pool"].get("job_variables", {}),
            "entrypoint": stanza["entrypoint"],
            "pull_steps": self.pull,
            "parameter_openapi_schema": self.form.schema,
        }
        try:
            there = client.read_deployment_by_name(self.name)
        except ObjectNotFound:
            flow = client.create_flow_from_name(self.form.flow)
            new = [DeploymentScheduleCreate(**schedule) for schedule in schedules]
            client.create_deployment(flow, self.stanza["name"], schedules=new, enforce_parameter_schema=True, **fields)
        else:
            # Without any the server would take the list for the wish to have none, and drop those of the UI.
            changed = (
                {"schedules": [DeploymentScheduleUpdate(**schedule) for schedule in schedules]} if schedules else {}
            )
            client.update_deployment(there.id, DeploymentUpdate(**fields, **changed))


def existing_deployments(
    client: SyncPrefectClient, wanted: Sequence[Thing], notes: list[str]
) -> dict[tuple[str, str], dict[str, Any]]:
    """The deployments of the same names; notes those that are paused."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for thing in wanted:
        try:
            there = client.read_deployment_by_name(thing.name)
        except ObjectNotFound:
            continue
        schedules = {schedule.slug or str(schedule.id): schedule for schedule in there.schedules}
        if there.paused or not all(schedule.active for schedule in schedules.values()):
            notes.append(f"{thing.name} is paused in the UI, and stays so: its schedule starts nothing.")
        strangers = schedules.keys() - thing.fields["schedules"].keys()
        if strangers:
            notes.append(f"{thing.name} has schedules that are not from here, and they stay: see them in the UI.")
        found["deployment", thing.name] = {
            "entrypoint": there.entrypoint,
            "description": Long(there.description),
            "tags": there.tags,
            "work pool": there.work_pool_name,
            "job variables": there.job_variables or {},
            "folder": there.pull_steps,
            "schedules": {
                slug: {"cron": getattr(at.schedule, "cron", None), "timezone": getattr(at.schedule, "timezone", None)}
                for slug, at in schedules.items()
                if slug not in strangers
            },
            "parameters": there.parameters,
            "form": Long(there.parameter_openapi_schema),
            "code": Long(there.version),
        }
    return found


def other_deployments(client: SyncPrefectClient, wanted: Sequence[Thing]) -> list[str]:
    """Names of deployments of this project that are not wanted: they stay, and the operator should know."""
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    names = {thing.name for thing in wanted}
    found = []
    for there in client.read_deployments(deployment_filter=tagged, limit=_PAGE):
        name = f"{client.read_flow(there.flow_id).name}/{there.name}"
        if name not in names:
            found.append(name)
    return sorted(found)
