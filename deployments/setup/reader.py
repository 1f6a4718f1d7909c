"""Reading values. What is wrong with one is noted with its name, and reading goes on: all of it is told at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from deployments.setup.variables import BY_KEY, Given
from flows.core.errors import BackupError, ConfigurationError

T = TypeVar("T")

_YES, _NO = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


class Reader:
    """The values that were given, by the keys of `VARIABLES`.

    Args:
        given: What was given.
        problems: Gets an error for each value that cannot be used.
    """

    def __init__(self, given: Mapping[str, Given], problems: list[BackupError]) -> None:
        self._given = given
        self._problems = problems

    def __contains__(self, key: str) -> bool:
        return key in self._given

    def origin(self, key: str) -> str:
        """Where a value came from; for one that was not given, how it could be."""
        given = self._given.get(key)
        return given.origin if given else " or ".join(dict.fromkeys((*BY_KEY[key].mgob[:1], BY_KEY[key].name)))

    def text(self, key: str) -> str:
        """A value without spaces around it; empty where it was not given."""
        given = self._given.get(key)
        return given.text.strip() if given else ""

    def secret(self, key: str) -> str:
        """A secret, as it was given."""
        given = self._given.get(key)
        return given.text if given else ""

    def wrong(self, key: str, message: str, expected: str, hint: str, *, quote: bool = True) -> None:
        """Note a value that cannot be used. It is quoted, unless it is a secret or may hold one."""
        facts: dict[str, Any] = {"variable": self.origin(key), "expected": expected}
        if quote and key in self._given and not BY_KEY[key].secret:
            facts["got"] = self.text(key)
        self._problems.append(ConfigurationError(message, hint=hint, **facts))

    def missing(self, key: str, expected: str, hint: str) -> None:
        """Note a value that is needed."""
        self.wrong(key, "a variable is missing", expected, hint)

    def checked(self, key: str, check: Callable[[str], T], default: T) -> T:
        """A value that a function of the layers below reads; what that finds wrong is noted."""
        if key not in self._given:
            return default
        try:
            return check(self.text(key))
        except ConfigurationError as error:
            facts = {name: value for name, value in error.facts.items() if name != "got"}
            if not BY_KEY[key].secret:
                facts["got"] = self.text(key)
            self._problems.append(
                ConfigurationError(error.message, hint=error.hint, variable=self.origin(key), **facts)
            )
            return default

    def number(self, key: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds."""
        return int(self.decimal(key, default, least, most, whole=True))

    def decimal(self, key: str, default: float, least: float, most: float, *, whole: bool = False) -> float:
        """A number within bounds."""
        text = self.text(key)
        if not text:
            return default
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            kind = "a whole number" if whole else "a number"
            self.wrong(key, "a variable has a value that makes no sense", f"{kind} from {least:g} to {most:g}",
                       "Correct it, or leave it out.")  # fmt: skip
            return default
        return value

    def flag(self, key: str) -> bool:
        """True or false; false where it was not given."""
        text = self.text(key).lower()
        if text and text not in _YES | _NO:
            self.wrong(key, "a variable has a value that makes no sense", "true or false",
                       "Correct it, or leave it out.")  # fmt: skip
        return text in _YES

    def choice(self, key: str, values: tuple[str, ...], default: str) -> str:
        """One of a few words; upper and lower case are the same."""
        text = self.text(key)
        if not text:
            return default
        for value in values:
            if value.lower() == text.lower():
                return value
        self.wrong(key, "a variable has a value that makes no sense", f"one of {', '.join(values)}",
                   "Correct it, or leave it out.")  # fmt: skip
        return default

    def words(self, key: str) -> tuple[str, ...]:
        """Several values: with commas, spaces or line breaks between them."""
        return tuple(filter(None, re.split(r"[\s,]+", self.text(key))))
