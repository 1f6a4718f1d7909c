"""Child processes that do not outlive the process that started them, whatever ends it.

They are in sessions of their own, and all that they write is in one private temporary folder. A reaper waits for the
end of a pipe whose other end only their owner holds, then kills what was started and removes the folder. An orderly
`close()` does nothing else, so the way out after a kill is the one that is used every day.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from flows.core.errors import BackupError

HOST = "127.0.0.1"
MARK = "MONGO_BACKUP_PARTS"  # in the environment of all children: finds grandchildren in sessions of their own
START_SECONDS = 120  # [s] a cold Prefect server migrates its database first: 10 to 15 s, twice that on a busy machine
STOP_SECONDS = 20  # [s] for an orderly end; `mongod` writes a checkpoint

# A child names itself before it becomes the program, so that there is no moment in which it runs unrecorded.
# Where the reaper was faster, the folder is gone and the child ends here.
_CHILD = ': > "$0/$$" && exec "$@"'
# $1 the folder, $2 the mark in an environment, $3 what to remove. Killed processes are looked for until they
# are gone: only then does nobody write into the folder any more.
_REAPER = """
trap '' HUP INT TERM
cat > /dev/null
mv "$1/children" "$1/ended"
round=0
while [ $round -lt 200 ]; do
    round=$((round + 1))
    for child in "$1"/ended/*; do kill -s KILL -- "-${child##*/}"; done
    left=$(grep -lsF -- "$2" /proc/[0-9]*/environ)
    for found in $left; do found=${found#/proc/}; kill -s KILL "${found%/environ}"; done
    [ -z "$left" ] && rm -rf -- "$3" && break
    sleep 0.05
done
rm -rf -- "$3"
"""


class Children:
    """One private temporary folder and every process that was started in it.

    Args:
        keep: Leave the folder with its logs after the end, to look at. The processes end all the same.
        within: Where to make the folder; None: where the system has temporary ones.
    """

    def __init__(self, *, keep: bool = False, within: Path | None = None) -> None:
        # Made with mode 0700.
        self.folder = Path(tempfile.mkdtemp(prefix="mongo-backup-parts-", dir=within)).resolve()
        self._keep = keep
        self._children = self.folder / "children"
        self._children.mkdir()
        self._mark = f"{MARK}={self.folder}"
        self._processes: list[subprocess.Popen[bytes]] = []
        reading, writing = os.pipe()  # neither is inherited by a program that is started
        self._lifeline: IO[bytes] = os.fdopen(writing, "wb", buffering=0)
        os.register_at_fork(after_in_child=self._lifeline.close)  # a fork without exec does inherit
        self._reaper = subprocess.Popen(  # noqa: S603 - a script of ours
            [
                "/bin/sh",
                "-c",
                _REAPER,
                "reaper",
                self.folder,
                self._mark,
                self.folder / "ended" if keep else self.folder,
            ],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment_without(MARK),  # inside the parts of somebody else too, it must outlive us
            start_new_session=True,  # Ctrl-C goes to the terminal's group, and the reaper is not in it
        )
        os.close(reading)

    def close(self) -> None:
        """Kill what runs and remove the folder. Safe to repeat.

        Raises:
            BackupError: Something could not be killed or removed.
        """
        self._lifeline.close()
        self._reaper.wait(STOP_SECONDS)
        for process in self._processes:
            process.wait(STOP_SECONDS)
        if self.folder.exists() and not self._keep:
            raise BackupError("the folder of the parts cannot be removed", hint="Remove it.", folder=str(self.folder))

    def spawn(self, argv: Sequence[str], env: Mapping[str, str], log_path: Path) -> subprocess.Popen[bytes]:
        """Start a program that the reaper knows of, with its output at the end of `log_path`."""
        mark, _, folder = self._mark.partition("=")
        with log_path.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - a program of ours
                ["/bin/sh", "-c", _CHILD, str(self._children), *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**env, mark: folder},
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def forget(self, pid: int) -> None:
        """Strike a process that has ended from the reaper's list: its number may be given to another."""
        (self._children / str(pid)).unlink(missing_ok=True)


class Part:
    """One child process in a session of its own, with its output in `log_path`.

    Args:
        parts: Owner of the folder.
        name: Unique name, of the log file too.
    """

    def __init__(self, parts: Children, name: str) -> None:
        self.name = name
        self.host = HOST
        self.port = 0
        self.log_path = parts.folder / f"{name}.log"
        self._parts = parts
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0  # [bytes] where the log of this start begins

    @property
    def pid(self) -> int:
        """The id of the process, of its process group and of its session; 0 while it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def start(self) -> None:
        """Start it and wait until it answers; a second start has the port and the data of the first.

        Raises:
            BackupError: It ended, or did not answer within `START_SECONDS`. The hint has the end of its log.
        """
        if self.pid:
            return
        self.kill()  # one that ended by itself may have left others of its group
        fixed, attempts = bool(self.port), 5
        for attempt in range(attempts):
            self.port = self.port or _free_port()
            self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
            self._process = self._parts.spawn(self._argv(), self._environment(), self.log_path)
            try:
                self._until(self._answers)
                self._prepare()
            except BackupError:
                self.kill()
                # Between our look at the port and its use, anybody may take it.
                if fixed or attempt == attempts - 1 or not self._said(b"already in use"):
                    raise
                self.port = 0
            else:
                return

    def wait(self, timeout: float) -> int:
        """The exit code, of a part that runs or ran, within `timeout` [s] or `subprocess.TimeoutExpired`."""
        return self._process.wait(timeout) if self._process else 0

    def stop(self) -> None:
        """End it in order (SIGTERM), then by force whatever is left of its process group. Data and port stay."""
        if self._process:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            self.kill()

    def kill(self) -> None:
        """End its process group without a warning (SIGKILL), as a power cut would. Data and port stay."""
        if self._process:
            with suppress(ProcessLookupError):  # nobody is left in the group
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_SECONDS)
            self._parts.forget(self._process.pid)
            self._process = None

    def tail(self, lines: int = 12) -> str:
        """The last lines of its log."""
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return "\n".join(line[:600] for line in text.splitlines()[-lines:])

    def _argv(self) -> Sequence[str]:
        raise NotImplementedError

    def _environment(self) -> Mapping[str, str]:
        return os.environ

    def _answers(self) -> bool:
        """Whether it listens, by its own word: a connection would also succeed to whoever took the port first."""
        raise NotImplementedError

    def _said(self, words: bytes) -> bool:
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return words in log.read()

    def _prepare(self) -> None:
        """What a running part needs before it can be used."""

    def _until(self, holds: Callable[[], bool]) -> None:
        process, deadline = self._process, time.monotonic() + START_SECONDS
        assert process is not None  # noqa: S101 - for the type checker
        while not holds():
            try:
                problem = f"{self.name} ended while it started"
                raise self._failure(problem, exit_code=process.wait(0.02))
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    problem = f"{self.name} did not get ready in time"
                    raise self._failure(problem, seconds=START_SECONDS) from None

    def _failure(self, problem: str, **facts: Any) -> BackupError:
        return BackupError(
            problem, hint=f"The end of its log says why:\n{self.tail()}", log=str(self.log_path), **facts
        )


def environment_without(prefix: str) -> dict[str, str]:
    """The environment of this process but for the variables of a program that must not take its user's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(prefix)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
