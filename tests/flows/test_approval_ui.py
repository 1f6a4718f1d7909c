"""The approval of a restore in the Prefect UI, by a second person with a browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import PREFECT_API_URL
from pymongo import MongoClient

from flows.core.errors import Refused
from flows.core.restore_plan import RestoreMode
from flows.restore import restore
from tests.flows.conftest import Repo, back_up
from tests.support.browser import chromium, visit
from tests.support.contents import contents
from tests.support.flow_runs import FlowRunRecord, page, run_flow
from tests.support.prefect_pages import prefect_pages

_PATIENCE_SECONDS = 120


@contextmanager
def second_person(chromium_path: str, folder: Path) -> Iterator[tuple[Page, str]]:
    """A browser at the start page of the UI, and the address of the run pages."""
    with (
        prefect_pages(folder) as address,
        chromium(chromium_path) as browser,
        visit(browser, address, also=str(PREFECT_API_URL.value())) as seen,
    ):
        seen.page.wait_for_url(f"{address}/v2/**")  # the newer of two sets of pages, for whoever has chosen none
        yield seen.page, f"{address}/v2/runs/flow-run"


def paused(running: Future[FlowRunRecord]) -> FlowRun:
    """The run that waits for a decision, once it does and its log says so."""
    only = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with get_client(sync_client=True) as client:
        while True:
            for run in client.read_flow_runs(flow_run_filter=only):
                log = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])))
                if any(line.message.startswith("waiting until") for line in log):
                    return run
            assert not running.done(), running.result().state
            assert time.monotonic() < deadline
            time.sleep(0.2)


def open_form(screen: Page, address: str) -> Locator:
    """The form of a paused run, by the way that the log of the run tells."""
    screen.goto(address)
    expect(screen.get_by_text("chooses Resume at the top right, or in the menu ⋮ there")).to_be_visible()
    screen.get_by_role("button", name="Open menu").first.click()
    screen.get_by_role("menuitem", name="Resume").click()
    return screen.get_by_role("dialog")


def check_form(form: Locator, words: tuple[str, ...]) -> None:
    """See that the form tells what is at stake, and that nobody has to scroll sideways for it."""
    expect(form.get_by_text(words[0])).to_be_visible()
    text = form.inner_text()
    for more in words:
        assert more in text, text
    # A pixel wide is what only screen readers are told.
    too_wide = form.evaluate(
        "form => [...form.querySelectorAll('*')].filter(e => 1 < e.clientWidth && e.clientWidth + 1 < e.scrollWidth)"
        ".map(e => e.outerHTML)"
    )
    assert too_wide == []


def decide(form: Locator, decision: str, *, name: str, comment: str = "") -> None:
    """Fill in the form and send it."""
    form.get_by_label("Decision").click()
    form.page.get_by_role("option", name=decision).click()
    form.get_by_label("Name").fill(name)
    form.get_by_label("Comment").fill(comment)
    send(form)
    expect(form).to_be_hidden()


def send(form: Locator) -> None:
    form.get_by_role("button", name="Resume").click()


def test_a_second_person_reads_the_plan_refuses_it_and_approves_another(
    mongo_client: MongoClient[dict[str, Any]], invoices: str, repo: Repo, chromium_path: str, tmp_path: Path
) -> None:
    back_up(databases=[invoices])
    before = contents(mongo_client, invoices)
    mongo_client[invoices]["invoices"].update_many({}, {"$set": {"number": "changed since"}})
    changed = contents(mongo_client, invoices)
    replace = partial(
        run_flow, restore, into_source=True, mode=RestoreMode.REPLACE, confirm=invoices, safety_backup=False
    )
    words = (
        "This restore drops 1 namespace with 500 documents and writes 500 documents",
        "the very MongoDB that was backed up",
        "what is overwritten is lost",
        f"{invoices}.invoices: dropped with 500 documents, then gets 500 documents",
        "Nothing has been written. Without an answer by 20",
        "Approve: the restore begins. Refuse: the run ends, and nothing is written.",
        "Your name. It goes into the report.",
    )
    # A flow runs in a thread of its own here: the browser keeps this one.
    with second_person(chromium_path, tmp_path / "pages") as (screen, address), ThreadPoolExecutor(1) as pool:
        running = pool.submit(replace, approval=True, approval_minutes=3)
        run = paused(running)
        form = open_form(screen, f"{address}/{run.id}")
        check_form(form, words)
        screen.screenshot(path=tmp_path / "plan.png")
        send(form)  # too early
        expect(screen.get_by_text("'decision' is a required property")).to_be_visible()
        decide(form, "refuse", name="Ada", comment="not tonight")
        refused = running.result(_PATIENCE_SECONDS)
        assert contents(mongo_client, invoices) == changed
        screen.goto(f"{address}/{run.id}?tab=Details")
        expect(screen.get_by_text("this restore was refused (by='Ada (not tonight)')").first).to_be_visible()
        screen.screenshot(path=tmp_path / "refused.png")

        running = pool.submit(replace, approval=True, approval_minutes=3)
        form = open_form(screen, f"{address}/{paused(running).id}")
        decide(form, "approve", name="Ada *L*\n", comment="case 42")
        approved = running.result(_PATIENCE_SECONDS)
    assert isinstance(refused.error, Refused)
    assert approved.value.documents == 500
    assert contents(mongo_client, invoices) == before
    assert "* **Approved** under the name Ada \\*L\\* (case 42)" in page(approved.id)
