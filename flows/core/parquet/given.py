"""Reading what an operator has written by hand: each value is asked for by name, and errors say where it stands."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.core.errors import ConfigurationError

_NOT_GIVEN = object()


@dataclass(frozen=True, slots=True)
class Given:
    """A mapping and where it stands, for example `shop.invoices.rules[2]`."""

    values: Mapping[str, Any]
    at: str

    @classmethod
    def of(cls, value: Any, at: str) -> Given:
        """Take a value that has to be a mapping with texts as names.

        Raises:
            ConfigurationError: It is none.
        """
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise ConfigurationError(
                "not a mapping of names to values", hint="Write `name: value`, one a line.", at=at, got=_kind(value)
            )
        return cls(value, at)

    @property
    def names(self) -> list[str]:
        """All that is given."""
        return list(self.values)

    def has(self, name: str) -> bool:
        """Whether a value is given."""
        return name in self.values

    def only(self, *names: str) -> None:
        """Refuse what nobody would read.

        Raises:
            ConfigurationError: Another name is given.
        """
        for name in self.values:
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1)
                raise ConfigurationError(
                    "a name that means nothing here",
                    hint=f"Did you mean {close[0]!r}?" if close else f"What is understood: {', '.join(names)}.",
                    at=self.at,
                    got=name,
                )

    def wrong(self, name: str, expected: str, got: Any) -> ConfigurationError:
        """The error for a value."""
        return ConfigurationError(
            f"`{name}` is not what it has to be",
            hint="Correct it; the README has an example.",
            at=f"{self.at}.{name}",
            expected=expected,
            got=got,
        )

    def inner(self, name: str) -> Given:
        """A mapping within."""
        at = name if self.at == "rules" else f"{self.at}.{name}"
        return Given.of(self.values[name], at)

    def items(self, name: str) -> list[Given]:
        """A list of mappings; empty where none is given."""
        value = self.values.get(name, [])
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise self.wrong(name, "a list", _kind(value))
        return [Given.of(item, f"{self.at}.{name}[{number}]") for number, item in enumerate(value)]

    def text(self, name: str) -> str:
        """A text that is not empty."""
        value = self._value(name)
        if not isinstance(value, str) or not value:
            raise self.wrong(name, "a text", _kind(value))
        return value

    def word(self, name: str, words: Sequence[str], default: str | None = None) -> str:
        """One of a few words."""
        value = self._value(name, default)
        if value not in words:
            raise self.wrong(name, f"one of {', '.join(words)}", value)
        return str(value)

    def words(self, name: str, words: Sequence[str]) -> list[str]:
        """One or more of a few words."""
        value = self._value(name)
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, Sequence) or not found or any(word not in words for word in found):
            raise self.wrong(name, f"some of {', '.join(words)}", value)
        return list(found)

    def integer(self, name: str, *, least: int, most: int = 10_000, default: int | None = None) -> int:
        """A whole number."""
        value = self._value(name, default)
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(name, f"a whole number from {least} to {most}", value)
        return value

    def number(self, name: str) -> int | float | str:
        """A number, which may be written as a text to be exact."""
        value = self._value(name)
        if type(value) not in (int, float, str):
            raise self.wrong(name, "a number", _kind(value))
        return value  # type: ignore[no-any-return]

    def _value(self, name: str, default: Any = None) -> Any:
        value = self.values.get(name, _NOT_GIVEN)
        if value is not _NOT_GIVEN:
            return value
        if default is None:
            raise ConfigurationError(
                f"`{name}` is missing", hint="Write it down: nothing is guessed here.", at=self.at, expected=name
            )
        return default


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__
