"""Reading JSON that somebody may have damaged: each value is asked for by name and type, and errors carry the path."""

from __future__ import annotations

import json
import re
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from flows.core.errors import FormatError, UnsupportedVersion

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


class Fields:
    """A JSON object and where it stands, for example `manifest.segments[3]`."""

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise FormatError("not a JSON object", at=path, got=type(value).__name__)
        self._value = value
        self._path = path

    @property
    def value(self) -> dict[str, Any]:
        """All of the object, also what is not known here."""
        return self._value

    def _get(self, name: str, kind: type[T]) -> T:
        if name not in self._value:
            raise FormatError("a field is missing", at=f"{self._path}.{name}", expected=kind.__name__)
        value = self._value[name]
        # bool is an int to Python, and not to the format.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise FormatError(
                "a field has the wrong type",
                at=f"{self._path}.{name}",
                expected=kind.__name__,
                got=type(value).__name__,
            )
        return value

    def text(self, name: str) -> str:
        """A string."""
        return self._get(name, str)

    def text_or_none(self, name: str) -> str | None:
        """A string or null."""
        return None if self.is_null(name) else self.text(name)

    def text_if_there(self, name: str) -> str:
        """A string; empty where the field is missing, because an older release did not write it."""
        return self.text(name) if name in self._value else ""

    def matching(self, name: str, pattern: re.Pattern[str]) -> str:
        """A string that the whole pattern matches."""
        value = self.text(name)
        if not pattern.fullmatch(value):
            raise FormatError(
                "a field has the wrong form", at=f"{self._path}.{name}", expected=pattern.pattern, got=value
            )
        return value

    def hexadecimal(self, name: str, digits: int) -> int:
        """A number as lower-case hexadecimal digits, so many of them."""
        return int(self.matching(name, re.compile(f"[0-9a-f]{{{digits}}}")), 16)

    def integer(self, name: str) -> int:
        """An integer that is not negative."""
        value = self._get(name, int)
        if value < 0:
            raise FormatError("a field is negative", at=f"{self._path}.{name}", got=value)
        return value

    def signed(self, name: str) -> int:
        """An integer."""
        return self._get(name, int)

    def boolean(self, name: str) -> bool:
        """True or false."""
        return self._get(name, bool)

    def has(self, name: str) -> bool:
        """Whether the field is there: for one that came into the format later."""
        return name in self._value

    def is_null(self, name: str) -> bool:
        """Whether the field is there and null."""
        return name in self._value and self._value[name] is None

    def inner(self, name: str) -> Fields:
        """An object."""
        return Fields(self._get(name, dict), f"{self._path}.{name}")

    def items(self, name: str) -> list[Fields]:
        """A list of objects."""
        return [Fields(item, f"{self._path}.{name}[{i}]") for i, item in enumerate(self._get(name, list))]

    def texts(self, name: str) -> list[str]:
        """A list of strings."""
        values = self._get(name, list)
        for i, value in enumerate(values):
            if not isinstance(value, str):
                raise FormatError(
                    "a field has the wrong type",
                    at=f"{self._path}.{name}[{i}]",
                    expected="str",
                    got=type(value).__name__,
                )
        return values

    def text_map(self, name: str) -> dict[str, str]:
        """An object whose values are strings."""
        inner = self.inner(name)
        return {key: inner.text(key) for key in inner._value}

    def time(self, name: str) -> datetime:
        """An aware time in ISO 8601."""
        text = self.text(name)
        try:
            value = datetime.fromisoformat(text)
        except ValueError as error:
            raise FormatError("a field is not a time", at=f"{self._path}.{name}", got=text) from error
        if value.tzinfo is None:
            raise FormatError("a time has no zone", at=f"{self._path}.{name}", got=text)
        return value

    def member(self, name: str, kind: type[E]) -> E:
        """One of the words of an enumeration."""
        text = self.text(name)
        try:
            return kind(text)
        except ValueError as error:
            raise FormatError(
                "a field has a value that is not known here",
                at=f"{self._path}.{name}",
                expected=[member.value for member in kind],
                got=text,
            ) from error


def parse_versioned(data: bytes, name: str, *, version: int, damaged: str = "") -> Fields:
    """Read a JSON object that says in `format` which version of its format it has.

    Args:
        data: What is stored.
        name: What it is, for messages: `manifest`.
        version: The one that is known here.
        damaged: The hint where it is not JSON.

    Raises:
        UnsupportedVersion: For another version.
        FormatError: For anything else that is no such object.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the {name} is not JSON", hint=damaged, got=str(error)) from error
    top = Fields(value, name)
    got = top.integer("format")
    if got != version:
        raise UnsupportedVersion(
            f"the {name} has a format version that is not known here",
            hint="Use the release of mongo-backup-flows that wrote it, or a newer one.",
            expected=version,
            got=got,
        )
    return top
