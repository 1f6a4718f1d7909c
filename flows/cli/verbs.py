"""The flows as commands. Imported only when one of them is called or explained: Prefect takes seconds."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prefect import Flow

from flows import backup as backup_module
from flows import compact_exports as compact_module
from flows import copy_backup as copy_module
from flows import drill as drill_module
from flows import erase as erase_module
from flows import export as export_module
from flows import hold as hold_module
from flows import inventory as inventory_module
from flows import preflight as preflight_module
from flows import probe as probe_module
from flows import prune as prune_module
from flows import prune_exports as prune_exports_module
from flows import restore as restore_module
from flows import restore_archive as archive_module
from flows import restore_documents as documents_module
from flows import verify as verify_module
from flows.cli.manner import Manner
from flows.cli.parameters import options, read, typed
from flows.cli.running import Cells, run
from flows.cli.status import Status


@dataclass(frozen=True, slots=True)
class Verb:
    """A flow, and how its result is shown."""

    flow: Flow[..., Any]
    cells: Cells | None = None  # the whole result as a table; else what it publishes


VERBS = {
    "backup": Verb(backup_module.backup),
    "restore": Verb(restore_module.restore),
    "restore_archive": Verb(archive_module.restore_archive),
    "restore_documents": Verb(documents_module.restore_documents),
    "inventory": Verb(inventory_module.inventory, lambda rows: [row.cells() for row in rows]),
    "verify": Verb(verify_module.verify),
    "drill": Verb(drill_module.drill),
    "preflight": Verb(preflight_module.preflight),
    "prune": Verb(prune_module.prune),
    "hold": Verb(hold_module.hold),
    "copy": Verb(copy_module.copy_backup),
    "export": Verb(export_module.export),
    "compact_exports": Verb(compact_module.compact_exports),
    "prune_exports": Verb(prune_exports_module.prune_exports),
    "erase": Verb(erase_module.erase),
    "probe": Verb(probe_module.probe),
}


def __getattr__(name: str) -> Callable[..., Status]:
    """The command of a verb, by its name with `_` for `-`."""
    if name not in VERBS:
        raise AttributeError(name)
    return _command(VERBS[name])


def _command(verb: Verb) -> Callable[..., Status]:
    function = verb.flow.fn
    known = options(function)

    def command(*, manner: Manner = Manner(), **given: Any) -> Status:  # noqa: B008 - it cannot be changed
        return run(verb.flow, lambda: read(known, given), manner, cells=verb.cells)

    manner = inspect.Parameter("manner", inspect.Parameter.KEYWORD_ONLY, default=Manner(), annotation=Manner)
    parameters = [*typed(function, known), manner]
    told: Any = command  # the option parser reads these of a function
    told.__signature__ = inspect.Signature(parameters)
    told.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    told.__doc__ = (inspect.getdoc(function) or "").partition("\nReturns:")[0]
    return command
