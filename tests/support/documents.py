"""Documents as programs: their fenced blocks, and the commands in these."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^( *)```(\S*) *(.*)$")
_HERE = re.compile(r"<<'(\w+)'$")
_SHELL = re.compile(r"[|<>;&()`]|\$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: what stands behind the fence is its language and a title, for example a file's name."""

    where: str
    language: str
    title: str
    text: str


def blocks(path: Path) -> list[Block]:
    """All fenced blocks of a document, in order, without the indentation of their fence."""
    found: list[Block] = []
    opened: tuple[int, str, str, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if fence and opened is None:
            opened, lines = (number, *fence.groups()), []
        elif fence and opened is not None:
            assert not fence[2], f"{path.name}:{number}: a fence within a block"
            found.append(Block(f"{path.name}:{opened[0]}", opened[2], opened[3], "\n".join(lines) + "\n"))
            opened = None
        elif opened is not None:
            lines.append(line.removeprefix(opened[1]))
    assert opened is None, f"{path.name}: the last block is not closed"
    return found


def commands(text: str) -> list[str]:
    """The commands of a block: one a line, but for lines that go on, loops, and what a command reads from the block."""
    found: list[str] = []
    held: list[str] = []
    end = ""
    for line in text.splitlines():
        if not held and (not line.strip() or line.startswith("#")):
            continue
        held.append(line)
        if here := _HERE.search(line):
            end = here[1]
        loops = sum(one.lstrip().startswith("for ") for one in held)
        goes_on = line.endswith("\\") or loops > sum(one.endswith("done") for one in held)
        if line == end or not (end or goes_on):
            found.append("\n".join(held))
            held, end = [], ""
    assert not held, f"no end: {held}"
    return found


def simple(command: str) -> list[str] | None:
    """The words of a command that needs no shell to be run; None for others."""
    joined = command.replace("\\\n", " ")
    words = shlex.split(joined, comments=True)
    unquoted = re.sub(r"'[^']*'|\"[^\"$`]*\"", "", joined).partition(" #")[0]
    return None if _SHELL.search(unquoted) else words
