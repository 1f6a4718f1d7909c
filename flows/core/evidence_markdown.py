"""Pages of evidence in Markdown, for the Prefect UI and for whoever reads text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from flows.core.evidence import ChainedRecord, Link
from flows.core.evidence_chain import ChainReport
from flows.core.evidence_report import EvidenceReport, Status
from flows.core.evidence_tables import (
    Rows,
    backup_rows,
    compared_rows,
    day_rows,
    drill_rows,
    finding_rows,
    findings_of,
    length,
    moment,
    ranges,
    record_rows,
    result,
    summary_rows,
    verdict,
    verification_rows,
)
from flows.core.markup import markdown_text
from flows.core.report import counted, format_bytes, format_count, markdown_table
from flows.core.zones import time_zone

MOST_ROWS = 500  # of a table in a page; the newest. The records have them all
SIGNS = {Status.SHOWN: "✓", Status.PARTLY: "◐", Status.NOT_SHOWN: "✕"}
HOW_TO_PROVE = (
    "Everybody who can read the bucket can prove this without Prefect's database: "
    "`python -m flows evidence verify`, with the head above as `--expect-head` to see that nothing was cut off since."
)
WHAT_THE_HEAD_TELLS = (
    "Note it where nobody who can write to the bucket can change it: only a head that was noted tells whether newer "
    "records were cut off."
)


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """A table whose cells are only text."""
    shown = [{name: markdown_text(value) for name, value in row.items()} for row in rows[-MOST_ROWS:]]
    left_out = f"\n\nThe newest {MOST_ROWS} of {format_count(len(rows))}." if len(rows) > MOST_ROWS else ""
    return markdown_table(shown) + left_out


def head_text(head: Link | None) -> str:
    """The newest record, as operators note it."""
    return f"`{head.sha256}` (record {head.sequence})" if head is not None else "none"


def chain_page(chain: ChainReport) -> str:
    """What the proof of a chain came to."""
    parts = [f"# Evidence of {markdown_text(chain.plan)}", f"**{verdict(chain)}**", *_chain_lines(chain)]
    if chain.faults:
        parts += ["## Faults", table([fault.cells() for fault in chain.faults])]
    return "\n\n".join(parts) + "\n"


def _chain_lines(chain: ChainReport) -> list[str]:
    lines = [f"Signatures: {markdown_text(chain.signatures)}."]
    if chain.signers:
        rows = [
            {"signer": signer, "records": format_count(number), "trusted": _trusted(chain, signer)}
            for signer, number in chain.signers
        ]
        lines.append(table(rows))
    lines.append(f"Head: {head_text(chain.head)}. {WHAT_THE_HEAD_TELLS}")
    return lines


def _trusted(chain: ChainReport, signer: str) -> str:
    return ("yes" if signer in chain.trusted else "NO") if chain.trusted else "nobody was asked for"


def record_page(chained: ChainedRecord) -> str:
    """One record for people."""
    record, where = chained.record, time_zone(chained.record.time_zone)
    place = [
        ("Operator", record.operator),
        ("Time zone", record.time_zone),
        ("Started", moment(record.started, where)),
        ("Finished", moment(record.finished, where)),
        ("RTO", length(record.figures.rto_ms)),
        ("RPO", length(record.figures.rpo_ms)),
        ("Compared", ", ".join(record.compared) or "-"),
        *((name.capitalize(), value) for name, value in sorted(record.details.items())),
        ("Versions", ", ".join(f"{name} {value}" for name, value in sorted(record.versions.items())) or "-"),
    ]
    backups: Rows = [
        {
            "backup": item.backup,
            "result": item.result.value,
            "documents": format_count(item.documents),
            "stored": format_bytes(item.stored_bytes),
            "read": format_bytes(item.checked_bytes),
            "encrypted": "yes" if item.encrypted else "no",
            "signed": "yes" if item.signed else "no",
            "SHA-256 of the manifest": item.manifest_sha256 or "-",
        }
        for item in record.backups
    ]
    parts = [
        f"# {record.kind.value.capitalize()} of {markdown_text(record.plan)}: {result(record)}",
        table([{"": name, "is": value} for name, value in place]),
    ]
    if record.findings:
        number = findings_of(record)
        parts.append(f"## {number} finding{'s' if number > 1 else ''}")
        parts.append(
            table(
                [
                    {
                        "found": finding.what,
                        "where": finding.where or "-",
                        "expected": finding.expected or "-",
                        "got": finding.got or "-",
                    }
                    for finding in record.findings
                ]
            )
        )
    signer = chained.signature.signer if chained.signature is not None else "NOT SIGNED"
    parts += [
        "## Backups",
        table(backups),
        "## In the chain of evidence",
        f"Record {chained.sequence}, {markdown_text(signer)}, SHA-256 `{chained.sha256}`: the head of the chain now. "
        f"{WHAT_THE_HEAD_TELLS}",
    ]
    return "\n\n".join(parts) + "\n"


def report_markdown(report: EvidenceReport) -> str:
    """The document of a period."""
    where = report.period.zone
    parts = [
        f"# Evidence of backups: {markdown_text(report.plan)}",
        f"{report.period.first} to {report.period.last}, {where.key}. Made {moment(report.made, where)} by "
        f"{markdown_text(report.by)}, from {markdown_text(report.store)}.",
        f"**{verdict(report.chain)}**",
        *_chain_lines(report.chain),
    ]
    if report.chain.faults:
        parts += ["## Faults of the chain", table([fault.cells() for fault in report.chain.faults])]
    if report.left_out:
        left_out = counted(report.left_out, "record")
        parts.append(f"{left_out} of this period cannot be relied on, and count for nothing here.")
    parts += ["## In short", table([{"": name, "is": value} for name, value in summary_rows(report)])]
    parts += ["## What is shown, by GDPR Article 32", *_controls(report)]
    for title, rows in sections(report):
        parts += [f"## {title}", table(rows)]
    return "\n\n".join([*parts, HOW_TO_PROVE]) + "\n"


def sections(report: EvidenceReport) -> Iterable[tuple[str, Rows]]:
    """The tables behind it all, with their titles."""
    yield "Findings", finding_rows(report)
    yield "What was compared, and by whom", compared_rows(report)
    yield "Drills and restores", drill_rows(report)
    yield "Verifications", verification_rows(report)
    yield "Backups", backup_rows(report)
    yield "Days", day_rows(report)
    yield "Records", record_rows(report)


def _controls(report: EvidenceReport) -> Iterable[str]:
    for control in report.controls:
        lines = [f"### {SIGNS[control.status]} {control.name} ({control.article}): {control.status.value}"]
        lines += [f"* Shown: {markdown_text(text)}" for text in control.shows]
        lines += [f"* Not shown: {markdown_text(text)}" for text in control.lacks]
        lines.append(f"* Records: {ranges(control.records)}")
        yield "\n".join([lines[0], "", *lines[1:]])
