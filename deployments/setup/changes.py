"""What should be there against what is there, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_WIDEST = 60  # characters of a value that are shown


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A value that is compared and never shown."""

    value: str

    def __repr__(self) -> str:
        return "(secret)"


@dataclass(frozen=True, slots=True)
class Long:
    """A value that is compared and too long to be shown, such as the form of a flow."""

    value: Any


@dataclass(frozen=True, slots=True)
class Thing:
    """Something on the Prefect server.

    Attributes:
        kind: As operators call it: block, work pool, deployment, automation.
        name: Unique among its kind.
        about: What it is, in a few words, for the list of what is made; empty where the name says it.
        fields: What it consists of; what is not named here stays as it is on the server.
    """

    kind: str
    name: str
    about: str
    fields: Mapping[str, Any]


class Act(StrEnum):
    """What is done with a thing."""

    CREATE = "create"
    CHANGE = "change"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Change:
    """What is done with one thing, and how its fields differ."""

    act: Act
    thing: Thing
    differences: tuple[str, ...] = ()


def compare(wanted: Iterable[Thing], existing: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[Change]:
    """Decide what is done with each thing, in the order given.

    Args:
        wanted: What should be there.
        existing: The fields of what is there, by kind and name.
    """
    changes = []
    for thing in wanted:
        there = existing.get((thing.kind, thing.name))
        if there is None:
            changes.append(Change(Act.CREATE, thing))
            continue
        old = dict(_flat(there))
        differences = tuple(_differences(old, dict(_flat(thing.fields)), thing.fields))
        changes.append(Change(Act.CHANGE if differences else Act.LEAVE, thing, differences))
    return changes


def _flat(fields: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Fields by their paths. An empty mapping is a value of its own; a list of mappings is one by their number."""
    for name, value in fields.items():
        inner = value
        if isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
            inner = {str(number): item for number, item in enumerate(value)}
        if isinstance(inner, Mapping) and inner:
            yield from _flat(inner, f"{above}{name}.")
        else:
            yield above + name, value


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys((*new, *old)):
        if name.partition(".")[0] not in fields:
            continue
        before, after = old.get(name), new.get(name)
        if before == after or (_is_nothing(before) and _is_nothing(after)):
            continue
        hidden = isinstance(before, Secret | Long) or isinstance(after, Secret | Long)
        if hidden or _shown(before) == _shown(after):  # cut off, they may look the same
            yield f"{name}: {'set' if before is None else 'removed' if after is None else 'changed'}"
        else:
            yield f"{name}: {_shown(before)} → {_shown(after)}"


def _is_nothing(value: Any) -> bool:
    return value is None or value == {}


def _shown(value: Any) -> str:
    if value is None:
        return "(none)"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


_SIGNS = {Act.CREATE: "+", Act.CHANGE: "~", Act.LEAVE: "="}


def changes_text(changes: Iterable[Change]) -> str:
    """The changes for a terminal, with their number at the end."""
    lines = []
    count = dict.fromkeys(Act, 0)
    for change in changes:
        count[change.act] += 1
        about = f": {change.thing.about}" if change.act is Act.CREATE and change.thing.about else ""
        lines.append(f"{_SIGNS[change.act]} {change.act} {change.thing.kind} {change.thing.name}{about}")
        lines += [f"      {line}" for line in change.differences]
    lines += [
        "",
        f"{count[Act.CREATE]} to create, {count[Act.CHANGE]} to change, {count[Act.LEAVE]} as they should be.",
    ]
    return "\n".join(lines)
