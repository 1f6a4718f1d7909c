"""What verifications leave beside a backup: results, whose names tell a listing all that inventory and retention need.

`FORMAT.md` describes the object and its name. A mark of damage stands until a later verification of all of the backup
finds the same bytes sound; whoever writes results can do no more than that, since a result that says that all is well
makes no backup count as verified that would not without it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from flows.core.errors import ConfigurationError
from flows.core.keys import backup_id, backup_prefix, backup_time
from flows.core.report import format_time

FORMAT_VERSION = 1
RESULT_PREFIX = "verified-"
NO_MANIFEST = "0" * 12  # in the name of a result: the manifest itself was not to be relied on
MOST_PARTS = 366
_NAME = re.compile(
    r"verified-(?P<at>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)-(?P<scope>all|[1-9]\d{0,2}of[1-9]\d{0,2})"
    r"-(?P<outcome>sound|sealed|unopened|damaged)-(?P<manifest>[0-9a-f]{12})-(?P<id>[0-9a-f]{12})\.json"
)
_SHARE = re.compile(r"1/([1-9]\d{0,2})")


class Outcome(StrEnum):
    """What a verification says of a backup."""

    SOUND = "sound"  # all that was looked at is as the manifest says
    SEALED = "sealed"  # the stored bytes are; it is encrypted, and nobody gave an identity to open it with
    UNOPENED = "unopened"  # none of the identities that were given opens it
    DAMAGED = "damaged"


_MARKS = (Outcome.UNOPENED, Outcome.DAMAGED)


@dataclass(frozen=True, slots=True)
class Scope:
    """How much of a backup is read: one part of so many, or all of it."""

    part: int = 1  # from 1
    of: int = 1

    @property
    def is_all(self) -> bool:
        """Whether it is all of the backup."""
        return self.of == 1

    def __str__(self) -> str:
        return "all" if self.is_all else f"{self.part}of{self.of}"

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Read what `str` gives of one."""
        part, _, of = text.partition("of")
        return ALL if text == "all" else cls(int(part), int(of))

    def holds(self, backup: str, segment: int) -> bool:
        """Whether a segment belongs to the part. Nothing that happens to other backups changes that.

        Args:
            backup: Id.
            segment: Its number in the backup.
        """
        # Large backups are spread evenly, and small ones do not all come on the same day.
        first = int.from_bytes(hashlib.sha256(backup.encode()).digest()[:8])
        return (first + segment) % self.of == self.part - 1


ALL = Scope()


def scope_of(share: str, *, day: int) -> Scope:
    """The part that is read on a day: each in turn, so that so many days on end read everything.

    Args:
        share: `all`, or `1/7` for a seventh.
        day: Number of the day in the calendar (`date.toordinal`).

    Raises:
        ConfigurationError: Where it is neither.
    """
    match = _SHARE.fullmatch(share.strip())
    if share.strip() == "all":
        return ALL
    if match is None or int(match[1]) > MOST_PARTS:
        raise ConfigurationError(
            "not a share of the backups",
            hint=f"Give `all`, or `1/7` for a seventh each day, so that a week reads all; at most 1/{MOST_PARTS}.",
            got=share,
        )
    return Scope(day % int(match[1]) + 1, int(match[1]))


@dataclass(frozen=True, slots=True)
class ResultName:
    """What the name of a stored result says."""

    at: datetime  # aware UTC, to the second: when the verification of this backup began
    scope: Scope
    outcome: Outcome
    manifest: str  # first 12 digits of its SHA-256
    id: str  # first 12 digits of the SHA-256 of the result

    def __str__(self) -> str:
        parts = (backup_id(self.at), str(self.scope), self.outcome.value, self.manifest, self.id)
        return f"{RESULT_PREFIX}{'-'.join(parts)}.json"

    @classmethod
    def parse(cls, name: str) -> ResultName | None:
        """Read a name; None for one that is not of this form."""
        match = _NAME.fullmatch(name)
        try:
            at = backup_time(match["at"]) if match else None
        except ConfigurationError:
            at = None
        if match is None or at is None:
            return None
        return cls(at, Scope.parse(match["scope"]), Outcome(match["outcome"]), match["manifest"], match["id"])

    @property
    def is_mark(self) -> bool:
        """Whether it keeps the backup from counting as a good copy."""
        return self.outcome in _MARKS

    def clears(self, mark: ResultName) -> bool:
        """Whether it found sound, later and as a whole, what the mark is about."""
        same = mark.manifest in (self.manifest, NO_MANIFEST)
        return self.outcome is Outcome.SOUND and self.scope.is_all and self.at > mark.at and same

    def replaces(self, older: ResultName) -> bool:
        """Whether the older one says nothing any more that this one does not. Marks are never replaced."""
        if older.is_mark or self.is_mark or older.at >= self.at:
            return False
        as_deep = self.outcome in (Outcome.SOUND, older.outcome)
        return as_deep and (self.scope.is_all or self.scope == older.scope)


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result as a listing shows it."""

    name: str  # within the folder of the backup
    modified: datetime  # aware, by the clock of the store


@dataclass(frozen=True, slots=True)
class Standing:
    """What all results of a backup say together.

    Attributes:
        marks: Why it does not count as a good copy, as lower-case facts; empty: no mark stands.
        verified: When all of it had been read again and found as the manifest says, aware: the oldest part counts.
            None: that never happened, or something was written since.
        sealed: Whether `verified` is about stored bytes that were not opened.
        newest: When any of it was, aware.
        parts: Of which share how many parts were, where `verified` is None.
        looked: When a verification last said anything of it, good or bad, aware.
    """

    marks: tuple[str, ...] = ()
    verified: datetime | None = None
    sealed: bool = False
    newest: datetime | None = None
    parts: tuple[int, int] | None = None
    looked: datetime | None = None

    def __str__(self) -> str:
        if self.verified is not None:
            return format_time(self.verified) + (" (not opened)" if self.sealed else "")
        if self.newest is None or self.parts is None:
            return "-"
        return f"{self.parts[0]} of {self.parts[1]} parts, {format_time(self.newest)}"


def standing(backup: str, results: Iterable[StoredResult], *, segments: int, changed: datetime) -> Standing:
    """Judge a backup by the names of its results.

    What cannot be read counts as a mark. A result that is older than an object of the backup says nothing good of it.

    Args:
        backup: Id.
        results: All there are.
        segments: How many the listing shows.
        changed: When the newest other object of the backup was written, by the clock of the store, aware.
    """
    parsed = [(item, ResultName.parse(item.name)) for item in results]
    strange = tuple(f"a result of a verification cannot be read: {item.name}" for item, name in parsed if name is None)
    names = [name for _, name in parsed if name is not None]
    good = [name for item, name in parsed if name is not None and not name.is_mark and item.modified >= changed]
    marks = tuple(
        _mark(mark)
        for mark in sorted((name for name in names if name.is_mark), key=str)
        if not any(name.clears(mark) for name in good)
    )
    newest = max((name.at for name in good), default=None)
    looked = max((name.at for name in names), default=None)
    whole = [(at, kind) for kind in (Outcome.SOUND, Outcome.SEALED) if (at := _covered(backup, good, kind, segments))]
    if whole:
        verified, kind = whole[0]  # what was opened says more than what was not, however old
        return Standing(marks + strange, verified, kind is Outcome.SEALED, newest, None, looked)
    return Standing(marks + strange, None, False, newest, _parts(backup, good, segments), looked)


def _mark(mark: ResultName) -> str:
    found = "found it damaged" if mark.outcome is Outcome.DAMAGED else "could not open it with the identities given"
    return f"the verification of {format_time(mark.at)} {found}"


def _by_share(good: Iterable[ResultName]) -> dict[int, dict[int, datetime]]:
    """The newest result of each part, by the number of parts."""
    found: dict[int, dict[int, datetime]] = {}
    for name in good:
        parts = found.setdefault(name.scope.of, {})
        parts[name.scope.part] = max(name.at, parts.get(name.scope.part, name.at))
    return found


def _needed(backup: str, of: int, segments: int) -> set[int]:
    """The parts that have a segment."""
    return {part for part in range(1, of + 1) for n in range(min(segments, of)) if Scope(part, of).holds(backup, n)}


def _covered(backup: str, good: Iterable[ResultName], kind: Outcome, segments: int) -> datetime | None:
    """Since when all segments have been read; what was opened was read too."""
    enough = [name for name in good if name.outcome in (Outcome.SOUND, kind)]
    times = []
    for of, parts in _by_share(enough).items():
        needed = {1} if of == 1 else _needed(backup, of, segments)
        if needed and needed <= parts.keys():
            times.append(min(parts[part] for part in needed))
    return max(times, default=None)


def _parts(backup: str, good: Iterable[ResultName], segments: int) -> tuple[int, int] | None:
    shares = [(len(parts), len(_needed(backup, of, segments))) for of, parts in _by_share(good).items() if of > 1]
    return max(shares, key=lambda share: share[0] / max(share[1], 1), default=None)


def result_key(plan: str, backup: str, name: ResultName) -> str:
    """Where a result is stored: beside what it is about, so that it goes with it."""
    return backup_prefix(plan, backup) + str(name)
