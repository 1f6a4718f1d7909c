"""Rules for values that are canonical Extended JSON: in columns of JSON, beside a column, in `_extra`."""

from __future__ import annotations

import base64
import binascii
import itertools
import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from flows.core.parquet.actions import Change, Moment, Value, change
from flows.core.parquet.paths import FieldPath, unescape
from flows.core.parquet.pseudonyms import Keys
from flows.core.parquet.rules import Action, NamespaceRules, Rule

_GONE = object()
# Of one path there are 2 to the power of its numbers readings; nothing real has more.
_MOST_NUMBERS = 6


class JsonRules:
    """The rules of a collection, for values in JSON.

    Args:
        rules: Of the collection.
        keys: For pseudonyms.
        key: Id of the root key for pseudonyms; empty for the newest.
    """

    def __init__(self, rules: NamespaceRules, keys: Keys, key: str = "") -> None:
        self._rules = rules
        self._keys = keys
        self._key = key
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
        return None if left is _GONE else _dump(left)

    def extra(self, text: str) -> str | None:
        """What leaves of a JSON object that has values by JSON pointers; None: nothing."""
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(given, dict):
            return None
        left = {at: new for at, value in given.items() if (new := self._at(at, value)) is not _GONE}
        return _dump(left) if left else None

    def leaves(self, pointer: str) -> bool:
        """Whether it may be told that the field at a JSON pointer is null."""
        path = self.path(pointer)
        return path is not None and self._rules.may_leave(path)

    def path(self, pointer: str) -> FieldPath | None:
        """The path that a JSON pointer stands for; None where it could be several with different rules.

        A number in it is the place of an element, or the name of a field: the reading that has a rule of its own wins.
        """
        parts = pointer.split("/")[1:]
        numbers = [number for number, part in enumerate(parts) if part.isdecimal() or part == "[]"]
        if not parts or len(numbers) > _MOST_NUMBERS:
            return None
        found: dict[FieldPath, Rule | None] = {}
        for elements in itertools.product((True, False), repeat=len(numbers)):
            element = dict(zip(numbers, elements, strict=True))
            path = tuple(None if element.get(n) else unescape(part) for n, part in enumerate(parts))
            found[path] = self._rules.rule(path)
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
        scalar = _scalar(value) if isinstance(value, dict) else value
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
            self._changes[path] = change(self._rules.decide(path), path, self._rules, self._keys, self._key)
        return self._changes[path]


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


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


def _date(value: Any) -> Moment:
    return Moment(int(value["$numberLong"]))


def _binary(value: Any) -> Value:
    data = base64.b64decode(value["base64"], validate=True)
    # A column has it as text.
    return str(UUID(bytes=data)) if value["subType"] == "04" and len(data) == 16 else data


_SCALARS: dict[str, tuple[type, Callable[[Any], Value]]] = {
    "$oid": (str, str),
    "$symbol": (str, str),
    "$numberInt": (str, int),
    "$numberLong": (str, int),
    "$numberDouble": (str, float),
    "$numberDecimal": (str, Decimal),
    "$date": (dict, _date),
    "$binary": (dict, _binary),
}
# Of these only the whole can be kept or hashed.
_OPAQUE = {"$code", "$regularExpression", "$timestamp", "$dbPointer", "$minKey", "$maxKey", "$undefined"}


def _scalar(value: dict[str, Any]) -> Value | None:
    """The value that a wrapper of Extended JSON holds; None: it is a document."""
    kind = next(iter(value), "")
    if kind in _OPAQUE and value.keys() <= {kind, "$scope"}:
        return _dump(value).encode(errors="surrogatepass")
    if kind not in _SCALARS or len(value) > 1:
        return None
    given, read = _SCALARS[kind]
    inner = value[kind]
    try:
        return read(inner) if isinstance(inner, given) else None
    except (KeyError, TypeError, ValueError, InvalidOperation, binascii.Error):
        return None
