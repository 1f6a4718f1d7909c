"""Messages about what is wrong: one for each fact, and not the same one again and again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit, urlunsplit

from flows.core.errors import ConfigurationError
from flows.core.report import format_time
from flows.core.watch import Fact, Kind

MOST_MESSAGES = 10  # about a plan in a store: a disk that dies damages hundreds of backups, and one pager is enough


@dataclass(frozen=True, slots=True)
class Bells:
    """Whom to tell, and how.

    Attributes:
        notify: Notification blocks of Prefect, as `slack-webhook/ops`.
        ping_url: Of a dead-man's switch; empty: none. A secret.
        push_url: Of a Prometheus push gateway; empty: none. A secret, since it may hold a password.
        remind: After which time a fact is told again that still holds; None: never.
    """

    notify: tuple[str, ...] = ()
    ping_url: str = field(default="", repr=False)
    push_url: str = field(default="", repr=False)
    remind: timedelta | None = timedelta(hours=24)


class Signal(StrEnum):
    """What a dead-man's switch is told, as healthchecks.io and others want it."""

    START = "start"
    SUCCESS = "success"
    FAIL = "fail"

    def url(self, ping_url: str) -> str:
        """Where to: the success is told to the address itself, the others below it."""
        parts = urlsplit(ping_url)
        below = "" if self is Signal.SUCCESS else f"/{self.value}"
        return urlunsplit(parts._replace(path=parts.path.rstrip("/") + below))


def check_url(text: str, what: str) -> str:
    """Give the address of a service back if it can be called.

    Args:
        text: The address; may be a secret.
        what: What it is, for the error.

    Raises:
        ConfigurationError: It cannot. Never quotes it.
    """
    try:
        parts = urlsplit(text)
        callable_ = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        callable_ = False
    if not callable_:
        raise ConfigurationError(f"the {what} is no address", hint="Begin it with https:// or http:// and a host.")
    return text


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent."""

    subject: str
    body: str


def message(fact: Fact, *, at: datetime, since: datetime | None) -> Message:
    """The message about a fact.

    Args:
        fact: What is wrong.
        at: When it was seen, aware.
        since: When people were first told of it; None: not yet.
    """
    still = f"It was first told on {format_time(since)}.\n\n" if since else ""
    return Message(
        f"{'STILL ' if since else ''}{fact.severity.value.upper()}: {fact.kind.value}"
        f" (MongoDB backup plan {fact.plan}, store {fact.store})",
        f"{fact.what[:1].upper()}{fact.what[1:]}.\n\nWhat to do: {fact.todo}\n\n{still}Seen on {format_time(at)}.",
    )


def tellable(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """What people are told of: each fact, where they are not too many; else the first ones, and how many more."""
    if len(facts) <= MOST_MESSAGES:
        return tuple(facts)
    told, rest = facts[: MOST_MESSAGES - 1], facts[MOST_MESSAGES - 1 :]
    kinds = ", ".join(sorted({fact.kind.value for fact in rest}))
    first = rest[0]
    more = Fact(
        Kind.MORE,
        first.plan,
        first.store,
        f"{len(rest)} more are not told one by one: {kinds}",
        f"The page watch-{first.plan} under Artifacts has them, and `python -m flows watch` prints them.",
    )
    return (*told, more)


@dataclass(frozen=True, slots=True)
class Told:
    """When people were told of one fact, first and last, aware."""

    first: datetime
    last: datetime


def due(
    facts: Iterable[Fact], told: Mapping[str, Told], *, now: datetime, remind: timedelta | None
) -> tuple[Fact, ...]:
    """The facts that people are to be told of now: those that are new, and those of which to remind them.

    Args:
        facts: That hold.
        told: Of which they were told, by `Fact.key`.
        now: Aware.
        remind: After which time; None: never.
    """
    return tuple(
        fact
        for fact in facts
        if fact.key not in told or (remind is not None and not timedelta(0) <= now - told[fact.key].last < remind)
    )


def remembered(
    told: Mapping[str, Told], facts: Iterable[Fact], sent: Iterable[Fact], *, now: datetime, forget: bool
) -> dict[str, Told]:
    """What is to be known the next time.

    Args:
        told: What was known.
        facts: That hold.
        sent: Those of them that people have just been told of.
        now: Aware.
        forget: Whether what does not hold any more is forgotten, so that it is told again when it comes back. Only who
            looks at everything knows that.
    """
    hold = {fact.key for fact in facts}
    kept = {key: value for key, value in told.items() if not forget or key in hold}
    for fact in sent:
        kept[fact.key] = Told(kept[fact.key].first if fact.key in kept else now, now)
    return kept


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of messages, pings and metrics, as sentences without a full stop and without a secret."""

    done: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def __add__(self, other: Delivery) -> Delivery:
        return Delivery(self.done + other.done, self.problems + other.problems)

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it, the problems first."""
        return (*(f"NOT DELIVERED: {problem}" for problem in self.problems), *self.done)
