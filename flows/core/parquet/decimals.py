"""Decimal128 as its bits (binary integer decimal), without a `Decimal` for each."""

from __future__ import annotations

PRECISION = 38  # digits of the Arrow type, more than the 34 of Decimal128
_SPECIAL = 0x7800000000000000  # infinities and NaNs have all of these bits
_LARGE = 0x6000000000000000  # a coefficient beyond 34 digits, which the standard reads as zero
_COEFFICIENT = 0x1FFFFFFFFFFFF  # its upper 49 bits
_BIAS = 6176
_LARGEST = 10**34 - 1
_LIMIT = 10**PRECISION
_SHORT = 18  # digits that 64 bits can be multiplied by and stay below 38 digits


def is_special(high: int) -> bool:
    """Whether the value with these upper 64 bits is infinite or not a number."""
    return high & _SPECIAL == _SPECIAL


def parts(high: int, low: int) -> tuple[int, int]:
    """Coefficient without its sign, and exponent, of a finite value."""
    exponent = ((high >> 49) & 0x3FFF) - _BIAS
    coefficient = (high & _COEFFICIENT) << 64 | low
    if high & _LARGE == _LARGE or coefficient > _LARGEST:
        return 0, 0
    return coefficient, exponent


def unscaled(high: int, low: int, scale: int) -> int | None:
    """The integer that is the value times `10**scale`; None where that is none, or has more than 38 digits."""
    if is_special(high):
        return None
    coefficient, exponent = parts(high, low)
    if not coefficient:
        return 0
    shift = scale + exponent
    if shift >= 0:
        value: int = coefficient * 10**shift if shift <= PRECISION else _LIMIT
        if value >= _LIMIT:
            return None
    else:
        if -shift > PRECISION:
            return None
        value, rest = divmod(coefficient, 10**-shift)
        if rest:
            return None
    return -value if high >> 63 else value


def digits(coefficient: int, exponent: int) -> tuple[int, int] | None:
    """Digits before and behind the point of a finite value that is not zero; None where 38 are too few for it."""
    whole, scale = max(len(str(coefficient)) + exponent, 0), max(-exponent, 0)
    return (whole, scale) if whole + scale <= PRECISION else None


def factor(high: int, scale: int) -> int:
    """What the lower 64 bits of a decimal with these upper ones are multiplied by to get the integer of `unscaled`.

    Returns:
        Zero where that is not all there is to it.
    """
    shift = scale + ((high >> 49) & 0x3FFF) - _BIAS
    if high & _LARGE == _LARGE or high & _COEFFICIENT or not 0 <= shift <= _SHORT:
        return 0
    power: int = 10**shift
    return -power if high >> 63 else power
