"""Rules of `rename`: what matches, what becomes of it, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.errors import ConfigurationError
from flows.core.manifest import NamespaceRecord
from flows.core.names import Namespace
from flows.core.rename import check_matches, choose_targets, parse_rename
from flows.core.source import Consistency, Kind
from flows.core.tally import Tally


def record(name: str, kind: Kind = Kind.COLLECTION) -> NamespaceRecord:
    return NamespaceRecord(Namespace.parse(name), kind, "", Tally().totals().content, Consistency.NONE)


def renamed(rename: dict[str, str], name: str, kind: Kind = Kind.COLLECTION) -> str:
    (target,) = choose_targets([record(name, kind)], parse_rename(rename)).values()
    return str(target)


def raw(old: str, new: str, name: str) -> str | None:
    """What one rule makes of a name, before anybody asks whether MongoDB takes that."""
    return parse_rename({old: new})[0].apply(Namespace.parse(name))


def refusal(rename: dict[str, str], *names: str, kind: Kind = Kind.COLLECTION) -> str:
    with pytest.raises(ConfigurationError) as caught:
        choose_targets([record(name, kind) for name in names], parse_rename(rename))
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "name", "becomes"),
    [
        ("mpg", "mpg_restored", "mpg.invoices", "mpg_restored.invoices"),
        ("mpg", "mpg_restored", "mpg.fs.chunks", "mpg_restored.fs.chunks"),
        ("mpg", "mpg_restored", "mpg2.invoices", None),
        ("mpg.invoices", "mpg.invoices_old", "mpg.invoices", "mpg.invoices_old"),
        ("mpg.invoices", "mpg.invoices_old", "mpg.invoices2", None),
        ("mpg.invoices", "mpg.invoices_old", "mpgXinvoices.x", None),
        ("mpg.*", "copy.*", "mpg.fs.chunks", "copy.fs.chunks"),
        ("*.*", "*_test.*", "prod.turbo.encabulators", "prod_test.turbo.encabulators"),
        ("*.a*b", "x.*-*", "p.q.a1b", "x.p.q-1"),
        ("**.c", "x.**", "p.c", "x.p"),
        ("$db$.*", "$db$_copy.*", "mpg.invoices", "mpg_copy.invoices"),
        ("$db$.user$rest$", "test.user$rest$_$db$", "stuff.users", "test.users_stuff"),
        ("$db$.user$$", "test.user$$_$db$", "stuff.user", "test.user_stuff"),
        ("$a$.$b$", "$b$.$a$", "x.y.z", "y.z.x"),
        ("prod.$customer$.orders", "$customer$.orders", "prod.acme.orders", "acme.orders"),
        ("prod.$customer$.orders", "all.$customer$_$customer$", "prod.acme.orders", "all.acme_acme"),
        ("prod.$customer$.orders", "all.orders", "prod.acme.orders", "all.orders"),
        ("$:)*$.us(?:2)er$?$", "test.us(?:2)er$?$_$:)*$", "stuff.us(?:2)ers", "test.us(?:2)ers_stuff"),
        (r"pr\*d\\.*", r"st\*g\\ing.*", r"pr*d\.turbo.encabulators", r"st*g\ing.turbo.encabulators"),
        (r"pr\*d.*", "x.*", "prod.a", None),
        (r"a.\$b\$", r"a.c\d", "a.$b$", "a.cd"),
        ("a.b\\", "a.c\\", "a.b\\", "a.c\\"),
        ("restaurants.cafés", "ÿœp.tāx", "restaurants.cafés", "ÿœp.tāx"),
        ("a.*", "b.*", "a.x\ny", "b.x\ny"),
    ],
)
def test_a_rule_makes_of_a_name_what_mongorestore_makes_of_it(
    old: str, new: str, name: str, becomes: str | None
) -> None:
    assert raw(old, new, name) == becomes


@given(st.lists(st.text("ab.", max_size=2), min_size=2, max_size=5), st.text("ab.", max_size=12))
def test_each_run_is_as_short_as_it_can_be(literals: list[str], name: str) -> None:
    """Held against the expression that the official tool builds."""
    namespace = Namespace("a", name)
    variables = [f"$v{i}$" for i in range(len(literals) - 1)]
    old = "a." + "".join(a + b for a, b in zip(literals, [*variables, ""], strict=True))
    new = "x." + "|".join(variables)
    match = re.fullmatch("a\\." + "(.*?)".join(map(re.escape, literals)), str(namespace), re.DOTALL)
    assert parse_rename({old: new})[0].apply(namespace) == (match and "x." + "|".join(match.groups()))


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_name_with_its_special_characters_escaped_stands_for_itself_alone(name: str, other: str) -> None:
    def escaped(text: str) -> str:
        return re.sub(r"([\\*$])", r"\\\1", text)

    (rule,) = parse_rename({f"a.{escaped(name)}": f"b.{escaped(other)}"})
    assert rule.apply(Namespace("a", name)) == f"b.{other}"
    assert rule.apply(Namespace("a", name + "x")) is None


def test_a_pattern_with_many_stars_is_soon_done_with_a_name_that_it_does_not_match() -> None:
    assert raw("a." + "*b" * 12, "x." + "*b" * 12, "a." + "b" * 200 + "c") is None


def test_the_first_rule_that_matches_wins_and_is_applied_once() -> None:
    rules = {"mpg.invoices": "mpg.old", "mpg.*": "copy.*", "copy.*": "other.*"}
    assert renamed(rules, "mpg.invoices") == "mpg.old"
    assert renamed(rules, "mpg.notes") == "copy.notes"
    assert renamed(rules, "crm.notes") == "crm.notes"


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("mpg.*", "copy", "a rename rule names a collection on one side and a database on the other "),
        ("*", "*_copy", "a rename rule with a pattern has to name database.collection "),
        ("$db$", "$db$_copy", "a rename rule with a pattern has to name database.collection "),
        ("mpg", "*_copy", "a rename rule with a pattern has to name database.collection "),
        ("mpg", "a.b", "not a name for the database to restore into (database='mpg', got='a.b')"),
        ("a.*", "b.c", "(rule='a.*: b.c', expected=1, got=0)"),
        ("$db$.*", "$db$.c", "(rule='$db$.*: $db$.c', expected=1, got=0)"),
        ("a.b", "a.*", "a rename rule has another number of `*` on each side "),
        (r"a.\*", "a.*", "a rename rule has another number of `*` on each side "),
        ("a.$b", "a.b", "a `$` in a rename rule is not closed (rule='a.$b: a.b', got='a.$b')"),
        ("a.b", "a.b$", "a `$` in a rename rule is not closed "),
        ("$db$.us$er$table$", "x.$db$", "a `$` in a rename rule is not closed "),
        (
            "$db$.a",
            "x.$bd$",
            "a rename rule uses a variable that it does not match (rule='$db$.a: x.$bd$', got='$bd$')",
        ),
        ("a.*", "b.*$1$", "a rename rule uses a variable that it does not match "),
        ("$db$.user$db$", "x.$db$", "a rename rule has the same variable twice in what it matches "),
    ],
)
def test_what_is_no_rule_is_refused(old: str, new: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_rename({old: new})
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a$b", "x" * 64, "ü" * 32, "admin", "local", "config"])
def test_a_name_that_no_database_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="not a name for the database"):
        parse_rename({"mpg": name})
    escaped = name.replace("$", r"\$")
    assert refusal({"mpg.*": f"{escaped}.*"}, "mpg.c").startswith("not a name for the database to restore into (rule=")


def test_a_database_that_only_the_backup_can_name_is_checked_too() -> None:
    rule = {"prod.$customer$.orders": "$customer$.orders"}
    assert refusal(rule, "prod.config.orders") == (
        "not a name for the database to restore into "
        "(rule='prod.$customer$.orders: $customer$.orders', namespace='prod.config.orders', got='config.orders')\n"
        "HINT: At most 63 bytes, without / \\ . \" $ or spaces, and not one of MongoDB's own databases."
    )


@pytest.mark.parametrize("name", ["", "a\0b", r"a\$b", "system.views", "system.buckets.c", ".c", "c.", "a..b"])
def test_a_name_that_no_collection_can_have_is_refused(name: str) -> None:
    assert refusal({"mpg.c": f"mpg.{name}"}, "mpg.c").startswith("not a name for the collection to restore into (rule=")


def test_stored_functions_may_move_to_another_database_and_not_to_another_system_collection() -> None:
    assert renamed({"mpg.*": "copy.*"}, "mpg.system.js") == "copy.system.js"
    assert refusal({"mpg.*.js": "mpg.*.views"}, "mpg.system.js").startswith("not a name for the collection")


@pytest.mark.parametrize(("kind", "most"), [(Kind.COLLECTION, 251), (Kind.TIMESERIES, 251 - len("system.buckets."))])
def test_a_name_may_be_255_bytes_long_with_its_database_and_the_buckets(kind: Kind, most: int) -> None:
    assert renamed({"a.c": f"mpg.{'x' * most}"}, "a.c", kind) == f"mpg.{'x' * most}"
    assert "too long" in refusal({"a.c": f"mpg.{'x' * (most + 1)}"}, "a.c", kind=kind)
    assert "too long" in refusal({"a": "mpg"}, f"a.{'x' * (most + 1)}", kind=kind)


def test_two_namespaces_into_one_are_refused() -> None:
    assert refusal({"prod.*.orders": "all.*", "all.*": "all.*"}, "prod.a.orders", "all.a") == (
        "two namespaces would be restored into one (first='prod.a.orders', second='all.a', target='all.a')\n"
        "HINT: Give each a name of its own in `rename`, or leave one out with `exclude`."
    )
    assert "into one" in refusal({"mpg.a": "mpg.b"}, "mpg.a", "mpg.b")


def test_two_namespaces_may_change_names() -> None:
    targets = choose_targets([record("m.a"), record("m.b")], parse_rename({"m.a": "m.b", "m.b": "m.a"}))
    assert [f"{old}: {new}" for old, new in targets.items()] == ["m.a: m.b", "m.b: m.a"]


def unmatched(rename: dict[str, str], *names: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check_matches(parse_rename(rename), map(Namespace.parse, names), backup="B")
    return str(caught.value)


def test_a_rule_that_matches_nothing_is_refused() -> None:
    assert unmatched({"mpg.invoice": "mpg.x"}, "mpg.invoices", "crm.a") == (
        "a rename rule matches nothing in the backup (backup='B', got='mpg.invoice')\n"
        "HINT: It has to match a whole database.collection. The backup holds 2, the first are: crm.a, mpg.invoices."
    )


def test_a_rule_to_which_earlier_ones_leave_nothing_is_refused() -> None:
    names = "mpg.invoices", "mpg.notes"
    assert unmatched({"mpg.*": "copy.*", "mpg.invoices": "mpg.old"}, *names) == (
        "earlier rename rules leave nothing to this one (rule='mpg.invoices: mpg.old')\n"
        "HINT: The first rule that matches wins: put the narrower one first. A Prefect server on PostgreSQL does not "
        "keep the order of a deployment's rules: restore in two runs there, with `include`."
    )
    check_matches(parse_rename({"mpg.invoices": "mpg.old", "mpg.*": "copy.*"}), map(Namespace.parse, names), backup="B")
