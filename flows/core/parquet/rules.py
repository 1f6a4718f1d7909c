"""Rules of pseudonymisation: what of a collection leaves for an export, and in which form.

The most specific rule decides on a field: its own, else the nearest `…*` above it, else what is `unlisted`. A rule that
changes a value fits values; where a document or an array is found in its place, that is dropped. `keep` lets a value
pass, and of a document nothing but the fields that have rules themselves, where unlisted ones are dropped.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import cached_property
from typing import Any

from flows.core.canonical import canonical
from flows.core.errors import ConfigurationError
from flows.core.names import Namespace
from flows.core.parquet.given import Given
from flows.core.parquet.paths import FieldPath, parse_path, path_text
from flows.core.selection import compile_pattern

# A change of what a rule makes of a value is a new version: the id in old files must not speak for new ones.
_VERSION = 1
_NO_NAMESPACE = "unlisted_namespaces"


class Action(StrEnum):
    """What happens to the values of a field."""

    KEEP = "keep"
    DROP = "drop"
    HMAC = "hmac"
    MASK = "mask"
    TRUNCATE = "truncate"
    DATE = "date"
    BUCKET = "bucket"


class Unit(StrEnum):
    """To what a date is rounded down, in UTC."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"  # to its Monday
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


class Normal(StrEnum):
    """What is done to a text before its pseudonym is made, so that spellings of one thing have one pseudonym."""

    LOWER = "lower"
    TRIM = "trim"
    ALNUM = "alnum"  # letters and digits alone: for phone numbers and IBANs


class Extra(StrEnum):
    """What becomes of values that do not fit their column: in `…__json`, `_extra` and `_nulls`."""

    APPLY = "apply"
    DROP = "drop"


LEAST_BITS, MOST_BITS = 64, 256


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to the values at one path, or below it.

    Attributes:
        path: Of the field.
        action: What happens to it.
        below: Whether all below the path is meant, at any depth, and not the path itself.
        domain: For `hmac`: fields of one domain have one pseudonym for one value. Empty: the field is its own.
        bits: Length of a pseudonym [bits].
        normalize: Steps before a pseudonym is made, in this order.
        keep_first: For `mask`: so many characters stay at the beginning.
        keep_last: The same at the end.
        chars: For `truncate`: so many characters stay.
        unit: For `date`.
        step: For `bucket`: a number is rounded down to a multiple of it.
    """

    path: FieldPath
    action: Action
    below: bool = False
    domain: str = ""
    bits: int = 128
    normalize: tuple[Normal, ...] = ()
    keep_first: int = 0
    keep_last: int = 0
    chars: int = 0
    unit: Unit = Unit.DAY
    step: Decimal = Decimal(1)

    @property
    def where(self) -> str:
        """The path as it is written."""
        text = path_text(self.path)
        if not self.below:
            return text
        return "*" if not text else f"{text}/*" if text.startswith("/") else f"{text}.*"

    @property
    def text(self) -> str:
        """The action with its options, for people and for the metadata of a column."""
        return " ".join([self.action, *(f"{name}={value}" for name, value in self.options().items())])

    def options(self) -> dict[str, Any]:
        """What belongs to the action, as JSON knows it."""
        match self.action:
            case Action.HMAC:
                found: dict[str, Any] = {"domain": self.domain} if self.domain else {}
                found["bits"] = self.bits
                return found | ({"normalize": "+".join(self.normalize)} if self.normalize else {})
            case Action.MASK:
                return {"keep_first": self.keep_first, "keep_last": self.keep_last}
            case Action.TRUNCATE:
                return {"chars": self.chars}
            case Action.DATE:
                return {"unit": self.unit.value}
            case Action.BUCKET:
                return {"step": f"{self.step.normalize():f}"}
        return {}


def rule_of_text(text: str, path: FieldPath) -> Rule:
    """Read `Rule.text` again, as the metadata of a column has it.

    Raises:
        ConfigurationError: It is none.
    """
    action, *options = text.split(" ")
    given: dict[str, Any] = dict(part.split("=", 1) for part in options if "=" in part)
    for name in ("bits", "keep_first", "keep_last", "chars"):
        if name in given:
            given[name] = int(given[name]) if given[name].isdecimal() else given[name]
    if "normalize" in given:
        given["normalize"] = given["normalize"].split("+")
    found = _rule(Given({"path": "x", "action": action, **given}, "a column's rule"))
    return replace(found, path=path)


@dataclass(frozen=True)
class NamespaceRules:
    """The rules of one collection.

    Attributes:
        namespace: `database.collection`; in a set of rules it may be a pattern.
        unlisted: What happens to fields without a rule: `keep`, or `drop`.
        extra: What happens to values outside of their columns.
        rules: In the order given.
    """

    namespace: str
    unlisted: Action = Action.DROP
    extra: Extra = Extra.APPLY
    rules: tuple[Rule, ...] = ()

    @cached_property
    def _exact(self) -> dict[FieldPath, Rule]:
        return {rule.path: rule for rule in self.rules if not rule.below}

    @cached_property
    def _below(self) -> dict[FieldPath, Rule]:
        return {rule.path: rule for rule in self.rules if rule.below}

    def rule(self, path: FieldPath) -> Rule | None:
        """The rule that decides on a path; None: there is none, and `unlisted` does."""
        if path in self._exact:
            return self._exact[path]
        for end in range(len(path) - 1, -1, -1):
            above = path[:end]
            if above in self._below:
                return self._below[above]
            own = self._exact.get(above)
            if own is not None and own.action is not Action.KEEP:
                # The rule is for a value, and found a document or an array: nothing of that is known to be harmless.
                return replace(own, action=Action.DROP)
        return None

    def decide(self, path: FieldPath) -> Rule:
        """The rule for the values at a path, `unlisted` counted in."""
        return self.rule(path) or Rule(path, self.unlisted)

    def may_leave(self, path: FieldPath) -> bool:
        """Whether anything at a path, or below it, could leave."""
        return self.decide(path).action is not Action.DROP or any(
            rule.action is not Action.DROP and rule.path[: len(path)] == path for rule in self.rules
        )

    def domain(self, rule: Rule, path: FieldPath) -> str:
        """The domain of the pseudonyms at a path: where the rule names none, no other field has the same."""
        return f"shared {rule.domain}" if rule.domain else f"field {self.namespace} {path_text(path)}"

    def as_json(self) -> dict[str, Any]:
        """As it would be written, in one spelling."""
        rules = [
            {"path": rule.where, "action": rule.action.value, **rule.options()}
            for rule in sorted(self.rules, key=lambda rule: rule.where)
        ]
        return {"unlisted": self.unlisted.value, "extra_columns": self.extra.value, "rules": rules}


@dataclass(frozen=True)
class RuleSet:
    """The rules of all collections of an export.

    Attributes:
        namespaces: The rules of each namespace or pattern.
        strict: Whether a collection without rules is refused; else it leaves as it is.
    """

    namespaces: tuple[NamespaceRules, ...] = field(default=())
    strict: bool = True

    @classmethod
    def parse(cls, raw: Any) -> RuleSet:
        """Read rules as somebody has written them.

        Args:
            raw: A mapping of `database.collection`, or a pattern as for `include`, to `unlisted`, `extra_columns` and
                `rules`. `unlisted_namespaces` beside them is `refuse` (where it is left out) or `keep`.

        Raises:
            ConfigurationError: For everything that is not understood, and says where it is.
        """
        top = Given.of(raw, "rules")
        strict = top.word(_NO_NAMESPACE, ("refuse", "keep"), default="refuse") == "refuse"
        names = [name for name in top.names if name != _NO_NAMESPACE]
        if not names:
            raise ConfigurationError(
                "the rules name no collection", hint="Write shop.invoices: and its rules below it.", at="rules"
            )
        return cls(tuple(_namespace(name, top.inner(name)) for name in names), strict)

    @cached_property
    def id(self) -> str:
        """What names these rules in files and manifests: SHA-256 of their canonical form, in hex."""
        return hashlib.sha256(canonical(self.as_json())).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The canonical form."""
        return {
            "version": _VERSION,
            "strict": self.strict,
            "namespaces": {rules.namespace: rules.as_json() for rules in self.namespaces},
        }

    @property
    def needs_key(self) -> bool:
        """Whether pseudonyms are made."""
        return any(rule.action is Action.HMAC for rules in self.namespaces for rule in rules.rules)

    def of(self, namespace: str) -> NamespaceRules | None:
        """The rules of a collection; None: it leaves as it is.

        Raises:
            ConfigurationError: There are none and that is not allowed, or several patterns match.
        """
        found = self._matching(namespace)
        if len(found) > 1:
            raise ConfigurationError(
                "several patterns of the rules match a collection",
                hint="Give the collection rules of its own, or make the patterns exclude each other.",
                namespace=namespace,
                patterns=[rules.namespace for rules in found],
            )
        if found:
            return replace(found[0], namespace=namespace)
        if self.strict:
            raise ConfigurationError(
                "the rules say nothing of a collection",
                hint=f"Give it rules or exclude it; with `{_NO_NAMESPACE}: keep` it would leave as it is.",
                namespace=namespace,
            )
        return None

    def shares(self, namespace: str, domain: str) -> tuple[Rule, ...]:
        """The rules of a collection whose pseudonyms are of a domain."""
        return tuple(
            rule
            for rules in self._matching(namespace)
            for rule in rules.rules
            if rule.action is Action.HMAC and rule.domain == domain
        )

    def _matching(self, namespace: str) -> list[NamespaceRules]:
        """Its own rules, else those of all patterns that match."""
        own = [rules for rules in self.namespaces if rules.namespace == namespace]
        return own or [rules for rules in self.namespaces if compile_pattern(rules.namespace).fullmatch(namespace)]


def _namespace(name: str, given: Given) -> NamespaceRules:
    if "*" not in name:
        Namespace.parse(name)
    compile_pattern(name)
    given.only("unlisted", "extra_columns", "rules")
    unlisted = Action(given.word("unlisted", ("keep", "drop")))
    extra = Extra(given.word("extra_columns", tuple(Extra), default=Extra.APPLY))
    rules = tuple(_rule(item) for item in given.items("rules"))
    seen: dict[tuple[FieldPath, bool], str] = {}
    for number, rule in enumerate(rules):
        at = f"{given.at}.rules[{number}]"
        first = seen.setdefault((rule.path, rule.below), at)
        if first != at:
            raise ConfigurationError(
                "two rules are for the same field", hint="Leave one of them out.", at=at, first=first, path=rule.where
            )
    return NamespaceRules(name, unlisted, extra, rules)


# The options of each action, and whether one of them has to be there.
_OPTIONS = {
    Action.KEEP: (),
    Action.DROP: (),
    Action.HMAC: ("domain", "bits", "normalize"),
    Action.MASK: ("keep_first", "keep_last"),
    Action.TRUNCATE: ("chars",),
    Action.DATE: ("unit",),
    Action.BUCKET: ("step",),
}
_DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def _rule(given: Given) -> Rule:
    path, below = parse_path(given.text("path"), at=f"{given.at}.path")
    action = Action(given.word("action", tuple(Action)))
    given.only("path", "action", *_OPTIONS[action])
    rule = Rule(path, action, below)
    match action:
        case Action.HMAC:
            return replace(rule, domain=_domain(given), bits=_bits(given), normalize=_normalize(given))
        case Action.MASK:
            first, last = (given.integer(name, least=0, default=0) for name in _OPTIONS[action])
            return replace(rule, keep_first=first, keep_last=last)
        case Action.TRUNCATE:
            return replace(rule, chars=given.integer("chars", least=1))
        case Action.DATE:
            return replace(rule, unit=Unit(given.word("unit", tuple(Unit))))
        case Action.BUCKET:
            return replace(rule, step=_step(given))
    return rule


def _domain(given: Given) -> str:
    if not given.has("domain"):
        return ""
    domain = given.text("domain")
    if _DOMAIN.fullmatch(domain) is None:
        raise given.wrong("domain", "letters, digits, `.`, `_` and `-`, at most 63", domain)
    return domain


def _bits(given: Given) -> int:
    bits = given.integer("bits", least=LEAST_BITS, most=MOST_BITS, default=128)
    if bits % 8:
        raise given.wrong("bits", "a multiple of 8", bits)
    return bits


def _normalize(given: Given) -> tuple[Normal, ...]:
    if not given.has("normalize"):
        return ()
    return tuple(Normal(word) for word in given.words("normalize", tuple(Normal)))


def _step(given: Given) -> Decimal:
    value = given.number("step")
    try:
        step = Decimal(str(value))
    except InvalidOperation:
        raise given.wrong("step", "a number", value) from None
    if not step.is_finite() or step <= 0 or step.adjusted() > 18 or step.adjusted() < -18:
        raise given.wrong("step", "a number above 0", value)
    # Written out, since results have as many digits behind the point as the step: 1e2 and 100 are one step.
    return Decimal(f"{step.normalize():f}")
