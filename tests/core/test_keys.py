"""Backup ids and keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.errors import ConfigurationError
from flows.core.keys import backup_id, backup_time, check_plan_name, is_backup_id, manifest_key, segment_name


def test_an_id_is_utc_and_sortable() -> None:
    assert backup_id(datetime(2026, 3, 6, 5, 0, 0, tzinfo=timezone(timedelta(hours=1)))) == "2026-03-06T04-00-00Z"


@given(st.datetimes(datetime(1970, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)))
def test_an_id_gives_its_time_back_and_sorts_like_it(moment: datetime) -> None:
    whole = moment.replace(microsecond=0)
    assert backup_time(backup_id(moment)) == whole
    assert backup_id(whole) < backup_id(whole + timedelta(seconds=1))


@pytest.mark.parametrize("text", ["latest", "2026-03-06", "2026-3-6T4-0-0Z", "2026-13-06T04-00-00Z", ""])
def test_what_is_no_id_is_told(text: str) -> None:
    assert not is_backup_id(text)


def test_a_wrong_id_says_what_one_looks_like() -> None:
    with pytest.raises(ConfigurationError) as caught:
        backup_time("yesterday")
    assert str(caught.value) == (
        "not a backup id (got='yesterday')\n"
        "HINT: Give an id such as 2026-03-06T04-00-00Z, or `latest`. The inventory flow lists the ids."
    )


@pytest.mark.parametrize("plan", ["", "Mpg", "a/b", "../x", "a b", "-a", "a_b", "x" * 64, "ü"])
def test_a_plan_name_that_cannot_be_part_of_a_key_is_refused(plan: str) -> None:
    with pytest.raises(ConfigurationError, match="not a name for a plan"):
        check_plan_name(plan)


def test_keys_are_as_the_format_page_says() -> None:
    assert manifest_key("mpg", "2026-03-06T04-00-00Z") == "mpg/backups/2026-03-06T04-00-00Z/manifest.json"
    assert segment_name(7, "gzip", encrypted=False) == "segment-00007.archive.gz"
    assert segment_name(7, "zstd", encrypted=False) == "segment-00007.archive.zst"
    assert segment_name(7, "none", encrypted=False) == "segment-00007.archive"
    assert segment_name(7, "zstd", encrypted=True) == "segment-00007.archive.zst.age"
