"""Text for people: numbers with units, and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

MOST_ROWS = 500  # a page with more is not read
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def format_bytes(count: int) -> str:
    """`1536` to `1.5 KiB`."""
    size = float(count)
    for unit in _UNITS:
        if abs(size) < 1024 or unit == _UNITS[-1]:
            return f"{int(size)} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("the last unit takes any size")


def format_count(count: int) -> str:
    """`1234567` to `1,234,567`."""
    return f"{count:,}"


def counted(count: int, noun: str) -> str:
    """`1 document`, `1,234 documents`, `2 indexes`."""
    ending = "es" if noun.endswith("x") else "s"
    return f"{format_count(count)} {noun}{'' if count == 1 else ending}"


def format_duration(length: timedelta) -> str:
    """A length of time in the two largest units that matter: `3.2 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`."""
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, name, smaller, smaller_name in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // smaller} {smaller_name}"
    raise AssertionError("shorter lengths were handled above")


def format_time(moment: datetime) -> str:
    """A point in time, to the minute: `2026-03-06 04:00 UTC`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def text_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Columns for a terminal, headed by the keys of the first row; columns of numbers are set to the right."""
    if not rows:
        return "(none)"
    columns = list(rows[0])
    widths = {c: max(len(c), *(len(row[c]) for row in rows)) for c in columns}
    right = {c for c in columns if all(row[c][:1].isdigit() or row[c] in ("", "-") for row in rows) and c != columns[0]}

    def line(values: Mapping[str, str]) -> str:
        cells = (values[c].rjust(widths[c]) if c in right else values[c].ljust(widths[c]) for c in columns)
        return "  ".join(cells).rstrip()

    return "\n".join([line({c: c for c in columns}), line({c: "-" * widths[c] for c in columns}), *map(line, rows)])


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """The same for a Markdown artifact."""
    if not rows:
        return "(none)"
    columns = list(rows[0])

    def line(values: Sequence[str]) -> str:
        return "| " + " | ".join(value.replace("|", "\\|").replace("\n", " ") for value in values) + " |"

    return "\n".join([line(columns), line(["---"] * len(columns)), *(line([r[c] for c in columns]) for r in rows)])


def known(number: int | None, show: Callable[[int], str]) -> str:
    """A number for people, or a dash for one that nobody knows."""
    return "-" if number is None else show(number)


def cut_note(rows: int) -> list[str]:
    """The lines below a table of a manifest's namespaces that has not all of its rows."""
    return ["", f"… and {rows - MOST_ROWS} more; the manifest has them all."] if rows > MOST_ROWS else []


def and_more(shown: list[dict[str, str]], missing: int, what: str) -> list[dict[str, str]]:
    """Rows of backups, and one that says how many are not shown, and what of them."""
    return [*shown, {**dict.fromkeys(shown[0], ""), "backup": f"… and {missing} {what}"}] if missing else shown
