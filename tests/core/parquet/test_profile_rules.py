"""What the rules leave of a profile, and the schemas that grow with it."""

from __future__ import annotations

import json
import pickle
from typing import Any

import bson
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.core.errors import ConfigurationError
from flows.core.parquet.engine import engine
from flows.core.parquet.growth import grown
from flows.core.parquet.profile import Profile
from flows.core.parquet.profile_rules import ruled_profiles
from flows.core.parquet.pseudonymise import apply, transformed
from flows.core.parquet.pseudonyms import Keys
from flows.core.parquet.rules import NamespaceRules
from tests.core.parquet.test_actions import KEY
from tests.core.parquet.test_pseudonymise import KEYS, OPEN, PLANT, SECRET, planted, rules_of


def profile_of(documents: list[dict[str, Any]]) -> Profile:
    return engine("python").profile("shop.a", b"".join(map(bson.encode, documents)))


def names(documents: list[dict[str, Any]], rules: NamespaceRules) -> list[str]:
    return [change.path for change in grown(None, ruled_profiles(profile_of(documents), rules)[0])[1]]


def test_only_what_leaves_is_in_the_schema() -> None:
    document = {"id": 1, "doc": {"open": 1, "anna@example.com": 3}, "list": [{"open": 1, "x": 2}], "other": {"x": 1}}
    rules = rules_of(*({"path": path, "action": "keep"} for path in ("id", "doc.open", "list[].open")))
    assert names([document], rules) == ["/id", "/doc", "/doc/open", "/list", "/list/[]/open"]
    left, whole = ruled_profiles(profile_of([document]), rules)
    assert "anna" not in json.dumps(left.as_json())
    assert whole.as_json() == profile_of([document]).as_json()
    assert left.documents == whole.documents == 1


def test_what_is_unlisted_stays_where_that_is_written() -> None:
    documents = [{"a": 1, "b": {"c": 2, "d": [1]}}]
    assert names(documents, rules_of({"path": "b.c", "action": "drop"}, unlisted="keep")) == ["/a", "/b", "/b/d"]


def test_a_document_of_which_nothing_leaves_yet_gets_no_column() -> None:
    rules = rules_of(*({"path": path, "action": "keep"} for path in ("always", "who.id", "tags[].x", "n.id")))
    early = [{"always": 1, "who": {"name": "Anna"}, "tags": [{"y": 1}], "n": {"id": None, "name": "Anna"}}]
    stored, changes = grown(None, ruled_profiles(profile_of(early), rules)[0])
    assert [change.path for change in changes] == ["/always"]
    late = [*early, {"who": {"id": 3}, "tags": [{"x": 1}], "n": {"id": 5}}]
    stored, changes = grown(stored, ruled_profiles(profile_of(late), rules)[0])
    assert {change.path: change.kind for change in changes} == {
        "/who": "struct",
        "/who/id": "integer",
        "/tags": "list",
        "/tags/[]/x": "integer",
        "/n": "struct",
        "/n/id": "integer",
    }


ODD = st.fixed_dictionaries({}, optional={"z": PLANT | st.fixed_dictionaries({"open": OPEN, "x": PLANT})})


@settings(max_examples=60, deadline=None)
@given(st.lists(planted(), min_size=1, max_size=6), st.lists(planted(), max_size=4), ODD)
def test_the_two_schemas_agree_on_what_leaves(
    first: list[dict[str, Any]], second: list[dict[str, Any]], odd: dict[str, Any]
) -> None:
    rules = rules_of(
        *({"path": path, "action": "keep"} for path in ("open", "always", "both[].open", "z.open")),
        {"path": "who.x", "action": "hmac"},
    )
    stored = None
    first[0]["always"] = 1
    for documents in (first, [*second, odd]):
        left, whole = ruled_profiles(profile_of(documents), rules)
        stored, _ = grown(stored, left)
        working, _ = grown(stored, whole)
        try:
            expected = transformed(stored.arrow, rules)
        except ConfigurationError:  # `open` is a document or an array in one of them
            return
        assert transformed(working.arrow, rules).equals(expected, check_metadata=True)
        table = engine("python").convert(working, b"".join(map(bson.encode, documents))).table
        assert SECRET not in str(apply(table, rules, KEYS).to_pylist())


def test_keys_go_to_other_processes_without_what_they_have_seen() -> None:
    keys = Keys([KEY])
    made = keys.pseudonyms("d").of(b"Anna Meier", 128)
    sent = pickle.dumps(keys)
    assert b"Anna Meier" not in sent
    assert pickle.loads(sent).pseudonyms("d").of(b"Anna Meier", 128) == made
