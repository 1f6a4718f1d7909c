"""The parameters of a flow as options of a command: what can be typed, and what becomes of it."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import TypeAdapter, ValidationError

from flows.cli.names import block, types_of
from flows.core.errors import ConfigurationError

# What the option parser reads by itself; what else there is comes as text.
_PLAIN = (str, int, float, bool, datetime, date)
_PAIRS = dict[str, str]
_METAVARS = {
    "plan": "NAME",
    "databases": "NAME",
    "include": "PATTERN",
    "exclude": "PATTERN",
    "rename": "OLD=NEW",
    "backup": "ID",
    "before": "TIME",
    "until": "TIME",
    "key": "KEY",
    "file": "PATH",
    "share": "SHARE",
    "time_zone": "ZONE",
    "retention": "RULE=NUMBER,…",
    "filter": "JSON",
    "assertions": "JSON",
    "stores": "BLOCK",
    "confirm": "NAME",
    "namespace": "DATABASE.COLLECTION",
    "database": "NAME",
    "documents": "PLACE",
    "limits": "NAME=NUMBER,…",
    "dataset": "NAME",
    "partition": "COLLECTION=FIELD",
    "bloom": "COLLECTION=COLUMN,…",
    "keep": "RULE=NUMBER,…",
    "fields": "COLLECTION=FIELD,…",
    "domain": "NAME",
}

# What is typed otherwise here than in the form of the UI.
_HELP = {
    "rename": "Old to new names: `mpg=mpg_restored` a database, `mpg.invoices=mpg.invoices_old` a collection, "
    "`mpg.*=copy.*` or `$db$.logs=logs.$db$` a pattern. Several follow each other; the first that matches wins.",
    "retention": "Such as `days=7,weekly=5,monthly=12`; `none` removes nothing. Rules: days, at_least, last, hourly, "
    "daily, weekly, monthly, yearly, time_zone, garbage_after_hours.",
    "stores": "Blocks of more stores that get the backup; or each as JSON with its own rules: "
    '`{"store": "offsite", "retention": {"days": 30}}`.',
    "limits": "Such as `drill_days=100,oplog_hours=48`. Names: oplog_hours, clock_seconds, deleted_days, drill_days, "
    "verification_days, segment_mib, segments_in_flight.",
    "keep": "Such as `partition_days=3653,export_days=400`. Rules: partition_days, export_days, at_least.",
    "fields": "Or in these, by collection: `shop.invoices=customer.id,payer.id`; patterns with `*` will do.",
    "partition": "Collections that get a folder for each month of one of their dates: `mpg.invoices=issuedAt`, or "
    "`mpg.invoices=issuedAt by year`. For collections above 50 GB.",
    "bloom": "Columns to find single values in quickly: `mpg.invoices=customer.id,number`.",
    "assertions": "More checks, each as JSON like those of the block.",
}


@dataclass(frozen=True, slots=True)
class Option:
    """How one parameter is typed."""

    annotation: Any  # for the option parser
    read: Callable[[Any], Any]  # from what it gives to what the flow takes


def options(function: Callable[..., Any]) -> dict[str, Option]:
    """Options for the parameters of a flow, by name."""
    hints = typing.get_type_hints(function)
    parameters = inspect.signature(function).parameters
    blocks = types_of(parameters)
    return {
        name: _option(name, hints[name], blocks.get(name), on=parameter.default is True)
        for name, parameter in parameters.items()
    }


def typed(function: Callable[..., Any], known: Mapping[str, Option]) -> list[inspect.Parameter]:
    """The parameters of a flow, as the option parser looks for them in a signature.

    Args:
        function: Of the flow.
        known: Its `options`.
    """
    return [
        parameter.replace(
            kind=inspect.Parameter.KEYWORD_ONLY, annotation=known[name].annotation, default=_default(parameter.default)
        )
        for name, parameter in inspect.signature(function).parameters.items()
    ]


def _default(value: Any) -> Any:
    """The default of an option, as it is typed; one that cannot be typed is the flow's own, and stays unsaid."""
    if isinstance(value, Enum):
        return value.value
    plain = value is inspect.Parameter.empty or value is None or isinstance(value, str | int | float)
    return value if plain and value != "" else None


def _option(name: str, hint: Any, kind: str | None, *, on: bool) -> Option:
    inner, optional = _without_none(hint)
    if inner is bool:
        # What is off needs no word: nobody expects a flag to be on.
        return Option(Annotated[bool, Parameter(show_default=(lambda _: "on") if on else False)], _as_it_is)
    if isinstance(inner, type) and issubclass(inner, Enum):
        # Typed as in the UI, in scripts and in the documents: `into_new`.
        choices: Any = Literal[tuple(choice.value for choice in inner)]
        return Option(Annotated[_maybe(choices, optional), Parameter()], inner)
    shown = block(name, kind) if kind else _shown(name)
    if inner in _PLAIN:
        # An empty text is how a flow says that there is none.
        return Option(Annotated[_maybe(inner, optional or inner is str), shown], _as_it_is)
    return _compound(name, hint, inner, shown)


def _shown(name: str) -> Parameter:
    metavar = _METAVARS.get(name)
    # Without `help` it is what the docstring of the flow says.
    return Parameter(metavar=metavar, help=_HELP[name]) if name in _HELP else Parameter(metavar=metavar)


def _compound(name: str, hint: Any, inner: Any, shown: Parameter) -> Option:
    """What is more than one value."""
    several = Annotated[list[str] | None, shown, Parameter(consume_multiple=True, negative=())]
    if inner == list[str]:
        return Option(several, _as_it_is)
    if inner == _PAIRS:
        return Option(several, lambda value: _pairs(name, value))
    adapter: TypeAdapter[Any] = TypeAdapter(hint)
    if typing.get_origin(inner) is list:
        return Option(several, lambda value: _checked(name, adapter, _items(value)))
    return Option(Annotated[str | None, shown], lambda value: _checked(name, adapter, _structure(value)))


def _as_it_is(value: Any) -> Any:
    return value


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(hint) if part is not type(None)]
        if len(rest) == 1:
            return rest[0], True
        return typing.Union[tuple(rest)], len(rest) < len(typing.get_args(hint))  # noqa: UP007 - its parts are values
    return hint, False


def _maybe(kind: Any, optional: bool) -> Any:
    return kind | None if optional else kind


def _pairs(name: str, values: Sequence[str] | None) -> dict[str, str] | None:
    """`["mpg=mpg_restored"]` to `{"mpg": "mpg_restored"}`."""
    if values is None:
        return None
    pairs = [value.partition("=") for value in values]
    for value, (old, equals, new) in zip(values, pairs, strict=True):
        if not (old and equals and new):
            raise ConfigurationError(
                f"--{name.replace('_', '-')} takes OLD=NEW",
                hint=f"Write for example --{name} mpg=mpg_restored.",
                got=value,
            )
    return {old: new for old, _, new in pairs}


def _items(values: Sequence[str] | None) -> Any:
    return None if values is None else [_structure(value) for value in values]


def _structure(text: str | None) -> Any:
    """JSON, `name=value,name=value`, `none`, or text."""
    if text is None or text == "none":
        return None
    if text[:1] in ("{", "["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    parts = [part.partition("=") for part in text.split(",")]
    if all(equals for _, equals, _ in parts):
        return {name.strip().replace("-", "_"): value.strip() for name, _, value in parts}
    return text


def _checked(name: str, adapter: TypeAdapter[Any], value: Any) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)
        raise ConfigurationError(
            f"--{name.replace('_', '-')} cannot be read",
            hint="Write name=value,name=value, or JSON; `--help` says which names there are.",
            problems=[": ".join((".".join(map(str, item["loc"])), item["msg"])) for item in wrong],
        ) from None


def read(options: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed, as the flow takes it.

    Raises:
        ConfigurationError: Something cannot be read.
    """
    return {name: options[name].read(value) for name, value in given.items() if name in options}
