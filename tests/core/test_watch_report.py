"""What a watch prints, returns and leaves as a page."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from flows.core.errors import AlarmRaised, StoreUnavailable
from flows.core.evidence import Finding
from flows.core.watch import Drills, Limits, Sighting, StoreWatch
from flows.core.watch_judge import unreadable_store
from flows.core.watch_report import Verdict, WatchReport, limits_line
from tests.support.watches import DAY, HOUR, NOW, contents, judged, seen, sighting


def report(*stores: StoreWatch) -> WatchReport:
    return WatchReport("mpg", NOW, Limits(), stores)


WELL = judged(sighting())
LATE = judged(sighting(seen(75 * HOUR)))
SUSPICIOUS = judged(
    sighting(contents=(contents(12 * HOUR, {}), contents(36 * HOUR, {"mpg.in|voices_*": 900, "mpg.\x1b[31mred": 1})))
)
GONE = unreadable_store("mpg", "offsite", StoreUnavailable("the store does not answer", hint="Run it again."), at=NOW)


@pytest.mark.parametrize(
    ("stores", "verdict", "headline"),
    [
        ((WELL, WELL), Verdict.WELL, "all is well"),
        ((WELL, LATE), Verdict.ALARM, "1 alarm"),
        ((LATE, SUSPICIOUS), Verdict.ALARM, "1 alarm, 1 suspicion"),
        ((LATE, GONE), Verdict.UNREADABLE, "2 alarms"),
        ((SUSPICIOUS, WELL), Verdict.SUSPICIOUS, "1 suspicion"),
    ],
)
def test_the_verdict_tells_them_apart(stores: tuple[StoreWatch, ...], verdict: Verdict, headline: str) -> None:
    made = report(*stores)
    assert (made.verdict, made.headline) == (verdict, headline)
    if verdict is Verdict.WELL:
        made.check()
    else:
        with pytest.raises(AlarmRaised, match=f"^{headline}: "):
            made.check()


def test_one_line_where_all_is_well() -> None:
    assert report(WELL).text() == "mpg/backups ok: backup 12 h ago, verified 4 h ago, drilled 9 d ago"
    young = judged(sighting(seen(timedelta(minutes=119))))
    assert "backup 119 min ago" in report(young).text()


def test_what_is_wrong_fits_a_terminal_of_80_columns_and_says_what_to_do() -> None:
    why = (Finding("the content digest is another one", namespace="mpg.invoices"),)
    bad = judged(sighting(seen(75 * HOUR, damage="x " * 60), seen(90 * HOUR), drills=Drills(None, NOW - DAY, why)))
    text = report(bad, SUSPICIOUS, GONE).text()
    assert max(map(len, text.splitlines())) <= 80
    assert "mpg/backups NOT OK: backup 3 d ago, verified 4 h ago, drilled never" in text
    assert "\nALARM  the newest good backup is 3 d 18 h old, at most 26 h.\n    Run the flow `backup` now." in text
    assert "\nSUSPICION  2 namespaces are gone since backup" in text
    assert "\nmpg/offsite UNKNOWN\n" in text
    assert "\x1b" not in text


def test_the_page_has_each_fact_and_a_column_for_each_store_and_names_are_only_text() -> None:
    page = report(SUSPICIOUS, GONE).page(["NOT DELIVERED: ping: fail: the call failed"])
    assert "* **1 alarm, 1 suspicion**" in page
    assert "* **Limits**: backup 26 h, verification 50 h, drill 35 d, smaller by 50 %" in page
    assert "* **Told**: NOT DELIVERED: ping: fail: the call failed" in page
    assert "* **ALARM** in `offsite`: the store cannot be read: the store does not answer.\n\n  Run it again." in page
    assert "| in the store | backups | offsite |" in page
    assert "| newest good backup | 2026-03-06T04-00-00Z | - |" in page
    assert "| drilled | 9 d 0 h ago | not known |" in page
    assert "mpg.in|voices\\_\\*" in page
    assert "SUSPICION" not in report(WELL).page([])


def test_json_is_for_scripts() -> None:
    value = json.loads(json.dumps(report(LATE, GONE).plain()))
    assert (value["plan"], value["verdict"], value["at"]) == ("mpg", "unreadable", "2026-03-06T16:00:00Z")
    assert [(fact["kind"], fact["severity"], fact["store"]) for fact in value["facts"]] == [
        ("backup_late", "alarm", "backups"),
        ("store_unreadable", "alarm", "offsite"),
    ]
    late, gone = value["stores"]
    assert (late["taken"], late["stored_bytes"]) == ("2026-03-03T13:00:00Z", 1000)
    assert (gone["readable"], gone["taken"], gone["stored_bytes"]) == (False, None, None)


def test_the_reason_for_a_ping_has_all_facts() -> None:
    reason = report(LATE, SUSPICIOUS).reason()
    assert reason.startswith("ALARM plan mpg, store backups: the newest good backup is 3 d 3 h old")
    assert "\n\nSUSPICION plan mpg, store backups: 2 namespaces" in reason
    assert report(WELL).reason() == "plan mpg: all is well"


def test_limits_that_are_off_are_shown_as_off() -> None:
    off = Limits(None, None, None, 0, 0, ("logs.*",))
    assert limits_line(off) == (
        "backup: none, verification: none, drill: none, smaller by: none, fewer documents by: none; ignored: logs.*"
    )


def test_a_page_of_too_many_facts_is_cut() -> None:
    many = tuple((f"2026-03-06T04-00-{n % 60:02}Z", "x") for n in range(300))
    page = report(judged(Sighting("s3://b", unreadable=many))).page([])
    assert "… and 101 more; the inventory has all backups." in page
