"""What pruning decided and did, for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from flows.core.report import MOST_ROWS, and_more, format_bytes, format_duration, known, markdown_table
from flows.core.retention import RetentionPlan


def retention_rows(plan: RetentionPlan, *, dry_run: bool) -> list[dict[str, str]]:
    """The decision for every backup, for a table: first what goes, then what stays, each newest first."""
    gone = "would be removed" if dry_run else "removed"
    decisions = sorted(plan.decisions, key=lambda decision: decision.keep)
    shown = [
        {
            "backup": d.backup,
            "age": format_duration(d.age) if d.age >= timedelta(0) else "-",
            "stored": known(d.stored_bytes, format_bytes),
            "decision": "kept" if d.keep else gone,
            "reason": d.reason,
        }
        for d in decisions[:MOST_ROWS]
    ]
    kept = sum(d.keep for d in decisions[MOST_ROWS:])
    more = len(decisions) - len(shown)
    return and_more(shown, more, f"more: {more - kept} {gone}, {kept} kept")


def prune_page(
    plan: RetentionPlan, findings: Sequence[str], rows: Sequence[dict[str, str]], *, name: str, dry_run: bool
) -> str:
    """What pruning did to the backups of a plan, as Markdown.

    Args:
        plan: The decision for every backup.
        findings: What the operator should know, as sentences.
        rows: The objects whose data lives on, for a table.
        name: Of the plan.
        dry_run: Whether nothing was removed.
    """
    gone = "would be removed" if dry_run else "were removed"
    lines = [
        f"# Pruning of plan {name}",
        "",
        f"* **Backups**: {len(plan.keep)} stay, {len(plan.remove)} {gone}",
        *(f"* **Finding**: {finding}" for finding in findings or ["none"]),
        "",
        markdown_table(retention_rows(plan, dry_run=dry_run)[:MOST_ROWS]),
    ]
    if rows:
        lines += ["", "Objects that were deleted and whose data lives on:", "", markdown_table(rows[:MOST_ROWS])]
    return "\n".join(lines)
