"""How fields of blocks look in the form of the Prefect UI."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import SecretStr, WithJsonSchema


def choice(kind: type[StrEnum]) -> WithJsonSchema:
    """The schema of a field with a few values, in place: of a reference the form describes the class, not the field."""
    return WithJsonSchema({"type": "string", "enum": [member.value for member in kind]})


def lines(value: Any) -> Any:
    """A list as lines: the form has one field of text for several names, since it would show a list as JSON."""
    if not isinstance(value, list):
        return value
    return "\n".join(item.get_secret_value() if isinstance(item, SecretStr) else str(item) for item in value)
