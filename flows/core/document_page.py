"""What `restore-documents` returns, and the page that people read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.core.access import Access
from flows.core.document_diff import Difference, DocumentDiff
from flows.core.document_plan import DocumentPlan, Into
from flows.core.errors import ConfigurationError, Refused
from flows.core.manifest import Manifest
from flows.core.proof import Merged
from flows.core.report import counted, format_bytes, format_count, format_duration, markdown_table


@dataclass(frozen=True, slots=True)
class DocumentsReport:
    """What the flow returns. The classes are those of the comparison before anything was written."""

    plan: str
    backup: str
    namespace: str
    destination: str
    matching: int
    missing: int
    different: int
    equal: int
    inserted: int
    replaced: int
    dry_run: bool


def check_matching(plan: DocumentPlan, diff: DocumentDiff) -> None:
    """Refuse to go on where there is nothing to restore, or where replacing cannot work.

    Raises:
        ConfigurationError: Where the filter matches no document of the backup.
        Refused: Where documents would be overwritten whose `_id` only counts as the same.
    """
    if not diff.matching:
        raise ConfigurationError(
            "the filter matches no document of the backup",
            hint="Nothing was written. Check names and types in the filter: a number is not a text, and a date is "
            '{"$date": "2026-03-06T04:00:00Z"}; or look into an older backup.',
            backup=plan.backup,
            namespace=str(plan.record.namespace),
            documents=plan.record.content.documents,
        )
    if diff.other_id and plan.request.overwrites:
        raise Refused(
            "documents cannot be overwritten whose _id in the target only counts as the same",
            hint="The server cannot change an _id: remove them first, keep them with `existing: keep`, "
            "or use `into: beside`. Nothing was written.",
            namespace=str(plan.destination),
            documents=diff.other_id,
        )


def documents_report(
    plan: DocumentPlan, manifest: Manifest, diff: DocumentDiff, written: Merged, *, dry_run: bool
) -> DocumentsReport:
    """The small value."""
    return DocumentsReport(
        plan=manifest.plan,
        backup=manifest.backup,
        namespace=str(plan.record.namespace),
        destination=str(plan.destination),
        matching=diff.matching,
        missing=diff.counts[Difference.MISSING],
        different=diff.counts[Difference.DIFFERENT],
        equal=diff.counts[Difference.EQUAL],
        inserted=written.inserted,
        replaced=written.replaced,
        dry_run=dry_run,
    )


def documents_page(
    plan: DocumentPlan, manifest: Manifest, diff: DocumentDiff, *, now: datetime, done: str, access: Access
) -> str:
    """The difference between backup and target, as Markdown; of documents it has their `_id` and names of fields.

    Args:
        plan: What is compared and where documents go.
        manifest: The backup.
        diff: What was found.
        now: For the age of the data.
        done: The headline: what has happened so far.
        access: Who signed the backup, and what opened it.
    """
    compared = f"`{plan.live}`" if plan.compared else f"nothing: there is no collection `{plan.live}`"
    lines = [
        f"# Documents of {plan.record.namespace} from backup {plan.backup} of plan {manifest.plan}",
        "",
        f"* **{done}**",
        f"* **Age of the data**: {format_duration(max(now - manifest.started, timedelta(0)))}",
        *access.lines(manifest),
        f"* **The filter matches** {format_count(diff.matching)} of "
        f"{counted(plan.record.content.documents, 'document')} in the backup",
        f"* **Compared with** {compared}",
        f"* **Go to** `{plan.destination}`",
        f"* **Downloaded**: {format_bytes(sum(segment.bytes for segment in plan.segments))} "
        f"in {counted(len(plan.segments), 'segment')}",
        *(f"* **Warning**: {warning}" for warning in plan.warnings),
        "",
        markdown_table(
            [
                {"in the target now": kind.value, "documents": format_count(count), "what happens": _fate(plan, kind)}
                for kind, count in diff.counts.items()
            ]
        ),
    ]
    for kind, examples in diff.examples.items():
        if examples:
            rows = [{"_id": f"`{e.identifier}`", "fields that differ": ", ".join(e.fields)} for e in examples]
            if kind is not Difference.DIFFERENT:
                rows = [{"_id": row["_id"]} for row in rows]
            lines += ["", f"## {kind.value.capitalize()}: {len(rows)} of {format_count(diff.counts[kind])}", ""]
            lines.append(markdown_table(rows))
    return "\n".join(lines)


def _fate(plan: DocumentPlan, kind: Difference) -> str:
    if plan.request.into is Into.BESIDE or kind is Difference.MISSING:
        return f"inserted into `{plan.destination}`"
    if kind is Difference.EQUAL:
        return "left alone"
    return "replaced" if plan.request.overwrites else "kept as they are in the target"
