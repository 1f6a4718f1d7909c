"""What a run leaves in the Prefect UI besides its log."""

from __future__ import annotations

import getpass
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from flows.core.prune_page import prune_page, retention_rows
from flows.storage.pruning import PruneReport


class Reader(Protocol):
    """Whoever is shown what runs of this process publish, besides the Prefect UI: a terminal."""

    def page(self, markdown: str) -> None:
        """A page was published."""

    def table(self, rows: Sequence[Mapping[str, str]], description: str) -> None:
        """A table was published."""


_readers: list[Reader] = []


@contextmanager
def read_by(reader: Reader) -> Iterator[None]:
    """Show somebody what is published, for the length of the block."""
    _readers.append(reader)
    try:
        yield
    finally:
        _readers.remove(reader)


def name_run(name: str) -> None:
    """Give this flow run the name of what it does, once that is known."""
    with get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, name=name)


def started_by() -> str:
    """Who started this flow run, as far as Prefect knows, and where it runs."""
    with get_client(sync_client=True) as client:
        by = client.read_flow_run(flow_run.id).created_by
    name = (by.display_value or by.type) if by is not None else None
    return f"{name or getpass.getuser()} on {platform.node()}"


def publish_page(key: str, markdown: str, description: str, *, shown: bool = True) -> None:
    """Leave a page; pages with the same key form a history.

    Args:
        key: Of the page.
        markdown: The page.
        description: What it is.
        shown: Whether a terminal shows it too: not where the same page follows in full, or is one to be looked up.
    """
    create_markdown_artifact(markdown, key=key, description=description)
    for reader in _readers if shown else ():
        reader.page(markdown)


def publish_table(key: str, rows: Sequence[Mapping[str, str]], description: str) -> None:
    """Leave a table."""
    create_table_artifact([dict(row) for row in rows], key=key, description=description)
    for reader in _readers:
        reader.table(rows, description)


def publish_pruning(plan: str, store: str, report: PruneReport) -> None:
    """Leave the table of what retention decided, with the reasons, and a page with what came of it."""
    verb = "would do" if report.dry_run else "did"
    publish_table(
        f"retention-{plan}-{store}",
        retention_rows(report.plan, dry_run=report.dry_run),
        f"What retention {verb} with the backups of {plan} in {store}",
    )
    page = prune_page(report.plan, report.findings, report.leftover_rows(), name=plan, dry_run=report.dry_run)
    publish_page(f"prune-{plan}-{store}", page, f"Pruning of {plan} in {store}")
