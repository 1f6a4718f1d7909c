"""Numbers and tables for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from flows.core.report import (
    format_bytes,
    format_count,
    format_duration,
    format_time,
    markdown_table,
    text_table,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 1024**3, "3.0 GiB"), (2000 * 1024**5, "2000.0 PiB")],
)
def test_bytes_have_a_unit(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1 min 0 s"), (3725, "1 h 2 min"), (90_000, "1 d 1 h")],
)
def test_durations_have_the_two_units_that_matter(seconds: float, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


def test_times_are_in_utc() -> None:
    assert format_time(datetime(2026, 3, 6, 4, 0, 59, tzinfo=UTC)) == "2026-03-06 04:00 UTC"
    assert format_time(datetime(2026, 3, 6, 1, tzinfo=timezone(timedelta(hours=2)))) == "2026-03-05 23:00 UTC"


def test_counts_are_grouped() -> None:
    assert format_count(1234567) == "1,234,567"


def test_a_text_table_sets_numbers_to_the_right() -> None:
    rows = [{"name": "a", "size": "5", "state": "listed"}, {"name": "bbb", "size": "1,000", "state": "listed"}]
    assert text_table(rows) == ("name   size  state\n----  -----  ------\na         5  listed\nbbb   1,000  listed")


def test_an_empty_table_says_so() -> None:
    assert text_table([]) == "(none)"
    assert markdown_table([]) == "(none)"


def test_a_markdown_table_keeps_a_bar_in_a_name() -> None:
    assert markdown_table([{"name": "a|b\nc"}]) == "| name |\n| --- |\n| a\\|b c |"
