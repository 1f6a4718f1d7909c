"""What is wanted against what is there: only what differs is named, and secrets are not shown."""

from __future__ import annotations

from typing import Any

from deployments.setup.changes import Act, Long, Secret, Thing, changes_text, compare


def differences(old: dict[str, Any], new: dict[str, Any]) -> tuple[str, ...]:
    (change,) = compare([Thing("block", "x", "", new)], {("block", "x"): old})
    assert (change.act is Act.LEAVE) == (not change.differences)
    return change.differences


def test_what_is_the_same_is_left() -> None:
    fields = {"a": 1, "b": {"c": [1]}, "d": Secret("x"), "e": Long({"f": 1}), "g": [{"h": 1}]}
    assert differences(fields, {**fields}) == ()


def test_nothing_is_nothing_however_it_is_written() -> None:
    assert differences({"a": None, "b": {}}, {"a": {}, "b": None}) == ()


def test_what_the_set_up_does_not_know_is_no_difference() -> None:
    assert differences({"a": 1, "timeout": 60}, {"a": 1}) == ()


def test_fields_are_named_by_their_path_with_both_values() -> None:
    old = {"parameters": {"retention": {"days": 7}, "exclude": ["a"]}, "tags": ["x"], "list": [{"of": "one"}]}
    new = {"parameters": {"retention": {"days": 9}, "databases": []}, "tags": [], "list": [{"of": "two"}]}
    assert differences(old, new) == (
        "parameters.retention.days: 7 → 9",
        "parameters.databases: (none) → []",
        'tags: ["x"] → []',
        'list.0.of: "one" → "two"',
        'parameters.exclude: ["a"] → (none)',
    )


def test_secrets_and_long_values_are_only_said_to_have_changed() -> None:
    old = {"a": Secret("old"), "b": None, "c": Secret("gone"), "d": Long("x" * 999), "e": "=" * 99 + "1"}
    new = {"a": Secret("new"), "b": Secret("fresh"), "c": None, "d": Long("y"), "e": "=" * 99 + "2"}
    assert differences(old, new) == ("a: changed", "b: set", "c: removed", "d: changed", "e: changed")
    assert "fresh" not in repr(new["b"])


def test_the_text_tells_what_is_done_and_how_much() -> None:
    wanted = [
        Thing("work pool", "p", "process", {"type": "process"}),
        Thing("block", "b", "here", {"host": "new"}),
        Thing("block", "c", "", {"host": "same"}),
        Thing("automation", "d", "", {}),
    ]
    existing = {("block", "b"): {"host": "old"}, ("block", "c"): {"host": "same"}}
    assert changes_text(compare(wanted, existing)) == (
        "+ create work pool p: process\n"
        "~ change block b\n"
        '      host: "old" → "new"\n'
        "= leave block c\n"
        "+ create automation d\n"
        "\n"
        "2 to create, 1 to change, 1 as they should be."
    )
