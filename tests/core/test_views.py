"""Views that follow the collections that they look at."""

from __future__ import annotations

from typing import Any

import pytest

from flows.core.errors import ConfigurationError
from flows.core.names import Namespace
from flows.core.views import changed_names, follow

VIEW = Namespace("mpg", "view")
NAMES = {"a": "A", "b": "B"}


@pytest.mark.parametrize(
    ("stage", "becomes"),
    [
        ({"$lookup": {"from": "a", "as": "a"}}, {"$lookup": {"from": "A", "as": "a"}}),
        (
            {"$lookup": {"from": "x", "let": {"from": "a"}, "pipeline": [{"$unionWith": "a"}], "as": "b"}},
            {"$lookup": {"from": "x", "let": {"from": "a"}, "pipeline": [{"$unionWith": "A"}], "as": "b"}},
        ),
        (
            {"$lookup": {"pipeline": [{"$documents": [{"from": "a"}]}], "as": "a"}},
            {"$lookup": {"pipeline": [{"$documents": [{"from": "a"}]}], "as": "a"}},
        ),
        ({"$graphLookup": {"from": "b", "as": "a"}}, {"$graphLookup": {"from": "B", "as": "a"}}),
        ({"$unionWith": "b"}, {"$unionWith": "B"}),
        (
            {"$unionWith": {"coll": "a", "pipeline": [{"$lookup": {"from": "b"}}]}},
            {"$unionWith": {"coll": "A", "pipeline": [{"$lookup": {"from": "B"}}]}},
        ),
        (
            {"$facet": {"a": [{"$unionWith": "a"}], "b": [{"$lookup": {"from": "b"}}, {"$match": {"b": "b"}}]}},
            {"$facet": {"a": [{"$unionWith": "A"}], "b": [{"$lookup": {"from": "B"}}, {"$match": {"b": "b"}}]}},
        ),
        ({"$match": {"$lookup": {"from": "a"}, "coll": "a"}}, {"$match": {"$lookup": {"from": "a"}, "coll": "a"}}),
        ({"$lookup": {"from": {"db": "local", "coll": "a"}}}, {"$lookup": {"from": {"db": "local", "coll": "a"}}}),
        ({"$lookup": "a", "$facet": 1, "$unionWith": 2}, {"$lookup": "a", "$facet": 1, "$unionWith": 2}),
        ("a", "a"),
    ],
)
def test_collections_that_a_stage_reads_are_renamed_and_nothing_else(stage: Any, becomes: Any) -> None:
    options = {"viewOn": "a", "pipeline": [stage], "collation": {"locale": "de"}}
    followed = follow(options, NAMES)
    assert followed == {"viewOn": "A", "pipeline": [becomes], "collation": {"locale": "de"}}
    assert list(followed) == list(options)
    assert options["viewOn"] == "a"


def test_a_definition_of_another_form_is_left_alone() -> None:
    assert follow({"viewOn": 1, "pipeline": {"0": "a"}}, NAMES) == {"viewOn": 1, "pipeline": {"0": "a"}}
    assert follow({}, NAMES) == {}


def place(target: str, **places: str) -> dict[str, str]:
    options = {"viewOn": "a", "pipeline": [{"$lookup": {"from": "b"}}, {"$unionWith": "elsewhere"}]}
    known = {Namespace("mpg", name): Namespace.parse(where) for name, where in places.items()}
    known[Namespace("crm", "elsewhere")] = Namespace("x", "y")  # of this name, and in another database
    return changed_names(VIEW, Namespace.parse(target), options, known)


def test_what_is_restored_beside_the_view_is_looked_for_under_its_new_name() -> None:
    assert place("copy.view", a="copy.a2", b="copy.b") == {"a": "a2"}
    assert place("mpg.view", a="mpg.b", b="mpg.a") == {"a": "b", "b": "a"}


def test_what_this_restore_leaves_out_keeps_its_name() -> None:
    assert place("copy.view") == {}


@pytest.mark.parametrize(
    ("target", "a", "hint"), [("mpg.view", "copy.a", "mpg: copy"), ("copy.view", "mpg.a", "mpg: copy")]
)
def test_a_view_that_would_not_see_its_collection_is_refused(target: str, a: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        place(target, a=a)
    assert str(caught.value) == (
        "a view would be in another database than a collection that it looks at "
        f"(view='mpg.view', goes_to='{target}', looks_at='mpg.a', which_goes_to='{a}')\n"
        "HINT: A view sees its own database only: rename both into the same one, for example with "
        f"`{hint}`, or leave the view out with `exclude`."
    )
