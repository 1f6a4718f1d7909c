"""Expiry of documents: a restored one may be older than its TTL index lets it live, and is then deleted at once.

The server looks once a minute. So a restore turns expiry on last of all, after the documents were compared, or holds it
for as long as the operator wants to look at them.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import timedelta

from flows.core.extjson import CollectionMetadata
from flows.core.names import Namespace
from flows.core.report import format_duration

OPTION = "expireAfterSeconds"
# The largest that the server takes, 68 years (https://www.mongodb.com/docs/manual/core/index-ttl/).
NEVER_SECONDS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Expiry:
    """One rule by which the server deletes documents of a collection."""

    index: str | None  # None: the collection's own, as time-series and clustered collections have it
    seconds: float

    def sentence(self) -> str:
        """For the plan."""
        where = f"the index {self.index!r}" if self.index is not None else "the collection's own rule"
        return f"{where} deletes documents after {format_duration(timedelta(seconds=min(self.seconds, NEVER_SECONDS)))}"

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
