"""One message per fact, and not the same one again and again."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from flows.core.errors import ConfigurationError
from flows.core.messages import (
    MOST_MESSAGES,
    Bells,
    Signal,
    Told,
    check_url,
    due,
    message,
    remembered,
    tellable,
)
from flows.core.watch import Fact, Kind
from tests.support.watches import NOW

HOUR = timedelta(hours=1)
LATE = Fact(Kind.BACKUP_LATE, "mpg", "backups", "the newest good backup is old", "Take one.")
BAD = Fact(Kind.BACKUP_DAMAGED, "mpg", "backups", "it is damaged", "Take a new one.", "2026-03-06T04-00-00Z")
DAY = timedelta(hours=24)


def test_a_message_says_what_where_and_what_to_do() -> None:
    sent = message(LATE, at=NOW, since=None)
    assert sent.subject == "ALARM: backup late (MongoDB backup plan mpg, store backups)"
    assert sent.body == ("The newest good backup is old.\n\nWhat to do: Take one.\n\nSeen on 2026-03-06 16:00 UTC.")
    again = message(LATE, at=NOW, since=NOW - DAY)
    assert again.subject.startswith("STILL ALARM: backup late")
    assert "It was first told on 2026-03-05 16:00 UTC." in again.body
    gone = dataclasses.replace(LATE, kind=Kind.NAMESPACE_VANISHED)
    assert message(gone, at=NOW, since=None).subject.startswith("SUSPICION: namespace gone")


@pytest.mark.parametrize(
    ("ago", "remind", "again"),
    [
        (HOUR, DAY, False),
        (DAY - HOUR, DAY, False),
        (DAY, DAY, True),
        (100 * DAY, None, False),
        (-HOUR, DAY, True),  # told in the future: a clock was wrong, and it might be silent for years
    ],
)
def test_what_was_told_is_told_again_only_to_remind(ago: timedelta, remind: timedelta | None, again: bool) -> None:
    told = {LATE.key: Told(NOW - 200 * DAY, NOW - ago)}
    assert due([LATE, BAD], told, now=NOW, remind=remind) == ((LATE, BAD) if again else (BAD,))


def test_what_is_remembered_is_what_was_sent_and_what_ended_is_forgotten_by_who_sees_all() -> None:
    earlier = Told(NOW - 3 * DAY, NOW - DAY)
    told = {LATE.key: earlier, "drill_late": earlier}
    kept = remembered(told, [LATE, BAD], [LATE], now=NOW, forget=True)
    assert kept == {LATE.key: Told(NOW - 3 * DAY, NOW)}  # BAD was not taken by anyone
    kept = remembered(told, [BAD], [BAD], now=NOW, forget=False)
    assert kept == {**told, BAD.key: Told(NOW, NOW)}
    assert due([LATE], remembered(told, [], [], now=NOW, forget=True), now=NOW, remind=DAY) == (LATE,)


def test_a_disk_that_dies_sends_ten_messages_and_not_three_hundred() -> None:
    many = [dataclasses.replace(BAD, about=str(n)) for n in range(300)]
    told = tellable([LATE, *many])
    assert len(told) == MOST_MESSAGES
    assert told[0] is LATE
    assert told[-1].what == "292 more are not told one by one: backup damaged"
    assert told[-1].key == "more"
    assert tellable(many[:10]) == tuple(many[:10])


@pytest.mark.parametrize(
    "url", ["https://hc.example/abc", "https://hc.example/abc/", "http://u:p@hc.example:8000/a?k=1"]
)
def test_signals_go_below_the_address(url: str) -> None:
    query = "?k=1" if "?" in url else ""
    base = url.removesuffix("?k=1").rstrip("/")
    assert Signal.START.url(url) == f"{base}/start{query}"
    assert Signal.FAIL.url(url) == f"{base}/fail{query}"
    assert Signal.SUCCESS.url(url) == f"{base}{query}"


@pytest.mark.parametrize(
    "text", ["hc.example/secret", "ftp://hc.example/secret", "https:///secret", "http://h:port/secret"]
)
def test_what_is_no_address_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_url(text, "ping")
    assert "secret" not in str(refused.value)


def test_secrets_do_not_show() -> None:
    assert "secret" not in repr(Bells(("slack-webhook/ops",), "https://x/secret", "https://y/secret"))
