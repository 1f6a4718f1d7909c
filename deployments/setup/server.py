"""The Prefect server: the connection to it, its work pools and its automations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import anyio
import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import get_current_settings
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

from deployments.setup.alarms import PREFIX
from deployments.setup.changes import Thing
from flows.core.errors import BackupError, ConfigurationError, ServerUnavailable

_PAGE = 200  # of a listing
_PATIENCE_SECONDS = 10.0  # for a sign of life


@contextlib.contextmanager
def server() -> Iterator[SyncPrefectClient]:
    """Connect to the server that the settings of Prefect name.

    Raises:
        ConfigurationError: None is named: Prefect would start one of its own, which ends with this process.
        ServerUnavailable: It does not answer.
        BackupError: It refuses something.
    """
    url = get_current_settings().api.url
    if not url:
        raise ConfigurationError(
            "no Prefect server is named",
            hint="Set PREFECT_API_URL, in the environment or in the env file, for example to "
            "http://127.0.0.1:4200/api. `prefect server start` starts one.",
        )
    try:
        # Early: the client takes long to give up.
        httpx.get(f"{url}/health", timeout=_PATIENCE_SECONDS)
        with get_client(sync_client=True) as client:
            yield client
    except httpx.HTTPStatusError as error:
        # Without the answer: it may quote what was sent, and that may hold a secret.
        raise BackupError(
            "the Prefect server refused a request",
            hint="With 401 set PREFECT_API_AUTH_STRING; otherwise its log says why. Then run this again: what is done "
            "is done, and the rest follows.",
            request=f"{error.request.method} {error.request.url.path}",
            status=error.response.status_code,
        ) from None
    except httpx.TransportError as error:
        raise ServerUnavailable(
            "the Prefect server does not answer",
            hint="Start it, or correct PREFECT_API_URL. Then run this again: what is done is done.",
            url=url,
            why=type(error).__name__,
        ) from None


def pool_thing(name: str, kind: str) -> Thing:
    """The work pool."""
    return Thing("work pool", name, kind, {"type": kind})


def existing_pool(client: SyncPrefectClient, name: str, kind: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The work pool of this name.

    Raises:
        ConfigurationError: It has another type, which cannot be changed.
    """
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        return {}
    if pool.type != kind:
        raise ConfigurationError(
            "the work pool has another type, and that cannot be changed",
            hint="Give another name in MONGO_BACKUP_WORK_POOL, or the type that it has in MONGO_BACKUP_WORK_POOL_TYPE.",
            work_pool=name,
            expected=kind,
            got=pool.type,
        )
    return {("work pool", name): {"type": pool.type}}


def save_pool(client: SyncPrefectClient, name: str, kind: str) -> None:
    """Make a work pool; a worker that has started meanwhile may have made it.

    Raises:
        ConfigurationError: It has made one of another type.
    """
    template = anyio.run(get_default_base_job_template_for_infrastructure_type, kind)
    try:
        client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template or {}))
    except ObjectAlreadyExists:
        existing_pool(client, name, kind)


def automation_thing(automation: Mapping[str, Any]) -> Thing:
    """An automation as the server would show it."""
    core = AutomationCore.model_validate(automation)
    return Thing("automation", core.name, "", _automation_fields(core))


def _automation_fields(core: AutomationCore) -> dict[str, Any]:
    shown = core.model_dump(mode="json", include={"description", "trigger", "actions"})
    for name in ("after", "expect", "for_each"):  # sets, in any order
        if name in shown["trigger"]:
            shown["trigger"][name] = sorted(shown["trigger"][name])
    shown["trigger"].pop("id", None)
    return shown


def existing_automations(client: SyncPrefectClient, notes: list[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """The automations of this project; notes those that are off."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for there in client.read_automations(limit=_PAGE):
        if there.name.startswith(PREFIX):
            found["automation", there.name] = _automation_fields(there)
            if not there.enabled:
                notes.append(f"The automation {there.name!r} is turned off in the UI, and stays so.")
    return found


def save_automation(client: SyncPrefectClient, automation: Mapping[str, Any]) -> None:
    """Make or change an automation; whether it is on stays as it is."""
    there = client.read_automations_by_name(automation["name"])
    if there:
        core = AutomationCore.model_validate({**automation, "enabled": there[0].enabled, "tags": there[0].tags})
        client.update_automation(there[0].id, core)
    else:
        client.create_automation(AutomationCore.model_validate(automation))
