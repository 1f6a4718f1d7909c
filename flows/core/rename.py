r"""Restoring under other names: rules like those of `mongorestore --nsFrom --nsTo`.

    mpg: mpg_restored                           a whole database
    mpg.invoices: mpg.invoices_old              one collection
    mpg.*: copy.*                               `*` is any run of characters, dots included; they are filled in in order
    prod.$customer$.orders: $customer$.orders   `$name$` is one too, filled in by its name

As in the official tool a rule has to match the whole `database.collection`, a run takes as little as it can, and one
rule at most is applied. Otherwise than there the first rule that matches wins, not the last; stars and variables may
stand in one rule; a backslash makes any character literal; and a time-series collection goes by its own name, which
its buckets follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flows.core.errors import ConfigurationError
from flows.core.manifest import NamespaceRecord
from flows.core.names import Namespace
from flows.core.source import Kind

_TOKEN = re.compile(
    r"\\(?P<escaped>.)|(?P<star>\*)|\$(?P<variable>[^$]*)\$|(?P<open>\$)|(?P<text>[^\\*$]+|\\)", re.DOTALL
)
_OWN_DATABASES = ("local", "config", "admin")
_LONGEST_DATABASE = 63  # [bytes]
_LONGEST_NAMESPACE = 255  # [bytes] `database.collection`


@dataclass(frozen=True, slots=True)
class RenameRule:
    """One rule, ready to be applied."""

    old: str  # as given
    new: str  # as given
    pattern: re.Pattern[str]
    result: tuple[str | int, ...]  # literal text, and numbers of the pattern's groups

    def __str__(self) -> str:
        return f"{self.old}: {self.new}"

    def apply(self, namespace: Namespace) -> str | None:
        """The new `database.collection`, not checked yet; None where the rule does not match."""
        match = self.pattern.fullmatch(str(namespace))
        if match is None:
            return None
        return "".join(match[part] if isinstance(part, int) else part for part in self.result)


def parse_rename(rename: Mapping[str, str]) -> tuple[RenameRule, ...]:
    """Read the rules.

    Raises:
        ConfigurationError: For one that is not a rule, or names a database that MongoDB does not take.
    """
    return tuple(_parse_rule(old, new) for old, new in rename.items())


def check_matches(rules: Iterable[RenameRule], held: Iterable[Namespace], *, backup: str) -> None:
    """Refuse rules that would do nothing.

    Args:
        rules: In their order.
        held: All that the backup holds.
        backup: Its id, for the message.

    Raises:
        ConfigurationError: For a rule that matches nothing, or nothing that an earlier one leaves.
    """
    every = sorted(held)
    left = every
    for rule in rules:
        if not any(rule.pattern.fullmatch(str(namespace)) for namespace in every):
            raise ConfigurationError(
                "a rename rule matches nothing in the backup",
                hint=f"It has to match a whole database.collection. The backup holds {len(every)}, the first are: "
                f"{', '.join(map(str, every[:5])) or 'none'}.",
                backup=backup,
                got=rule.old,
            )
        after = [namespace for namespace in left if not rule.pattern.fullmatch(str(namespace))]
        if len(after) == len(left):
            raise ConfigurationError(
                "earlier rename rules leave nothing to this one",
                hint="The first rule that matches wins: put the narrower one first. A Prefect server on PostgreSQL "
                "does not keep the order of a deployment's rules: restore in two runs there, with `include`.",
                rule=str(rule),
            )
        left = after


def choose_targets(records: Iterable[NamespaceRecord], rules: Sequence[RenameRule]) -> dict[Namespace, Namespace]:
    """Decide where each namespace goes; those that no rule matches keep their name.

    Raises:
        ConfigurationError: For a name that MongoDB does not take, or two namespaces that would become one.
    """
    targets: dict[Namespace, Namespace] = {}
    sources: dict[Namespace, Namespace] = {}
    for record in records:
        target = _target(record, rules)
        other = sources.setdefault(target, record.namespace)
        if other != record.namespace:
            raise ConfigurationError(
                "two namespaces would be restored into one",
                hint="Give each a name of its own in `rename`, or leave one out with `exclude`.",
                first=str(other),
                second=str(record.namespace),
                target=str(target),
            )
        targets[record.namespace] = target
    return targets


def check_database(name: str, **facts: str) -> None:
    """Refuse names that MongoDB does not take for a database of users.

    Args:
        name: Of the database to restore into.
        facts: For the error.

    Raises:
        ConfigurationError: With the name.
    """
    if not name or len(name.encode()) > _LONGEST_DATABASE or set(name) & set('/\\. "$\0') or name in _OWN_DATABASES:
        raise ConfigurationError(
            "not a name for the database to restore into",
            hint="At most 63 bytes, without / \\ . \" $ or spaces, and not one of MongoDB's own databases.",
            **facts,
        )


def _parse_rule(old: str, new: str) -> RenameRule:
    rule = f"{old}: {new}"
    if "." not in old:
        if "*" in old + new or "$" in old:
            raise ConfigurationError(
                "a rename rule with a pattern has to name database.collection",
                hint="Write `*.*: *_copy.*`, for example; a name without a dot is that of a whole database.",
                rule=rule,
            )
        check_database(new, database=old, got=new)
        return RenameRule(old, new, re.compile(re.escape(f"{old}.") + "(.*)", re.DOTALL), (f"{new}.", 1))
    if "." not in new:
        raise ConfigurationError(
            "a rename rule names a collection on one side and a database on the other",
            hint="Write `mpg: copy` or `mpg.*: copy.*` for a whole database, `mpg.a: copy.b` for a collection.",
            rule=rule,
        )
    literals, runs = _parse_side(old, rule)
    texts, fillings = _parse_side(new, rule)
    stars, filled = (sum(isinstance(run, int) for run in side) for side in (runs, fillings))
    if stars != filled:
        raise ConfigurationError(
            "a rename rule has another number of `*` on each side",
            hint="They are filled in in order; use `$name$` for a part that moves or is left out, `\\*` for a star.",
            rule=rule,
            expected=stars,
            got=filled,
        )
    for run in runs:
        if runs.count(run) > 1:
            raise ConfigurationError(
                "a rename rule has the same variable twice in what it matches",
                hint="Give each a name of its own; in the new name one may stand several times.",
                rule=rule,
                got=f"${run}$",
            )
    for run in fillings:
        if run not in runs:
            raise ConfigurationError(
                "a rename rule uses a variable that it does not match",
                hint="Every `$name$` of the new name has to stand in the old one.",
                rule=rule,
                got=f"${run}$",
            )
    result: list[str | int] = [texts[0]]
    for run, text in zip(fillings, texts[1:], strict=True):
        result += [runs.index(run) + 1, text]
    return RenameRule(old, new, _expression(literals), tuple(result))


def _parse_side(side: str, rule: str) -> tuple[list[str], list[int | str]]:
    """The literal texts, one more than there are runs, and the runs: stars by number, variables by name."""
    literals = [""]
    runs: list[int | str] = []
    stars = 0
    for token in _TOKEN.finditer(side):
        if token["open"]:
            raise ConfigurationError(
                "a `$` in a rename rule is not closed",
                hint="Write `$name$` for a variable, `\\$` for the character.",
                rule=rule,
                got=side,
            )
        if token["star"]:
            stars += 1
            runs.append(stars)
            literals.append("")
        elif token["variable"] is not None:
            runs.append(token["variable"])
            literals.append("")
        else:
            literals[-1] += token["escaped"] or token["text"]
    return literals, runs


def _expression(literals: list[str]) -> re.Pattern[str]:
    """Match the texts with any run of characters between them, each run as short as it can be."""
    first, *rest = map(re.escape, literals)
    # The first place of a text after a run leaves the most to what follows, so another one need not be tried: without
    # the atomic groups a pattern with many stars would take for ever to find that it does not match.
    middle = "".join(f"(?>(.*?){text})" for text in rest[:-1])
    last = f"(.*){rest[-1]}" if rest else ""
    return re.compile(first + middle + last, re.DOTALL)


def _target(record: NamespaceRecord, rules: Sequence[RenameRule]) -> Namespace:
    source = record.namespace
    for rule in rules:
        text = rule.apply(source)
        if text is not None:
            database, _, collection = text.partition(".")
            facts = {"rule": str(rule), "namespace": str(source), "got": text}
            check_database(database, **facts)
            target = Namespace(database, collection)
            _check_collection(record, target, facts)
            return target
    return source


def _check_collection(record: NamespaceRecord, target: Namespace, facts: Mapping[str, str]) -> None:
    data = target.buckets if record.kind is Kind.TIMESERIES else target
    if len(str(data).encode()) > _LONGEST_NAMESPACE:
        raise ConfigurationError(
            "the name to restore into is too long",
            hint="At most 255 bytes for database.collection; for a time-series collection for that of its buckets, "
            "database.system.buckets.collection.",
            **facts,
        )
    name = target.collection
    if name == record.namespace.collection:
        return  # the source has it, `system.js` for one
    # The server takes a dot at the end and two in a row, and the driver refuses them.
    dots = name.startswith(".") or name.endswith(".") or ".." in name
    if not name or dots or set(name) & set("$\0") or name.startswith("system."):
        raise ConfigurationError(
            "not a name for the collection to restore into",
            hint="Not empty, without $ and NUL, without a dot at either end or two in a row, and not `system.`.",
            **facts,
        )
