"""Rules for values in JSON: columns of JSON, misfits beside a column, `_extra`, and pointers in `_nulls`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flows.core.parquet.json_rules import JsonRules
from flows.core.parquet.paths import parse_path
from flows.core.parquet.pseudonyms import Keys
from flows.core.parquet.rules import RuleSet
from tests.core.parquet.test_actions import KEY, changed

RULES = [
    {"path": "keep", "action": "keep"},
    {"path": "who", "action": "hmac", "domain": "d"},
    {"path": "at", "action": "date", "unit": "month"},
    {"path": "sum", "action": "bucket", "step": 10},
    {"path": "mask", "action": "mask"},
    {"path": "cut", "action": "truncate", "chars": 2},
    {"path": "doc.open", "action": "keep"},
    {"path": "doc.who", "action": "hmac", "domain": "d"},
    {"path": "list[].open", "action": "keep"},
    {"path": "tags[]", "action": "keep"},
    {"path": "all.*", "action": "keep"},
    {"path": "both[].x", "action": "keep"},
    {"path": "both.0.x", "action": "drop"},
]
WHO = changed("C-1", action="hmac", domain="d")


def rules(unlisted: str = "drop") -> JsonRules:
    found = RuleSet.parse({"shop.a": {"unlisted": unlisted, "rules": RULES}}).of("shop.a")
    assert found is not None
    return JsonRules(found, Keys([KEY]))


def left(path: str, value: Any, unlisted: str = "drop") -> Any:
    text = rules(unlisted).value(json.dumps(value), parse_path(path, at="")[0])
    return None if text is None else json.loads(text)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("other", "Anna", None),
        ("keep", "Anna", "Anna"),
        ("keep", {"$numberLong": "5"}, {"$numberLong": "5"}),
        ("keep", {"name": "Anna"}, None),  # a document in the place of a value that may leave
        ("keep", ["Anna"], None),
        ("who", "C-1", WHO),
        ("who", {"$symbol": "C-1"}, WHO),
        ("who", {"name": "Anna"}, None),
        ("who", {"$oid": "65f000000000000000000001"}, changed("65f000000000000000000001", action="hmac", domain="d")),
        ("who", {"$numberInt": "5"}, changed(5, action="hmac", domain="d")),
        ("who", {"$numberDouble": "5.0"}, changed(5, action="hmac", domain="d")),
        ("who", {"$numberDecimal": "5.00"}, changed(5, action="hmac", domain="d")),
        ("who", {"$binary": {"base64": "QQ==", "subType": "00"}}, changed(b"A", action="hmac", domain="d")),
        (
            "who",
            {"$binary": {"base64": "EjRWeBI0VngSNFZ4EjRWeA==", "subType": "04"}},
            changed("12345678-1234-5678-1234-567812345678", action="hmac", domain="d"),
        ),
        ("who", True, changed(True, action="hmac", domain="d")),
        ("who", None, "null"),
        ("other", None, None),
        ("at", {"$date": {"$numberLong": "1772800000000"}}, {"$date": {"$numberLong": "1772323200000"}}),
        ("at", "2026-03-06", None),
        ("sum", {"$numberInt": "19"}, {"$numberInt": "10"}),
        ("sum", {"$numberLong": "-1"}, {"$numberLong": "-10"}),
        ("sum", {"$numberDouble": "19.5"}, {"$numberDouble": "10.0"}),
        ("sum", {"$numberDecimal": "19.50"}, {"$numberDecimal": "10"}),
        ("sum", 19, 10),
        ("mask", "Anna", "****"),
        ("mask", {"$regularExpression": {"pattern": "Anna", "options": ""}}, None),
        ("cut", {"$code": "Anna", "$scope": {"n": "Anna"}}, None),
        ("keep", {"$timestamp": {"t": 1, "i": 2}}, {"$timestamp": {"t": 1, "i": 2}}),
        ("doc", {"open": 1, "who": "C-1", "name": "Anna", "more": {"name": "Anna"}}, {"open": 1, "who": WHO}),
        ("doc", {"name": "Anna"}, None),
        ("doc", {}, None),
        ("all", {}, None),
        ("all", {"x": {}, "y": []}, {"x": {}, "y": []}),
        ("list", [{"open": 1, "name": "Anna"}, {"name": "Anna"}, "Anna"], [{"open": 1}, None, None]),
        ("list", ["Anna"], None),
        ("list", [], None),
        ("tags", ["a", {"name": "Anna"}, None], ["a", None, None]),
        ("all", {"x": [{"y": {"$date": {"$numberLong": "1"}}}]}, {"x": [{"y": {"$date": {"$numberLong": "1"}}}]}),
        ("doc", {"$oid": 5, "open": 2}, {"open": 2}),  # no wrapper of Extended JSON
        ("doc", {"$binary": {"base64": "?", "subType": "00"}}, None),
    ],
)
def test_what_leaves_of_a_value(path: str, value: Any, expected: Any) -> None:
    assert left(path, value) == (None if expected == "null" else expected)


def test_what_is_no_json_does_not_leave() -> None:
    assert rules("keep").value("Anna", ("keep",)) is None
    assert rules("keep").value("[" * 100_000, ("keep",)) is None
    assert rules("keep").extra("[]") is None
    assert rules("keep").extra("{") is None


def test_unlisted_fields_leave_where_that_is_written() -> None:
    assert left("x", {"who": 1, "y": []}, "keep") == {"who": 1, "y": []}
    assert left("who", {"name": "Anna"}, "keep") is None
    assert left("doc", {"who": "C-1", "name": "Anna"}, "keep") == {"who": WHO, "name": "Anna"}


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        ("/keep", True),
        ("/who", True),
        ("/other", False),
        ("/doc", True),  # something below it may leave
        ("/doc/open", True),
        ("/list/0/open", True),
        ("/list/[]/open", True),
        ("/list/0/name", False),
        ("/both/0/x", False),  # an element, or a field of the name 0: nobody knows
        ("/both/1/x", True),
        ("/a/0/0/0/0/0/0/0", False),
        ("", False),
    ],
)
def test_pointers_to_nulls(pointer: str, expected: bool) -> None:
    assert rules().leaves(pointer) is expected


def test_unlisted_pointers_are_kept_where_that_is_written() -> None:
    assert rules("keep").leaves("/list/3/name")
    assert not rules("keep").leaves("/at/3/name")


def test_what_leaves_of_extra_values() -> None:
    given = {"/doc/who": "C-1", "/name": "Anna", "/list/0": {"open": 1, "name": "Anna"}, "/all/x": "y"}
    assert json.loads(rules().extra(json.dumps(given)) or "") == {
        "/doc/who": WHO,
        "/list/0": {"open": 1},
        "/all/x": "y",
    }
    assert rules().extra(json.dumps({"/name": "Anna"})) is None
