"""What a watch looks at and what it finds, as values; `flows.core.watch_judge` says what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from flows.core.errors import ConfigurationError
from flows.core.evidence import Finding
from flows.core.index import BackupFacts
from flows.core.keys import backup_time
from flows.core.results import Standing
from flows.core.selection import compile_pattern
from flows.core.watch_compare import Contents

_MOST_HOURS = 876_000  # a century; more is a typing error


class Severity(StrEnum):
    """How sure it is that something is wrong."""

    ALARM = "alarm"
    SUSPICION = "suspicion"  # people have to say whether it is


class Kind(StrEnum):
    """What can be wrong, the most urgent first."""

    STORE_UNREADABLE = "store cannot be read"
    BACKUP_NEVER = "no backup"
    BACKUP_LATE = "backup late"
    BACKUP_DAMAGED = "backup damaged"
    MANIFEST_UNREADABLE = "manifest cannot be read"
    BACKUP_IN_FUTURE = "backup from the future"
    SIGNER_UNKNOWN = "backup not signed by a trusted signer"
    VERIFICATION_NEVER = "never verified"
    VERIFICATION_LATE = "verification late"
    DRILL_FAILED = "drill failed"
    DRILL_NEVER = "never drilled"
    DRILL_LATE = "drill late"
    EVIDENCE_UNREADABLE = "evidence cannot be used"
    NAMESPACE_VANISHED = "namespace gone"
    DOCUMENTS_FEWER = "far fewer documents"
    BACKUP_SMALLER = "backup much smaller"
    MORE = "more"  # than are told one by one

    @property
    def severity(self) -> Severity:
        """How sure it is."""
        return Severity.SUSPICION if self in _SUSPICIONS else Severity.ALARM


_SUSPICIONS = frozenset({Kind.NAMESPACE_VANISHED, Kind.DOCUMENTS_FEWER, Kind.BACKUP_SMALLER})


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is wrong, as people are told.

    Attributes:
        kind: What.
        plan: Whose.
        store: Where, by the name that the operator gave it.
        what: A lower-case fact without a full stop. Holds no secret.
        todo: What to do, in sentences.
        about: What tells it from others of its kind: the id of a backup, as a rule; empty where there is only one.
    """

    kind: Kind
    plan: str
    store: str
    what: str
    todo: str
    about: str = ""

    @property
    def severity(self) -> Severity:
        """How sure it is."""
        return self.kind.severity

    @property
    def key(self) -> str:
        """Stays the same for as long as the fact does."""
        return f"{self.kind.name.lower()}:{self.about}" if self.about else self.kind.name.lower()


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken for late or suspicious. What is None or 0 is not asked.

    Attributes:
        backup: How old the newest good backup may be.
        verification: How long ago the last verification may be.
        drill: How long ago the last drill that passed may be.
        smaller_percent: A backup may be so much smaller than those before it.
        fewer_percent: A collection may have so many fewer documents than in the backup before.
        ignore: Patterns of namespaces that come and go.
    """

    backup: timedelta | None = timedelta(hours=26)
    verification: timedelta | None = timedelta(hours=50)
    drill: timedelta | None = timedelta(days=35)
    smaller_percent: float = 50
    fewer_percent: float = 50
    ignore: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        backup_hours: float,
        verification_hours: float,
        drill_days: float,
        smaller_percent: float,
        fewer_percent: float,
        ignore: Iterable[str] = (),
    ) -> Limits:
        """Limits as operators give them; 0 turns one off.

        Raises:
            ConfigurationError: For a number that makes no sense, or what is not a pattern.
        """
        patterns = tuple(ignore)
        for text in patterns:
            compile_pattern(text)
        for name, percent in (("smaller_percent", smaller_percent), ("fewer_percent", fewer_percent)):
            if not 0 <= percent < 100:
                raise ConfigurationError(
                    "not a share for a suspicion",
                    hint="Give percent: 50 asks where a half is gone. 0 does not ask.",
                    parameter=name,
                    expected="0 to 99",
                    got=percent,
                )
        return cls(
            _length("backup_hours", backup_hours, timedelta(hours=1)),
            _length("verification_hours", verification_hours, timedelta(hours=1)),
            _length("drill_days", drill_days, timedelta(days=1)),
            smaller_percent,
            fewer_percent,
            patterns,
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """A listed backup whose manifest can be read."""

    facts: BackupFacts
    damage: str  # why it is no good copy; empty: it is one
    standing: Standing

    @property
    def taken(self) -> datetime:
        """When it began, aware."""
        return backup_time(self.facts.backup)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an attempt to back up has left that is no backup: it is under way, or it failed."""

    began: datetime
    objects: int


@dataclass(frozen=True, slots=True)
class Drills:
    """What the evidence says of drills."""

    passed: datetime | None = None  # when the last one that passed ended
    failed: datetime | None = None  # when the last one ended, if it failed
    why: tuple[Finding, ...] = ()  # it failed


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is in the store of a plan."""

    location: str
    backups: tuple[Seen, ...] = ()  # in any order
    unreadable: tuple[tuple[str, str], ...] = ()  # ids of the listed backups without a usable manifest, and why
    attempt: Attempt | None = None  # the newest that is no backup
    contents: tuple[Contents, ...] = ()  # of the newest good backups, newest first
    verified: datetime | None = None  # when the last verification ended that left evidence
    drills: Drills = field(default_factory=Drills)
    unusable: tuple[tuple[str, str], ...] = ()  # the newest evidence where it cannot be used: keys, and why


@dataclass(frozen=True, slots=True)
class StoreWatch:
    """What was found out about a plan in one store.

    Attributes:
        plan: Whose.
        store: The name that the operator gave it.
        location: Where that is; empty: not known.
        at: When it was looked at, aware.
        readable: Whether it could be.
        facts: What is wrong, the most urgent first.
        listed: Backups, good or not.
        good: Good ones.
        newest: Id of the newest good one; empty: there is none.
        attempted: When the last attempt began that left anything.
        seconds: How long the newest good one took [s].
        stored_bytes: Its size in the store [bytes].
        bson_bytes: Its BSON [bytes].
        documents: In it.
        verified: When a verification last looked at anything.
        drilled: When the last drill that passed ended.
    """

    plan: str
    store: str
    location: str
    at: datetime
    readable: bool
    facts: tuple[Fact, ...]
    listed: int = 0
    good: int = 0
    newest: str = ""
    attempted: datetime | None = None
    seconds: float | None = None
    stored_bytes: int | None = None
    bson_bytes: int | None = None
    documents: int | None = None
    verified: datetime | None = None
    drilled: datetime | None = None

    @property
    def taken(self) -> datetime | None:
        """When the newest good backup began, aware."""
        return backup_time(self.newest) if self.newest else None

    def age(self, moment: datetime | None) -> timedelta | None:
        """How long ago something was."""
        return None if moment is None else max(self.at - moment, timedelta(0))


def limit_text(limit: timedelta) -> str:
    """A limit as it was given: `26 h`, `35 d`."""
    hours = limit / timedelta(hours=1)
    return f"{hours / 24:g} d" if hours >= 72 and hours % 24 == 0 else f"{hours:g} h"


def _length(name: str, number: float, unit: timedelta) -> timedelta | None:
    if not 0 <= number <= _MOST_HOURS:
        raise ConfigurationError(
            "not a limit for an age",
            hint="Give a number, as 26 or 0.5; 0 is no limit.",
            parameter=name,
            expected=f"0 to {_MOST_HOURS}",
            got=number,
        )
    return number * unit if number else None
