"""What is said of documents that differ, and what is not."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import Int64

from flows.core.document_diff import MOST_EXAMPLES, ORDER, Difference, DocumentDiff, compare, differing_fields


def raw(document: dict[str, Any]) -> bytes:
    return bson.encode(document)


@pytest.mark.parametrize(
    ("one", "other", "fields"),
    [
        ({"_id": 1, "a": 1}, {"_id": 1, "a": 2}, ("a",)),
        ({"_id": 1, "a": 1}, {"_id": 1, "a": 1.0}, ("a",)),
        ({"_id": 1, "a": 1}, {"_id": 1, "a": Int64(1)}, ("a",)),
        ({"_id": 1, "a": 1}, {"_id": 1, "a": True}, ("a",)),
        ({"_id": 1, "a": {"x": 1, "y": 2}}, {"_id": 1, "a": {"y": 2, "x": 1}}, ("a",)),
        ({"_id": 1, "a": 1, "b": 2}, {"_id": 1, "b": 2, "a": 1}, (ORDER,)),
        ({"_id": 1, "a": 1}, {"_id": 1, "b": 1}, ("a", "b")),
        ({"_id": 1, "a": None}, {"_id": 1}, ("a",)),
    ],
)
def test_types_and_order_count(one: dict[str, Any], other: dict[str, Any], fields: tuple[str, ...]) -> None:
    assert compare(raw(one), raw(other)) is Difference.DIFFERENT
    assert differing_fields(raw(one), raw(other)) == fields


def test_the_same_bytes_are_equal_even_where_python_says_not() -> None:
    document = raw({"_id": 1, "a": float("nan")})
    assert compare(document, bytes(bytearray(document))) is Difference.EQUAL


def test_examples_are_few_and_hold_no_values() -> None:
    diff = DocumentDiff()
    for i in range(50):
        diff.add(raw({"_id": i, "mail": "anna@example.com"}), raw({"_id": i, "mail": "bert@example.com"}))
        diff.add(raw({"_id": -i, "mail": "anna@example.com"}), None)
    assert diff.counts == {Difference.MISSING: 50, Difference.DIFFERENT: 50, Difference.EQUAL: 0}
    assert [len(examples) for examples in diff.examples.values()] == [MOST_EXAMPLES, MOST_EXAMPLES, 0]
    assert diff.examples[Difference.DIFFERENT][3].identifier == '{"_id":{"$numberInt":"3"}}'
    assert diff.examples[Difference.DIFFERENT][3].fields == ("mail",)
    assert "example.com" not in repr(diff)


def test_an_id_of_other_bytes_is_counted() -> None:
    diff = DocumentDiff()
    diff.add(raw({"_id": 1}), raw({"_id": 1.0}))
    diff.add(raw({"_id": 2, "a": 1}), raw({"_id": 2, "a": 2}))
    assert diff.other_id == 1
    assert diff.examples[Difference.DIFFERENT][0].fields == ("_id",)


def test_long_ids_and_many_names_are_cut() -> None:
    diff = DocumentDiff()
    diff.add(raw({"_id": "x" * 1000, **{f"f{i}": 1 for i in range(30)}}), raw({"_id": "x" * 1000}))
    example = diff.examples[Difference.DIFFERENT][0]
    assert len(example.identifier) == 201
    assert example.fields[-1] == "and 10 more"
