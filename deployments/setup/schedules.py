"""Cron expressions, read by what will run them."""

from __future__ import annotations

import asyncio
import functools
from datetime import datetime, timedelta
from itertools import pairwise

from flows.core.errors import ConfigurationError

_DATES = 400  # more than a year of nights


def check_cron(text: str, zone: str, now: datetime) -> str:
    """Give a cron expression back if it has five fields and fires some day.

    Args:
        text: The expression, or a word such as `@daily`.
        zone: Name of the time zone.
        now: Aware time from which to look.

    Raises:
        ConfigurationError: Where it cannot be used.
    """
    text = " ".join(text.split())
    if len(text.split(" ")) != 5 and not (text.startswith("@") and " " not in text):
        raise _not_cron(text)
    longest_gap(text, zone, now)
    return text


@functools.cache
def longest_gap(cron: str, zone: str, now: datetime) -> timedelta:
    """The longest time between two runs, of the next four hundred.

    Raises:
        ConfigurationError: Where the expression is not one, or never fires.
    """
    from prefect.server.schemas.schedules import CronSchedule  # noqa: PLC0415 - Prefect takes seconds to import

    try:
        dates = asyncio.run(CronSchedule(cron=cron, timezone=zone).get_dates(_DATES, now))
    except (ValueError, KeyError) as error:  # both of the parser's own are kinds of ValueError
        raise _not_cron(cron) from error
    gaps = [later - earlier for earlier, later in pairwise(dates)]
    if not gaps:
        raise _not_cron(cron)
    return max(gaps)


def _not_cron(text: str) -> ConfigurationError:
    return ConfigurationError(
        "not a schedule",
        hint="Every night at four is `0 4 * * *`, every hour `0 * * * *`. For `@every 6h` write `0 */6 * * *`.",
        expected="minute hour day-of-month month day-of-week, on a day that there is",
        got=text,
    )
