"""What an erasure has done: the record that stays in the store, and the page. Neither says who was erased."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from flows.core.canonical import canonical, plain
from flows.core.errors import ErasureIncomplete
from flows.core.keys import backup_id
from flows.core.markup import markdown_text
from flows.core.names import Namespace
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.dataset_keys import export_prefix
from flows.core.parquet.records import DataFile, FileRole
from flows.core.report import counted, format_bytes, format_count, format_time, markdown_table

FORMAT_VERSION = 1
_SHOWN = 200  # rows of a table on the page; the record has all


@dataclass(frozen=True, slots=True)
class ErasedFile:
    """A file that had rows of the person."""

    key: str
    role: FileRole
    rows: int  # rows of Parquet, or documents of rejects, that it had
    gone: int  # of the person
    new: DataFile | None  # what came in its place; None: no row was left, or this is a dry run


@dataclass(frozen=True, slots=True)
class ErasedNamespace:
    """What was found in one namespace."""

    namespace: Namespace
    fields: tuple[str, ...]  # in which the person was sought
    read: int  # rows and documents, in all its files
    files: tuple[ErasedFile, ...]
    # What stood for the person: values and pseudonyms. In memory alone, for the search afterwards.
    needles: frozenset[bytes] = field(default=frozenset(), repr=False)

    @property
    def gone(self) -> int:
        """Rows and documents of the person; what is only a hash for comparisons is not counted."""
        return sum(file.gone for file in self.files if file.role is not FileRole.IDENTITIES)


@dataclass(frozen=True, slots=True)
class Trace:
    """Where the person stands still."""

    key: str
    where: str  # column, or `bytes` of the object
    values: int


@dataclass(frozen=True, slots=True)
class Kept:
    """An object that was deleted and whose data lives on."""

    key: str
    why: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Removal:
    """What a removal has done."""

    objects: int = 0  # that are gone: files, and manifests that named them
    kept: tuple[Kept, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """What the search of everything has read, and found."""

    objects: int = 0
    bytes: int = 0
    rows: int = 0
    traces: tuple[Trace, ...] = ()


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """One erasure."""

    dataset: str
    target: str  # where it is
    by: str
    why: str
    started: datetime
    finished: datetime
    values: int  # by how many values the person was sought
    domain: str
    keys: tuple[str, ...]  # ids of the keys for pseudonyms
    version_before: int
    version_after: int
    namespaces: tuple[ErasedNamespace, ...]
    removed: int  # objects: files, and manifests that named them
    kept: tuple[Kept, ...]
    proof: Proof | None  # None: a dry run
    dry_run: bool

    @property
    def gone(self) -> int:
        """Rows and documents of the person in all files."""
        return sum(item.gone for item in self.namespaces)

    @property
    def record_key(self) -> str:
        """Where the record is stored."""
        return f"{export_prefix(self.dataset)}erasures/{backup_id(self.started)}.json"

    def record(self) -> bytes:
        """What is stored. Nothing in it tells of the person, not by a pseudonym either."""
        value = plain(self, lambda item: None if isinstance(item, frozenset) else item)
        for item in value["namespaces"]:
            del item["needles"]
        return canonical({"format": FORMAT_VERSION, **value})

    def check(self) -> None:
        """See that nothing is left.

        Raises:
            ErasureIncomplete: Something is.
        """
        traces = self.proof.traces if self.proof is not None else ()
        if self.kept or traces:
            raise ErasureIncomplete(
                "the erasure is not complete",
                hint="The page of this run says what is left and until when. Run it again with the fields that still "
                "tell of the person, or with `anywhere`; what is locked goes when its lock ends.",
                dataset=self.dataset,
                kept=len(self.kept),
                traces=[f"{trace.where} in {trace.key}" for trace in traces[:5]],
            )


def without(dataset: Dataset, found: Iterable[ErasedNamespace], *, written: datetime) -> Dataset:
    """The next version, with the new files in place of those that had rows of the person; itself where none had."""
    new = {file.key: file.new for item in found for file in item.files}
    return dataset.replacing(new, written=written, by="erase") if new else dataset


def erasure_page(report: ErasureReport) -> str:
    """The page for people."""
    verb = "would go" if report.dry_run else "are gone"
    parts = [
        f"# Erasure from {report.dataset}\n",
        f"{counted(report.gone, 'row')} of one person {verb}"
        + ("; nothing was written, this is a dry run." if report.dry_run else ".")
        + "\n",
        f"* **Why**: {markdown_text(report.why)}",
        f"* **By**: {markdown_text(report.by)}, {format_time(report.started)}",
        f"* **Where**: {markdown_text(report.target)}, data set {report.dataset}, version {report.version_before}"
        + ("" if report.dry_run else f", now {report.version_after}"),
        f"* **Sought by**: {counted(report.values, 'value')}"
        + (f", pseudonyms of the domain `{report.domain}`" if report.domain else ""),
        "\n## Collections\n",
        markdown_table([_namespace_row(item) for item in report.namespaces]),
    ]
    files = [
        {
            "file": file.key,
            "rows": format_count(file.rows),
            "of the person": format_count(file.gone),
            "now": "-" if file.new is None else file.new.key.rpartition("/")[2],
        }
        for item in report.namespaces
        for file in item.files
    ]
    if files:
        parts += ["\n## Files\n", markdown_table(files[:_SHOWN]), *_more(len(files))]
    if report.proof is not None:
        parts += _proof(report, report.proof)
    return "\n".join(parts) + "\n"


def _namespace_row(item: ErasedNamespace) -> dict[str, str]:
    return {
        "collection": markdown_text(str(item.namespace)),
        "sought in": markdown_text(", ".join(item.fields)) or "no such field",
        "rows read": format_count(item.read),
        "of the person": format_count(item.gone),
        "files": format_count(len(item.files)),
    }


def _proof(report: ErasureReport, proof: Proof) -> list[str]:
    parts = [
        "\n## Proof\n",
        f"{counted(report.removed, 'object')} removed, with all versions. After that everything that the data set has "
        f"was read again and searched for the values and pseudonyms: {counted(proof.objects, 'object')}, "
        f"{format_bytes(proof.bytes)}, {counted(proof.rows, 'row')}. "
        + ("**Traces were found.**" if proof.traces else "**No trace was found.**"),
        f"\nThe record is {report.record_key}.",
    ]
    if proof.traces:
        rows = [
            {"object": one.key, "where": markdown_text(one.where), "values": format_count(one.values)}
            for one in proof.traces
        ]
        parts += ["\n## Traces\n", markdown_table(rows[:_SHOWN]), *_more(len(rows))]
    if report.kept:
        rows = [
            {"object": one.key, "is": one.why, "until": format_time(one.until) if one.until else "not known"}
            for one in report.kept
        ]
        parts += ["\n## Still in the store\n", markdown_table(rows[:_SHOWN]), *_more(len(rows))]
    return parts


def _more(rows: int) -> list[str]:
    return [f"\n… and {rows - _SHOWN} more; the record has all."] if rows > _SHOWN else []
