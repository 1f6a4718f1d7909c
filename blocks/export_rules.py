"""Blocks for personal data in exports: the rules with their keys, and who is to be erased."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml
from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from blocks.form import lines
from flows.core.errors import ConfigurationError
from flows.core.parquet.pseudonyms import Keys, RootKey
from flows.core.parquet.rules import RuleSet

_EXAMPLE = '{"shop.invoices": {"unlisted": "drop", "rules": [{"path": "totals.gross", "action": "keep"}]}}'


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML that refuses a name twice in a mapping: of two collections with one name, one would have no rules."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """See `SafeLoader`."""
        names = [self.construct_object(name, deep=True) for name, _ in node.value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise yaml.MarkedYAMLError(problem=f"the name {twice!r} is there twice", problem_mark=node.start_mark)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found


class ExportRules(Block):
    """
    What of personal data leaves for exports, and in which form.

    Example:
        ```python
        from blocks import ExportRules

        rules = ExportRules.load("BLOCK_NAME")
        print(rules.rules)
        ```
    """

    _block_type_name = "MongoDB Export Rules"
    _block_type_slug = "mongodb-export-rules"
    _description = "What of personal data leaves for exports, and in which form: rules for fields, and keys."

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    rules: dict[str, Any] = Field(
        title="Rules",
        description="For each collection what happens to its fields; README.md explains them. With `unlisted` on "
        f"`drop` only fields that are listed leave: {_EXAMPLE}. From a script the text of a YAML file will do.",
    )
    keys: SecretStr = Field(
        default=SecretStr(""),
        title="Keys",
        description="Keys for pseudonyms, `pseudonym-secret:…`, one a line, the newest first; `python -m flows keys` "
        "makes one. Keep the old ones for as long as people are to be found in old exports; without a key the "
        "pseudonyms that it made mean nothing any more.",
    )

    _as_lines = field_validator("keys", mode="before")(lines)

    @field_validator("rules", mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return yaml.load(value, _Loader)  # noqa: S506 - it is a safe one
        except yaml.YAMLError as error:
            raise ValueError(f"the rules are not YAML: {error}") from None

    @field_validator("rules")
    @classmethod
    def _are_rules(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            RuleSet.parse(value)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("keys")
    @classmethod
    def _are_keys(cls, value: SecretStr) -> SecretStr:
        try:
            found = [RootKey.parse(text) for text in value.get_secret_value().split()]
        except ConfigurationError as error:
            raise ValueError(f"{error.message}. {error.hint}") from None
        return SecretStr("\n".join(key.secret for key in found))

    @model_validator(mode="after")
    def _has_a_key(self) -> ExportRules:
        if RuleSet.parse(self.rules).needs_key and not self.keys.get_secret_value():
            raise ValueError("a rule makes pseudonyms, and there is no key (`python -m flows keys` makes one)")
        return self

    def open(self) -> tuple[RuleSet, Keys]:
        """The rules, and the keys for pseudonyms."""
        return RuleSet.parse(self.rules), self.open_keys()

    def open_keys(self) -> Keys:
        """The keys alone."""
        return Keys([RootKey.parse(text) for text in self.keys.get_secret_value().split()])


class ErasureSubject(Block):
    """
    Who is to be erased from exports. Delete this block once that is done.

    Example:
        ```python
        from blocks import ErasureSubject

        subject = ErasureSubject.load("BLOCK_NAME")
        print(subject.values)
        ```
    """

    _block_type_name = "MongoDB Erasure Subject"
    _block_type_slug = "mongodb-erasure-subject"
    _description = "Who is to be erased from exports: a block, because parameters of runs are kept and shown."

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    values: SecretStr = Field(
        title="Values",
        description="What the fields hold for this person, as text, one a line: a customer number, an e-mail address.",
    )

    _as_lines = field_validator("values", mode="before")(lines)

    @field_validator("values")
    @classmethod
    def _are_values(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().strip():
            raise ValueError("the block is empty: give a value by which the rows of the person are found")
        return value

    def open(self) -> tuple[str, ...]:
        """The values."""
        return tuple(
            dict.fromkeys(text.strip() for text in self.values.get_secret_value().splitlines() if text.strip())
        )
