"""What a backup takes: databases, include and exclude patterns.

The patterns are those of `mongorestore --nsInclude`: `*` is any run of characters, dots included; a backslash makes
the next character literal; everything else stands for itself; the whole `database.collection` has to match.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flows.core.errors import ConfigurationError
from flows.core.names import Namespace

# What the official mongodump takes of `config`, and why `local` is not taken: archive-format facts that
# `FORMAT.md` repeats under "What is selected".
_CONFIG_COLLECTIONS = frozenset({"chunks", "collections", "databases", "settings", "shards", "tags", "version"})
USER_COLLECTIONS = ("system.users", "system.roles", "system.version")


@dataclass(frozen=True, slots=True)
class Selection:
    """What the operator asked for. No database named means: all of them."""

    databases: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def compile_pattern(pattern: str) -> re.Pattern[str]:
    r"""Turn `mpg.inv*` into a regular expression for whole namespaces.

    Raises:
        ConfigurationError: For an empty pattern, one with `$`, or one that no namespace could match.
    """
    if not pattern or "$" in pattern:
        raise ConfigurationError(
            "not a pattern for namespaces", hint="Write database.collection, with `*` for any characters.", got=pattern
        )
    parts = re.findall(r"\\.|\*|[^\\*]+|\\\Z", pattern, flags=re.DOTALL)
    expression = "".join(".*" if part == "*" else re.escape(part.removeprefix("\\") or "\\") for part in parts)
    return re.compile(expression, flags=re.DOTALL)


def escape_pattern(namespace: str) -> str:
    """The pattern that only this namespace matches."""
    return re.sub(r"([\\*])", r"\\\1", namespace)


def choose_databases(existing: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """Decide which databases to look into.

    Args:
        existing: All databases that the server lists.
        wanted: Names that the operator gave; none means all but `local` and MongoDB's internal ones.

    Raises:
        ConfigurationError: For a name that does not exist, or `local`, which no official tool can restore.
    """
    names = sorted(existing)
    if not wanted:
        return [name for name in names if name != "local" and not name.startswith("__mdb_internal")]
    if "local" in wanted:
        raise ConfigurationError(
            "the database `local` cannot be backed up",
            hint="Remove it from `databases`: it belongs to one server and mongorestore cannot bring it back.",
        )
    for name in wanted:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            raise ConfigurationError(
                "no such database in the source",
                hint=f"Did you mean {close[0]!r}?" if close else f"The user can see: {', '.join(names) or 'none'}.",
                got=name,
            )
    return sorted(set(wanted))


def is_system(namespace: Namespace) -> bool:
    """Whether the official tool leaves a collection out of an ordinary dump because it is MongoDB's own."""
    name = namespace.collection
    if namespace.database == "config":
        return name not in _CONFIG_COLLECTIONS
    return (name.startswith("system.") and name != "system.js") or "$" in name


def choose_namespaces(namespaces: Iterable[Namespace], selection: Selection) -> list[Namespace]:
    """Apply the patterns; excludes win.

    Raises:
        ConfigurationError: Where an include pattern matches nothing, or nothing is left.
    """
    every = sorted(namespaces)
    chosen = every
    if selection.include:
        patterns = {text: compile_pattern(text) for text in selection.include}
        for text, pattern in patterns.items():
            if not any(pattern.fullmatch(str(namespace)) for namespace in every):
                raise ConfigurationError(
                    "an include pattern matches nothing",
                    hint=f"Among {len(every)} namespaces the first are: {', '.join(map(str, every[:5])) or 'none'}.",
                    got=text,
                )
        chosen = [n for n in every if any(p.fullmatch(str(n)) for p in patterns.values())]
    excluded = [compile_pattern(text) for text in selection.exclude]
    chosen = [n for n in chosen if not any(p.fullmatch(str(n)) for p in excluded)]
    if not chosen:
        raise ConfigurationError(
            "nothing is selected",
            hint="Check `databases`, `include` and `exclude`: together they leave no collection.",
            candidates=len(every),
        )
    return chosen


def selects(selection: Selection, namespace: Namespace) -> bool:
    """Whether a selection takes a namespace, if it is there.

    Raises:
        ConfigurationError: For what is not a pattern.
    """
    if selection.databases and namespace.database not in selection.databases:
        return False
    name = str(namespace)
    if selection.include and not any(compile_pattern(text).fullmatch(name) for text in selection.include):
        return False
    return not any(compile_pattern(text).fullmatch(name) for text in selection.exclude)


def unused_excludes(namespaces: Iterable[Namespace], selection: Selection) -> list[str]:
    """Name the exclude patterns that match nothing: harmless to the backup, and perhaps a typing error."""
    every = [str(namespace) for namespace in namespaces]
    return [text for text in selection.exclude if not any(compile_pattern(text).fullmatch(name) for name in every)]
