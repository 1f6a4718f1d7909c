"""Rules of pseudonymisation as operators write them: what is understood, what is refused, and which rule decides."""

from __future__ import annotations

from typing import Any

import pytest

from flows.core.errors import ConfigurationError
from flows.core.parquet.paths import FieldPath, parse_path, path_text, pointer
from flows.core.parquet.rules import Action, Extra, Normal, RuleSet, Unit

EXAMPLE: dict[str, Any] = {
    "shop.invoices": {
        "unlisted": "drop",
        "extra_columns": "drop",
        "rules": [
            {"path": "customer.customerId", "action": "hmac", "domain": "subject", "bits": 96},
            {"path": "customer.email", "action": "hmac", "domain": "email", "normalize": ["trim", "lower"]},
            {"path": "customer.name", "action": "drop"},
            {"path": "customer.address.zip", "action": "truncate", "chars": 2},
            {"path": "payment.iban", "action": "mask", "keep_last": 4},
            {"path": "createdAt", "action": "date", "unit": "day"},
            {"path": "totals.gross", "action": "bucket", "step": 0.1},
            {"path": "items[].sku", "action": "hmac"},
        ],
    }
}


def refused(raw: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        RuleSet.parse(raw)
    return str(caught.value)


def one(rule: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"a.b": {"unlisted": "drop", "rules": [rule], **more}}


def test_an_example_says_what_it_says() -> None:
    found = RuleSet.parse(EXAMPLE).of("shop.invoices")
    assert found is not None
    assert (found.unlisted, found.extra) == (Action.DROP, Extra.DROP)
    assert [rule.text for rule in found.rules] == [
        "hmac domain=subject bits=96",
        "hmac domain=email bits=128 normalize=trim+lower",
        "drop",
        "truncate chars=2",
        "mask keep_first=0 keep_last=4",
        "date unit=day",
        "bucket step=0.1",
        "hmac bits=128",
    ]
    assert found.rules[1].normalize == (Normal.TRIM, Normal.LOWER)
    assert found.rules[5].unit is Unit.DAY
    assert found.rules[7].path == ("items", None, "sku")
    assert found.domain(found.rules[0], ("customer", "customerId")) == "shared subject"
    assert found.domain(found.rules[7], ("items", None, "sku")) == "field shop.invoices items[].sku"


@pytest.mark.parametrize(
    ("text", "path", "below"),
    [
        ("a", ("a",), False),
        ("a.b c", ("a", "b c"), False),
        ("items[].sku", ("items", None, "sku"), False),
        ("m[][]", ("m", None, None), False),
        ("address.*", ("address",), True),
        ("items[].*", ("items", None), True),
        ("*", (), True),
        ("/a.b/c", ("a.b", "c"), False),
        ("/", ("",), False),
        ("/a~1b/[]/c~0d", ("a/b", None, "c~d"), False),
        ("/a.b/*", ("a.b",), True),
        ("$x", ("$x",), False),
    ],
)
def test_paths(text: str, path: FieldPath, below: bool) -> None:
    assert parse_path(text, at="here") == (path, below)
    if not below:
        assert parse_path(path_text(path), at="here") == (path, False)
        assert parse_path(pointer(path), at="here") == (path, False)


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "[]", "[].a", "a[]b", "a[0]", "a.*.b", "a*", "/a~2", "/[]/a"]
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="at='here'"):
        parse_path(text, at="here")


@pytest.mark.parametrize(
    ("path", "action", "text"),
    [
        ("a", "keep", "keep"),
        ("c", "drop", "drop"),  # unlisted
        ("a.x", "drop", "drop"),  # `keep` of a value says nothing of a document in its place
        ("h", "hmac", "hmac domain=d bits=128"),
        ("h.x", "drop", "drop"),  # a document where a value was to be hashed
        ("h[]", "drop", "drop"),
        ("all", "drop", "drop"),  # what is below is meant, and not the path itself
        ("all.x", "keep", "keep"),
        ("all.x[].y", "keep", "keep"),
        ("all.not", "drop", "drop"),
        ("all.not.x", "drop", "drop"),
        ("all.deep.x", "truncate", "truncate chars=1"),  # the nearest one decides
        ("all.not.but", "mask", "mask keep_first=0 keep_last=0"),
    ],
)
def test_the_most_specific_rule_decides(path: str, action: str, text: str) -> None:
    raw = {
        "unlisted": "drop",
        "rules": [
            {"path": "a", "action": "keep"},
            {"path": "h", "action": "hmac", "domain": "d"},
            {"path": "all.*", "action": "keep"},
            {"path": "all.not", "action": "drop"},
            {"path": "all.not.but", "action": "mask"},
            {"path": "all.deep.*", "action": "truncate", "chars": 1},
        ],
    }
    found = RuleSet.parse({"a.b": raw}).of("a.b")
    assert found is not None
    decided = found.decide(parse_path(path, at="")[0])
    assert (decided.action.value, decided.text) == (action, text)


def test_unlisted_fields_are_kept_where_that_is_written() -> None:
    found = RuleSet.parse({"a.b": {"unlisted": "keep", "rules": [{"path": "c", "action": "hmac"}]}}).of("a.b")
    assert found is not None
    assert found.decide(("x", "y")).action is Action.KEEP
    assert found.decide(("c", "y")).action is Action.DROP


def test_the_id_is_that_of_what_is_said_and_not_of_how() -> None:
    rules = EXAMPLE["shop.invoices"]["rules"]
    other = {"shop.invoices": {**EXAMPLE["shop.invoices"], "rules": [dict(reversed(r.items())) for r in rules[::-1]]}}
    assert RuleSet.parse(other).id == RuleSet.parse(EXAMPLE).id
    # Written into manifests and files, and so for ever.
    assert RuleSet.parse(EXAMPLE).id == "0bf4f484d981b66931dd08a5f92832540d80a6945d9bb6ea98a293ab7d6e760a"
    spelt = one({"path": "/a/b", "action": "bucket", "step": "10.0"})
    assert RuleSet.parse(spelt).id == RuleSet.parse(one({"path": "a.b", "action": "bucket", "step": 10})).id
    changed = [one({"path": "x", "action": "hmac", **more}) for more in ({}, {"bits": 64}, {"domain": "d"})]
    assert len({RuleSet.parse(raw).id for raw in changed}) == 3


def test_a_collection_without_rules_does_not_leave_by_accident() -> None:
    raw = {"shop.*": {"unlisted": "drop"}, "shop.a": {"unlisted": "keep"}}
    rules = RuleSet.parse(raw)
    for name, unlisted in (("shop.a", Action.KEEP), ("shop.b.c", Action.DROP)):
        found = rules.of(name)
        assert found is not None
        assert (found.namespace, found.unlisted) == (name, unlisted)
    with pytest.raises(ConfigurationError) as caught:
        rules.of("till.orders")
    assert str(caught.value) == (
        "the rules say nothing of a collection (namespace='till.orders')\n"
        "HINT: Give it rules or exclude it; with `unlisted_namespaces: keep` it would leave as it is."
    )
    assert RuleSet.parse({**raw, "unlisted_namespaces": "keep"}).of("till.orders") is None
    with pytest.raises(ConfigurationError, match="several patterns of the rules match"):
        RuleSet.parse({"a.*": {"unlisted": "drop"}, "*.b": {"unlisted": "keep"}}).of("a.b")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (None, "not a mapping of names to values (at='rules', got='nothing')"),
        ({}, "the rules name no collection (at='rules')"),
        ({3: {}}, "not a mapping"),
        ({"a": {"unlisted": "drop"}}, "not a namespace"),
        ({"a.b": []}, "(at='a.b', got='list')"),
        ({"a.b": {}}, "`unlisted` is missing (at='a.b', expected='unlisted')"),
        ({"a.b": {"unlisted": "hash"}}, "(at='a.b.unlisted', expected='one of keep, drop', got='hash')"),
        ({"a.b": {"unlisted": "drop", "rule": []}}, "Did you mean 'rules'?"),
        ({"a.b": {"unlisted": "drop", "rules": {}}}, "(at='a.b.rules', expected='a list', got='dict')"),
        ({"a.b": {"unlisted": "drop"}, "unlisted_namespaces": True}, "expected='one of refuse, keep', got=True"),
        (one("x"), "(at='a.b.rules[0]', got='str')"),  # type: ignore[arg-type]
        (one({"action": "drop"}), "`path` is missing (at='a.b.rules[0]', expected='path')"),
        (one({"path": 3, "action": "drop"}), "(at='a.b.rules[0].path', expected='a text', got='int')"),
        (one({"path": "x..y", "action": "drop"}), "not a path of a field (at='a.b.rules[0].path', got='x..y')"),
        (one({"path": "x"}), "`action` is missing"),
        (one({"path": "x", "action": "hash"}), "expected='one of keep, drop, hmac, mask, truncate, date, bucket'"),
        (one({"path": "x", "action": "keep", "bits": 64}), "(at='a.b.rules[0]', got='bits')"),
        (one({"path": "x", "action": "hmac", "bit": 64}), "Did you mean 'bits'?"),
        (one({"path": "x", "action": "hmac", "bits": 65}), "expected='a multiple of 8', got=65"),
        (one({"path": "x", "action": "hmac", "bits": 56}), "expected='a whole number from 64 to 256', got=56"),
        (one({"path": "x", "action": "hmac", "bits": True}), "got=True"),
        (one({"path": "x", "action": "hmac", "domain": "a b"}), "a.b.rules[0].domain"),
        (one({"path": "x", "action": "hmac", "domain": ""}), "expected='a text'"),
        (one({"path": "x", "action": "hmac", "normalize": "upper"}), "expected='some of lower, trim, alnum'"),
        (one({"path": "x", "action": "hmac", "normalize": []}), "a.b.rules[0].normalize"),
        (one({"path": "x", "action": "mask", "keep_last": -1}), "got=-1"),
        (one({"path": "x", "action": "truncate"}), "`chars` is missing"),
        (one({"path": "x", "action": "truncate", "chars": 0}), "got=0"),
        (one({"path": "x", "action": "date"}), "`unit` is missing"),
        (one({"path": "x", "action": "date", "unit": "decade"}), "one of hour, day, week, month, quarter, year"),
        (one({"path": "x", "action": "bucket", "step": 0}), "expected='a number above 0', got=0"),
        (one({"path": "x", "action": "bucket", "step": "ten"}), "expected='a number', got='ten'"),
        (one({"path": "x", "action": "bucket", "step": "nan"}), "expected='a number above 0'"),
        (one({"path": "x", "action": "bucket", "step": True}), "expected='a number', got='bool'"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(raw: Any, text: str) -> None:
    assert text in refused(raw)


def test_two_rules_for_one_field_are_refused() -> None:
    twice = {
        "a.b": {"unlisted": "drop", "rules": [{"path": "x.y", "action": "keep"}, {"path": "/x/y", "action": "drop"}]}
    }
    assert "at='a.b.rules[1]', first='a.b.rules[0]', path='x.y'" in refused(twice)
    different = [{"path": "x", "action": "keep"}, {"path": "x.*", "action": "keep"}]
    assert RuleSet.parse({"a.b": {"unlisted": "drop", "rules": different}})


def test_it_is_known_whether_a_key_is_needed() -> None:
    assert RuleSet.parse(EXAMPLE).needs_key
    assert not RuleSet.parse(one({"path": "x", "action": "mask"})).needs_key
