"""Counting how old the documents are that a TTL rule may delete, so that a restore can say what would go at once."""

from __future__ import annotations

from typing import Any

from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from pymongo.errors import OperationFailure

from flows.core.extjson import Document, loads_metadata
from flows.core.names import Namespace
from flows.core.source import CollectionInfo, Kind
from flows.core.ttl import Ages, Expiry, expiries
from flows.mongo.catalog import DATES
from flows.mongo.client import Client

_STEPS = 16
# A count over an index passes some millions of keys in a second; what takes longer is not worth the load.
_MOST_MILLISECONDS = 10_000
_FIRST, _LAST = DatetimeMS(-(2**63)), DatetimeMS(2**63 - 1)


def count_ages(client: Client, info: CollectionInfo) -> tuple[Ages, ...]:
    """Count documents by their date under every rule of a collection that is in force.

    A rule is left out where the server does not answer in time, or does not use its index.
    """
    metadata = loads_metadata(info.metadata)
    found = []
    for rule in expiries(metadata):
        index = next((index for index in metadata.indexes if index.get("name") == rule.index), None)
        try:
            found.append(Ages(rule.index, _steps(_Dates(client, info, rule, index))))
        except OperationFailure:
            continue  # the plan of a restore then says that the number is not known
    return tuple(found)


class _Dates:
    """The dates under one rule: those of an index, or of `_id`, which has no other index in a clustered collection."""

    def __init__(self, client: Client, info: CollectionInfo, rule: Expiry, index: Document | None) -> None:
        self._by_bucket = info.kind is Kind.TIMESERIES and index is None
        data: Namespace = info.data_namespace if index is None else info.namespace
        self._client = client
        self._collection = client.get_database(data.database, codec_options=DATES)[data.collection]
        self._field = next(iter(index["key"])) if index is not None else "_id"
        self._only = index.get("partialFilterExpression", {}) if index is not None else {}
        self._hint = rule.index

    def end(self, direction: int) -> int | None:
        """The oldest date (1) or the newest (-1) [ms since 1970]; None where no document has one."""
        # The key tells the date of a field in a list, or deep in the document, as the index knows it.
        found = self._collection.find(
            self._between(None, None),
            sort=[(self._field, direction)],
            limit=1,
            max_time_ms=_MOST_MILLISECONDS,
            hint=self._hint,
            return_key=self._hint is not None,
        )
        first = next(iter(found), None)
        return None if first is None else self._milliseconds(first[self._field])

    def count(self, first: int | None, end: int | None) -> int:
        """Documents with a date from `first` to before `end` [ms since 1970]."""
        command: dict[str, Any] = {
            "count": self._collection.name,
            "query": self._between(first, end),
            "maxTimeMS": _MOST_MILLISECONDS,
        }
        if self._hint is not None:
            command["hint"] = self._hint
        database = self._collection.database
        return int(database.command(command, read_preference=self._client.read_preference)["n"])

    def _between(self, first: int | None, end: int | None) -> dict[str, Any]:
        low, high = (self._value(first, default) for first, default in ((first, _FIRST), (end, _LAST)))
        criteria = {self._field: {"$gte": low, "$lte" if end is None else "$lt": high}}
        return {"$and": [criteria, self._only]} if self._only else criteria

    def _value(self, milliseconds: int | None, default: DatetimeMS) -> DatetimeMS | ObjectId:
        if not self._by_bucket:
            return default if milliseconds is None else DatetimeMS(milliseconds)
        if milliseconds is None:
            return ObjectId(b"\0" * 12 if default is _FIRST else b"\xff" * 12)
        return ObjectId(max(milliseconds // 1000, 0).to_bytes(4) + b"\0" * 8)

    def _milliseconds(self, value: Any) -> int:
        return int.from_bytes(value.binary[:4]) * 1000 if self._by_bucket else int(value)


def _steps(dates: _Dates) -> tuple[tuple[int, int], ...]:
    oldest, newest = dates.end(1), dates.end(-1)
    if oldest is None or newest is None:
        return ()
    width = (newest - oldest) // _STEPS
    edges = sorted({oldest + i * width for i in range(_STEPS)})
    steps = [(oldest, 0)]
    for first, end in zip(edges, [*edges[1:], None], strict=True):
        known = steps[-1][1]
        steps.append((newest + 1 if end is None else end, known + dates.count(first, end)))
    return tuple(steps)
