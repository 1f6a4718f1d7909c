"""A real Chromium without a window, for the pages that people look at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

PHONE, SCREEN = 390, 1280  # [CSS pixels] width
NAMES = ("chromium", "chromium-browser", "google-chrome")
# The browser itself asks for nothing, so that every request that is seen is one of the page. Where there is no graphics
# card, moving pictures would keep a processor busy.
_QUIET = (
    "--disable-3d-apis",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
_PATIENCE_MS = 60_000.0


def find_chromium() -> str | None:
    """Where it is on this machine, if it is."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """Hold a browser with an empty profile.

    The driver runs an event loop in this thread for as long as it is open, and a flow that is called meanwhile would
    take that loop for its own.
    """
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as driver:
        # Its sandbox does not start as root, and the pages are our own.
        browser = driver.chromium.launch(executable_path=path, args=[*_QUIET, "--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True)
class Visit:
    """An open page, and what it asked for.

    Attributes:
        page: Of a private window.
        asked: Addresses of all requests.
        stopped: Addresses of those that were not let through.
        said: What was said on its console, such as the refusal of what its own policy forbids.
    """

    page: Page
    asked: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@contextmanager
def visit(
    browser: Browser, address: str, *, also: str = "-", width: int = SCREEN, height: int = 900
) -> Iterator[Visit]:
    """Open an address in a private window; requests to what is neither below it nor below another are stopped.

    Args:
        browser: See `chromium`.
        address: Of a file or a server.
        also: The other one.
        width: Of the window [CSS pixels].
        height: Of the window [CSS pixels].
    """
    with browser.new_context(viewport={"width": width, "height": height}, locale="en-US", timezone_id="UTC") as window:
        window.set_default_timeout(_PATIENCE_MS)
        seen = Visit(window.new_page())

        def pass_on(route: Route) -> None:
            seen.asked.append(route.request.url)
            if route.request.url.startswith((address, also)):
                route.continue_()
            else:
                seen.stopped.append(route.request.url)
                route.abort()

        window.route("**/*", pass_on)
        seen.page.on("console", lambda message: seen.said.append(message.text))
        seen.page.goto(address)
        yield seen
