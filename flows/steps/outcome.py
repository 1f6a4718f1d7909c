"""What a program or a call gives back, before secrets are hidden."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a program or of a call.

    Attributes:
        problem: Why it failed, as a lower-case fact; empty where it did not.
        output: What was printed or answered; may hold secrets.
        cut_start: Whether the beginning of it was dropped.
        cut_end: Whether the end of it is missing.
    """

    problem: str
    output: bytes = field(default=b"", repr=False)
    cut_start: bool = False
    cut_end: bool = False
