"""What is suspicious about the newest backup, held against those before it.

Everything here is only a question to people: data may have been deleted on purpose. So that it is asked seldom in vain,
backups are compared with those that were asked for the same, and what comes and goes by itself is left out: documents
under a TTL rule, small collections, the server's own collections, and what operators name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from flows.core.manifest import Manifest
from flows.core.markup import visible
from flows.core.names import Namespace
from flows.core.report import counted, format_bytes, format_count
from flows.core.selection import Selection, compile_pattern, is_system, selects
from flows.core.source import Kind

COMPARED = 7  # backups before the newest: a week of nights, so that one odd backup is no measure
LEAST_DOCUMENTS = 100  # of a collection before: a few documents more or less are half of a small one
LEAST_BYTES = 1024 * 1024  # [bytes] of BSON of a backup before, for the same reason
_TEMPORARY = ("tmp.agg_out.", "tmp.mr.")  # the server's own, for the time of an aggregation
_MOST_NAMES = 5  # in a sentence


@dataclass(frozen=True, slots=True)
class Holding:
    """What a backup holds of one namespace."""

    documents: int | None  # None of a view
    expires: bool  # whether a TTL rule deletes documents of it


@dataclass(frozen=True, slots=True)
class Contents:
    """What is compared of a backup: little, since several are in memory at a time."""

    backup: str  # its id
    bytes: int  # [bytes] of BSON
    seconds: float  # [s] that it took
    selection: Selection | None  # what was asked for; None: not known
    namespaces: dict[Namespace, Holding]

    @classmethod
    def of(cls, manifest: Manifest) -> Contents:
        """Of a manifest, sealed or not."""
        return cls(
            manifest.backup,
            manifest.bson_bytes,
            (manifest.finished - manifest.started).total_seconds(),
            manifest.selection,
            {
                record.namespace: Holding(
                    None if record.kind is Kind.VIEW else record.content.documents,
                    bool(record.ages) or "expireAfterSeconds" in record.metadata,
                )
                for record in manifest.namespaces
            },
        )

    def asked_for_the_same(self, other: Contents) -> bool:
        """Whether both were taken of the same selection, in whatever order it was written."""
        return _unordered(self.selection) == _unordered(other.selection)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One thing that looks wrong: a lower-case fact, and the backup before it."""

    what: str
    before: str  # id of the backup to hold it against


def smaller(newest: Contents, earlier: Sequence[Contents], percent: float) -> Suspicion | None:
    """Whether a backup is much smaller than those before it.

    Args:
        newest: The backup.
        earlier: Those before it, newest first.
        percent: By more than this share of their median; 0: nobody asks.
    """
    alike = [item for item in earlier if item.asked_for_the_same(newest)]
    usual = median(item.bytes for item in alike) if alike else 0
    if not percent or usual < LEAST_BYTES or not _fell(usual, newest.bytes, percent):
        return None
    many = f"the {len(alike)} backups before it" if len(alike) > 1 else "the backup before it"
    return Suspicion(
        f"backup {newest.backup} has {format_bytes(newest.bytes)} of BSON, {many} had {format_bytes(int(usual))}"
        + (" (median)" if len(alike) > 1 else "")
        + f": {_share(usual, newest.bytes)} less",
        alike[0].backup,
    )


def vanished(newest: Contents, earlier: Sequence[Contents], ignore: Iterable[str]) -> Suspicion | None:
    """Which namespaces the backup before had and this one has not, though it was asked for them.

    Args:
        newest: The backup.
        earlier: Those before it, newest first.
        ignore: Patterns of namespaces that come and go.
    """
    before = _reference(newest, earlier)
    if before is None:
        return None
    wanted = _wanted(newest, ignore)
    gone = [
        name
        for name, held in sorted(before.namespaces.items())
        if name not in newest.namespaces and held.documents != 0 and wanted(name)
    ]
    if not gone:
        return None
    are = f"{len(gone)} namespaces are" if len(gone) > 1 else "a namespace is"
    names = _listed(f"{name} ({_documents(before.namespaces[name])})" for name in gone)
    return Suspicion(f"{are} gone since backup {before.backup}: {names}", before.backup)


def fewer(newest: Contents, earlier: Sequence[Contents], percent: float, ignore: Iterable[str]) -> Suspicion | None:
    """Which collections have far fewer documents than in the backup before.

    Args:
        newest: The backup.
        earlier: Those before it, newest first.
        percent: By more than this share; 0: nobody asks.
        ignore: Patterns of namespaces that come and go.
    """
    before = _reference(newest, earlier)
    if before is None or not percent:
        return None
    fallen = list(_fallen(before, newest, percent, _wanted(newest, ignore)))
    if not fallen:
        return None
    have = f"{len(fallen)} collections have" if len(fallen) > 1 else "a collection has"
    return Suspicion(f"{have} far fewer documents than in backup {before.backup}: {_listed(fallen)}", before.backup)


def _fallen(before: Contents, newest: Contents, percent: float, wanted: Callable[[Namespace], bool]) -> Iterator[str]:
    for name, was in sorted(before.namespaces.items()):
        now = newest.namespaces.get(name)
        if now is None or was.documents is None or now.documents is None or was.expires or now.expires:
            continue
        if was.documents >= LEAST_DOCUMENTS and _fell(was.documents, now.documents, percent) and wanted(name):
            yield f"{name} {format_count(was.documents)} before, {format_count(now.documents)} now"


def _reference(newest: Contents, earlier: Sequence[Contents]) -> Contents | None:
    """The backup to compare with: the last one that was asked for the same, else the last one at all."""
    return next((item for item in earlier if item.asked_for_the_same(newest)), earlier[0] if earlier else None)


def _wanted(newest: Contents, ignore: Iterable[str]) -> Callable[[Namespace], bool]:
    """Says of a namespace whether it would be in the backup if it were still there as it was."""
    ignored = [compile_pattern(text) for text in ignore]

    def wanted(name: Namespace) -> bool:
        if name.collection.startswith(_TEMPORARY) or any(pattern.fullmatch(str(name)) for pattern in ignored):
            return False
        if is_system(name):  # users and roles
            return False
        return newest.selection is None or selects(newest.selection, name)

    return wanted


def _unordered(selection: Selection | None) -> tuple[frozenset[str], ...] | None:
    if selection is None:
        return None
    return frozenset(selection.databases), frozenset(selection.include), frozenset(selection.exclude)


def _fell(before: float, now: float, percent: float) -> bool:
    return (before - now) * 100 > before * percent


def _share(before: float, now: float) -> str:
    return f"{100 * (before - now) / before:.0f} %"


def _documents(held: Holding) -> str:
    return "a view" if held.documents is None else counted(held.documents, "document")


def _listed(names: Iterable[str]) -> str:
    every = [visible(name) for name in names]
    return ", ".join(every[:_MOST_NAMES]) + (
        f" and {len(every) - _MOST_NAMES} more" if len(every) > _MOST_NAMES else ""
    )
