"""Which Prefect server a command works with; Prefect reads its settings when it is imported, so this comes before."""

from __future__ import annotations

import os


def choose_server(*, own: bool) -> None:
    """Put into the environment what makes Prefect find its server.

    Args:
        own: Whether it shall start one of its own, over a file of this machine, whatever server is named.
    """
    if own:
        os.environ.pop("PREFECT_API_URL", None)
        # The chosen profile of Prefect may name one too; this is the one of its own that names none.
        os.environ["PREFECT_PROFILE"] = "ephemeral"
        os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "true"
    if not os.environ.get("PREFECT_API_URL"):
        os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "true")
        # The first start makes a database.
        os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    # A backup does not call anybody whom nobody asked it to call.
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
