"""Asking a restored backup what the operator wants to know of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from pymongo import ReadPreference
from pymongo.errors import OperationFailure

from flows.core.drill_checks import MOST_FOUND, Check, CheckResult, CountCheck, NewestCheck
from flows.core.errors import ConfigurationError
from flows.core.names import Namespace
from flows.mongo.catalog import DATES, RAW
from flows.mongo.client import TARGET, error_text, mongo_errors
from flows.mongo.target import MongoTarget

_TIMED_OUT = 50
# What says nothing against a check that is tried on an empty collection: `$text` and `$geoNear` need an index, which
# that does not have, and a busy server may take longer than the time of a check to look at it.
_NOT_REFUSED = (27, 291, _TIMED_OUT)


def try_check(target: MongoTarget, check: Check, empty: Namespace) -> None:
    """See that the server takes a check, on a collection without documents.

    Raises:
        ConfigurationError: It does not.
    """
    try:
        _ask(target, check, empty)
    except OperationFailure as error:
        if error.code in _NOT_REFUSED:
            return
        raise ConfigurationError(
            "the server does not take a check",
            hint="It is run as an aggregation: correct its filter or its pipeline.",
            check=check.name,
            code=error.code,
            got=error_text(error)[:300],
        ) from error


def run_check(
    target: MongoTarget, check: Check, place: Namespace | None, *, taken: datetime, now: datetime
) -> CheckResult:
    """Ask, and judge the answer.

    Args:
        target: Where the backup was restored.
        check: What to ask.
        place: The namespace there; None: the backup does not have it.
        taken: The time that the backup shows, aware.
        now: Aware.

    Raises:
        TargetUnavailable: The connection broke.
    """
    begun = time.monotonic()

    def result(ok: bool, got: str) -> CheckResult:
        return CheckResult(check.name, str(check.namespace), ok, check.expected, got, time.monotonic() - begun)

    if place is None:
        return result(False, "the backup does not have this namespace")
    try:
        answer = _ask(target, check, place)
    except OperationFailure as error:
        # The server's own sentence may quote a document.
        if error.code == _TIMED_OUT:
            return result(False, f"no answer within {check.timeout_seconds:g} s")
        name = (error.details or {}).get("codeName", "")
        return result(False, f"the server refused it with the code {error.code} {name}".strip())
    if isinstance(check, NewestCheck):
        return result(*check.judge(_newest(answer), taken=taken, now=now))
    count = answer[0]["n"] if answer else 0
    return result(*check.judge(count))


def _ask(target: MongoTarget, check: Check, place: Namespace) -> list[dict[str, Any]]:
    """Raises OperationFailure as it is, for what the server says of the check; all else is ours."""
    database = target.client.get_database(place.database, codec_options=DATES, read_preference=ReadPreference.PRIMARY)
    with mongo_errors(TARGET, namespace=str(place)):
        try:
            return list(
                database[place.collection].aggregate(
                    _pipeline(check), maxTimeMS=int(1000 * check.timeout_seconds), allowDiskUse=True
                )
            )
        except OperationFailure as error:
            refused = error
    raise refused


def _pipeline(check: Check) -> list[Any]:
    if isinstance(check, CountCheck):
        return [{"$match": RawBSONDocument(check.criteria, RAW)}, {"$count": "n"}]
    if isinstance(check, NewestCheck):
        return [
            {"$match": RawBSONDocument(check.criteria, RAW)},
            {"$match": {check.path: {"$type": "date"}}},
            {"$sort": {check.path: -1}},
            {"$limit": 1},
            {"$project": {"_id": 0, "newest": f"${check.path}"}},
        ]
    stages = [RawBSONDocument(stage, RAW) for stage in check.pipeline]
    return [*stages, {"$limit": MOST_FOUND + 1}, {"$count": "n"}]


def _newest(answer: list[dict[str, Any]]) -> int | None:
    """The newest date [ms since 1970]; the field may be an array, or be in documents of one."""
    return max((int(value) for value in _dates(answer)), default=None)


def _dates(value: Any) -> Iterable[DatetimeMS]:
    if isinstance(value, DatetimeMS):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _dates(item)
    elif isinstance(value, dict):
        yield from _dates(value.get("newest"))
