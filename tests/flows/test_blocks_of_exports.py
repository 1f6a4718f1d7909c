"""The blocks of exports: rules are understood or refused when they are saved, and neither keys nor people are shown."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from blocks import ErasureSubject, ExportRules
from flows.core.errors import ConfigurationError
from flows.core.parquet.pseudonyms import RootKey
from flows.core.parquet.rules import RuleSet
from flows.tasks.blocks import load_block

KEY, OLD = RootKey.generate(), RootKey.generate()
YAML = """\
shop.invoices:
  unlisted: drop
  rules:
    - {path: customer.id, action: hmac, domain: subject}
    - {path: totals.gross, action: keep}
"""
RULES: dict[str, Any] = {
    "shop.invoices": {
        "unlisted": "drop",
        "rules": [
            {"path": "customer.id", "action": "hmac", "domain": "subject"},
            {"path": "totals.gross", "action": "keep"},
        ],
    }
}


def test_rules_and_keys_come_back_as_they_were_saved() -> None:
    ExportRules(rules=YAML, keys=[KEY.secret, OLD.secret]).save("gdpr", overwrite=True)
    rules, keys = load_block(ExportRules, "gdpr").open()
    assert rules.id == RuleSet.parse(RULES).id
    assert keys.ids == (KEY.id, OLD.id)
    assert ExportRules(rules=RULES, keys=f" {KEY.secret} \n").open()[1].id == KEY.id


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rules": YAML}, "a rule makes pseudonyms, and there is no key"),
        ({"rules": {}, "keys": KEY.secret}, "the rules name no collection"),
        ({"rules": YAML.replace("hmac", "hash"), "keys": KEY.secret}, "at='shop.invoices.rules[0].action'"),
        ({"rules": "a: [", "keys": KEY.secret}, "the rules are not YAML"),
        ({"rules": YAML + YAML, "keys": KEY.secret}, "the name 'shop.invoices' is there twice"),
        ({"rules": YAML, "keys": KEY.secret[:-1]}, "not a key for pseudonyms. Give the line pseudonym-secret:…"),
    ],
)
def test_what_cannot_be_used_is_refused_when_it_is_saved(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ExportRules(**fields)
    assert message in str(caught.value)
    assert KEY.secret[-16:-1] not in str(caught.value)


def test_what_cannot_be_used_any_more_is_told_when_it_is_loaded() -> None:
    ExportRules(rules=YAML, keys=KEY.secret).save("gdpr", overwrite=True)
    with pytest.raises(ConfigurationError, match="there is no block 'gpdr' of the type MongoDB Export Rules"):
        load_block(ExportRules, "gpdr")


def test_who_is_to_be_erased_is_not_shown() -> None:
    subject = ErasureSubject(values=[" C-1 ", "anna@example.com", "", "C-1"])
    assert subject.open() == ("C-1", "anna@example.com")
    assert "anna" not in repr(subject) + str(subject)
    assert "values" in ErasureSubject.model_json_schema()["secret_fields"]
    with pytest.raises(ValidationError, match="the block is empty"):
        ErasureSubject(values=" \n")
