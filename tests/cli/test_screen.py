"""What fits a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flows.cli.screen import fitted, parts
from flows.core.report import markdown_table

ROWS = [
    {
        "backup": f"2026-03-{day:02d}T04-00-00Z",
        "documents": f"{day * 1000:,}",
        "plan": "default",
        "protection": "encrypted, signed",
        "held": "-",
        "reason": "0.0 days old, kept until 7 days; one of the newest 3",
    }
    for day in range(1, 4)
]


def shown(rows: list[dict[str, str]], width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(fitted(rows, "Backups", width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_table_is_no_wider_than_the_terminal_and_nothing_of_it_is_lost(width: int) -> None:
    lines = shown(ROWS, width)
    assert max(map(len, lines)) <= width
    whole = " ".join(" ".join(lines).split())
    for row in ROWS:
        assert row["backup"] in whole
        assert row["documents"] in whole
    assert "…" not in whole
    assert all(word in whole for word in ("plan", "default", "encrypted, signed", "kept until"))
    assert "held" not in whole  # nobody holds one


def test_what_all_rows_share_is_said_once_where_room_is_short() -> None:
    assert "\n".join(shown(ROWS, 80)).count("encrypted, signed") == 1
    assert "\n".join(shown(ROWS, 200)).count("encrypted, signed") == 3


def test_names_with_brackets_are_no_markup() -> None:
    assert any("[red]x[/red]" in line for line in shown([{"namespace": "mpg.[red]x[/red]", "kind": "view"}], 80))


def test_tables_in_a_page_are_cut_out_of_it() -> None:
    rows = [{"from": "mpg.a|b", "to": "x"}, {"from": "mpg.c", "to": "y"}]
    page = f"# Title\n\n* **one**\n\n{markdown_table(rows)}\n\nThe end"
    assert list(parts(page)) == ["# Title\n\n* **one**\n", rows, "\nThe end"]
