"""The time that a partition is of, by its name."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_PARTITION = re.compile(r"(?:year=(\d{4})|month=(\d{4})-(\d\d)|day=(\d{4})-(\d\d)-(\d\d))")


def partition_end(partition: str) -> datetime | None:
    """When the time of a partition is over, aware; None for that of rows without a date, and for what is none."""
    match = _PARTITION.fullmatch(partition)
    if match is None:
        return None
    year, month, day = (int(match[1] or match[2] or match[4]), int(match[3] or match[5] or 1), int(match[6] or 1))
    try:
        start = datetime(year, month, day, tzinfo=UTC)
        if match[6]:
            return start + timedelta(days=1)
        following = (year, month + 1) if match[3] and month < 12 else (year + 1, 1)
        return datetime(*following, 1, tzinfo=UTC)
    except (ValueError, OverflowError):  # month 13; and what ends after the year 9999 has no end that is known here
        return None
