"""Names of blocks, for completion in a shell."""

from __future__ import annotations

from collections.abc import Callable, Collection
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


# Of flows about exports: these are written into a store.
_OF_EXPORTS = {"target": "mongodb-backup-store"}


def types_of(parameters: Collection[str]) -> dict[str, str]:
    """The parameters of a flow that name a block, and its type, by the names of all its parameters."""
    known = TYPES | _OF_EXPORTS if "dataset" in parameters else TYPES
    return {name: kind for name, kind in known.items() if name in parameters}


def block(parameter: str, kind: str = "") -> Parameter:
    """How a parameter that names a block is shown and completed; `kind` is its type, where its name does not say it."""
    return Parameter(metavar="BLOCK", completer=_completer(kind or TYPES[parameter]))


def block_names(kind: str) -> list[str]:
    """The names of the blocks of a type that Prefect has, sorted."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - takes seconds, and the help needs none of it

    with get_client(sync_client=True) as client:
        found = client.read_block_documents_by_type(kind)
    return sorted(document.name for document in found if document.name)


def _completer(kind: str) -> Callable[[Any], list[str]]:
    return lambda _: block_names(kind)
