"""Programs around a restore: what they print, how they end, and that nothing is left of one that took too long."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from flows.core.maintenance import Command, Mask, Phase
from flows.steps.command import run_command
from flows.steps.run import perform


def shell(script: str, *, seconds: float = 10.0, **more: object) -> Command:
    return Command("a step", ("/bin/sh", "-c", script), seconds, **more)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pid: int) -> bool:
    """A killed process takes a moment."""
    until = time.monotonic() + 5
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not alive(pid)


def number_in(file: Path) -> int:
    until = time.monotonic() + 5
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return int(file.read_text())


def test_a_program_runs_in_its_folder_with_its_environment_and_both_outputs_are_kept(tmp_path: Path) -> None:
    done = run_command(
        shell('pwd; echo "$ADDED $HOME" >&2; cat', folder=str(tmp_path), environment={"ADDED": "more", "HOME": "/h"})
    )
    assert done.problem == ""
    assert done.output.decode() == f"{tmp_path}\nmore /h\n"


def test_no_shell_reads_the_arguments() -> None:
    assert run_command(Command("a step", ("echo", "$HOME", ";", "ls"), 5.0)).output == b"$HOME ; ls\n"


@pytest.mark.parametrize(
    ("script", "problem"),
    [("exit 3", "it ended with the exit status 3"), ("kill -TERM $$", "it was ended by the signal 15")],
)
def test_a_program_that_ends_badly_says_how(script: str, problem: str) -> None:
    assert run_command(shell(script)).problem == problem


def test_a_program_that_is_not_there_is_a_result_and_no_exception(tmp_path: Path) -> None:
    done = perform(Command("a step", ("/nowhere/docker", "compose"), 5.0), Phase.BEFORE, Mask())
    assert done.problem == "it could not be started: [Errno 2] No such file or directory: '/nowhere/docker'"
    assert "could not be started" in run_command(shell("true", folder=str(tmp_path / "gone"))).problem
    assert "could not be started" in run_command(shell("true", environment={"A": "\0"})).problem


def test_a_secret_in_what_is_wrong_is_hidden_too() -> None:
    done = perform(Command("use s3cr3t", ("/nowhere/s3cr3t",), 5.0), Phase.BEFORE, Mask.of(["s3cr3t"]))
    assert (done.name, done.problem.partition("'")[2]) == ("use ********", "/nowhere/********'")


def test_a_program_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = f"trap '' TERM; (trap '' TERM; sleep 60) & echo $! > {child}; echo begun; sleep 60"
    begun = time.monotonic()
    done = run_command(shell(script, seconds=0.7))
    assert 0.7 < time.monotonic() - begun < 3
    assert done.problem == "it was killed, because it took more than 0.7 s"
    assert done.output == b"begun\n"
    assert gone(number_in(child))


def test_a_program_that_closes_its_output_and_stays_is_killed_in_time() -> None:
    done = run_command(shell("exec >&- 2>&-; sleep 60", seconds=0.5))
    assert done.problem == "it was killed, because it took more than 0.5 s"


@pytest.mark.parametrize("prints", ["sleep 3", "while sleep 0.02; do echo x; done"], ids=["silent", "printing"])
def test_what_a_program_leaves_running_is_neither_waited_for_nor_killed(tmp_path: Path, prints: str) -> None:
    file = tmp_path / "service"
    begun = time.monotonic()
    done = run_command(shell(f"trap '' PIPE; ({prints}) & echo $! > {file}; echo started", seconds=20))
    assert time.monotonic() - begun < 2.5
    assert done.problem == ""
    assert b"started\n" in done.output
    service = number_in(file)
    assert alive(service)
    os.kill(service, signal.SIGKILL)


def test_an_interrupted_wait_kills_the_program(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        number_in(file)
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_command(shell(f"echo $$ > {file}; sleep 60", seconds=60))
    assert gone(number_in(file))


def test_a_long_output_is_kept_from_its_end_and_no_piece_of_a_secret_is_shown() -> None:
    secret = "0123456789abcdef" * 16_384  # as long as what is kept, so that the cut goes through it
    code = "import os, sys; sys.stdout.write('x' * 70_000 + os.environ['PIECE'] * 16_384 + ' the end')"
    command = Command("a step", (sys.executable, "-c", code), 20.0, environment={"PIECE": "0123456789abcdef"})
    done = perform(command, Phase.BEFORE, Mask.of([secret]))
    assert done.output == "… ******** the end"
