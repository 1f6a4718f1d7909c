"""What a second person reads before a restore: short, narrow, and first what is lost.

The Prefect UI shows it in a dialog as wide as a phone, above the fields of the form: a table would hide its last
columns there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from flows.core.access import Access
from flows.core.maintenance import Procedure, Step
from flows.core.manifest import Manifest
from flows.core.markup import markdown_text
from flows.core.merge import Duplicates
from flows.core.report import format_bytes, format_count, format_duration, format_time
from flows.core.restore_plan import Action, RestoreItem, RestorePlan
from flows.core.source import Kind

_MOST_ITEMS = 30  # a longer list is not read; the page of the plan has all
_ORDER = (Action.REPLACE, Action.MERGE, Action.CREATE, Action.LEAVE)


def approval_page(
    plan: RestorePlan,
    manifest: Manifest,
    *,
    now: datetime,
    until: datetime,
    by: str,
    page: str,
    access: Access,
    procedure: Procedure,
    safety_plan: str,
) -> str:
    """What is to be decided, as Markdown.

    Args:
        plan: What is written where; everything that can refuse it was asked before.
        manifest: The backup.
        now: For the age of the data, aware.
        until: How long the run waits for an answer, aware.
        by: Who started the run, and where it runs.
        page: Key of the page with the whole plan.
        access: Who signed the backup, and what opens it.
        procedure: What is stopped before, and started after.
        safety_plan: The plan under which what is overwritten is backed up first; empty: it is lost.
    """
    items = sorted(plan.items, key=lambda item: (_ORDER.index(item.action), item.target))
    lines = [
        f"**{_headline(plan)}**",
        "",
        "Read the plan, then approve or refuse in the fields below it.",
        "",
        f"Target: {markdown_text(plan.target)} at `{plan.address}`"
        + ("; **the very MongoDB that was backed up**." if plan.own_source else "."),
        "",
        f"* **Backup**: {markdown_text(manifest.backup)}"
        + (f" of plan {markdown_text(manifest.plan)}" if manifest.plan else "")
        + f", {format_duration(max(now - manifest.started, timedelta(0)))} old",
        *access.lines(manifest),
        *(
            [f"* **Backed up first**: what is overwritten, as plan {markdown_text(safety_plan)}"]
            if plan.endangered and safety_plan
            else []
        ),
        *(["* **Users and roles**: those that the target lacks are added"] if plan.users else []),
        *_steps("Runs before", procedure.before, procedure),
        *_steps("Runs afterwards", procedure.after, procedure),
        *(f"* **Warning**: {warning}" for warning in (*manifest.warnings, *plan.warnings)),
        f"* **Asked for** by {markdown_text(by)}",
        "",
        "What happens to each namespace of the target:",
        "",
        *(f"* {_names(item)}: {_fate(item, plan.duplicates)}" for item in items[:_MOST_ITEMS]),
        *([f"* … and {format_count(len(items) - _MOST_ITEMS)} more"] if len(items) > _MOST_ITEMS else []),
        "",
        f"The whole plan is the artifact `{page}` of this run. Nothing has been written. Without an answer by "
        f"{format_time(until)} the run ends, and nothing is written.",
    ]
    return "\n".join(lines)


def _headline(plan: RestorePlan) -> str:
    """One sentence: what the target loses, and what it gets."""
    dropped, added = plan.replaced, plan.merged
    acts = [
        *([f"drops {_number(len(dropped), 'namespace')} with {_held_by(dropped)}"] if dropped else []),
        *([f"adds to {_number(len(added), 'namespace')} with {_held_by(added)}"] if added else []),
        f"{'compares' if added else 'writes'} {_number(plan.documents, 'document')} ({format_bytes(plan.bytes)})",
    ]
    sentence = ", ".join(acts[:-1]) + f" and {acts[-1]}" if acts[:-1] else acts[0]
    if added and plan.duplicates is Duplicates.OVERWRITE:
        sentence += ", and overwrites those that differ"
    return f"This restore {sentence}."


def _number(count: int, what: str) -> str:
    return f"{format_count(count)} {what}{'' if count == 1 else 's'}"


def _held_by(items: Sequence[RestoreItem]) -> str:
    known = [item.present_documents for item in items if item.present_documents is not None]
    return ("" if len(known) == len(items) else "at least ") + _number(sum(known), "document")


def _names(item: RestoreItem) -> str:
    source = "" if item.target == item.record.namespace else f" (from {markdown_text(str(item.record.namespace))})"
    return markdown_text(str(item.target)) + source


def _fate(item: RestoreItem, duplicates: Duplicates) -> str:
    """What happens to one namespace."""
    view = item.record.kind is Kind.VIEW
    gets = "the view" if view else _number(item.record.content.documents, "document")
    if item.present_documents is None:
        there = "all that it has"
    else:
        there = "its definition" if view and not item.present_documents else _number(item.present_documents, "document")
    match item.action:
        case Action.REPLACE:
            return f"**dropped with {there}**, then gets {gets}"
        case Action.MERGE:
            differing = {
                Duplicates.KEEP: "those that differ stay as they are",
                Duplicates.OVERWRITE: "**those that differ are overwritten**",
                Duplicates.FAIL: "the first that differs ends the restore",
            }[duplicates]
            return f"keeps {there} and gets what it lacks of {gets}; {differing}"
        case Action.CREATE:
            return f"new, {gets}"
        case _:
            return "stays as it is"


def _steps(when: str, steps: Sequence[Step], procedure: Procedure) -> list[str]:
    names = ", ".join(markdown_text(procedure.mask.text(step.name)) for step in steps)
    return [f"* **{when}**: {names}"] if names else []
