"""The document of thirty days, with a gap and a drill that failed, in a browser: on a phone, a screen and paper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, expect

from flows.core.evidence_html import report_html
from flows.core.evidence_report import Period
from flows.storage.evidence import gather
from flows.storage.memory import MemoryStore
from tests.support.browser import PHONE, SCREEN, Visit, visit
from tests.support.evidence import KEY, history
from tests.support.page_checks import levels, pictures, texts, too_wide
from tests.support.samples import STARTED

BETWEEN = (700, 992, 1_000)  # [CSS pixels] on both sides of the width from which on tables are tables
PAPER = 688  # [CSS pixels] A4 without its margins
OPERATOR = "service-account-of-the-nightly-backup@worker-1.backup.internal.example"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = MemoryStore()
    end = history(store, operator=OPERATOR)
    period = Period.of(STARTED.date(), end.date(), ZoneInfo("Europe/Berlin"), now=end)
    report = gather(store, "mpg", period, by=OPERATOR, now=end + timedelta(hours=1), trusted=[KEY.public])
    path = tmp_path_factory.mktemp("evidence") / "report.html"
    path.write_text(report_html(report))
    return path


@pytest.fixture(params=[PHONE, SCREEN])
def seen(file: Path, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    with visit(browser, file.as_uri(), width=request.param) as opened:
        yield opened


def test_it_can_be_read_on_a_phone_and_on_a_screen(seen: Visit, file: Path, tmp_path: Path) -> None:
    page = seen.page
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert seen.asked == [file.as_uri()]
    assert seen.said == []
    assert too_wide(page) == []
    drawn = texts(page)
    assert len(drawn) > 500
    assert [one for one in drawn if one["contrast"] < 4.5] == []
    assert [one for one in drawn if one["size"] < 11] == []

    found = levels(page)
    assert found[0] == 1
    assert found.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(found))
    for role, title, description in pictures(page):
        assert role == "img"
        assert title
        assert description.endswith(".")
        expect(page.get_by_role("img", name=title).first).to_be_visible()
    assert [title for _, title, _ in pictures(page)] == [
        "Time to restore (RTO)",
        "Age of the data (RPO)",
        "Size of backups",
        "Coverage of verification",
        "Backups, March 2026",
        "Backups, April 2026",
    ]
    # Each row is one of a table for a screen reader too, also where it is drawn as a box.
    days = page.get_by_role("table", name="Days")
    expect(days.get_by_role("row")).to_have_count(31)
    for day, words in ((17, "no backup known"), (24, "a backup with a problem; a drill; FAILED: drill")):
        expect(days.get_by_role("row", name=re.compile(f"2026-03-{day} Tue .*{words}"))).to_be_visible()
    page.get_by_role("navigation").get_by_role("link", name="Findings").click()
    expect(page.get_by_role("heading", name="Findings")).to_be_in_viewport()


def test_it_can_be_printed_and_fits_any_width(file: Path, browser: Browser, tmp_path: Path) -> None:
    with visit(browser, file.as_uri()) as seen:
        for width in BETWEEN:
            seen.page.set_viewport_size({"width": width, "height": 800})
            assert too_wide(seen.page) == []
        seen.page.set_viewport_size({"width": PAPER, "height": 900})
        seen.page.emulate_media(media="print")
        assert too_wide(seen.page) == []
        expect(seen.page.get_by_role("navigation")).to_be_hidden()
        assert seen.page.pdf(path=tmp_path / "page.pdf", format="A4").startswith(b"%PDF")
