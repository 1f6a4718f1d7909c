"""What a watch sees, made up for tests of its judgement."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

from flows.core.index import BackupFacts
from flows.core.keys import backup_id
from flows.core.names import Namespace
from flows.core.results import Standing
from flows.core.selection import Selection
from flows.core.source import Consistency
from flows.core.watch import Drills, Kind, Limits, Seen, Sighting, StoreWatch
from flows.core.watch_compare import Contents, Holding
from flows.core.watch_judge import judge
from tests.support.samples import STARTED

NOW = STARTED + timedelta(hours=12)  # the newest backup is of that morning
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def seen(ago: timedelta = 12 * HOUR, *, damage: str = "", signer: str = "", verified: bool = True) -> Seen:
    """A listed backup that began so long ago."""
    taken = NOW - ago
    facts = BackupFacts(backup_id(taken), 500, 4000, 1000, 1, Consistency.SNAPSHOT, True, False, signer)
    at = taken + HOUR
    return Seen(facts, damage, Standing(verified=at, newest=at, looked=at) if verified else Standing())


def sighting(*backups: Seen, **more: Any) -> Sighting:
    """What is in a store where all is well, but for what is said."""
    given: dict[str, Any] = {
        "location": "s3://bucket/prefix",
        "backups": backups or (seen(36 * HOUR), seen()),
        "verified": NOW - 4 * HOUR,
        "drills": Drills(passed=NOW - 9 * DAY),
    }
    return Sighting(**{**given, **more})


def judged(what: Sighting, *, now: datetime = NOW, trusted: tuple[str, ...] = (), **limits: Any) -> StoreWatch:
    return judge(what, dataclasses.replace(Limits(), **limits), plan="mpg", store="backups", now=now, trusted=trusted)


def kinds(watched: StoreWatch) -> list[Kind]:
    return [fact.kind for fact in watched.facts]


def contents(
    ago: timedelta,
    namespaces: dict[str, int | None],
    *,
    size: int = 1 << 24,
    selection: Selection | None = Selection(),
    expires: tuple[str, ...] = (),
) -> Contents:
    """What a backup holds that began so long ago: documents by namespace, None for a view."""
    return Contents(
        backup_id(NOW - ago),
        size,
        60.0,
        selection,
        {Namespace.parse(name): Holding(count, name in expires) for name, count in namespaces.items()},
    )
