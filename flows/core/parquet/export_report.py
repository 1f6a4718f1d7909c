"""What an export did, as values and as a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from flows.core.markup import markdown_text
from flows.core.parquet.records import ExportedNamespace, ExportKind, FileRole
from flows.core.report import counted, format_bytes, format_count, format_duration, format_time, markdown_table

_MOST_ROWS = 500
_MOST_CHANGES = 100
_MOST_SQL = 8_000  # letters
_MOST_LETTERS = 100_000


@dataclass(frozen=True, slots=True)
class AddedColumn:
    """What the schema of a collection got."""

    namespace: str
    path: str  # JSON pointer
    kind: str


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did, or would do."""

    dataset: str
    version: int  # of the data set; of a dry run the one that is there
    export: str
    what: str  # was exported
    target: str  # where it is
    namespaces: tuple[ExportedNamespace, ...]
    added: tuple[AddedColumn, ...]
    warnings: tuple[str, ...]
    engine: str
    rules: str  # id; empty where there were none
    started: datetime
    finished: datetime
    dry_run: bool = False

    @property
    def documents(self) -> int:
        """That were read."""
        return sum(item.documents for item in self.namespaces)

    @property
    def rows(self) -> int:
        """That were written."""
        return sum(item.rows for item in self.namespaces)

    @property
    def rejected(self) -> int:
        """Documents that no row could hold."""
        return sum(item.rejected for item in self.namespaces)

    @property
    def bytes(self) -> int:
        """In files of Parquet [bytes]."""
        return sum(file.bytes for item in self.namespaces for file in item.of(FileRole.ROWS, FileRole.CHANGES))

    @property
    def files(self) -> int:
        """Of Parquet."""
        return sum(len(item.of(FileRole.ROWS, FileRole.CHANGES)) for item in self.namespaces)


def cut_text(text: str, more: str) -> str:
    """A text that a page can show: of a longer one the beginning, and what has the rest."""
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}\n\n… {more}"


def export_page(report: ExportReport, *, views: str, views_key: str, by: str) -> str:
    """What an export did, as Markdown.

    Args:
        report: What came of it.
        views: SQL of the views; empty for none.
        views_key: Where these are stored.
        by: Who started the run.
    """
    verb = "would be written" if report.dry_run else "written, read again and compared"
    lines = [
        f"# Export of {report.what}",
        "",
        f"* **{'Dry run: nothing has been written' if report.dry_run else 'Published'}**: "
        f"data set {report.dataset}, version {report.version}, in {markdown_text(report.target)}",
        f"* **Documents**: {format_count(report.documents)} in {counted(len(report.namespaces), 'collection')}",
        *(
            []
            if report.dry_run
            else [
                f"* **Rows**: {format_count(report.rows)} in {counted(report.files, 'file')}, "
                f"{format_bytes(report.bytes)}, {verb}"
            ]
        ),
        f"* **Rejected**: {_rejected(report)}",
        f"* **Personal data**: {_rules(report.rules)}",
        f"* **Took**: {format_duration(report.finished - report.started)}, with the engine {report.engine}",
        f"* **Started**: {format_time(report.started)} by {markdown_text(by)}",
        *(f"* **Warning**: {markdown_text(text)}" for text in report.warnings),
        "",
        markdown_table([_row(item) for item in report.namespaces[:_MOST_ROWS]]),
        *_added(report),
    ]
    if views and len(views) <= _MOST_SQL:
        lines += ["", "## Query it", "", "With DuckDB:", "", "```sql", views.rstrip(), "```"]
    elif views:
        lines += ["", "## Query it", "", f"The views for DuckDB are in `{views_key}`."]
    return "\n".join(lines)


def _rejected(report: ExportReport) -> str:
    if not report.rejected:
        return "none: every document is a row"
    there = [item for item in report.namespaces if item.of(FileRole.REJECTS)]
    where = "in files of rejects beside the rows" if there else "not exported: rules hold them back"
    return f"**{counted(report.rejected, 'document')} cannot be rows**, {where}"


def _rules(rules: str) -> str:
    if not rules:
        return "as it is: no rules were given"
    return f"by the rules `{rules[:12]}`"


def _row(item: ExportedNamespace) -> dict[str, str]:
    changes = item.changes
    done = item.kind.value
    if item.kind is ExportKind.CHANGES and changes is not None:
        done = f"{changes.inserted} new, {changes.updated} changed, {changes.deleted} gone since {item.since}"
    files = item.of(FileRole.ROWS, FileRole.CHANGES)
    return {
        "collection": str(item.namespace),
        "documents": format_count(item.documents),
        "rows": format_count(item.rows),
        "rejected": format_count(item.rejected),
        "files": format_count(len(files)),
        "size": format_bytes(sum(file.bytes for file in files)),
        "export": done,
        "partitioned": item.partitioned_by or "-",
    }


def _added(report: ExportReport) -> Iterator[str]:
    if not report.added:
        return
    yield from ("", "## Columns that are new", "")
    rows = [{"collection": a.namespace, "field": a.path, "column": a.kind} for a in report.added[:_MOST_CHANGES]]
    yield markdown_table(rows)
    if len(report.added) > _MOST_CHANGES:
        yield f"\nand {len(report.added) - _MOST_CHANGES} more; the data dictionary has them all."
