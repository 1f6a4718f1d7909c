"""What a backup takes: databases, patterns, and MongoDB's own collections."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.errors import ConfigurationError
from flows.core.names import Namespace
from flows.core.selection import (
    Selection,
    choose_databases,
    choose_namespaces,
    compile_pattern,
    escape_pattern,
    is_system,
    unused_excludes,
)

NAMES = [Namespace.parse(text) for text in ("mpg.invoices", "mpg.transactions", "mpg.fs.chunks", "crm.invoices")]


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("mpg.invoices", "mpg.invoices", True),
        ("mpg.invoices", "mpg.invoices2", False),
        ("mpg.*", "mpg.fs.chunks", True),
        ("mpg.*", "mpg2.x", False),
        ("*.invoices", "crm.invoices", True),
        ("*", "a.b", True),
        ("m*.inv*s", "mpg.invoices", True),
        (r"mpg.a\*b", "mpg.a*b", True),
        (r"mpg.a\*b", "mpg.axb", False),
        (r"mpg.a\\b", r"mpg.a\b", True),
        ("mpg.a+b", "mpg.a+b", True),
        ("mpg.a+b", "mpg.aab", False),
        ("mpg.*", "mpg.a\nb", True),
        ("mpg.inv", "MPG.inv", False),
    ],
)
def test_patterns_match_as_in_mongorestore(pattern: str, name: str, matches: bool) -> None:
    assert bool(compile_pattern(pattern).fullmatch(name)) is matches


@given(st.text(min_size=1).filter(lambda text: "$" not in text))
def test_an_escaped_name_matches_itself_alone(name: str) -> None:
    escaped = escape_pattern(name)
    assert compile_pattern(escaped).fullmatch(name)
    assert not compile_pattern(escaped).fullmatch(name + "x")


@pytest.mark.parametrize("pattern", ["", "mpg.$x", "$db$.c"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="not a pattern for namespaces"):
        compile_pattern(pattern)


def test_excludes_win() -> None:
    chosen = choose_namespaces(NAMES, Selection(include=("mpg.*",), exclude=("*.fs.*",)))
    assert [str(n) for n in chosen] == ["mpg.invoices", "mpg.transactions"]


def test_an_include_that_matches_nothing_is_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigurationError) as caught:
        choose_namespaces(NAMES, Selection(include=("mpg.*", "mgp.invoices")))
    assert str(caught.value) == (
        "an include pattern matches nothing (got='mgp.invoices')\n"
        "HINT: Among 4 namespaces the first are: crm.invoices, mpg.fs.chunks, mpg.invoices, mpg.transactions."
    )


def test_to_exclude_everything_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="nothing is selected"):
        choose_namespaces(NAMES, Selection(exclude=("*",)))


def test_an_exclude_that_matches_nothing_is_named() -> None:
    assert unused_excludes(NAMES, Selection(exclude=("mpg.*", "mpg.tmp*"))) == ["mpg.tmp*"]


def test_all_databases_are_all_but_local_and_internal_ones() -> None:
    assert choose_databases(["local", "mpg", "admin", "__mdb_internal_x"], []) == ["admin", "mpg"]


def test_an_unknown_database_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError) as caught:
        choose_databases(["admin", "mpg"], ["mgp"])
    assert str(caught.value) == "no such database in the source (got='mgp')\nHINT: Did you mean 'mpg'?"


def test_local_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="`local` cannot be backed up"):
        choose_databases(["local"], ["local"])


@pytest.mark.parametrize(
    ("name", "system"),
    [
        ("mpg.system.views", True),
        ("mpg.system.js", False),
        ("mpg.system.buckets.metrics", True),
        ("mpg.systems", False),
        ("admin.system.users", True),
        ("config.settings", False),
        ("config.transactions", True),
        ("mpg.a$b", True),
    ],
)
def test_system_collections_are_those_of_the_official_tool(name: str, system: bool) -> None:
    assert is_system(Namespace.parse(name)) is system


@pytest.mark.parametrize("text", ["", "mpg", "mpg.", ".x"])
def test_half_a_namespace_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not a namespace"):
        Namespace.parse(text)


def test_only_the_first_dot_separates() -> None:
    assert Namespace.parse("mpg.fs.chunks") == Namespace("mpg", "fs.chunks")
