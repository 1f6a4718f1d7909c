"""The document of a period: what people typed cannot become markup, and nothing is fetched."""

from __future__ import annotations

from datetime import timedelta
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest

from flows.core.evidence import EvidenceKind
from flows.core.evidence_html import report_html
from flows.core.evidence_markdown import report_markdown
from flows.core.evidence_report import EvidenceReport, Period, Status
from flows.storage.evidence import append, gather
from flows.storage.memory import MemoryStore
from tests.support.evidence import KEY, history, record
from tests.support.samples import STARTED

HOSTILE = "<img src=//x onerror=alert(1)>|`[a](javascript:b)\u202e"


class Seen(HTMLParser):
    """The elements of a page, and whether they nest."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "br", "link"}:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def check(self) -> None:
        assert self._open == []


@pytest.fixture(scope="module")
def report() -> EvidenceReport:
    """Thirty days with a gap of two nights and a drill that failed, by somebody with a bad name."""
    store = MemoryStore()
    end = history(store, operator=HOSTILE)
    period = Period.of(STARTED.date(), end.date(), ZoneInfo("Europe/Berlin"), now=end)
    return gather(store, "mpg", period, by=HOSTILE, now=end + timedelta(hours=1), trusted=[KEY.public])


def test_the_page_nests_fetches_nothing_and_runs_nothing(report: EvidenceReport) -> None:
    html = report_html(report)
    seen = Seen()
    seen.feed(html)
    seen.check()
    assert not {"script", "img", "iframe", "object", "link"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    targets = [value or "" for name, value in seen.attributes if name in {"href", "src", "xlink:href"}]
    assert targets
    assert all(target.startswith("#") for target in targets)
    assert ("lang", "en") in seen.attributes
    # Each picture says in words what it shows.
    assert seen.tags.count("svg") == seen.tags.count("desc") > 3


def test_names_are_shown_and_are_no_markup(report: EvidenceReport) -> None:
    assert "&lt;img src=//x onerror=alert(1)&gt;" in report_html(report)
    text = report_markdown(report)
    assert "<img" not in text
    assert "[a]" not in text


def test_the_document_says_what_was_not_shown(report: EvidenceReport) -> None:
    assert {control.status for control in report.controls} >= {Status.PARTLY}
    html = report_html(report)
    assert "the content digest is another one" in html
    assert "2026-03-17" in html  # a night of the gap


@pytest.mark.parametrize(
    ("drills", "verifications", "status", "lacks"),
    [
        (0, 0, Status.NOT_SHOWN, "No drill was recorded in the period."),
        (1, 1, Status.PARTLY, "One drill in the period is a test, and no regular one."),
        (2, 1, Status.PARTLY, "One verification in the period is a test, and no regular one."),
        (2, 2, Status.SHOWN, "Which interval is regular enough is for the controller to say."),
    ],
)
def test_a_single_test_is_not_called_regular(drills: int, verifications: int, status: Status, lacks: str) -> None:
    store = MemoryStore()
    kinds = [EvidenceKind.DRILL] * drills + [EvidenceKind.VERIFICATION] * verifications
    for number, kind in enumerate(kinds):
        at = STARTED + timedelta(hours=number)
        append(store, "mpg", record(kind, at=at), KEY, now=at)
    now = STARTED + timedelta(days=1)
    made = gather(store, "mpg", Period.of(None, None, ZoneInfo("UTC"), now=now), by="Ada", now=now, trusted=[])
    (testing,) = [control for control in made.controls if control.name == "Resilience testing"]
    assert testing.status is status
    assert lacks in testing.lacks
