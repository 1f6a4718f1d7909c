"""Documents as programs: their fenced blocks, the commands in these, and a shell that lasts from one to the next."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

_FENCE = re.compile(r"^( *)```(\S*) *(.*)$")
_HERE = re.compile(r"<<'(\w+)'$")
_SHELL = re.compile(r"[|<>;&()`]|\$")
# Up to the end of the sentence, or a colon.
_SEEN = re.compile(r"You should see ((?:`[^`]*`|[^.:`]|[.:](?! |$))*)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: what stands behind the fence is its language and a title, for example a file's name.

    Attributes:
        seen: What the sentence "You should see ..." behind it has as code; `…` stands for anything.
    """

    where: str
    language: str
    title: str
    text: str
    seen: tuple[str, ...] = ()


def blocks(path: Path) -> list[Block]:
    """All fenced blocks of a document, in order, without the indentation of their fence."""
    found: list[Block] = []
    opened: tuple[int, str, str, str] | None = None
    lines: list[str] = []
    behind: list[list[str]] = []  # each block
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if fence and opened is None:
            opened, lines = (number, *fence.groups()), []
        elif fence and opened is not None:
            assert not fence[2], f"{path.name}:{number}: a fence within a block"
            found.append(Block(f"{path.name}:{opened[0]}", opened[2], opened[3], "\n".join(lines) + "\n"))
            behind.append([])
            opened = None
        elif opened is not None:
            lines.append(line.removeprefix(opened[1]))
        elif behind:
            behind[-1].append(line.strip())
    assert opened is None, f"{path.name}: the last block is not closed"
    return [replace(block, seen=_seen(" ".join(text))) for block, text in zip(found, behind, strict=True)]


def _seen(text: str) -> tuple[str, ...]:
    sentence = _SEEN.search(text)
    return tuple(re.findall(r"`([^`]*)`", sentence[1])) if sentence else ()


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


class Shell:
    """A shell of one terminal: variables, folder and umask stay from one command to the next."""

    def __init__(self, folder: Path, environment: Mapping[str, str], state: Path) -> None:
        self.folder, self.environment = folder, dict(environment)
        self._umask = "0022"
        self._state = state

    def run(self, command: str) -> str:
        """Run a command; its output. A status other than 0 fails."""
        script = (
            f"umask {self._umask}\nset -eo pipefail\n{command}\n"
            f"{{ pwd; umask; env -0; }} > {shlex.quote(str(self._state))}\n"
        )
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"status {done.returncode} of: {command}\n{done.stdout}{done.stderr}"
        folder, umask, variables = self._state.read_text().split("\n", 2)
        self.folder, self._umask = Path(folder), umask
        self.environment = dict(entry.split("=", 1) for entry in variables.split("\0") if "=" in entry)
        return done.stdout + done.stderr

    @contextmanager
    def here(self) -> Iterator[None]:
        """Let this process be where the shell is, with its variables."""
        folder, environment = Path.cwd(), dict(os.environ)
        os.chdir(self.folder)
        os.environ.update(self.environment)
        try:
            yield
        finally:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
