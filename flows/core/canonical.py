"""Canonical JSON: one spelling for each value, so that a hash or a signature covers what a record says."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flows.core.fields import Fields
from flows.core.signing import Signature

_PUBLIC_KEY, _SIGNATURE = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{128}")


def canonical(value: Any) -> bytes:
    """Write a value: keys sorted, no spaces, UTF-8, one line feed at the end."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="surrogatepass") + b"\n"  # as `json.loads` reads it


def plain(value: Any, special: Callable[[Any], Any] = lambda value: value) -> Any:
    """Dataclasses to what JSON knows. Unlike `dataclasses.asdict` it writes times and leaves enums as their text.

    Args:
        value: What to write; times are aware and become `2026-03-06T04:00:00.000Z`.
        special: Asked first of every value, for those that are written in another way.
    """
    value = special(value)
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name), special) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, tuple):
        return [plain(item, special) for item in value]
    return value


def signed_bytes(value: dict[str, Any]) -> bytes:
    """What the signature in a record is made over: all the rest of it."""
    return canonical({name: part for name, part in value.items() if name != "signature"})


def read_signature(top: Fields) -> Signature | None:
    """The signature in a record, not checked yet; None where it has none."""
    if not top.has("signature") or top.is_null("signature"):
        return None
    inner = top.inner("signature")
    return Signature(
        inner.text("algorithm"), inner.matching("public_key", _PUBLIC_KEY), inner.matching("value", _SIGNATURE)
    )
