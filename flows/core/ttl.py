"""Expiry of documents: a restored one may be older than its TTL index lets it live, and is then deleted at once.

The server looks once a minute. So a restore turns expiry on last of all, after the documents were compared, or holds it
for as long as the operator wants to look at them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flows.core.extjson import CollectionMetadata
from flows.core.names import Namespace
from flows.core.report import format_count, format_duration

OPTION = "expireAfterSeconds"
# The largest that the server takes, 68 years (https://www.mongodb.com/docs/manual/core/index-ttl/).
NEVER_SECONDS = 2**31 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Expiry:
    """One rule by which the server deletes documents of a collection."""

    index: str | None  # None: the collection's own, as time-series and clustered collections have it
    seconds: float

    def sentence(self) -> str:
        """For the plan."""
        where = f"the index {self.index!r}" if self.index is not None else "the collection's own rule"
        return f"{where} deletes documents after {format_duration(timedelta(seconds=min(self.seconds, NEVER_SECONDS)))}"

    def doomed(self, ages: Iterable[Ages], *, now: datetime) -> str:
        """How many documents of a backup the rule would delete as soon as it is in force, for the plan.

        Args:
            ages: What was counted when the backup was taken.
            now: Aware.
        """
        limit = int((now - _EPOCH) / timedelta(milliseconds=1) - self.seconds * 1000)
        found = next((known for known in ages if known.index == self.index), None)
        if found is None:
            return "how many of those in the backup is not known"
        older = found.older_than(limit)
        about = "" if older in (0, found.dated) else "about "
        return f"{about}{format_count(older)} of {format_count(found.dated)} in the backup that have a date"

    def resume(self, namespace: Namespace) -> str:
        """The command of the MongoDB shell that turns it on again."""
        seconds = int(self.seconds) if self.seconds.is_integer() else self.seconds
        rule = f"{OPTION}: {seconds}"
        if self.index is not None:
            rule = f"index: {{name: {json.dumps(self.index)}, {rule}}}"
        return (
            f"db.getSiblingDB({json.dumps(namespace.database)})"
            f".runCommand({{collMod: {json.dumps(namespace.collection)}, {rule}}})"
        )


@dataclass(frozen=True, slots=True)
class Ages:
    """How old the documents under one rule were when they were backed up.

    Attributes:
        index: As in `Expiry`.
        steps: Times [ms since 1970], ascending, and how many documents have a date before each; the last has all.
    """

    index: str | None
    steps: tuple[tuple[int, int], ...]

    @property
    def dated(self) -> int:
        """Documents that have a date at all; others never expire."""
        return self.steps[-1][1] if self.steps else 0

    def older_than(self, limit: int) -> int:
        """How many documents have a date before a time [ms since 1970], in between the steps by a straight line."""
        before, count = limit, 0
        for time, documents in self.steps:
            if limit < time:
                return count + (documents - count) * (limit - before) // (time - before)
            before, count = time, documents
        return count


def expiries(metadata: CollectionMetadata) -> list[Expiry]:
    """The rules that are in force; an index that is held is none."""
    found = [Expiry(None, float(metadata.options[OPTION]))] if OPTION in metadata.options else []
    for index in metadata.indexes:
        if OPTION in index and not index.get("clustered") and float(index[OPTION]) < NEVER_SECONDS:
            found.append(Expiry(str(index["name"]), float(index[OPTION])))
    return found


def without_own_expiry(metadata: CollectionMetadata) -> CollectionMetadata:
    """As a collection is created: what was restored must not expire while the rest is still on its way."""
    options = {name: value for name, value in metadata.options.items() if name != OPTION}
    return dataclasses.replace(metadata, options=options)


def held(metadata: CollectionMetadata) -> CollectionMetadata:
    """As a collection is restored whose documents are not to expire: its TTL indexes are there and never fire."""
    indexes = [
        {**index, OPTION: NEVER_SECONDS} if OPTION in index and not index.get("clustered") else index
        for index in metadata.indexes
    ]
    return dataclasses.replace(without_own_expiry(metadata), indexes=indexes)
