"""What a copy from store to store did, as values and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.core.report import MOST_ROWS, format_bytes, markdown_table


@dataclass(frozen=True, slots=True)
class CopiedBackup:
    """What a copy flow did for one backup."""

    backup: str
    segments: int  # that it has
    brought: int  # segments that the other store did not have
    stored_bytes: int
    problem: str = ""  # why it could not be copied; empty: the other store has all of it


def copy_page(plan: str, store: str, to: str, copied: Sequence[CopiedBackup]) -> str:
    """What a copy from store to store did, as Markdown."""
    failed = sum(bool(item.problem) for item in copied)
    lines = [
        f"# Copy of plan {plan} from {store} to {to}",
        "",
        f"* **Backups**: {len(copied) - failed} are whole in `{to}`, {failed} could not be copied",
        "* **Verified**: SHA-256 of every segment as it was read, and by the store that got it",
        "* **Unchanged**: nothing was decrypted; the manifest is the same to the byte, so its signature holds",
        "",
        markdown_table(
            [
                {
                    "backup": item.backup,
                    "segments": str(item.segments),
                    "brought": str(item.brought),
                    "stored": format_bytes(item.stored_bytes),
                    "result": item.problem or "whole",
                }
                for item in copied[-MOST_ROWS:]
            ]
        ),
    ]
    return "\n".join(lines)
