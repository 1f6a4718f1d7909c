"""A maintenance window as values: its steps, what became of them, and how that is told without a secret."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from itertools import zip_longest

from flows.core.errors import BackupError, MaintenanceFailed
from flows.core.report import format_duration, markdown_table

HIDDEN = "********"  # stands for a secret
KEPT_BYTES = 4096  # of the output of a step, from its end
_FRAGMENT = 4  # [bytes] a shorter piece of a secret gives nothing away, and would be found everywhere
_MOST_CHARACTERS = 160  # of a command line in the table

_PLACEHOLDER = re.compile(r"\{\{ *([A-Za-z0-9_-]+) *\}\}")


class Phase(StrEnum):
    """When a step runs."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run, without a shell.

    Attributes:
        argv: Program and arguments; everybody on the machine can see them, so they hold no secret.
        folder: Where to run it; None: where the run works.
        environment: What is added to the environment of the run. Holds secrets.
        timeout_seconds: After which it is killed, with all that it started.
    """

    name: str
    argv: tuple[str, ...]
    timeout_seconds: float
    folder: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def does(self) -> str:
        """The command line."""
        return shlex.join(self.argv)


@dataclass(frozen=True, slots=True)
class Call:
    """An HTTP request to make.

    Attributes:
        headers: Hold secrets, as the body may.
        statuses: Status codes that are right; none means any from 200 to 299.
        contains: Text that must be in the answer; empty: any answer will do.
        attempts: How often to ask, until an answer is right.
        pause_seconds: Between two attempts.
        timeout_seconds: Of one attempt.
    """

    name: str
    method: str
    url: str
    timeout_seconds: float
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: str | None = field(default=None, repr=False)
    statuses: tuple[int, ...] = ()
    contains: str = ""
    attempts: int = 1
    pause_seconds: float = 0.0

    @property
    def does(self) -> str:
        """The request line."""
        return f"{self.method} {self.url}"

    def objection(self, status: int, answer: bytes) -> str:
        """Why an answer is not right, as a lower-case fact; empty where it is."""
        if status not in (self.statuses or range(200, 300)):
            expected = " or ".join(map(str, self.statuses)) or "200 to 299"
            return f"the answer has the status {status}, expected {expected}"
        if self.contains.encode() not in answer:
            return f"the answer does not contain {self.contains!r}"
        return ""


Step = Command | Call


@dataclass(frozen=True, slots=True)
class Mask:
    """What must not be seen, and how it is hidden. Make one with `Mask.of`."""

    secrets: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, secrets: Iterable[str]) -> Mask:
        """A mask for these texts, also where the blanks or the line break at an end of one were lost on the way."""
        forms = {form.encode() for secret in secrets for form in (secret, secret.strip())} - {b""}
        # The longest first: one may contain another.
        return cls(tuple(sorted(forms, key=lambda form: (-len(form), form))))

    def hide(self, data: bytes, *, cut_start: bool = False, cut_end: bool = False) -> bytes:
        """Replace every secret.

        Args:
            data: What was printed or answered.
            cut_start: Whether something before it was dropped, so that it may begin within a secret.
            cut_end: Whether something after it was dropped.
        """
        hidden = HIDDEN.encode()
        start = max((_overlap(secret, data) for secret in self.secrets), default=0) if cut_start else 0
        if start:
            data = hidden + data[start:]
        end = max((_overlap(data, secret) for secret in self.secrets), default=0) if cut_end else 0
        if end:
            data = data[:-end] + hidden
        if not self.secrets:
            return data
        return re.sub(b"|".join(map(re.escape, self.secrets)), hidden, data)

    def text(self, text: str) -> str:
        """The same for a text."""
        return self.hide(text.encode(errors="replace")).decode()

    def output(self, data: bytes, *, cut_start: bool = False, cut_end: bool = False) -> str:
        """The end of an output as text that can be shown, without secrets and odd characters."""
        hidden = self.hide(data, cut_start=cut_start, cut_end=cut_end)  # before it is cut: no secret is found in a half
        text = hidden[-KEPT_BYTES:].decode(errors="replace")
        shown = "".join(character for character in text if character.isprintable() or character in "\n\t").strip()
        return f"… {shown}" if cut_start or len(hidden) > KEPT_BYTES else shown


def _overlap(left: bytes, right: bytes) -> int:
    """How many bytes at the end of one are the beginning of the other [bytes]; 0 for too few to matter."""
    most = min(len(left), len(right))
    return next((size for size in range(most, _FRAGMENT - 1, -1) if left[-size:] == right[:size]), 0)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of a step. No text in it holds a secret.

    Attributes:
        output: The end of what it printed or was answered, at most 4 KiB and what stands for secrets.
        problem: Why it failed, as a lower-case fact; empty where it did not.
    """

    phase: Phase
    name: str
    seconds: float
    output: str = ""
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether it did what it should."""
        return not self.problem


@dataclass(frozen=True, slots=True)
class Procedure:
    """The steps before and after, and what must not be seen of them."""

    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    mask: Mask = Mask()


def placeholders(text: str) -> set[str]:
    """The names of the secrets that a text asks for: `token` in `Bearer {{ token }}`."""
    return set(_PLACEHOLDER.findall(text))


def fill(text: str, secrets: Mapping[str, str]) -> str:
    """Put the secrets where a text asks for them; there has to be one for each name."""
    return _PLACEHOLDER.sub(lambda found: secrets[found[1]], text)


def failed_after(results: Iterable[StepResult]) -> tuple[StepResult, ...]:
    """The steps that should have brought something back, and did not."""
    return tuple(result for result in results if result.phase is Phase.AFTER and not result.ok)


def may_be_down(results: Iterable[StepResult]) -> str:
    """The sentence about what failed after the restore; empty where nothing did."""
    failed = failed_after(results)
    names = ", ".join(repr(result.name) for result in failed)
    return f"Services may be down: {names} failed. Do by hand what it does." if failed else ""


def not_opened(result: StepResult) -> BackupError:
    """The error of a window whose step before failed."""
    return MaintenanceFailed(
        f"nothing was restored, because the step {result.name!r} before it failed: {result.problem}",
        hint="Its output is in the log and in the report. Correct it in the block, or in what it calls, and run again.",
    )


def not_closed(results: Iterable[StepResult]) -> BackupError:
    """The error of a window whose steps after did not all work, where everything else did."""
    failed = failed_after(results)
    problems = "; ".join(f"{result.name!r}: {result.problem}" for result in failed)
    return MaintenanceFailed(
        f"the restore is complete, but {len(failed)} of the steps after it failed: {problems}", hint=may_be_down(failed)
    )


def maintenance_section(procedure: Procedure, results: Sequence[StepResult]) -> str:
    """What a page says of a maintenance window, as Markdown: every step, what became of it, the output of what failed.

    Args:
        procedure: All steps.
        results: Of the steps that were run: of each phase the first ones, in their order.

    Returns:
        Empty where the procedure is.
    """
    if not (procedure.before or procedure.after):
        return ""
    rows = []
    for phase, steps in ((Phase.BEFORE, procedure.before), (Phase.AFTER, procedure.after)):
        for step, result in zip_longest(steps, [result for result in results if result.phase is phase]):
            does = procedure.mask.text(step.does)
            rows.append(
                {
                    "when": phase.value,
                    "step": procedure.mask.text(step.name),
                    "does": does if len(does) <= _MOST_CHARACTERS else f"{does[:_MOST_CHARACTERS]} …",
                    "result": "not run" if result is None else result.problem or "ok",
                    "took": "-" if result is None else format_duration(timedelta(seconds=result.seconds)),
                }
            )
    lines = ["## Maintenance window", ""]
    if down := may_be_down(results):
        lines += [f"**{down}**", ""]
    lines.append(markdown_table(rows))
    for result in results:
        if result.output and not result.ok:
            lines += ["", f"The end of the output of {result.name!r}:", ""]
            lines += [f"    {line}" for line in result.output.split("\n")]
    return "\n".join(lines)
