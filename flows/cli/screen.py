"""What a person at a terminal sees: pages and tables that fit it, and why a command failed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from flows.core.report import text_table

_BAR = re.compile(r"(?<!\\)\|")


class Screen:
    """Standard output for results, standard error for what happens meanwhile; colours only on a terminal."""

    def __init__(self) -> None:
        self._out = Console(file=sys.stdout, highlight=False)
        self.err = Console(file=sys.stderr, highlight=False)

    def page(self, markdown: str) -> None:
        """Show a page; one that goes into a file or a pipe stays Markdown."""
        if self._out.is_terminal:
            for part in parts(markdown):
                shown = Markdown(part) if isinstance(part, str) else fitted(part, "", self._out.width)
                self._out.print(shown, "" if isinstance(part, str) else "\n")
        else:
            print(markdown, file=self._out.file)

    def table(self, rows: Sequence[Mapping[str, str]], description: str) -> None:
        """Show a table that fits the terminal; one that goes into a file or a pipe is as wide as it is."""
        if not rows:
            self._out.print(f"{description}: none", markup=False)
        elif self._out.is_terminal:
            self._out.print(fitted(rows, description, self._out.width))
        else:
            print(text_table(rows), file=self._out.file)

    def text(self, text: str) -> None:
        """Show text as it is."""
        self._out.print(text, markup=False, soft_wrap=True)

    def error(self, text: str) -> None:
        """Say why a command failed."""
        self.err.print(text, markup=False, style="bold red" if self.err.is_terminal else None, soft_wrap=True)


def parts(markdown: str) -> Iterator[str | list[dict[str, str]]]:
    """A page of ours, cut into text and tables: a table is no narrower for a renderer of Markdown than its cells."""
    for table, group in groupby(markdown.splitlines(), key=lambda line: line.startswith("|")):
        lines = list(group)
        if not table or len(lines) < 3:
            yield "\n".join(lines)
            continue
        head, _, *body = ([cell.strip().replace("\\|", "|") for cell in _BAR.split(line)[1:-1]] for line in lines)
        yield [dict(zip(head, cells, strict=True)) for cells in body]


def fitted(rows: Sequence[Mapping[str, str]], title: str, width: int) -> RenderableType:
    """A table no wider than a terminal. What is the same in all rows stands below it, once; where the rest does not
    fit either, each row is a list of its cells.

    Args:
        rows: With the same keys each, at least one.
        title: What stands above it.
        width: Of the terminal [characters].
    """
    columns = [c for c in rows[0] if any(row[c] not in ("", "-") for row in rows)] or list(rows[0])
    widest = {c: max(len(c), *(len(row[c]) for row in rows)) for c in columns}
    same: list[str] = []
    if len(rows) > 1 and _needed(columns, widest) > width:
        same = [c for c in columns[1:] if len({row[c] for row in rows}) == 1]
    shown = [c for c in columns if c not in same]
    narrowest = {c: max(len(c), *(len(word) for row in rows for word in row[c].split(" "))) for c in shown}
    below = [Text("all: " + ", ".join(f"{c}: {rows[0][c]}" for c in same), style="italic")] if same else []
    if _needed(shown, narrowest) > width:
        return Group(*([Text(title, style="italic")] if title else []), *(_listed(row, columns) for row in rows))
    table = Table(title=title or None, title_justify="left", box=None)
    for column in shown:
        number = all(row[column][:1].isdigit() or row[column] in ("", "-") for row in rows)
        table.add_column(column, justify="right" if number and column != columns[0] else "left")
    for row in rows:
        table.add_row(*(Text(row[column]) for column in shown))
    return Group(table, *below)


def _needed(columns: Sequence[str], widths: Mapping[str, int]) -> int:
    """How wide a table is, with two characters between columns."""
    return sum(widths[column] + 2 for column in columns)


def _listed(row: Mapping[str, str], columns: Sequence[str]) -> RenderableType:
    cells = Table.grid(padding=(0, 2), expand=False)
    for column in columns:
        if row[column] not in ("", "-"):
            cells.add_row(Text(f"  {column}"), Text(row[column]))
    return Group(cells, Text(""))
