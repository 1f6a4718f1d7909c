"""Legal holds and pins: why a backup stays, whatever retention says. `FORMAT.md` describes what is stored.

Every act is an object of its own that is never written again: a hold that is set, or one that lifts those that it
names. So two people who act at once lose nothing of each other, on any store: a hold that was not yet seen by
somebody who lifts another one is not named, and stays.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from flows.core.errors import ConfigurationError, FormatError, IntegrityError, Refused
from flows.core.fields import parse_versioned
from flows.core.keys import hold_prefix

FORMAT_VERSION = 1
HOLD_LIMIT_BYTES = 64 * 1024
_MOST_LETTERS = 2_000  # of who and why: a sentence, not a file


class HoldKind(StrEnum):
    """Why a backup is held: the law wants it, or somebody does."""

    LEGAL_HOLD = "legal-hold"
    PIN = "pin"


class HoldAction(StrEnum):
    """What is done to a hold."""

    SET = "set"
    LIFT = "lift"


@dataclass(frozen=True, slots=True)
class HoldEvent:
    """One act: a hold is set, or some are lifted."""

    plan: str
    backup: str
    action: HoldAction
    kind: HoldKind
    by: str  # who
    why: str
    at: datetime  # aware
    until: datetime | None = None  # aware; of a pin that is set: when it ends by itself
    lifts: tuple[str, ...] = ()  # ids of the holds that are lifted

    @property
    def id(self) -> str:
        """Names the act among those of a backup: the first 12 digits of the SHA-256 of what is stored."""
        return hashlib.sha256(self.to_json()).hexdigest()[:12]

    @property
    def key(self) -> str:
        """Where it is stored. Sorts by time, for people; nothing relies on that order."""
        return f"{hold_prefix(self.plan, self.backup)}{self.at.astimezone(UTC):%Y-%m-%dT%H-%M-%SZ}-{self.id}.json"

    def __str__(self) -> str:
        end = f" until {_minute(self.until)}" if self.until else ""
        return f"{self.kind.value} {self.id} by {self.by} since {_minute(self.at)}{end}: {self.why}"

    def to_json(self) -> bytes:
        """Write it as canonical JSON."""
        value = {
            "format": FORMAT_VERSION,
            "plan": self.plan,
            "backup": self.backup,
            "action": self.action.value,
            "kind": self.kind.value,
            "by": self.by,
            "why": self.why,
            "at": _text(self.at),
            "until": _text(self.until) if self.until else None,
            "lifts": list(self.lifts),
        }
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, *, key: str) -> HoldEvent:
        """Read what is stored at a key.

        Raises:
            UnsupportedVersion: For a format version that this project does not know.
            FormatError: For anything else that is no act on a hold; names the field.
            IntegrityError: Where it belongs to another key, or is not what was written there.
        """
        top = parse_versioned(data, "hold", version=FORMAT_VERSION)
        event = cls(
            plan=top.text("plan"),
            backup=top.text("backup"),
            action=top.member("action", HoldAction),
            kind=top.member("kind", HoldKind),
            by=top.text("by"),
            why=top.text("why"),
            at=top.time("at"),
            until=None if top.is_null("until") else top.time("until"),
            lifts=tuple(top.texts("lifts")),
        )
        if event.until is not None and (event.kind, event.action) != (HoldKind.PIN, HoldAction.SET):
            raise FormatError("only a pin that is set may have an end", at="hold.until", got=_text(event.until))
        try:
            belongs, written = event.key, event.to_json()
        except ValueError as error:  # JSON can hold halves of letters, which UTF-8 cannot
            raise FormatError("the hold holds text that is not Unicode", got=str(error)) from error
        if (belongs, written) != (key, data):
            raise IntegrityError("the hold is not what was written at this key", expected=belongs, got=key)
        return event


@dataclass(frozen=True, slots=True)
class Holds:
    """What is known of the holds of one backup.

    Attributes:
        events: All acts, in any order.
        unreadable: Of each act that cannot be read its key and why, as one text.
    """

    events: tuple[HoldEvent, ...] = ()
    unreadable: tuple[str, ...] = ()

    def active(self, now: datetime) -> tuple[HoldEvent, ...]:
        """The holds that stand: set, not lifted, and not at their end. Oldest first.

        Args:
            now: Aware.
        """
        lifted = {identifier for event in self.events for identifier in event.lifts}
        standing = (
            event
            for event in self.events
            if event.action is HoldAction.SET and event.id not in lifted and (event.until is None or now < event.until)
        )
        return tuple(sorted(standing, key=lambda event: event.key))

    def reasons(self, now: datetime) -> tuple[str, ...]:
        """Why the backup is held; nothing where it is not. What cannot be read counts as a hold.

        Args:
            now: Aware.
        """
        unreadable = (f"counts as held, because a hold cannot be read: {problem}" for problem in self.unreadable)
        return (*map(str, self.active(now)), *unreadable)

    def history(self, now: datetime) -> list[dict[str, str]]:
        """All acts for people, oldest first.

        Args:
            now: Aware.
        """
        standing = self.active(now)
        rows = [
            {
                "at": _minute(event.at),
                "action": event.action.value,
                "kind": event.kind.value,
                "by": event.by,
                "why": event.why,
                "until": _minute(event.until) if event.until else "-",
                "id": event.id,
                "state": ", ".join(f"lifts {identifier}" for identifier in event.lifts)
                or ("stands" if event in standing else "over"),
            }
            for event in sorted(self.events, key=lambda event: event.key)
        ]
        blank = dict.fromkeys(("at", "action", "kind", "by", "why", "until", "id", "state"), "-")
        return rows + [{**blank, "why": problem, "state": "unreadable"} for problem in self.unreadable]


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """What somebody wants to be done to the holds of a backup.

    Attributes:
        action: Set one, or lift one.
        kind: Legal hold or pin.
        by: Who.
        why: A sentence.
        until: When a pin that is set ends by itself, aware; None: when it is lifted.
        only: Id of the hold to lift, where there is more than one of this kind.
    """

    action: HoldAction
    kind: HoldKind
    by: str
    why: str
    until: datetime | None = None
    only: str | None = None

    def check(self, now: datetime) -> None:
        """See that it makes sense by itself.

        Raises:
            ConfigurationError: Where it does not.
        """
        _said("by", self.by)
        _said("why", self.why)
        if self.only is not None and self.action is HoldAction.SET:
            raise ConfigurationError("`only` names a hold to lift", hint="Leave it empty to set one.", got=self.only)
        if self.until is None:
            return
        if (self.action, self.kind) != (HoldAction.SET, HoldKind.PIN):
            raise ConfigurationError(
                "only a pin that is set may have an end",
                hint="Leave `until` empty. A legal hold stands until somebody lifts it.",
                action=self.action.value,
                kind=self.kind.value,
            )
        if self.until.tzinfo is None:
            raise ConfigurationError(
                "`until` has no time zone",
                hint="Add it, for example 2026-12-31T00:00:00+01:00, or Z for UTC.",
                got=self.until.isoformat(),
            )
        if self.until <= now:
            raise ConfigurationError(
                "`until` is over already", hint="Give a time to come, or none.", got=self.until.isoformat()
            )

    def event(self, plan: str, backup: str, holds: Holds, *, at: datetime) -> HoldEvent:
        """What to write.

        Args:
            plan: Name of the plan.
            backup: Id of the backup.
            holds: Those of the backup, just read.
            at: Now, aware.

        Raises:
            ConfigurationError: See `check`.
            Refused: Where it is not clear which hold is to be lifted, or there is none, or one cannot be read.
        """
        self.check(at)
        lifts = (self._lifted(plan, backup, holds, at).id,) if self.action is HoldAction.LIFT else ()
        by, why = _said("by", self.by), _said("why", self.why)
        return HoldEvent(plan, backup, self.action, self.kind, by, why, at, self.until, lifts)

    def _lifted(self, plan: str, backup: str, holds: Holds, at: datetime) -> HoldEvent:
        standing = [event for event in holds.active(at) if event.kind is self.kind]
        named = [event for event in standing if self.only in {None, event.id}]
        facts = {"plan": plan, "backup": backup, "kind": self.kind.value}
        there_are = f"There are: {'; '.join(map(str, standing))}."
        if holds.unreadable:
            raise Refused(
                "a hold of this backup cannot be read, so none is lifted",
                hint="Find out what damaged it; when it is given up, delete its object by hand.",
                **facts,
                holds=list(holds.unreadable),
            )
        if not named:
            raise Refused(
                "there is no such hold on this backup",
                hint=there_are if standing else "The inventory flow shows the holds that stand.",
                **facts,
                only=self.only,
            )
        if len(named) > 1:
            raise Refused(
                "there is more than one such hold on this backup",
                hint=f"Give the id of one as `only`, and lift each by itself. {there_are}",
                **facts,
            )
        return named[0]


@dataclass(frozen=True, slots=True)
class HoldReport:
    """What the hold flow returns: the holds of the backup that stand now, as people read them."""

    plan: str
    backup: str
    action: HoldAction
    kind: HoldKind
    held: tuple[str, ...]


def _said(name: str, text: str) -> str:
    """One line without spaces around it."""
    line = " ".join(text.split())
    if not line or len(line) > _MOST_LETTERS:
        raise ConfigurationError(
            f"`{name}` is empty or too long",
            hint=f"Say it in up to {_MOST_LETTERS} letters: an auditor will read it.",
            got=len(line),
        )
    return line


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
