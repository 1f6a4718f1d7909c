"""Paths of fields in documents, as rules name them: `items[].sku`, or a JSON pointer such as `/items/[]/sku`."""

from __future__ import annotations

import re

from flows.core.errors import ConfigurationError

# Names of fields; None stands for every element of an array.
FieldPath = tuple[str | None, ...]

_ELEMENT = "[]"
_PLAIN = re.compile(r"[^.\[\]/~*]+")
_ESCAPE = re.compile(r"~(?![01])")


def parse_path(text: str, *, at: str) -> tuple[FieldPath, bool]:
    """Read the path of a rule.

    A pointer, which begins with `/`, is for names that have dots, slashes or nothing in them. `*` as the last part
    means everything below, at any depth.

    Args:
        text: The path.
        at: Where it was given, for messages.

    Returns:
        The path, and whether it means what is below it.

    Raises:
        ConfigurationError: It is none.
    """
    if text.startswith("/"):
        tokens = text[1:].split("/")
        if any(_ESCAPE.search(token) for token in tokens):
            raise ConfigurationError(
                "a pointer to a field has a `~` that stands for nothing",
                hint="Write ~0 for ~, and ~1 for / in a name.",
                at=at,
                got=text,
            )
        below = tokens[-1] == "*"
        names = tokens[:-1] if below else tokens
        path = tuple(None if name == _ELEMENT else unescape(name) for name in names)
    else:
        below = text == "*" or text.endswith(".*")
        path = _dotted(text[:-1].removesuffix(".") if below else text, text, at)
    if path[:1] == (None,) or not (path or below):
        raise _not_a_path(text, at)
    return path, below


def _dotted(text: str, whole: str, at: str) -> FieldPath:
    path: list[str | None] = []
    for part in text.split(".") if text else ():
        name = part
        elements = 0
        while name.endswith(_ELEMENT):
            name, elements = name.removesuffix(_ELEMENT), elements + 1
        if _PLAIN.fullmatch(name) is None:
            raise _not_a_path(whole, at)
        path += [name, *[None] * elements]
    return tuple(path)


def _not_a_path(text: str, at: str) -> ConfigurationError:
    return ConfigurationError(
        "not a path of a field",
        hint="Write customer.email, items[].sku for a field in the documents of an array, address.* for all below; "
        "where a name has a dot or nothing in it, a pointer: /totals/net.amount.",
        at=at,
        got=text,
    )


def path_text(path: FieldPath) -> str:
    """The path as `parse_path` reads it."""
    if not all(name is None or _PLAIN.fullmatch(name) for name in path):
        return pointer(path)
    return "".join(_ELEMENT if name is None else f".{name}" for name in path).removeprefix(".")


def pointer(path: FieldPath) -> str:
    """The path as a JSON pointer, with `[]` for elements."""
    return "".join("/" + (_ELEMENT if name is None else escape(name)) for name in path)


def escape(name: str) -> str:
    """A name as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def unescape(token: str) -> str:
    """The name that a part of a JSON pointer stands for."""
    return token.replace("~1", "/").replace("~0", "~")
