"""How fields of blocks look in the form of the Prefect UI."""

from __future__ import annotations

from enum import StrEnum

from pydantic import WithJsonSchema


def choice(kind: type[StrEnum]) -> WithJsonSchema:
    """The schema of a field with a few values, in place: of a reference the form describes the class, not the field."""
    return WithJsonSchema({"type": "string", "enum": [member.value for member in kind]})
