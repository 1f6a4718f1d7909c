"""Running a flow in this process, for a terminal or a script."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import httpx
from prefect import Flow
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import PREFECT_API_URL
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flows.cli.manner import Manner
from flows.cli.screen import Screen
from flows.cli.status import Status
from flows.core.errors import ServerUnavailable
from flows.tasks.publish import read_by
from flows.tasks.run import under_way

_LOOK_EVERY_SECONDS = 0.25
_SERVER_SECONDS = 10.0  # for a sign of life
Cells = Callable[[Any], Sequence[Mapping[str, str]]]


def run(
    flow: Flow[..., Any],
    parameters: Callable[[], dict[str, Any]],
    manner: Manner,
    *,
    cells: Cells | None = None,
    then: Callable[[Any], None] | None = None,
) -> Status:
    """Run a flow, show what it publishes and how far it is, and say what came of it as an exit status.

    Args:
        flow: What is run.
        parameters: Gives its parameters, from what was typed.
        manner: How it is run and shown.
        cells: The result as a table, which is shown in place of what the flow publishes.
        then: What is done with the result besides.
    """
    screen = Screen()
    if not manner.verbose:
        _leave_the_console()

    def act() -> Any:
        given = parameters()
        _look_for_server()
        with _followed(screen.err, lines=manner.talks) as bar:
            reader = _Reader(screen, bar) if manner.talks and cells is None else None
            with read_by(reader) if reader is not None else nullcontext():
                result = flow(**given)
        if then is not None:
            then(result)
        return result

    def show(screen: Screen, result: Any) -> None:
        if cells is not None:
            screen.table(cells(result), flow.name.capitalize())

    return manner.present(act, show)


def _look_for_server() -> None:
    """See early, and in words, whether the Prefect server is there: its client takes long to give up.

    Raises:
        ServerUnavailable: It does not answer.
    """
    url = PREFECT_API_URL.value()
    if not url:
        return  # Prefect starts one of its own
    try:
        httpx.get(f"{url}/health", timeout=_SERVER_SECONDS)
    except httpx.HTTPError as error:
        raise ServerUnavailable(
            "the Prefect server does not answer",
            hint="Start it, correct PREFECT_API_URL, or add --no-server to work without it.",
            server=url,
            got=str(error) or type(error).__name__,
        ) from error


class _Reader:
    """Shows what is published; the progress bar makes room for it."""

    def __init__(self, screen: Screen, bar: Progress | None) -> None:
        self._screen = screen
        self._bar = bar

    def page(self, markdown: str) -> None:
        """Show a page."""
        with self._room():
            self._screen.page(markdown)

    def table(self, rows: Sequence[Mapping[str, str]], description: str) -> None:
        """Show a table."""
        with self._room():
            self._screen.table(rows, description)

    @contextmanager
    def _room(self) -> Iterator[None]:
        if self._bar is not None:
            self._bar.stop()
        yield
        if self._bar is not None:
            self._bar.start()


class _Above(logging.Handler):
    """Lines of a log above the progress bar."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one; a warning can be seen as such."""
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        self._console.print(record.getMessage(), markup=False, style=style)


def _leave_the_console() -> None:
    """Take Prefect's lines off the terminal; they go to its server all the same."""
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, PrefectConsoleHandler)]
    logging.getLogger("prefect._internal").handlers = [logging.NullHandler()]


@contextmanager
def _followed(console: Console, *, lines: bool) -> Iterator[Progress | None]:
    """Show how far the run of this process is, and lines of its log, for the length of the block."""
    log = logging.getLogger("flows")
    handler = _Above(console) if lines else logging.NullHandler()
    log.addHandler(handler)
    try:
        if lines and console.is_terminal:
            with _bar(console) as bar:
                yield bar
        else:
            yield None
    finally:
        log.removeHandler(handler)


@contextmanager
def _bar(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    ended = threading.Event()
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        thread = threading.Thread(target=_follow, args=(bar, ended), daemon=True, name="terminal")
        thread.start()
        try:
            yield bar
        finally:
            ended.set()
            thread.join()


def _follow(bar: Progress, ended: threading.Event) -> None:
    task = bar.add_task("starting", total=None)
    while not ended.wait(_LOOK_EVERY_SECONDS):
        run = under_way()
        if run is not None and run.label:
            bar.update(task, description=run.label, total=100.0, completed=run.percentage())
