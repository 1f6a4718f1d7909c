"""What a watch comes to: its value, its page, and its lines in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from flows.core.errors import AlarmRaised
from flows.core.markup import markdown_text
from flows.core.report import counted, format_bytes, format_duration, format_time, markdown_table
from flows.core.watch import Fact, Kind, Limits, Severity, StoreWatch, limit_text

_WIDTH = 80  # of a terminal
_MOST_FACTS = 200  # on a page


class Verdict(StrEnum):
    """What a watch comes to, in one word."""

    WELL = "well"
    ALARM = "alarm"
    UNREADABLE = "unreadable"  # a store could not be read
    SUSPICIOUS = "suspicious"  # and no alarm


@dataclass(frozen=True, slots=True)
class WatchReport:
    """What the watch flow returns, and what the command prints."""

    plan: str
    at: datetime  # aware
    limits: Limits
    stores: tuple[StoreWatch, ...]

    @property
    def facts(self) -> tuple[Fact, ...]:
        """What is wrong, in all stores."""
        return tuple(fact for store in self.stores for fact in store.facts)

    @property
    def well(self) -> bool:
        """Whether nothing is wrong."""
        return not self.facts

    @property
    def verdict(self) -> Verdict:
        """In one word."""
        if any(fact.kind is Kind.STORE_UNREADABLE for fact in self.facts):
            return Verdict.UNREADABLE
        if any(fact.severity is Severity.ALARM for fact in self.facts):
            return Verdict.ALARM
        return Verdict.SUSPICIOUS if self.facts else Verdict.WELL

    @property
    def headline(self) -> str:
        """The number of alarms and suspicions."""
        if self.well:
            return "all is well"
        counts = [(sum(fact.severity is kind for fact in self.facts), kind.value) for kind in Severity]
        return ", ".join(counted(count, kind) for count, kind in counts if count)

    def check(self) -> None:
        """Fail where anything is wrong.

        Raises:
            AlarmRaised: With the most urgent fact.
        """
        if self.well:
            return
        first = self.facts[0]
        raise AlarmRaised(
            f"{self.headline}: {first.what}",
            hint=f"{first.todo} The page watch-{self.plan} under Artifacts has all of it.",
            plan=self.plan,
            store=first.store,
        )

    def reason(self) -> str:
        """All that is wrong, a paragraph each, without what to do; for the body of a ping."""
        return "\n\n".join(_fact_line(fact) for fact in self.facts) or f"plan {self.plan}: {self.headline}"

    def text(self) -> str:
        """For a terminal of 80 columns: a line for each store that is well, else what is wrong and what to do."""
        paragraphs = []
        for store in self.stores:
            paragraphs.append(_wrapped(_summary(store)))
            for fact in store.facts:
                paragraphs.append(_wrapped(f"{fact.severity.value.upper()}  {fact.what}.", "  "))
                paragraphs.append(_wrapped(fact.todo, "    ", "    "))
        return "\n".join(paragraphs)

    def plain(self) -> dict[str, Any]:
        """For scripts: what JSON knows."""
        return {
            "plan": self.plan,
            "at": _time(self.at),
            "verdict": self.verdict.value,
            "stores": [_store_json(store) for store in self.stores],
            "facts": [
                {
                    "severity": fact.severity.value,
                    "kind": fact.kind.name.lower(),
                    "store": fact.store,
                    "about": fact.about,
                    "what": fact.what,
                    "todo": fact.todo,
                }
                for fact in self.facts
            ],
        }

    def page(self, told: Sequence[str]) -> str:
        """The report as Markdown.

        Args:
            told: What became of pings, messages and metrics, as sentences.
        """
        lines = [
            f"# Watch of plan {self.plan}",
            "",
            f"* **{self.headline[0].upper()}{self.headline[1:]}**",
            f"* **Looked at**: {self.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
            f"* **Limits**: {limits_line(self.limits)}",
            *(f"* **Told**: {markdown_text(line)}" for line in told),
            "",
            *(["## What is wrong", ""] if self.facts else []),
        ]
        # A list: the tables of the UI do not break long cells, and what to do would be far to the right.
        for fact in self.facts[:_MOST_FACTS]:
            lines += [
                f"* **{fact.severity.value.upper()}** in `{fact.store}`: {markdown_text(fact.what)}.",
                "",
                f"  {fact.todo}",  # ours: it names no more than plans and ids
                "",
            ]
        if len(self.facts) > _MOST_FACTS:
            lines += [f"… and {len(self.facts) - _MOST_FACTS} more; the inventory has all backups.", ""]
        lines.append(markdown_table(_store_rows(self.stores)))
        return "\n".join(lines)


def limits_line(limits: Limits) -> str:
    """The limits in one line."""
    ages = (("backup", limits.backup), ("verification", limits.verification), ("drill", limits.drill))
    shares = (("smaller by", limits.smaller_percent), ("fewer documents by", limits.fewer_percent))
    parts = [f"{name} {limit_text(length)}" if length else f"{name}: none" for name, length in ages]
    parts += [f"{name} {percent:g} %" if percent else f"{name}: none" for name, percent in shares]
    return ", ".join(parts) + (f"; ignored: {', '.join(limits.ignore)}" if limits.ignore else "")


def _fact_line(fact: Fact) -> str:
    return f"{fact.severity.value.upper()} plan {fact.plan}, store {fact.store}: {fact.what}"


def _summary(store: StoreWatch) -> str:
    name = f"{store.plan}/{store.store}"
    if not store.readable:
        return f"{name} UNKNOWN"
    state = "ok" if not store.facts else "NOT OK"
    ages = (("backup", store.taken), ("verified", store.verified), ("drilled", store.drilled))
    return f"{name} {state}: " + ", ".join(f"{what} {_ago(store, moment)}" for what, moment in ages)


def _ago(store: StoreWatch, moment: datetime | None) -> str:
    age = store.age(moment)
    return "never" if age is None else f"{_short(age)} ago"


def _short(age: timedelta) -> str:
    """In one unit: `45 min`, `5 h`, `3 d`."""
    minutes = int(age.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 72 * 60 else f"{minutes // (24 * 60)} d"


def _wrapped(text: str, indent: str = "", first: str = "") -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=first, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _store_rows(stores: Sequence[StoreWatch]) -> list[dict[str, str]]:
    """A column for each store: there are few of them, and many things to say."""
    columns = {store.store: _store_cells(store) for store in stores}
    return [
        {"in the store": what, **{name: cells[what] for name, cells in columns.items()}}
        for what in next(iter(columns.values()))
    ]


def _store_cells(store: StoreWatch) -> dict[str, str]:
    return {
        "newest good backup": store.newest or "-",
        "began": _age(store, store.taken),
        "verified": _age(store, store.verified),
        "drilled": _age(store, store.drilled),
        "good backups": f"{store.good} of {store.listed}" if store.readable else "not known",
        "stored": "-" if store.stored_bytes is None else format_bytes(store.stored_bytes),
        "last attempt": "-" if store.attempted is None else format_time(store.attempted),
        "where": markdown_text(store.location) or "-",
    }


def _age(store: StoreWatch, moment: datetime | None) -> str:
    age = store.age(moment)
    if age is None:
        return "never" if store.readable else "not known"
    return f"{format_duration(age)} ago"


def _store_json(store: StoreWatch) -> dict[str, Any]:
    return {
        "store": store.store,
        "location": store.location,
        "readable": store.readable,
        "listed": store.listed,
        "good": store.good,
        "newest": store.newest,
        "taken": _time(store.taken),
        "attempted": _time(store.attempted),
        "verified": _time(store.verified),
        "drilled": _time(store.drilled),
        "duration_seconds": store.seconds,
        "stored_bytes": store.stored_bytes,
        "bson_bytes": store.bson_bytes,
        "documents": store.documents,
    }


def _time(moment: datetime | None) -> str | None:
    """`2026-03-06T04:00:00Z`."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
