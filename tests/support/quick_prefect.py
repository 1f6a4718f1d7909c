"""What Prefect does again for each test and has nothing to do with it: done once for all of a session."""

from __future__ import annotations

import copy
import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import certifi
import prefect.context
from prefect.blocks.core import Block
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    temporary_settings,
)

from deployments import embedded
from flows.mongo.children import environment_without

# What nobody looks at where flows are called: with the events of all tasks the server has a tenth more to do, and
# SQLite locks. Task runs are written in bulk: one by one they take it half of its time.
LEAN = {
    "PREFECT_UI_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "500",
    # Whole seconds: Prefect cuts off what is behind the point, and without a second it would flush without a pause.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
}

_END = "-----END CERTIFICATE-----\n"


@contextmanager
def schemas_made_once() -> Iterator[None]:
    """Saving a block makes the schema of its class anew, a dozen times over: two seconds for a store."""
    original = Block.__dict__["model_json_schema"]

    @cache
    def made(kind: type[Block], arguments: tuple[Any, ...], named: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
        return original.__func__(kind, *arguments, **dict(named))

    def model_json_schema(kind: type[Block], *arguments: Any, **named: Any) -> dict[str, Any]:
        return copy.deepcopy(made(kind, arguments, tuple(sorted(named.items()))))

    Block.model_json_schema = classmethod(model_json_schema)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Block.model_json_schema = original  # type: ignore[method-assign]


@contextmanager
def one_authority(folder: Path) -> Iterator[None]:
    """Each client of the server, which has no TLS here, reads all authorities of the world: 40 ms, several a run."""
    first, end, _ = Path(certifi.where()).read_text().partition(_END)
    file = folder / "authority.pem"
    file.write_text(first + end)
    with temporary_settings({PREFECT_API_SSL_CERT_FILE: str(file)}):
        yield


def empty_database(folder: Path) -> Path:
    """The database of a server that knows nothing: made by the first process that asks for it in this folder."""
    database, unfinished = folder / "prefect.db", folder / "unfinished.db"
    with (folder / "prefect.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists():
            subprocess.run(
                [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"],
                env=environment_without("PREFECT_")
                | {
                    "PREFECT_HOME": str(folder / "prefect"),
                    "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{unfinished}",
                },
                check=True,
                capture_output=True,
            )
            unfinished.rename(database)
    return database


@contextmanager
def flows_report_to(server: embedded.PrefectServer) -> Iterator[None]:
    """Flows that are called in this process, and its threads, are runs of a server."""
    here = {
        PREFECT_API_URL: server.api_url,
        PREFECT_HOME: server.home,
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False,
        # Each client would ask first for a token that this server does not give.
        PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False,
        # The heartbeat of a run costs a second at its end.
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    with (
        temporary_settings(here),
        # For threads, as Prefect's own harness for tests does it; that one imports all of the server here.
        prefect.context._temporary_global_settings_context(prefect.context.get_settings_context()),
    ):
        yield
        APILogWorker.drain_all(timeout=30)
        EventsWorker.drain_all(timeout=30)
