"""What a restore flow returns, and its pages: the plan, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.core.access import Access
from flows.core.manifest import Manifest
from flows.core.markup import markdown_text
from flows.core.proof import NamespaceProof
from flows.core.report import MOST_ROWS, counted, cut_note, format_bytes, format_count, format_duration, markdown_table
from flows.core.restore_plan import Action, RestoreItem, RestorePlan
from flows.core.source import Kind

# Of a restore with proof, measured on 2 cores that also ran the server: see "How fast" in the README.
_BYTES_PER_SECOND = 40 * 1024 * 1024
_USERS = "those that the target lacks are added, those that it has stay as they are"


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What a restore flow returns."""

    plan: str
    backup: str
    namespaces: int
    documents: int
    bytes: int
    indexes: int
    read_back: int  # namespaces whose content digest was computed again from the target
    seconds: float  # [s] from the plan to the end: the recovery time
    safety_backup: str  # plan and id of the backup of what was overwritten; empty where there is none
    dry_run: bool


def restore_page(
    plan: RestorePlan, manifest: Manifest, *, now: datetime, done: str, access: Access, maintenance: str = ""
) -> str:
    """The plan of a restore, or its report, as Markdown.

    Args:
        plan: What is written where.
        manifest: The backup.
        now: For the age of the data.
        done: The headline: what has happened so far.
        access: Who signed the backup, and what opens it.
        maintenance: The section about the maintenance window; empty where there is none.
    """
    age = max(now - manifest.started, timedelta(0))
    stored = sum(segment.bytes for segment in plan.segments)
    lines = [
        f"# Restore of {manifest.backup}" + (f" of plan {manifest.plan}" if manifest.plan else ""),
        "",
        f"* **{done}**",
        f"* **Target**: {plan.target} at `{plan.address}`"
        + ("; **the very MongoDB that was backed up**, which takes `into_source`" if plan.own_source else ""),
        f"* **Age of the data**: {format_duration(age)}",
        *access.lines(manifest),
        f"* **{'Compares, and writes what is missing' if plan.merged else 'Writes'}**: "
        f"{counted(plan.documents, 'document')} in {counted(len(plan.items), 'namespace')}, "
        f"{format_bytes(plan.bytes)}; "
        f"downloads {format_bytes(stored)} in {counted(len(plan.segments), 'segment')}",
        f"* **Estimate**: about {format_duration(timedelta(seconds=max(1, plan.bytes / _BYTES_PER_SECOND)))} at "
        f"{format_bytes(_BYTES_PER_SECOND)} of BSON per second, and up to {format_bytes(plan.bytes)} of disk there",
        f"* **Replaces**: {_held_by(plan.replaced)}",
        *(
            [f"* **Adds to**: {_held_by(plan.merged)}; those that differ from the backup: {plan.duplicates.value}"]
            if plan.merged
            else []
        ),
        *([f"* **To confirm**: type `{plan.confirmation}` into `confirm`"] if plan.confirmation else []),
        f"* **Users and roles**: {_USERS if plan.users else 'left alone'}",
        *(f"* **Warning**: {warning}" for warning in (*manifest.warnings, *plan.warnings)),
        "",
        *([maintenance, ""] if maintenance else []),
        markdown_table(
            [
                {
                    # In one cell, which can be broken: two columns of names do not fit the page of an artifact.
                    "namespace": str(item.record.namespace)
                    + ("" if item.target == item.record.namespace else f" → {item.target}"),
                    "action": f"{item.action.value}: {item.refusal}" if item.refusal else item.action.value,
                    "kind": item.record.kind.value,
                    "documents": format_count(item.record.content.documents),
                    "BSON": format_bytes(item.record.content.bytes),
                    "indexes": "-" if item.record.kind is Kind.VIEW else str(len(item.metadata().indexes)),
                    "there now": _there_now(item),
                }
                for item in plan.items[:MOST_ROWS]
            ]
        ),
        *cut_note(len(plan.items)),
    ]
    return "\n".join(lines)


def restore_report(
    plan: RestorePlan,
    manifest: Manifest,
    proofs: Sequence[NamespaceProof],
    *,
    begun: datetime,
    ended: datetime,
    by: str,
    approved: str,
    kept: str,
    access: Access,
    maintenance: str,
) -> str:
    """What a restore did and proved, as Markdown.

    Args:
        plan: What was written where.
        manifest: The backup.
        proofs: Of all namespaces of the plan.
        begun: When the plan was made; the age of the data counts from here.
        ended: When the last comparison was done.
        by: Who started the run, and where it ran.
        approved: The name that whoever approved it gave, and the comment; empty where nobody was asked.
        kept: Plan and id of the backup of what was overwritten; empty where there is none.
        access: Who signed the backup, and what opened it.
        maintenance: The section about the maintenance window; empty where there is none.
    """
    wrong = sum(bool(proof.differences) for proof in proofs)
    read_back = sum(proof.content is not None for proof in proofs)
    merged = [proof.merged for proof in proofs if proof.merged is not None]
    collections = sum(item.record.kind is not Kind.VIEW for item in plan.items)
    unread = collections - read_back - len(merged)
    written = plan.documents - sum(counts.kept + counts.equal for counts in merged)
    done = (
        "FAILED: the target is not what the manifest says"
        if wrong
        else "Complete: what was compared is as in the manifest"
    )
    lines = [
        f"# Restore of {manifest.backup}" + (f" of plan {manifest.plan}" if manifest.plan else ""),
        "",
        f"* **{done}**",
        f"* **Wrote**: {counted(written, 'document')} in {counted(len(plan.items), 'namespace')}"
        + (f", of {format_count(plan.documents)} in the backup" if merged else f", {format_bytes(plan.bytes)}")
        + f", and {counted(sum(proof.indexes for proof in proofs), 'index')}",
        f"* **Time to recover** (RTO): {format_duration(ended - begun)}",
        f"* **Age of the data** (RPO): {format_duration(max(begun - manifest.started, timedelta(0)))}",
        *access.lines(manifest),
        f"* **Read back**: {counted(read_back, 'namespace')}, compared by content digest"
        + (f"; in {len(merged)} each document was compared with what was there" if merged else "")
        + (f"; {unread} were compared by their count, as far as the user may" if unread else ""),
        f"* **Options and indexes**: compared in {sum(proof.metadata for proof in proofs)} of {len(proofs)} namespaces",
        f"* **Users and roles**: {_USERS if plan.users else 'left alone'}",
        *(f"* **Warning**: {warning}" for warning in manifest.warnings),
        *([f"* **What was there before** is kept as {kept}"] if kept else []),
        f"* **Started**: {begun:%Y-%m-%d %H:%M:%S} UTC by {by}",
        *([f"* **Approved** under the name {markdown_text(approved)}"] if approved else []),
        "",
        markdown_table(
            [
                {
                    "namespace": str(proof.namespace),
                    "documents": _documents(proof),
                    "indexes built": str(proof.indexes),
                    "content digest": proof.content.digest[:16] if proof.content else "-",
                    "differences": "; ".join(proof.differences) or "none",
                }
                for proof in sorted(proofs, key=lambda proof: (not proof.differences, proof.namespace))[:MOST_ROWS]
            ]
        ),
        *cut_note(len(proofs)),
        *(["", maintenance] if maintenance else []),
        *_held([command for proof in proofs for command in proof.resume]),
    ]
    return "\n".join(lines)


def _documents(proof: NamespaceProof) -> str:
    if proof.merged is not None:
        counts = {
            "inserted": proof.merged.inserted,
            "overwritten": proof.merged.replaced,
            "kept as they were": proof.merged.kept,
            "equal": proof.merged.equal,
        }
        return ", ".join(f"{format_count(count)} {name}" for name, count in counts.items() if count) or "0"
    return format_count(proof.content.documents) if proof.content else "-"


def _held(commands: list[str]) -> list[str]:
    if not commands:
        return []
    return ["", "No document expires before these are run in mongosh:", "", "```", *commands, "```"]


def _held_by(items: Sequence[RestoreItem]) -> str:
    known = [item.present_documents for item in items if item.present_documents is not None]
    least = "" if len(known) == len(items) else "at least "
    return f"{counted(len(items), 'namespace')} with {least}{counted(sum(known), 'document')}"


def _there_now(item: RestoreItem) -> str:
    if item.action is Action.CREATE:
        return "-"
    return "not known" if item.present_documents is None else format_count(item.present_documents)
