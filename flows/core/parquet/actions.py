"""What a rule makes of one value. Columns and the JSON beside them get the same from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation

from flows.core.parquet.paths import FieldPath
from flows.core.parquet.pseudonyms import Keys
from flows.core.parquet.rules import Action, NamespaceRules, Normal, Rule, Unit


@dataclass(frozen=True, slots=True)
class Moment:
    """A date of BSON: milliseconds since 1970, in years that `datetime` does not have too."""

    milliseconds: int


Value = str | bool | int | float | Decimal | bytes | Moment
# None: the value does not fit the rule, and does not leave.
Change = Callable[[Value], Value | None]

_MASKED = "****"  # of one length, since that of a name says something
_DIGITS = 38  # of decimals in Parquet
_LEAST = -(2**63)  # below the lowest number of 64 bits there is none
_WIDE = Context(prec=120)
_DAY = 86_400_000  # [ms]
_FIXED = {Unit.HOUR: (3_600_000, 0), Unit.DAY: (_DAY, 0), Unit.WEEK: (7 * _DAY, 4 * _DAY)}  # 1970-01-05 was a Monday
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ERA_YEARS, _ERA_DAYS = 400, 146_097  # after which the Gregorian calendar is the same again


def change(rule: Rule, path: FieldPath, rules: NamespaceRules, keys: Keys) -> Change:
    """The function that a rule is.

    Args:
        rule: Which.
        path: Of the field.
        rules: Of its collection.
        keys: For pseudonyms.

    Raises:
        ConfigurationError: There is no key for pseudonyms.
    """
    if rule.action is Action.HMAC:
        made, steps, bits = keys.pseudonyms(rules.domain(rule, path)), rule.normalize, rule.bits
        return lambda value: made.of(as_bytes(value, steps), bits)
    simple = _SIMPLE[rule.action]
    return lambda value: simple(value, rule)


def _keep(value: Value, _: Rule) -> Value:
    return value


def _drop(_: Value, __: Rule) -> None:
    return None


def _mask(value: Value, rule: Rule) -> Value | None:
    if not isinstance(value, str):
        return None
    first, last = rule.keep_first, rule.keep_last
    # Of a text that is hardly longer than what stays of it, that would be all.
    if len(value) < 2 * (first + last):
        return _MASKED
    return value[:first] + _MASKED + value[len(value) - last :]


def _truncate(value: Value, rule: Rule) -> Value | None:
    return value[: rule.chars] if isinstance(value, str) else None


def _date(value: Value, rule: Rule) -> Value | None:
    if not isinstance(value, Moment):
        return None
    begin = floor(value, rule.unit)
    return begin if begin.milliseconds >= _LEAST else None


def _bucket(value: Value, rule: Rule) -> Value | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    exact = Decimal(value)  # exactly: the float nearest to a number is not that number
    if not exact.is_finite():
        return value
    try:
        rest = _WIDE.remainder(exact, rule.step)  # of the sign of the number
        low = _WIDE.subtract(exact, rest if rest >= 0 else rest + rule.step)
        low = _WIDE.quantize(low, rule.step)  # so that what is equal is written alike
    except InvalidOperation:  # more digits than any column has
        return None
    if isinstance(value, float):
        return float(low)
    if isinstance(value, Decimal):
        return low if len(low.as_tuple().digits) <= _DIGITS else None
    return int(low) if low == low.to_integral_value() and low >= _LEAST else None


_SIMPLE: dict[Action, Callable[[Value, Rule], Value | None]] = {
    Action.KEEP: _keep,
    Action.DROP: _drop,
    Action.MASK: _mask,
    Action.TRUNCATE: _truncate,
    Action.DATE: _date,
    Action.BUCKET: _bucket,
}


def floor(value: Moment, unit: Unit) -> Moment:
    """Round a date down, in UTC and by the Gregorian calendar of all times."""
    at = value.milliseconds
    if unit in _FIXED:
        size, start = _FIXED[unit]
        return Moment((at - start) // size * size + start)
    # Moved by whole eras into years that `datetime` has.
    days, eras = at // _DAY, at // _DAY // _ERA_DAYS
    date = _EPOCH + timedelta(days=days - eras * _ERA_DAYS)
    month = {Unit.MONTH: date.month, Unit.QUARTER: (date.month - 1) // 3 * 3 + 1, Unit.YEAR: 1}[unit]
    begin = date.replace(month=month, day=1)
    return Moment(((begin - _EPOCH).days + eras * _ERA_DAYS) * _DAY)


def as_bytes(value: Value, normalize: tuple[Normal, ...] = ()) -> bytes:
    """A value as what its pseudonym is made of: numbers that are equal give the same, whatever their type."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return _normal(value, normalize).encode(errors="surrogatepass")
    return _text(value).encode()


def _text(value: bool | int | float | Decimal | Moment) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Moment():
            return f"date:{value.milliseconds}"
        case Decimal():
            return _decimal(value)
        case float() if value.is_integer():
            return str(int(value))
    return str(value)


def _normal(text: str, steps: tuple[Normal, ...]) -> str:
    for step in steps:
        if step is Normal.LOWER:
            text = text.lower()
        elif step is Normal.TRIM:
            text = text.strip()
        else:
            text = "".join(letter for letter in text if letter.isalnum())
    return text


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        return "nan" if value.is_nan() else repr(float(value))
    if not value:
        return "0"
    short = _WIDE.normalize(value)
    return f"{short:f}" if abs(short.adjusted()) <= _DIGITS else str(short)
