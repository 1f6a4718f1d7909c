"""The document of a period as one HTML file: readable on a phone, printable, without a script or a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flows.core.charts import Mark, calendar, chart
from flows.core.evidence_markdown import HOW_TO_PROVE, MOST_ROWS, SIGNS, WHAT_THE_HEAD_TELLS, sections
from flows.core.evidence_report import Control, EvidenceReport, Status
from flows.core.evidence_tables import FAILED, Rows, calendar_days, moment, ranges, series, summary_rows, verdict
from flows.core.markup import html_text
from flows.core.report import counted, format_count

_CLASSES = {Status.SHOWN: "good", Status.PARTLY: "some", Status.NOT_SHOWN: "bad"}
_CONTROLS, _CHARTS, _CALENDAR = "What is shown, by GDPR Article 32", "Charts", "Calendar of backups"
_SHORT = 21  # letters of a value that is not broken: a time with its zone, the id of a backup
_LONG = 24  # letters of a word that may be broken anywhere: a hash
_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; color: #1a1a1a; background: #fff;
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; border-bottom: 2px solid #1a1a1a; }
h3 { font-size: 1.05rem; margin: 0; }
a { color: #0b5c8a; }
code { font-size: .85em; }
code, .long { overflow-wrap: anywhere; }
.short { white-space: nowrap; } .failed { color: #b3261e; font-weight: bold; }
nav a { display: inline-block; padding: .3rem .6rem .3rem 0; }
p, ul { margin: .5rem 0; }
.box, .tiles div { border: 1px solid #767676; border-radius: .25rem; padding: .5rem .75rem; }
.box { border-left-width: .5rem; margin: .75rem 0; }
.good { border-left-color: #1b6e3c; } .some { border-left-color: #8a5a00; } .bad { border-left-color: #b3261e; }
.good .status { color: #1b6e3c; } .some .status { color: #7a4f00; } .bad .status { color: #b3261e; }
.status { font-weight: bold; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 14rem), 1fr)); gap: .75rem; }
dt { font-size: .9rem; } dd { margin: 0; font-weight: bold; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-weight: bold; } figcaption span { font-weight: normal; }
svg { display: block; width: 100%; height: auto; max-width: 34rem; }
.months { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 1rem; } .months svg { width: 18rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .5rem; border-bottom: 1px solid #767676; }
tbody th { font-weight: normal; }
@media screen and (max-width: 62rem) {
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody, th, td { display: block; }
  tr { display: flex; flex-wrap: wrap; column-gap: 1rem; border: 1px solid #767676; border-radius: .25rem;
    margin: .5rem 0; padding: .25rem .5rem; }
  th, td { border: 0; padding: .1rem 0; }
  th::before, td::before { content: attr(data-label) ": "; font-weight: bold; }
}
@page { margin: 14mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  .box, .tiles div, figure, tr, .months svg { break-inside: avoid; }
  h2, h3, h2 + p { break-after: avoid; }
  .charts { grid-template-columns: 1fr 1fr; }
  svg, .box { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  table { font-size: 8pt; } th, td { padding: .2rem .25rem; }
}
"""


def report_html(report: EvidenceReport) -> str:
    """The document of a period."""
    where = report.period.zone
    title = html_text(f"Evidence of backups: {report.plan}, {report.period.first} to {report.period.last}")
    body = [
        f"<header><h1>Evidence of backups: {html_text(report.plan)}</h1>",
        f"<p>{report.period.first} to {report.period.last}, {html_text(where.key)}. "
        f"Made {html_text(moment(report.made, where))} by {html_text(report.by)}, from {html_text(report.store)}.</p>",
        "</header><main>",
        *_chain(report),
        _nav(report),
        "<h2>In short</h2>",
        '<dl class="tiles">',
        *(f"<div><dt>{html_text(n)}</dt><dd>{html_text(v)}</dd></div>" for n, v in summary_rows(report)),
        "</dl>",
        _heading(_CONTROLS),
        *map(_control, report.controls),
        _heading(_CHARTS),
        "<p>The tables below have the numbers. A cross is a failed run, or a backup with a problem.</p>",
        *_charts(report),
        *_calendar(report),
        *(_section(name, rows) for name, rows in sections(report)),
        f"</main><footer><p>{_with_code(HOW_TO_PROVE)}</p></footer>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # A browser then refuses whatever a mistake here might let in.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _heading(title: str) -> str:
    return f'<h2 id="{_anchor(title)}">{html_text(title)}</h2>'


def _anchor(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())


def _nav(report: EvidenceReport) -> str:
    titles = (_CONTROLS, _CHARTS, _CALENDAR, *(title for title, _ in sections(report)))
    links = "".join(f'<a href="#{_anchor(title)}">{html_text(title)}</a> ' for title in titles)
    return f'<nav aria-label="Sections">{links}</nav>'


def _with_code(text: str) -> str:
    """What Markdown has in backticks."""
    pieces = html_text(text).split("`")
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))


def _chain(report: EvidenceReport) -> Iterable[str]:
    chain = report.chain
    good = chain.whole and chain.records and chain.signed == chain.records and chain.trusted
    kind = "good" if good else "some" if chain.whole else "bad"
    head = f"<code>{chain.head.sha256}</code> (record {chain.head.sequence})" if chain.head else "none"
    yield f'<section class="box {kind}" aria-label="Proof of the chain">'
    yield f'<p class="status">{html_text(verdict(chain))}</p>'
    yield f"<p>Signatures: {html_text(chain.signatures)}.</p>"
    for signer, number in chain.signers:
        yield f"<p>{format_count(number)} by <code>{html_text(signer)}</code></p>"
    yield f"<p>Head: {head}. {WHAT_THE_HEAD_TELLS}</p>"
    if report.left_out:
        left_out = counted(report.left_out, "record")
        yield f"<p>{left_out} of this period cannot be relied on, and count for nothing here.</p>"
    yield "</section>"
    if chain.faults:
        yield _section("Faults of the chain", [fault.cells() for fault in chain.faults])


def _control(control: Control) -> str:
    records = ranges(control.records)
    lines = [f"<li>Shown: {html_text(text)}</li>" for text in control.shows]
    lines += [f"<li>Not shown: {html_text(text)}</li>" for text in control.lacks]
    return (
        f'<article class="box {_CLASSES[control.status]}"><h3>{html_text(control.name)} '
        f'<span class="status">{SIGNS[control.status]} {control.status.value}</span></h3>'
        f"<p>{html_text(control.article)}</p><ul>{''.join(lines)}</ul><p>Records: {records}</p></article>"
    )


def _charts(report: EvidenceReport) -> Iterable[str]:
    start, end = (at.astimezone(report.period.zone) for at in (report.period.start, report.period.end))
    yield '<div class="charts">'
    for name, title, below, points, scale in series(report):
        drawn = chart(name, title, points, scale, start=start, end=end)
        yield f"<figure><figcaption>{html_text(title)}. <span>{html_text(below)}</span></figcaption>{drawn}</figure>"
    yield "</div>"


def _calendar(report: EvidenceReport) -> Iterable[str]:
    signs = ". ".join(mark.value for mark in Mark)
    yield f"{_heading(_CALENDAR)}<p>{signs}. D: a drill was run. ✕: a drill or a verification failed.</p>"
    yield f'<div class="months">{"".join(calendar("day", "Backups", calendar_days(report)))}</div>'


def _section(title: str, rows: Rows) -> str:
    if not rows:
        return f"<section>{_heading(title)}<p>None.</p></section>"
    cut = f"<p>The newest {MOST_ROWS} of {format_count(len(rows))}.</p>" if len(rows) > MOST_ROWS else ""
    return f"<section>{_heading(title)}{cut}{_table(title, rows[-MOST_ROWS:])}</section>"


def _cell(value: str) -> str:
    kinds = ["failed"] if value.startswith(FAILED) else []
    kinds += ["short"] if len(value) <= _SHORT else []
    kinds += ["long"] if any(len(word) > _LONG for word in value.split()) else []
    return f'<span class="{" ".join(kinds)}">{html_text(value)}</span>' if kinds else html_text(value)


def _table(title: str, rows: Sequence[dict[str, str]]) -> str:
    """With roles: a phone shows each row as a box, and would no longer take it for one of a table."""
    names = [html_text(name) for name in rows[0]]
    head = "".join(f'<th scope="col" role="columnheader">{name}</th>' for name in names)
    body = []
    for row in rows:
        first, *rest = map(_cell, row.values())
        cells = "".join(f'<td role="cell" data-label="{n}">{v}</td>' for n, v in zip(names[1:], rest, strict=True))
        body.append(f'<tr role="row"><th scope="row" role="rowheader" data-label="{names[0]}">{first}</th>{cells}</tr>')
    return (
        f'<table role="table" aria-label="{html_text(title)}"><thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{"".join(body)}</tbody></table>'
    )
