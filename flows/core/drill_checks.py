"""The operator's own checks of a restored backup: what is asked, and whether the answer is right.

Results are numbers and times. Nothing of a document gets into them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flows.core.document_plan import read_filter
from flows.core.errors import ConfigurationError
from flows.core.evidence import Finding
from flows.core.extjson import decode_exactly
from flows.core.names import Namespace
from flows.core.report import counted, format_count, format_duration, format_time

# They write, or run code of whoever wrote the check on the server.
_REFUSED = frozenset({"$out", "$merge", "$function", "$where", "$accumulator"})
MOST_FOUND = 1000  # documents that an aggregation which must find none is counted to
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_135_596_800_000, 253_402_300_799_999  # [ms] the years 1 and 9999: BSON has more of them


@dataclass(frozen=True, slots=True)
class CountCheck:
    """The number of documents that match a filter."""

    name: str
    namespace: Namespace
    timeout_seconds: float
    criteria: bytes = field(repr=False)  # the filter as BSON; it may hold somebody's name
    at_least: int | None
    at_most: int | None

    @property
    def expected(self) -> str:
        """As people read it."""
        bounds = [
            f"at {word} {format_count(bound)}"
            for word, bound in (("least", self.at_least), ("most", self.at_most))
            if bound is not None
        ]
        return f"{' and '.join(bounds)} documents"

    def judge(self, count: int) -> tuple[bool, str]:
        """Whether a number is right, and how to show it."""
        low = self.at_least is not None and count < self.at_least
        high = self.at_most is not None and count > self.at_most
        return not (low or high), counted(count, "document")


@dataclass(frozen=True, slots=True)
class NewestCheck:
    """The newest date in a field, counted back from the time that the backup shows."""

    name: str
    namespace: Namespace
    timeout_seconds: float
    criteria: bytes = field(repr=False)
    path: str  # of the field, with dots
    younger_than: timedelta

    @property
    def expected(self) -> str:
        """As people read it."""
        return f"newest `{self.path}` less than {format_duration(self.younger_than)} before the backup"

    def judge(self, newest: int | None, *, taken: datetime, now: datetime) -> tuple[bool, str]:
        """Whether a date is young enough, and how to show it.

        Args:
            newest: The newest date [ms since 1970]; None: no document has one.
            taken: The time that the backup shows, aware.
            now: Aware.
        """
        if newest is None:
            return False, "no document with a date there"
        moment = _EPOCH + timedelta(milliseconds=min(max(newest, _FIRST), _LAST))
        return taken - moment < self.younger_than, (
            f"{format_time(moment)}, {_apart(moment, taken)} the backup, {_apart(moment, now)} the drill"
        )


@dataclass(frozen=True, slots=True)
class NothingCheck:
    """An aggregation that must find nothing."""

    name: str
    namespace: Namespace
    timeout_seconds: float
    pipeline: tuple[bytes, ...] = field(repr=False)  # stages as BSON

    @property
    def expected(self) -> str:
        """As people read it."""
        return "nothing found"

    def judge(self, found: int) -> tuple[bool, str]:
        """Whether a number is right, and how to show it."""
        more = "more than " if found > MOST_FOUND else ""
        return found == 0, f"{more}{counted(min(found, MOST_FOUND), 'document')}"


Check = CountCheck | NewestCheck | NothingCheck


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What came of one check."""

    name: str
    namespace: str  # in the backup
    ok: bool
    expected: str
    got: str
    seconds: float  # [s] that it took


def read_criteria(given: Mapping[str, Any] | str) -> bytes:
    """A filter as BSON that only reads.

    Raises:
        ConfigurationError: It is none, or does more than read.
    """
    criteria = read_filter(given)
    _check_reads(decode_exactly(criteria))
    return criteria


def read_pipeline(given: Iterable[Mapping[str, Any]] | str) -> tuple[bytes, ...]:
    """The stages of an aggregation as BSON, which only read.

    Raises:
        ConfigurationError: They are none, or do more than read.
    """
    stages = given
    if isinstance(given, str):
        try:
            stages = json.loads(given)
        except ValueError as error:
            raise _no_pipeline(str(error)) from error
    if not isinstance(stages, list) or not stages or not all(isinstance(stage, dict) for stage in stages):
        raise _no_pipeline("it is no list of stages")
    return tuple(read_criteria(stage) for stage in stages)


def _no_pipeline(because: str) -> ConfigurationError:
    return ConfigurationError(
        "the pipeline is not an aggregation in Extended JSON",
        hint='Write a list of stages, for example [{"$match": {"customer": null}}].',
        got=because,
    )


def _check_reads(value: Any) -> None:
    if isinstance(value, list):
        for item in value:
            _check_reads(item)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name in _REFUSED:
                raise ConfigurationError(
                    "a check may only read", hint=f"Leave out {name}: it writes, or runs code on the server.", got=name
                )
            _check_reads(inner)


def check_rows(results: Iterable[CheckResult]) -> list[dict[str, str]]:
    """Rows for a table."""
    return [
        {
            "check": result.name,
            "namespace": result.namespace,
            "passed": "yes" if result.ok else "NO",
            "expected": result.expected,
            "got": result.got,
        }
        for result in results
    ]


def check_findings(results: Iterable[CheckResult]) -> list[Finding]:
    """The checks that failed."""
    return [
        Finding(
            f"the check {result.name!r} failed", namespace=result.namespace, expected=result.expected, got=result.got
        )
        for result in results
        if not result.ok
    ]


def _apart(moment: datetime, from_there: datetime) -> str:
    length = from_there - moment
    return f"{format_duration(abs(length))} {'before' if length >= timedelta(0) else 'after'}"
