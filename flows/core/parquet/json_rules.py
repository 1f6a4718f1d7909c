"""Rules for values that are canonical Extended JSON: in columns of JSON, beside a column, in `_extra`."""

from __future__ import annotations

import itertools
import json
from decimal import Decimal
from typing import Any

from flows.core.parquet.actions import Change, Moment, Value, change
from flows.core.parquet.json_values import scalar_of
from flows.core.parquet.paths import FieldPath, unescape
from flows.core.parquet.pseudonyms import Keys
from flows.core.parquet.rules import Action, NamespaceRules
from flows.core.parquet.values import compact

_GONE = object()
# Of one path there are 2 to the power of its numbers readings; nothing real has more.
_MOST_NUMBERS = 6


def readings(pointer: str) -> tuple[FieldPath, ...]:
    """The paths that a JSON pointer may stand for: a number in it is the place of an element, or the name of a field.

    Elements come first. Empty where there are too many.
    """
    parts = pointer.split("/")[1:]
    numbers = [number for number, part in enumerate(parts) if part.isdecimal() or part == "[]"]
    if not parts or len(numbers) > _MOST_NUMBERS:
        return ()
    found = []
    for elements in itertools.product((True, False), repeat=len(numbers)):
        element = dict(zip(numbers, elements, strict=True))
        found.append(tuple(None if element.get(n) else unescape(part) for n, part in enumerate(parts)))
    return tuple(found)


class JsonRules:
    """The rules of a collection, for values in JSON.

    Args:
        rules: Of the collection.
        keys: For pseudonyms.
    """

    def __init__(self, rules: NamespaceRules, keys: Keys) -> None:
        self._rules = rules
        self._keys = keys
        self._changes: dict[FieldPath, Change] = {}

    def value(self, text: str, path: FieldPath) -> str | None:
        """What leaves of the value at a path; None: nothing.

        Args:
            text: Canonical Extended JSON. What is not JSON does not leave.
            path: Of the field that it is a value of.
        """
        try:
            left = self._walk(json.loads(text), path)
        except (ValueError, RecursionError):
            return None
        return None if left is _GONE else compact(left)

    def extra(self, text: str) -> str | None:
        """What leaves of a JSON object that has values by JSON pointers; None: nothing."""
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(given, dict):
            return None
        left = {at: new for at, value in given.items() if (new := self._at(at, value)) is not _GONE}
        return compact(left) if left else None

    def leaves(self, pointer: str) -> bool:
        """Whether it may be told that the field at a JSON pointer is null."""
        path = self.path(pointer)
        return path is not None and self._rules.may_leave(path)

    def path(self, pointer: str) -> FieldPath | None:
        """The path that a JSON pointer stands for, by the rules: the reading that has one of its own wins.

        None where it could be several with different rules.
        """
        found = {path: self._rules.rule(path) for path in readings(pointer)}
        if not found:
            return None
        ruled = {path: rule for path, rule in found.items() if rule is not None}
        if not ruled:
            return next(iter(found))
        if len({(rule.action, rule.text) for rule in ruled.values()}) > 1:
            return None
        return next(iter(ruled))

    def _at(self, pointer: str, value: Any) -> Any:
        path = self.path(pointer)
        return _GONE if path is None else self._walk(value, path)

    def _walk(self, value: Any, path: FieldPath) -> Any:
        if isinstance(value, list):
            return self._array(value, path)
        scalar = scalar_of(value) if isinstance(value, dict) else value
        if isinstance(value, dict) and scalar is None:
            return self._document(value, path)
        if value is None:
            return None if self._rules.may_leave(path) else _GONE
        action = self._action(path)
        if action is Action.KEEP:
            return value
        new = self._change(path)(scalar)  # type: ignore[arg-type]
        return _GONE if new is None else _written(new, value)

    def _document(self, value: dict[str, Any], path: FieldPath) -> Any:
        fields = {name: self._walk(inner, (*path, name)) for name, inner in value.items()}
        left = {name: inner for name, inner in fields.items() if inner is not _GONE}
        # A document of which nothing is left says no more than that it was there.
        return left if left or (not value and self._action(path) is Action.KEEP) else _GONE

    def _array(self, value: list[Any], path: FieldPath) -> Any:
        elements = [self._walk(inner, (*path, None)) for inner in value]
        if all(inner is _GONE for inner in elements) and (value or self._action(path) is not Action.KEEP):
            return _GONE
        # The places of the others stay what they are.
        return [None if inner is _GONE else inner for inner in elements]

    def _action(self, path: FieldPath) -> Action:
        return self._rules.decide(path).action

    def _change(self, path: FieldPath) -> Change:
        if path not in self._changes:
            self._changes[path] = change(self._rules.decide(path), path, self._rules, self._keys)
        return self._changes[path]


def _written(new: Value, old: Any) -> Any:
    """A changed value in the form that it had."""
    match new:
        case Moment():
            return {"$date": {"$numberLong": str(new.milliseconds)}}
        case str() | bool():
            return new
        case Decimal():
            return {"$numberDecimal": str(new)}
    if not isinstance(old, dict):
        return new
    (kind,) = old
    return {kind: repr(new) if isinstance(new, float) else str(new)}
