"""What a drill returns and leaves: a small value, the page that people read, and the record for the auditor."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flows.core.drill import for_store
from flows.core.drill_checks import CheckResult, check_rows
from flows.core.errors import DrillFailed
from flows.core.evidence import (
    BackupEvidence,
    EvidenceKind,
    EvidenceRecord,
    Figures,
    Finding,
    ObjectEvidence,
    Result,
    limited,
)
from flows.core.report import counted, format_bytes, format_duration, markdown_table
from flows.core.zones import time_zone

_MOST_ROWS = 200  # of findings on a page


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a drill."""

    name: str
    seconds: float  # [s]


@dataclass(frozen=True, slots=True)
class DrillReport:
    """What a drill has shown."""

    plan: str
    backup: str  # its id
    rule: str  # by which it was chosen
    target: str  # where it was restored into, for people
    by: str  # who started it, and where it ran
    run: str  # id of the flow run
    started: datetime
    finished: datetime
    time_zone: str  # in which people are shown times
    data_from: datetime | None  # the time that the backup shows; None where the manifest could not be read
    namespaces: int
    indexes: int  # that were built
    read_back: int  # namespaces whose content digest was computed again from the scratch target
    backed_up: BackupEvidence
    objects: tuple[ObjectEvidence, ...]  # that were read in full
    stages: tuple[Stage, ...]
    rto_seconds: float | None  # [s] from the start to the end of the comparison; None where it did not come so far
    rto_limit_minutes: float | None
    rpo_limit_hours: float | None
    compared: tuple[str, ...]
    checks: tuple[CheckResult, ...]
    findings: tuple[Finding, ...]
    judged: bool  # whether it is known of the backup whether it is good; not where worker or target got in the way
    notes: tuple[str, ...]  # what else people should know, as lines of the page
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def rpo_seconds(self) -> float | None:
        """How old the data was when the drill began [s]."""
        return None if self.data_from is None else max(0.0, (self.started - self.data_from).total_seconds())

    def check(self) -> None:
        """Fail where anything was found.

        Raises:
            DrillFailed: With the first finding.
        """
        if self.passed:
            return
        first = self.findings[0]
        raise DrillFailed(
            f"the drill of backup {self.backup} failed: {first.what}",
            hint=f"The page drill-{self.plan} under Artifacts has all findings. Do not rely on this backup before they "
            "are explained; drill another one.",
            findings=len(self.findings),
            where=first.where,
            expected=first.expected,
            got=first.got,
        )

    def record(self) -> EvidenceRecord:
        """The same for the chain of evidence."""
        findings, left_out = limited(for_store(self.findings, encrypted=self.backed_up.encrypted))
        rpo = self.rpo_seconds
        return EvidenceRecord(
            kind=EvidenceKind.DRILL,
            plan=self.plan,
            operator=self.by,
            started=self.started,
            finished=self.finished,
            time_zone=self.time_zone,
            result=Result.PASSED if self.passed else Result.FAILED,
            compared=self.compared,
            backups=(self.backed_up,) if self.judged else (),
            objects=self.objects,
            figures=Figures(
                rto_ms=None if self.rto_seconds is None else round(1000 * self.rto_seconds),
                rpo_ms=None if rpo is None else round(1000 * rpo),
            ),
            findings=findings,
            findings_left_out=left_out,
            versions=self.versions,
            details={
                "target": self.target,
                "rule": self.rule,
                "run": self.run,
                "stages": ", ".join(f"{stage.name} {stage.seconds:.1f} s" for stage in self.stages),
                "limits": f"RTO {_limit(self.rto_limit_minutes, 'min')}, RPO {_limit(self.rpo_limit_hours, 'h')}",
                **{
                    f"check: {result.name}": f"{'passed' if result.ok else 'FAILED'}: {result.namespace}, expected "
                    f"{result.expected}, got {result.got}"
                    for result in self.checks
                },
                "notes": "; ".join(note.removeprefix("* ").replace("**", "") for note in self.notes),
            },
        )

    def page(self, evidence: str) -> str:
        """The report as Markdown.

        Args:
            evidence: Where the record of it is, for people.
        """
        data = self.backed_up
        place = time_zone(self.time_zone)
        lines = [
            f"# Drill of {self.backup} of plan {self.plan}",
            "",
            f"* **{'PASSED' if self.passed else f'FAILED: {len(self.findings)} findings'}**"
            + ("" if self.judged else "; whether the backup is good is not known"),
            f"* **Restored**: {counted(data.documents, 'document')} in {counted(self.namespaces, 'namespace')}, "
            f"{format_bytes(data.bson_bytes)} of BSON, and {counted(self.indexes, 'index')}",
            f"* **Compared** with the manifest: {', '.join(self.compared) or 'nothing'}; the documents of "
            f"read back: {counted(self.read_back, 'namespace')}",
            f"* **Time to recover** (RTO): {_duration(self.rto_seconds)}; {_limit(self.rto_limit_minutes, 'min')}",
            f"* **Age of the data** (RPO): {_duration(self.rpo_seconds)}; {_limit(self.rpo_limit_hours, 'h')}",
            *([f"* **Data from**: {self.data_from.astimezone(place):%Y-%m-%d %H:%M:%S %Z}"] if self.data_from else []),
            f"* **Chosen by**: {self.rule}",
            f"* **Into**: {self.target}",
            *self.notes,
            f"* **Started**: {self.started.astimezone(place):%Y-%m-%d %H:%M:%S %Z} by {self.by}",
            f"* **Evidence**: {evidence}",
            "",
            "## Findings",
            "",
            _findings(self.findings),
            "",
            "## Checks of the operator",
            "",
            markdown_table(check_rows(self.checks)),
            "",
            "## Time",
            "",
            markdown_table(
                [
                    {"stage": stage.name, "took": format_duration(timedelta(seconds=stage.seconds))}
                    for stage in self.stages
                ]
            ),
        ]
        return "\n".join(lines)


def limit_findings(
    *,
    rto_seconds: float | None,
    rpo_seconds: float | None,
    rto_limit_minutes: float | None,
    rpo_limit_hours: float | None,
) -> list[Finding]:
    """What took longer, or is older, than it may be."""
    findings = []
    for what, seconds, limit, unit, size in (
        ("the time to recover (RTO) is above its limit", rto_seconds, rto_limit_minutes, "min", 60),
        ("the age of the data (RPO) is above its limit", rpo_seconds, rpo_limit_hours, "h", 3600),
    ):
        if limit is not None and seconds is not None and seconds > limit * size:
            expected, got = _limit(limit, unit), format_duration(timedelta(seconds=seconds))
            findings.append(Finding(what, expected=expected, got=got))
    return findings


def _findings(findings: tuple[Finding, ...]) -> str:
    rows = [
        {"what": found.what, "where": found.where, "expected": found.expected, "got": found.got}
        for found in findings[:_MOST_ROWS]
    ]
    more = len(findings) - len(rows)
    return markdown_table(rows) + (f"\n\n… and {more} more." if more else "")


def _duration(seconds: float | None) -> str:
    return "not measured" if seconds is None else format_duration(timedelta(seconds=seconds))


def _limit(limit: float | None, unit: str) -> str:
    return "no limit" if limit is None else f"at most {limit:g} {unit}"
