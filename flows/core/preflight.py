"""The checklist of an operator: its rows, how people see them, and what becomes of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from flows.core.errors import PreflightFailed
from flows.core.markup import markdown_hint, markdown_text
from flows.core.preflight_facts import Problem, Unknown
from flows.core.report import markdown_table


class State(StrEnum):
    """What is said of one thing; the worst comes first."""

    FAIL = "fail"
    WARN = "warn"
    NOT_CHECKED = "not checked"
    PASS = "pass"  # noqa: S105 - of the checklist


_ORDER = list(State)


@dataclass(frozen=True, slots=True)
class Row:
    """One thing of the checklist.

    Attributes:
        check: What was looked at, in a few words.
        state: What came of it.
        seen: What was seen, as a lower-case fact without a full stop; where it was not checked, why. Never a secret.
        do: How to mend it, in sentences; empty where nothing needs doing.
    """

    check: str
    state: State
    seen: str
    do: str = ""

    @property
    def result(self) -> str:
        """Its state, for people."""
        return self.state.value.upper() if self.state is State.FAIL else self.state.value

    def line(self) -> str:
        """All of it as an item of a list in Markdown: the Prefect UI breaks no line in a table."""
        head = self.check if self.state is State.PASS else f"{self.result}: {self.check}"
        return f"* **{head}**: {markdown_text(self.seen)}. {markdown_hint(self.do)}".rstrip()


def unchecked(check: str, fact: Unknown) -> Row:
    """The row for what could not be found out."""
    return Row(check, State.NOT_CHECKED, fact.why, fact.do)


def failed(check: str, fact: Problem) -> Row:
    """The row for what was tried and failed."""
    return Row(check, State.FAIL, fact.what, fact.do)


@dataclass(frozen=True, slots=True)
class PreflightReport:
    """What a preflight has found."""

    plan: str
    store: str  # where the backups are
    by: str  # who started it, and where it ran
    finished: datetime  # aware
    rows: tuple[Row, ...]

    def of(self, state: State) -> tuple[Row, ...]:
        """The rows in a state."""
        return tuple(row for row in self.rows if row.state is state)

    @property
    def worst_first(self) -> Sequence[Row]:
        """All rows: those to do something about at the top."""
        return sorted(self.rows, key=lambda row: _ORDER.index(row.state))

    @property
    def sentence(self) -> str:
        """What came of it, without a full stop."""
        parts = [
            f"{len(self.of(State.FAIL))} failed",
            _number(self.of(State.WARN), "warning"),
            f"{len(self.of(State.NOT_CHECKED))} not checked",
            f"{len(self.of(State.PASS))} passed",
        ]
        verdict = "FAILED" if self.of(State.FAIL) else "PASSED"
        return f"{verdict}: {', '.join(parts)}"

    def check(self) -> None:
        """Fail where a row failed.

        Raises:
            PreflightFailed: With the rows that did.
        """
        bad = self.of(State.FAIL)
        if not bad:
            return
        raise PreflightFailed(
            f"{_number(bad, 'check')} of the preflight failed",
            hint=f"The page preflight-{self.plan} under Artifacts says how to mend each. "
            + (f"The first: {bad[0].do}" if bad[0].do else ""),
            plan=self.plan,
            failed=[row.check for row in bad],
            first=bad[0].seen,
        )

    def page(self) -> str:
        """The checklist as Markdown: a table of everything, what is to be mended and how, and what passed."""
        passed = [row.line() for row in self.of(State.PASS)]
        others = [row.line() for row in self.worst_first if row.state is not State.PASS]
        return "\n".join(
            [
                f"# Preflight of plan {self.plan}",
                "",
                f"* **{self.sentence}**",
                f"* **Store**: {markdown_text(self.store)}",
                f"* **Checked**: {self.finished:%Y-%m-%d %H:%M:%S} UTC by {markdown_text(self.by)}",
                "",
                markdown_table([{"check": row.check, "result": row.result} for row in self.worst_first]),
                *(["", "## To mend, or to look up", "", *others] if others else []),
                *(["", "## Passed", "", *passed] if passed else []),
            ]
        )


def _number(rows: Sequence[object], what: str) -> str:
    return f"{len(rows)} {what}{'' if len(rows) == 1 else 's'}"
