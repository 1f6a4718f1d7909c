"""Names of blocks, for completion in a shell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyclopts import Parameter

# The parameters of flows that name a block, and its type in Prefect.
TYPES = {
    "source": "mongodb-backup-source",
    "target": "mongodb-restore-target",
    "store": "mongodb-backup-store",
    "to": "mongodb-backup-store",
    "encryption": "mongodb-backup-encryption",
    "identities": "mongodb-backup-identities",
    "maintenance": "mongodb-backup-maintenance-window",
    "checks": "mongodb-drill-checks",
    "alarms": "mongodb-backup-alarms",
    "rules": "mongodb-export-rules",
    "subject": "mongodb-erasure-subject",
}


def block(parameter: str) -> Parameter:
    """How a parameter that names a block is shown and completed."""
    return Parameter(metavar="BLOCK", completer=_completer(TYPES[parameter]))


def block_names(kind: str) -> list[str]:
    """The names of the blocks of a type that Prefect has, sorted."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - takes seconds, and the help needs none of it

    with get_client(sync_client=True) as client:
        found = client.read_block_documents_by_type(kind)
    return sorted(document.name for document in found if document.name)


def _completer(kind: str) -> Callable[[Any], list[str]]:
    return lambda _: block_names(kind)
