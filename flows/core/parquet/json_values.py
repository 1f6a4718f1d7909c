"""Values in canonical Extended JSON, as rules and erasures look at them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from flows.core.parquet.actions import Moment, Value
from flows.core.parquet.paths import FieldPath
from flows.core.parquet.values import compact


def scalars_at(value: Any, path: FieldPath) -> Iterator[Value]:
    """The single values at a path in a value; elements of arrays are looked through even where the path has no `[]`.

    Args:
        value: As `json.loads` gives it.
        path: Below the value; empty: the value itself.
    """
    if isinstance(value, list):
        inner = path[1:] if path and path[0] is None else path
        for item in value:
            yield from scalars_at(item, inner)
        return
    found = scalar_of(value) if isinstance(value, dict) else value
    if isinstance(value, dict) and found is None:
        if path and path[0] in value:
            yield from scalars_at(value[path[0]], path[1:])
    elif found is not None and not path:
        yield found


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


def scalar_of(value: dict[str, Any]) -> Value | None:
    """The value that a wrapper of Extended JSON holds; None: it is a document."""
    kind = next(iter(value), "")
    if kind in _OPAQUE and value.keys() <= {kind, "$scope"}:
        return compact(value).encode(errors="surrogatepass")
    if kind not in _SCALARS or len(value) > 1:
        return None
    given, read = _SCALARS[kind]
    inner = value[kind]
    try:
        return read(inner) if isinstance(inner, given) else None
    except (KeyError, TypeError, ValueError, InvalidOperation, binascii.Error):
        return None
