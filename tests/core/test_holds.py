"""Legal holds and pins: what stands after which acts, and what cannot be read counts as held."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from flows.core.errors import BackupError, ConfigurationError, FormatError, IntegrityError, Refused, UnsupportedVersion
from flows.core.holds import HoldAction, HoldEvent, HoldKind, HoldRequest, Holds

NOW = datetime(2026, 3, 7, 9, 30, 5, 123456, tzinfo=UTC)
LATER = NOW + timedelta(days=100)
BACKUP = "2026-03-06T04-00-00Z"
LEGAL, PIN, SET, LIFT = HoldKind.LEGAL_HOLD, HoldKind.PIN, HoldAction.SET, HoldAction.LIFT


def set_(
    kind: HoldKind = LEGAL, *, why: str = "case 42", at: datetime = NOW, until: datetime | None = None
) -> HoldEvent:
    return HoldRequest(SET, kind, "Anna", why, until).event("mpg", BACKUP, Holds(), at=at)


def lift(*events: HoldEvent, kind: HoldKind = LEGAL, only: str | None = None, at: datetime = LATER) -> HoldEvent:
    """What lifts, of all that was done so far, the hold of a kind."""
    return HoldRequest(LIFT, kind, "Ben", "case closed", only=only).event("mpg", BACKUP, Holds(events), at=at)


def standing(*events: HoldEvent, now: datetime = LATER) -> list[HoldEvent]:
    return list(Holds(events).active(now))


def test_a_hold_stands_until_it_is_lifted() -> None:
    hold = set_()
    assert standing(hold) == [hold]
    assert standing(hold, lift(hold)) == []
    again = set_(at=LATER + timedelta(days=1))
    assert standing(hold, lift(hold), again) == [again]


def test_the_order_of_a_listing_and_the_clocks_of_workers_do_not_matter() -> None:
    hold, pin = set_(), set_(PIN, why="before the migration")
    # Lifted on a machine whose clock is a year behind.
    acts = (hold, pin, lift(hold, pin, at=NOW - timedelta(days=365)))
    for order in permutations(acts):
        assert standing(*order) == [pin]


def test_a_hold_that_whoever_lifted_one_had_not_seen_stands() -> None:
    first, meanwhile = set_(), set_(why="case 43")
    assert standing(first, meanwhile, lift(first)) == [meanwhile]


def test_a_pin_ends_by_itself_and_a_hold_does_not() -> None:
    pin = set_(PIN, until=NOW + timedelta(days=1))
    assert standing(pin, now=NOW + timedelta(days=1, seconds=-1)) == [pin]
    assert standing(pin, now=NOW + timedelta(days=1)) == []
    assert Holds((pin,)).reasons(NOW) == (
        f"pin {pin.id} by Anna since 2026-03-07 09:30 UTC until 2026-03-08 09:30 UTC: case 42",
    )


def test_what_cannot_be_read_counts_as_held() -> None:
    holds = Holds((), ("mpg/holds/x.json: the hold is not JSON",))
    assert holds.reasons(NOW) == (
        "counts as held, because a hold cannot be read: mpg/holds/x.json: the hold is not JSON",
    )
    with pytest.raises(Refused) as caught:
        HoldRequest(LIFT, LEGAL, "Ben", "over").event("mpg", BACKUP, holds, at=NOW)
    assert str(caught.value) == (
        f"a hold of this backup cannot be read, so none is lifted (plan='mpg', backup='{BACKUP}', kind='legal-hold', "
        "holds=['mpg/holds/x.json: the hold is not JSON'])\n"
        "HINT: Find out what damaged it; when it is given up, delete its object by hand."
    )


def test_of_several_holds_one_has_to_be_named() -> None:
    first, second = set_(), set_(why="case 43", at=NOW + timedelta(seconds=1))
    with pytest.raises(Refused) as caught:
        lift(first, second)
    assert str(caught.value) == (
        f"there is more than one such hold on this backup (plan='mpg', backup='{BACKUP}', kind='legal-hold')\n"
        "HINT: Give the id of one as `only`, and lift each by itself. "
        f"There are: legal-hold {first.id} by Anna since 2026-03-07 09:30 UTC: case 42; "
        f"legal-hold {second.id} by Anna since 2026-03-07 09:30 UTC: case 43."
    )
    assert standing(first, second, lift(first, second, only=first.id)) == [second]


def test_what_is_not_there_is_not_lifted() -> None:
    pin = set_(PIN)
    for acts in ((), (pin,)):
        with pytest.raises(Refused, match="there is no such hold on this backup"):
            lift(*acts)
    hold = set_()
    for done in ((hold, lift(hold)), (hold,)):
        with pytest.raises(Refused) as caught:
            lift(*done, only="0" * 12)
    assert f"There are: {hold}." in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (
            {"why": " \n"},
            "`why` is empty or too long (got=0)\nHINT: Say it in up to 2000 letters: an auditor will read it.",
        ),
        ({"by": ""}, "`by` is empty or too long"),
        ({"why": "x" * 2001}, "`why` is empty or too long (got=2001)"),
        ({"until": LATER}, "only a pin that is set may have an end (action='set', kind='legal-hold')"),
        ({"until": LATER, "kind": PIN, "action": LIFT}, "only a pin that is set may have an end"),
        ({"until": NOW, "kind": PIN}, "`until` is over already"),
        ({"until": LATER.replace(tzinfo=None), "kind": PIN}, "`until` has no time zone"),
        ({"only": "0" * 12}, "`only` names a hold to lift"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(changed: dict[str, Any], text: str) -> None:
    request = dataclasses.replace(HoldRequest(SET, LEGAL, "Anna", "case 42"), **changed)
    with pytest.raises(ConfigurationError) as caught:
        request.check(NOW)
    assert str(caught.value).startswith(text)


def test_who_and_why_become_one_line() -> None:
    assert set_(why="  case\n 42 ").why == "case 42"


# What is stored


def test_an_act_reads_back_as_it_was_written() -> None:
    hold = set_(why="Jörg asked: „case 42“")
    for event in (hold, set_(PIN, until=LATER), lift(hold)):
        assert HoldEvent.from_json(event.to_json(), key=event.key) == event
    assert set_().to_json() == (
        b'{"action":"set","at":"2026-03-07T09:30:05.123456Z","backup":"2026-03-06T04-00-00Z","by":"Anna","format":1,'
        b'"kind":"legal-hold","lifts":[],"plan":"mpg","until":null,"why":"case 42"}\n'
    )
    assert set_().key == f"mpg/holds/{BACKUP}/2026-03-07T09-30-05Z-{set_().id}.json"


def altered(**fields: Any) -> bytes:
    return json.dumps(json.loads(set_().to_json()) | fields, sort_keys=True, separators=(",", ":")).encode() + b"\n"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", FormatError),
        (b"[" * 100_000, FormatError),
        (b"[]", FormatError),
        (set_().to_json()[:-20], FormatError),
        (altered(format=2), UnsupportedVersion),
        (altered(kind="wish"), FormatError),
        (altered(until="2020-01-01T00:00:00Z"), FormatError),
        (altered(by="\ud800"), FormatError),
        (altered(why="case 43"), IntegrityError),
        (altered(backup="2026-03-05T04-00-00Z"), IntegrityError),
        (altered(more="than is known"), IntegrityError),
    ],
)
def test_what_is_not_the_act_of_its_key_is_refused(data: bytes, error: type[BackupError]) -> None:
    with pytest.raises(error):
        HoldEvent.from_json(data, key=set_().key)


def test_the_history_says_what_became_of_each() -> None:
    hold, pin = set_(), set_(PIN, at=NOW + timedelta(hours=1), until=LATER)
    lifted = lift(hold, at=NOW + timedelta(hours=2))
    rows = Holds((lifted, pin, hold), ("key: problem",)).history(NOW + timedelta(hours=3))
    assert [(row["action"], row["kind"], row["by"], row["state"]) for row in rows] == [
        ("set", "legal-hold", "Anna", "over"),
        ("set", "pin", "Anna", "stands"),
        ("lift", "legal-hold", "Ben", f"lifts {hold.id}"),
        ("-", "-", "-", "unreadable"),
    ]
    assert rows[1]["until"] == "2026-06-15 09:30 UTC"
    assert len({tuple(row) for row in rows}) == 1
