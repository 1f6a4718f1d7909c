"""Charts as inline SVG: plain text that every browser draws without a script, a style sheet or a network.

Nothing is told by colour alone, every chart has a title and a description for screen readers, and the colours keep a
contrast of 4.5 to 1 for text and 3 to 1 for marks on white (WCAG 2.2, 1.4.3 and 1.4.11).
"""

from __future__ import annotations

import math
from calendar import Calendar
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum

from flows.core.markup import html_text
from flows.core.report import format_bytes, format_duration

# As wide as a phone: the text stays readable there, and a larger screen enlarges all of it.
_WIDTH, _HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 10, 14, 30
_INK, _GRID, _GOOD, _BAD, _PAPER = "#1a1a1a", "#d0d0d0", "#0b5c8a", "#b3261e", "#ffffff"
_CELL = 30
_WEEK = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a time."""

    at: datetime  # aware
    value: float
    good: bool = True  # a bad one is drawn as a cross


class Mark(Enum):
    """How a day is drawn."""

    FULL = "Filled: a backup is listed, and nothing is known against it"
    KNOWN = "Outlined: a backup was taken, and is no longer listed or has a problem"
    GAP = "Dashed: no backup is known"


@dataclass(frozen=True, slots=True)
class Day:
    """What a calendar shows of a day.

    Attributes:
        mark: How it is drawn.
        note: Two letters or signs below the number.
        tells: The same in words.
    """

    mark: Mark
    note: str
    tells: str


@dataclass(frozen=True, slots=True)
class Scale:
    """How the values of an axis are written.

    Attributes:
        ticks: Gives the values to label, from 0, for the largest value.
        label: Writes one.
    """

    ticks: Callable[[float], list[float]]
    label: Callable[[float], str]


def _steps(largest: float, unit: float) -> list[float]:
    """Up to five values from 0 to at least the largest, in steps of 1, 2 or 5 times a power of ten of a unit."""
    goal = max(largest / unit, 1e-9) / 4
    power = 10.0 ** math.floor(math.log10(goal))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= goal * 0.999_999)
    return [number * step * unit for number in range(math.ceil(largest / unit / step - 1e-9) + 1)]


def _in_units(units: Sequence[float]) -> Callable[[float], list[float]]:
    return lambda largest: _steps(largest, max([unit for unit in units if unit <= largest], default=units[0]))


def _length(seconds: float) -> str:
    text = format_duration(timedelta(seconds=seconds)) if seconds else "0"
    return text.removesuffix(" 0 s").removesuffix(" 0 min").removesuffix(" 0 h").replace(".0 s", " s")


BYTES = Scale(
    _in_units([1024.0**power for power in range(6)]), lambda value: format_bytes(int(value)).replace(".0 ", " ")
)
SECONDS = Scale(_in_units([1.0, 60.0, 3_600.0, 86_400.0]), _length)
AMOUNT = Scale(lambda largest: _steps(largest, 1.0), lambda value: f"{value:,.0f}")
SHARE = Scale(lambda _: [0.0, 0.25, 0.5, 0.75, 1.0], lambda value: f"{value:.0%}")


def chart(name: str, title: str, points: Sequence[Point], scale: Scale, *, start: datetime, end: datetime) -> str:
    """Values over time: a bar for each, with a dot on it, or a cross for a bad one.

    Args:
        name: Unique on the page, of letters and digits; part of ids.
        title: What is shown.
        points: In the order of time.
        scale: Of the values.
        start: Left end, aware; its zone is that of the labels.
        end: Right end.
    """
    ticks = scale.ticks(max((point.value for point in points), default=0.0) or 1.0)
    length = max((end - start).total_seconds(), 1.0)
    floor = _HEIGHT - _BOTTOM

    def x(at: datetime) -> float:
        return _LEFT + (at - start).total_seconds() / length * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return floor - value / ticks[-1] * (floor - _TOP)

    parts = []
    for tick in ticks:
        parts.append(f'<path d="M{_LEFT} {y(tick):.1f}H{_WIDTH - _RIGHT}" stroke="{_GRID if tick else _INK}"/>')
        parts.append(_text(_LEFT - 5, y(tick) + 4, scale.label(tick), anchor="end"))
    for at, anchor in ((start, "start"), (start + (end - start) / 2, "middle"), (end, "end")):
        # The end is the first moment after the last day.
        shown = at - timedelta(seconds=1) if at == end else at
        parts.append(_text(x(at), _HEIGHT - 12, f"{shown.astimezone(start.tzinfo):%d %b %Y}", anchor=anchor))
    parts += [_bar(x(point.at), y(point.value), floor, good=point.good) for point in points]
    if not points:
        parts.append(_text(_WIDTH / 2, _HEIGHT / 2, "nothing was measured", anchor="middle"))
    return _svg(name, title, _described(points, scale), parts, width=_WIDTH, height=_HEIGHT)


def _bar(x: float, y: float, floor: float, *, good: bool) -> str:
    colour = _GOOD if good else _BAD
    mark = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"/>'
        if good
        else f'<path d="M{x - 4:.1f} {y - 4:.1f}l8 8m0-8l-8 8" stroke="{colour}" stroke-width="2.4"/>'
    )
    return f'<path d="M{x:.1f} {floor}V{y:.1f}" stroke="{colour}" stroke-width="1.6" stroke-opacity="0.7"/>{mark}'


def _described(points: Sequence[Point], scale: Scale) -> str:
    if not points:
        return "There is no value."
    values = [point.value for point in points]
    bad = sum(not point.good for point in points)
    return (
        f"{len(points)} values: smallest {scale.label(min(values))}, largest {scale.label(max(values))}, "
        f"newest {scale.label(values[-1])}; {bad} failed or with a problem, drawn as a cross."
    )


def calendar(name: str, title: str, days: Mapping[date, Day]) -> list[str]:
    """A calendar, one chart for each month, weeks from Monday.

    Args:
        name: Unique on the page, of letters and digits; part of ids.
        title: What is shown.
        days: What is known of each day; days that are not there are left empty.
    """
    months = sorted({(day.year, day.month) for day in days})
    return [_month(f"{name}{number}", title, year, month, days) for number, (year, month) in enumerate(months)]


def _month(name: str, title: str, year: int, month: int, days: Mapping[date, Day]) -> str:
    weeks = [
        week
        for week in Calendar().monthdatescalendar(year, month)
        if any(day.month == month and day in days for day in week)
    ]
    label = f"{date(year, month, 1):%B %Y}"
    parts = [_text(2, 15, label, size=13, bold=True)]
    parts += [_text(column * _CELL + _CELL / 2, 33, text, anchor="middle") for column, text in enumerate(_WEEK)]
    counts: Counter[Mark] = Counter()
    for row, week in enumerate(weeks):
        for column, day in enumerate(week):
            if day.month == month and day in days:
                parts.append(_day(column * _CELL, 38 + row * _CELL, day, days[day]))
                counts[days[day].mark] += 1
    told = (
        f"{counts[Mark.FULL]} days with a listed backup that nothing is known against, {counts[Mark.KNOWN]} with one "
        f"that is no longer listed or has a problem, {counts[Mark.GAP]} without a known backup. The table of days has "
        "each of them."
    )
    return _svg(name, f"{title}, {label}", told, parts, width=7 * _CELL, height=40 + len(weeks) * _CELL)


def _day(left: int, top: int, day: date, what: Day) -> str:
    fill, stroke, ink, dashes = {
        Mark.FULL: (_GOOD, _GOOD, _PAPER, ""),
        Mark.KNOWN: (_PAPER, _GOOD, _INK, ""),
        Mark.GAP: (_PAPER, _BAD, _BAD, ' stroke-dasharray="3 2"'),
    }[what.mark]
    box = (
        f'<rect x="{left + 1.5}" y="{top + 1.5}" width="{_CELL - 3}" height="{_CELL - 3}" rx="3" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="1.5"{dashes}/>'
    )
    number = _text(left + _CELL / 2, top + (13 if what.note else 20), str(day.day), anchor="middle", ink=ink)
    note = _text(left + _CELL / 2, top + 25, what.note, anchor="middle", ink=ink, size=10) if what.note else ""
    return f"<g><title>{day}: {html_text(what.tells)}</title>{box}{number}{note}</g>"


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", ink: str = _INK, size: int = 12, bold: bool = False
) -> str:
    style = f'font-size="{size}" fill="{ink}"' + (' font-weight="bold"' if bold else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {style}>{html_text(text)}</text>'


def _svg(name: str, title: str, described: str, parts: Sequence[str], *, width: int, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc" font-family="system-ui, sans-serif" fill="none">'
        f'<title id="{name}-title">{html_text(title)}</title><desc id="{name}-desc">{html_text(described)}</desc>'
        f"{''.join(parts)}</svg>"
    )
