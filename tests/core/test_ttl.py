"""Which documents the server would delete, and the commands that let it again."""

from __future__ import annotations

import pytest
from bson import Int64

from flows.core.extjson import CollectionMetadata
from flows.core.names import Namespace
from flows.core.ttl import NEVER_SECONDS, Expiry, expiries, held, without_own_expiry

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
