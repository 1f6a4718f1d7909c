"""The rows of an inventory: what is stored, and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import nlargest

from flows.core.index import BackupFacts
from flows.core.keys import backup_time
from flows.core.report import MOST_ROWS, and_more, format_bytes, format_count, format_duration, known
from flows.core.results import Standing

LISTED = "listed"
FOREIGN = "foreign"  # an archive of another tool: never pruned, and no part of any retention


@dataclass(frozen=True, slots=True)
class InventoryRow:
    """One backup in a repository, or an archive beside it. What is not known without reading it is None."""

    plan: str
    backup: str  # its id; of a foreign archive the key
    taken: datetime  # start of the backup, aware UTC
    age: timedelta
    documents: int | None
    bytes: int | None
    stored_bytes: int | None
    segments: int | None
    consistency: str
    state: str = LISTED
    encrypted: bool | None = None
    signed: bool | None = None
    held: tuple[str, ...] = ()  # legal holds and pins that stand, as people read them
    standing: Standing = field(default_factory=Standing)  # what verifications say

    def cells(self) -> dict[str, str]:
        """The row for people."""
        return {
            "plan": self.plan,
            "backup": self.backup,
            "age": format_duration(self.age),
            # What is wrong stands where a screen is still wide enough.
            "state": self.state,
            "read again": str(self.standing),
            "documents": known(self.documents, format_count),
            "BSON": known(self.bytes, format_bytes),
            "stored": known(self.stored_bytes, format_bytes),
            "protection": _protection(self.encrypted, self.signed),
            "held": "; ".join(self.held) or "-",
            "segments": known(self.segments, str),
            "consistency": self.consistency,
            "taken (UTC)": f"{self.taken:%Y-%m-%d %H:%M:%S}",
        }


def inventory_row(
    plan: str, facts: BackupFacts, *, now: datetime, damage: str, held: tuple[str, ...], standing: Standing
) -> InventoryRow:
    """The row of one backup; its age counts from its start.

    Args:
        plan: Name of the plan.
        facts: Of the backup.
        now: For the age, aware.
        damage: Why it does not count as verified; empty where it does.
        held: Why it is held.
        standing: What verifications say of it.
    """
    taken = backup_time(facts.backup)
    return InventoryRow(
        plan=plan,
        backup=facts.backup,
        taken=taken,
        age=max(now - taken, timedelta(0)),
        documents=facts.documents,
        bytes=facts.bytes,
        stored_bytes=facts.stored_bytes,
        segments=facts.segments,
        consistency=facts.consistency.value,
        state=f"not verified: {damage}" if damage else LISTED,
        encrypted=facts.encrypted,
        signed=bool(facts.signer),
        held=held,
        standing=standing,
    )


def bare_row(
    plan: str,
    backup: str,
    *,
    taken: datetime,
    now: datetime,
    state: str,
    stored_bytes: int | None = None,
    held: tuple[str, ...] = (),
) -> InventoryRow:
    """The row of what has no manifest that could be read."""
    age = max(now - taken, timedelta(0))
    return InventoryRow(plan, backup, taken, age, None, None, stored_bytes, None, "-", state, held=held)


def inventory_rows(rows: Sequence[InventoryRow]) -> list[dict[str, str]]:
    """Rows for a table that is read. Where there are too many, those with a problem and the newest are shown."""
    shown = set(nlargest(MOST_ROWS, rows, key=lambda row: (row.state not in {LISTED, FOREIGN}, row.taken)))
    cells = [row.cells() for row in rows if row in shown]
    return and_more(cells, len(rows) - len(cells), "more; `python -m flows inventory` shows them all")


def _protection(encrypted: bool | None, signed: bool | None) -> str:
    if encrypted is None or signed is None:
        return "-"
    return f"{'encrypted' if encrypted else 'not encrypted'}, {'signed' if signed else 'not signed'}"
