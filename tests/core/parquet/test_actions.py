"""What rules make of single values, and pseudonyms that anybody with the key can compute again."""

from __future__ import annotations

import calendar
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.errors import ConfigurationError
from flows.core.parquet.actions import Moment, Value, change, floor
from flows.core.parquet.pseudonyms import Keys, RootKey
from flows.core.parquet.rules import RuleSet, Unit

KEY, OTHER = (RootKey.parse("pseudonym-secret:" + digit * 64) for digit in "ab")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def changed(value: Value, keys: Keys | None = None, **rule: Any) -> Value | None:
    rules = RuleSet.parse({"shop.a": {"unlisted": "drop", "rules": [{"path": "f", **rule}]}}).of("shop.a")
    assert rules is not None
    return change(rules.rules[0], ("f",), rules, keys or Keys([KEY]))(value)


def by_hand(domain: str, data: bytes, key: RootKey = KEY) -> str:
    """The pseudonym without this project: HKDF (RFC 5869) has one block for 32 bytes."""
    root = bytes.fromhex(key.secret.partition(":")[2])
    extracted = hmac.new(b"\0" * 32, root, hashlib.sha256).digest()
    sub_key = hmac.new(
        extracted, b"mongo-backup-flows pseudonym v1\n" + domain.encode() + b"\x01", hashlib.sha256
    ).digest()
    return hmac.new(sub_key, data, hashlib.sha256).hexdigest()


def test_a_pseudonym_can_be_computed_by_hand() -> None:
    assert changed("C-1", action="hmac", domain="subject") == by_hand("shared subject", b"C-1")[:32]
    assert changed("C-1", action="hmac", bits=256) == by_hand("field shop.a f", b"C-1")
    # In files for ever.
    assert changed("C-1", action="hmac", domain="subject") == "43f782953ee3203e535e3ac54def04cc"


def test_domains_and_keys_part_what_is_equal() -> None:
    made = {changed("x", action="hmac", domain=domain, bits=64) for domain in ("a", "b")}
    made |= {changed("x", Keys([OTHER, KEY]), action="hmac", domain="a", bits=64)}
    assert len(made) == 3
    # An older key still finds what it made.
    assert Keys([OTHER, KEY]).pseudonyms("shared a", KEY.id).of(b"x", 64) in made


@pytest.mark.parametrize(
    "equal",
    [
        (5, 5.0, Decimal("5.00"), Decimal("5E+0"), "5"),
        (-12, -12.0, Decimal("-12.0")),
        (0, 0.0, -0.0, Decimal("0.00"), Decimal("-0")),
        (1000, 1e3, Decimal("1E+3")),
        (0.5, Decimal("0.50")),
        (float("nan"), Decimal("NaN")),
        (float("-inf"), Decimal("-Infinity")),
    ],
)
def test_numbers_that_are_equal_have_one_pseudonym(equal: tuple[Value, ...]) -> None:
    assert len({changed(value, action="hmac") for value in equal}) == 1


def test_values_that_differ_have_different_pseudonyms() -> None:
    values: list[Value] = [1, 2, "", "a", "A", b"\xff", True, False, Moment(1), 0.1, Decimal("0.2"), Decimal("1E+6000")]
    values += ["2", 2**63, Decimal("1E-6176")]
    assert len({changed(value, action="hmac", bits=64) for value in values}) == len(values) - 1  # 2 and "2"


def test_spellings_of_one_thing_are_made_one_where_that_is_asked() -> None:
    assert changed(" Ann@X.de ", action="hmac", normalize=["trim", "lower"]) == changed("ann@x.de", action="hmac")
    assert changed("DE02 1203-0000", action="hmac", normalize="alnum") == changed("DE0212030000", action="hmac")


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        ({"action": "keep"}, "x", "x"),
        ({"action": "drop"}, "x", None),
        ({"action": "mask"}, "Anna", "****"),
        ({"action": "mask"}, "", "****"),
        ({"action": "mask", "keep_last": 4}, "DE02120300000000202051", "****2051"),
        ({"action": "mask", "keep_first": 2, "keep_last": 1}, "abcdef", "ab****f"),
        ({"action": "mask", "keep_first": 2, "keep_last": 1}, "abcde", "****"),  # more than half would stay
        ({"action": "mask"}, 5, None),
        ({"action": "truncate", "chars": 2}, "12345", "12"),
        ({"action": "truncate", "chars": 2}, "1", "1"),
        ({"action": "truncate", "chars": 2}, Moment(1), None),
        ({"action": "truncate", "chars": 1}, "😀x", "😀"),
        ({"action": "bucket", "step": 100}, 199, 100),
        ({"action": "bucket", "step": 100}, -1, -100),
        ({"action": "bucket", "step": 100}, 100.0, 100.0),
        ({"action": "bucket", "step": 0.1}, 0.29, 0.2),
        ({"action": "bucket", "step": 0.1}, Decimal("-0.01"), Decimal("-0.1")),
        ({"action": "bucket", "step": 3}, 2**63 - 1, 2**63 - 2),
        ({"action": "bucket", "step": 1000}, -(2**63), None),
        ({"action": "bucket", "step": 100}, float("inf"), float("inf")),
        ({"action": "bucket", "step": 100}, Decimal("1E+6000"), None),
        ({"action": "bucket", "step": 100}, True, None),
        ({"action": "bucket", "step": 100}, "100", None),
        ({"action": "date", "unit": "day"}, "2026-01-01", None),
        ({"action": "date", "unit": "day"}, 5, None),
        ({"action": "date", "unit": "day"}, Moment(-1), Moment(-86_400_000)),
        ({"action": "date", "unit": "year"}, Moment(-(2**63)), None),
    ],
)
def test_each_action(rule: dict[str, Any], value: Value, expected: Value | None) -> None:
    assert changed(value, **rule) == expected


@given(st.datetimes(min_value=datetime(1, 1, 8), max_value=datetime(9999, 12, 31)), st.sampled_from(Unit))
def test_a_date_is_rounded_down_as_the_calendar_says(naive: datetime, unit: Unit) -> None:
    moment = naive.replace(tzinfo=UTC)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    expected = {
        Unit.HOUR: moment.replace(minute=0, second=0, microsecond=0),
        Unit.DAY: day,
        Unit.WEEK: day - timedelta(days=day.weekday()),
        Unit.MONTH: day.replace(day=1),
        Unit.QUARTER: day.replace(day=1, month=[1, 1, 1, 4, 4, 4, 7, 7, 7, 10, 10, 10][day.month - 1]),
        Unit.YEAR: day.replace(day=1, month=1),
    }[unit]
    made = floor(Moment((moment - EPOCH) // timedelta(milliseconds=1)), unit)
    assert EPOCH + timedelta(milliseconds=made.milliseconds) == expected


@pytest.mark.parametrize("year", [-250_000_000, -1, 0, 10_000, 250_000_000])
def test_a_date_far_away_is_rounded_down_too(year: int) -> None:
    """In years that `datetime` does not have; 400 years are one turn of the calendar."""
    eras, near = divmod(year, 400)
    start = calendar.timegm((near + 400, 7, 15, 12, 0, 0)) + (eras - 1) * 146_097 * 86_400
    made = floor(Moment(start * 1000), Unit.QUARTER).milliseconds // 1000
    assert start - made == 14.5 * 86_400


@pytest.mark.parametrize(
    "text", ["", "pseudonym-secret:", "pseudonym-secret:" + "A" * 64, "x" * 64, "ed25519-secret:" + "a" * 64]
)
def test_what_is_no_key_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RootKey.parse(text)
    assert str(caught.value) == (
        "not a key for pseudonyms\nHINT: Give the line pseudonym-secret:… that `python -m flows keys` prints: 64 hex "
        "digits behind the colon."
    )


def test_keys_have_ids_that_are_not_the_keys() -> None:
    made = RootKey.generate()
    assert RootKey.parse(f" {made.secret}\n") == made
    assert made != RootKey.generate()
    assert made.secret not in repr(made)
    assert (len(KEY.id), KEY.id == OTHER.id) == (16, False)
    assert Keys([OTHER, KEY]).ids == (OTHER.id, KEY.id)
    assert (Keys([OTHER, KEY]).id, Keys().id) == (OTHER.id, "")
    with pytest.raises(ConfigurationError, match=f"a key for pseudonyms is missing .key='{KEY.id}'"):
        Keys([OTHER]).pseudonyms("d", KEY.id)
    with pytest.raises(ConfigurationError, match="key='any'"):
        changed("x", Keys(), action="hmac")


def test_the_memory_for_pseudonyms_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.core.parquet.pseudonyms._REMEMBERED", 3)
    pseudonyms = Keys([KEY]).pseudonyms("d")
    first = [pseudonyms.of(str(n).encode(), 128) for n in range(10)]
    assert [pseudonyms.of(str(n).encode(), 128) for n in range(10)] == first
    assert len(pseudonyms._known) <= 3
