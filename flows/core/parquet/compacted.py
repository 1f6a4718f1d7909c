"""What a compaction did, as values and as a page."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from flows.core.markup import markdown_text
from flows.core.names import Namespace
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.records import DataFile, ExportedNamespace, FileRole
from flows.core.report import format_bytes, format_count, markdown_table


@dataclass(frozen=True, slots=True)
class CompactedNamespace:
    """A collection that was written anew."""

    namespace: Namespace
    export: str  # id of its newest export, which has all rows from now on
    chain: tuple[str, ...]  # ids of the exports that had them before, the newest last
    item: ExportedNamespace  # what the manifest says of it from now on
    replaced: tuple[DataFile, ...]


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What a compaction did, or would do."""

    dataset: str
    version: int  # of the data set, after it
    target: str
    namespaces: tuple[CompactedNamespace, ...]
    due: tuple[tuple[str, int, int], ...]  # of a dry run: collection, exports, and bytes that would be written anew
    dry_run: bool

    @property
    def rows(self) -> int:
        """That were written."""
        return sum(one.item.rows for one in self.namespaces)


def compacted_dataset(dataset: Dataset, done: Iterable[CompactedNamespace], *, written: datetime) -> Dataset:
    """The next version: the newest export has all rows, and those before it have nothing of the collection any more."""
    done = tuple(done)
    new = {(one.export, one.namespace): one.item for one in done}
    gone = {(export, one.namespace) for one in done for export in one.chain if export != one.export}
    exports = []
    for record in dataset.exports:
        items = tuple(
            new.get((record.export, item.namespace), item)
            for item in record.namespaces
            if (record.export, item.namespace) not in gone
        )
        if items:
            exports.append(dataclasses.replace(record, namespaces=items))
    return dataset.following(exports, dataset.schemas, written=written, by="compact")


def compaction_page(report: CompactionReport) -> str:
    """What a compaction did, as Markdown."""
    if report.dry_run:
        head = "**Dry run: nothing has been written**"
    elif report.namespaces:
        head = "**Compacted**: the newest export of each collection has all its rows; earlier states are gone"
    else:
        head = "**Nothing to do**: no collection has changes after a whole export"
    lines = [
        f"# Compaction of the data set {report.dataset}",
        "",
        f"* {head}",
        f"* **Data set**: version {report.version} in {markdown_text(report.target)}",
        "",
    ]
    if report.dry_run:
        lines.append(markdown_table([_due(*one) for one in report.due]))
    else:
        lines.append(markdown_table([_done(one) for one in report.namespaces]))
    return "\n".join(lines)


def _due(namespace: str, exports: int, size: int) -> dict[str, str]:
    return {"collection": namespace, "exports": format_count(exports), "files before": format_bytes(size)}


def _done(one: CompactedNamespace) -> dict[str, str]:
    files = one.item.of(FileRole.ROWS)
    return {
        "collection": str(one.namespace),
        "exports": format_count(len(one.chain)),
        "rows before": format_count(sum(file.rows for file in one.replaced)),
        "rows": format_count(one.item.rows),
        "size before": format_bytes(sum(file.bytes for file in one.replaced)),
        "size": format_bytes(sum(file.bytes for file in files)),
    }
