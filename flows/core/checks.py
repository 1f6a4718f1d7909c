"""What a set-up check found: one line for each thing that was tried."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One thing that was tried.

    Args:
        name: What was tried, for example `write`.
        ok: Whether it works.
        detail: What was seen, as a lower-case fact without a full stop. Never a secret.
        hint: What the operator does next, as a sentence; empty where nothing needs doing.
        means: What it means for backups, as a clause; empty where the name says it.
        contradicts: Which setting it contradicts, as a clause; empty where none.
    """

    name: str
    ok: bool
    detail: str
    hint: str = ""
    means: str = ""
    contradicts: str = ""


def check_rows(lines: Iterable[CheckLine]) -> list[dict[str, str]]:
    """The lines for a table."""
    return [
        {
            "tried": line.name,
            "fine": "yes" if line.ok else "NO",
            "seen": line.detail,
            "means for backups": line.means,
            "contradicts": line.contradicts,
            "do": line.hint,
        }
        for line in lines
    ]


def failed(lines: Iterable[CheckLine]) -> list[CheckLine]:
    """The lines that somebody has to act on."""
    return [line for line in lines if not line.ok]
