"""Who is sought in an export, and where.

A person is found by values, such as a customer number, in fields that are named, or in all fields whose pseudonyms are
of one domain; all keys are asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flows.core.errors import ConfigurationError
from flows.core.parquet.actions import as_bytes
from flows.core.parquet.paths import FieldPath, parse_path, path_text
from flows.core.parquet.pseudonyms import Keys
from flows.core.parquet.rules import Action, NamespaceRules, Rule, RuleSet
from flows.core.selection import compile_pattern


@dataclass(frozen=True)
class Sought:
    """Who is sought, and where.

    Attributes:
        values: What fields hold for the person, as text; numbers as digits. Not shown anywhere.
        fields: Paths of fields, by pattern of the namespaces that have them.
        domain: Of pseudonyms; empty: only the fields.
        keys: That pseudonyms may have been made with.
        rules: That apply now: they say of what is in JSON which fields are of the domain. None: none do.
        anywhere: Whether rows are the person's too in which a value stands anywhere, within a longer text too.
    """

    values: tuple[str, ...] = field(repr=False)
    fields: Mapping[str, tuple[str, ...]]
    domain: str = ""
    keys: Keys = field(default_factory=Keys)
    rules: RuleSet | None = None
    anywhere: bool = False

    @classmethod
    def of(cls, values: tuple[str, ...], fields: Mapping[str, str], **more: Any) -> Sought:
        """As an operator says it: with commas between the fields of a pattern."""
        paths = {pattern: tuple(part.strip() for part in text.split(",")) for pattern, text in fields.items()}
        return cls(values, paths, **more)

    def concerns(self, namespace: str) -> bool:
        """Whether the person is sought in a namespace."""
        return bool(self.domain or self.anywhere or self.paths(namespace))

    def check(self) -> None:
        """Refuse what finds nobody.

        Raises:
            ConfigurationError: There is no value or no field, a path or pattern is none, or a domain has no keys.
        """
        if not self.values or not (self.fields or self.domain or self.anywhere):
            raise ConfigurationError(
                "nobody could be found by this",
                hint="Give values of the person, and fields to look into or the domain of their pseudonyms.",
                values=len(self.values),
                fields=dict(self.fields),
                domain=self.domain,
            )
        for pattern, paths in self.fields.items():
            compile_pattern(pattern)
            for text in paths:
                if parse_path(text, at=f"fields.{pattern}")[1]:
                    raise ConfigurationError(
                        "a person is found by single fields", hint="Name each of them.", at=pattern, got=text
                    )
        if self.domain and not self.keys.ids:
            raise ConfigurationError(
                "pseudonyms cannot be found without the key that made them",
                hint="Name the MongoDB Export Rules block that has the keys.",
                domain=self.domain,
            )

    @cached_property
    def clear(self) -> frozenset[bytes]:
        """The values as a column without a rule has them."""
        return frozenset(value.encode() for value in self.values)

    def paths(self, namespace: str) -> tuple[FieldPath, ...]:
        """The fields that were named for a namespace."""
        return tuple(
            parse_path(text, at=pattern)[0]
            for pattern, texts in self.fields.items()
            if compile_pattern(pattern).fullmatch(namespace)
            for text in texts
        )

    def wanted(self, rule: Rule | None, path: FieldPath, namespace: str) -> frozenset[bytes]:
        """The values as a field has them after a rule; None: without one.

        Raises:
            ConfigurationError: After this rule people cannot be told apart.
        """
        if rule is None or rule.action is Action.KEEP:
            return self.clear
        if rule.action is not Action.HMAC:
            raise ConfigurationError(
                "people cannot be found by a field of which the rules left too little",
                hint="Name a field that is kept, or one with pseudonyms.",
                namespace=namespace,
                path=path_text(path),
                rule=rule.text,
            )
        domain = NamespaceRules(namespace).domain(rule, path)
        return frozenset(
            self.keys.pseudonyms(domain, key).of(as_bytes(value, rule.normalize), rule.bits).encode()
            for key in self.keys.ids
            for value in self.values
        )
