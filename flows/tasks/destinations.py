"""The stores that a backup goes to, and those of them that failed on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from prefect import Task

from flows.core.errors import BackupError, Stopped
from flows.tasks.job import Destination
from flows.tasks.options import impatient

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class Destinations:
    """A store that fails is left out from then on, and the others go on. Where the last one fails, the run does.

    Attributes:
        lost: The errors of those that failed, by the name of the store.
    """

    def __init__(self, all_of_them: tuple[Destination, ...]) -> None:
        self._all = all_of_them
        self.lost: dict[str, BackupError] = {}

    @property
    def several(self) -> bool:
        """Whether there are others that go on when one fails."""
        return len(self._all) > 1

    def stage(self, task: Task[P, R]) -> Task[P, R]:
        """A stage of a single store, as it is run here: where others wait along, with less patience."""
        return impatient(task) if self.several else task

    @property
    def standing(self) -> tuple[Destination, ...]:
        """Those that have not failed."""
        return tuple(to for to in self._all if to.name not in self.lost)

    def attempt(self, to: Destination, act: Callable[[], R]) -> R | None:
        """Do something for a store; gives what came of it, or None where that failed and other stores are left.

        Raises:
            BackupError: Where no store is left. Its facts name the others that failed.
        """
        try:
            return act()
        except Stopped:
            raise
        except BackupError as error:
            if to.name in self.lost:
                return None
            self.lost[to.name] = error
            if not self.standing:
                others = {name: lost.message for name, lost in self.lost.items() if lost is not error}
                error.facts |= {"other_stores": others} if others else {}
                raise
        logger.error("%s does not get this backup, the other stores do: %s", to.name, self.lost[to.name])
        return None
