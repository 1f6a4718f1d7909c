"""Which documents the server would delete, and the commands that let it again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from bson import Int64

from flows.core.extjson import CollectionMetadata
from flows.core.names import Namespace
from flows.core.ttl import NEVER_SECONDS, Ages, Expiry, expiries, held, without_own_expiry

INDEXES = [
    {"v": 2, "key": {"_id": 1}, "name": "_id_"},
    {"v": 2, "key": {"at": 1}, "name": 'by "at"', "expireAfterSeconds": 3600},
    {"v": 2, "key": {"late": 1}, "name": "late", "expireAfterSeconds": NEVER_SECONDS},
]
SESSIONS = CollectionMetadata({}, INDEXES)
METRICS = CollectionMetadata({"timeseries": {"timeField": "t"}, "expireAfterSeconds": Int64(86400)}, [])
PLACE = Namespace("mpg", "se'ssions")


def test_each_rule_is_named_with_its_time() -> None:
    assert [rule.sentence() for rule in expiries(SESSIONS)] == [
        "the index 'by \"at\"' deletes documents after 1 h 0 min"
    ]
    assert [rule.sentence() for rule in expiries(METRICS)] == [
        "the collection's own rule deletes documents after 1 d 0 h"
    ]


def test_what_is_held_has_no_rule_and_is_else_the_same() -> None:
    assert expiries(held(SESSIONS)) == []
    assert held(SESSIONS).indexes[1] == {**INDEXES[1], "expireAfterSeconds": NEVER_SECONDS}
    assert held(SESSIONS).indexes[0] == INDEXES[0]
    assert held(METRICS).options == without_own_expiry(METRICS).options == {"timeseries": {"timeField": "t"}}
    assert "expireAfterSeconds" in METRICS.options


def test_the_commands_turn_the_rules_on_again() -> None:
    assert [rule.resume(PLACE) for rule in expiries(SESSIONS)] == [
        'db.getSiblingDB("mpg").runCommand({collMod: "se\'ssions", '
        'index: {name: "by \\"at\\"", expireAfterSeconds: 3600}})'
    ]
    assert [rule.resume(PLACE) for rule in expiries(METRICS)] == [
        'db.getSiblingDB("mpg").runCommand({collMod: "se\'ssions", expireAfterSeconds: 86400})'
    ]


@pytest.mark.parametrize("seconds", [2678401, NEVER_SECONDS - 1, 0.5])
def test_the_commands_lose_no_digit(seconds: float) -> None:
    assert f"expireAfterSeconds: {seconds}}}" in Expiry("late", float(seconds)).resume(PLACE)


NOW = datetime(2026, 3, 6, 4, tzinfo=UTC)
HOUR_MS = 3_600_000
NOW_MS = int(NOW.timestamp() * 1000)
# So many of 100 are older than three hours, two, one, and now.
AGES = Ages("late", tuple((NOW_MS - hours * HOUR_MS, count) for hours, count in ((3, 0), (2, 40), (1, 40), (0, 100))))


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (4, "0 of 100"),
        (3, "0 of 100"),
        (2.5, "about 20 of 100"),
        (2, "about 40 of 100"),
        (1.5, "about 40 of 100"),
        (0.5, "about 70 of 100"),
        (0, "100 of 100"),
        (-1, "100 of 100"),
    ],
)
def test_the_number_of_documents_that_would_expire(hours: float, text: str) -> None:
    assert Expiry("late", hours * 3600).doomed([AGES], now=NOW) == f"{text} in the backup that have a date"


def test_a_number_that_nobody_counted_is_not_known() -> None:
    assert Expiry("other", 60).doomed([AGES], now=NOW) == "how many of those in the backup is not known"
    assert Expiry("late", 60).doomed([Ages("late", ())], now=NOW).startswith("0 of 0")
