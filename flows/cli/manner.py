"""How a command is run and shown: the options that all of them have."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from cyclopts import Group, Parameter
from pydantic import TypeAdapter

from flows.cli.screen import Screen
from flows.cli.status import Status, status_of
from flows.core.errors import BackupError

_HOW = Group("How it is run and shown", sort_key=100)
_FLAG = Parameter(negative=(), show_default=False)
T = TypeVar("T")


@Parameter(name="*", group=_HOW)
@dataclass(frozen=True, slots=True)
class Manner:
    """What was asked for.

    Attributes:
        as_json: Print the result as JSON, for scripts; of a failure its code, message, facts and hint.
        quiet: Print nothing but errors.
        verbose: Show the whole log of Prefect.
        no_server: Do it without the Prefect server that PREFECT_API_URL names, with the blocks of this machine.
    """

    as_json: Annotated[bool, _FLAG, Parameter(name="--json")] = False
    quiet: Annotated[bool, _FLAG] = False
    verbose: Annotated[bool, _FLAG] = False
    no_server: Annotated[bool, _FLAG] = False

    @property
    def talks(self) -> bool:
        """Whether people read along."""
        return not (self.as_json or self.quiet)

    def present(self, act: Callable[[], T], show: Callable[[Screen, T], None]) -> Status:
        """Do something, show what came of it, and say it as an exit status.

        Args:
            act: Does it.
            show: Shows the result to people.
        """
        screen = Screen()
        try:
            result = act()
        except BackupError as error:
            if self.as_json:
                print(json.dumps(_told(error), default=str, indent=2))  # noqa: T201 - this is a command
            screen.error(str(error))
            return status_of(error)
        except KeyboardInterrupt:
            screen.error("interrupted")
            return Status.INTERRUPTED
        if self.as_json:
            print(TypeAdapter(Any).dump_json(result, indent=2).decode())  # noqa: T201 - this is a command
        elif not self.quiet:
            show(screen, result)
        return Status.DONE


def _told(error: BackupError) -> dict[str, Any]:
    return {"error": error.code, "message": error.message, "facts": error.facts, "hint": error.hint}
