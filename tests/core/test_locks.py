"""For how long a backup that stays is locked."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flows.core.locks import lock_to_set
from tests.support.samples import STARTED as NOW


@pytest.mark.parametrize(
    ("locked", "kept", "expected"),
    [
        (None, None, 10),
        (-1, None, 10),
        (4.9, None, 10),
        (5, None, None),  # more than half is left
        (30, None, None),
        (1, 3, 3),  # no longer than it is kept
        (3, 3, None),
        (2.9, 3, 3),
        (4, 30, 10),
        (6, 30, None),
        (None, 3, 3),
    ],
)
def test_a_lock_of_ten_days(locked: float | None, kept: float | None, expected: int | None) -> None:
    def day(number: float | None):
        return None if number is None else NOW + timedelta(days=number)

    assert lock_to_set(day(locked), day(kept), now=NOW, days=10) == day(expected)
