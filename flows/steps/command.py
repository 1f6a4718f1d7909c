"""Running a program with a time limit, and nothing left behind when it is over."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress

from flows.core.maintenance import Command
from flows.steps.outcome import Outcome

_KEPT_BYTES = 256 * 1024  # of the output, from its end: far more than is shown, and no matter to the memory
_LOOK_SECONDS = 0.1  # how soon the end of a program is seen whose output something else keeps open
_LINGER_SECONDS = 1.0  # how long to read on after the end of a program that left something behind that prints


def run_command(command: Command) -> Outcome:
    """Run a program to its end, or kill it and all that it started when its time is over.

    What a program leaves running on purpose, such as a service, is left alone if the program itself ended in time.
    Killed too: everything, when an exception interrupts the wait, such as a cancellation.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - what an operator configured, and no shell reads it
            command.argv,
            cwd=command.folder,
            env={**os.environ, **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, to be killed as a whole
        )
    except (OSError, ValueError) as error:
        return Outcome(f"it could not be started: {error}")
    try:
        return _follow(process, command.timeout_seconds)
    except BaseException:
        _kill(process)
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()


def _follow(process: subprocess.Popen[bytes], timeout_seconds: float) -> Outcome:
    """Read the output until the program has ended, or its time has."""
    pipe = process.stdout.fileno() if process.stdout is not None else -1
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    tail, cut = bytearray(), False
    now = time.monotonic()
    deadline, ended = now + timeout_seconds, None
    while True:
        if ended is None and now > deadline:
            _kill(process)
            return Outcome(f"it was killed, because it took more than {timeout_seconds:g} s", bytes(tail), cut, True)
        ready = poll.poll(max(0.0, min(_LOOK_SECONDS, deadline - now)) * 1000)
        now = time.monotonic()
        if ready:
            chunk = os.read(pipe, 65536)
            if not chunk:
                break
            tail += chunk
            if len(tail) > _KEPT_BYTES:
                del tail[:-_KEPT_BYTES]
                cut = True
        if ended is None and process.poll() is not None:
            ended = now
        if ended is not None and (not ready or now > ended + _LINGER_SECONDS):
            break
    with suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, deadline - time.monotonic()))
    if process.returncode is None:
        _kill(process)
        return Outcome(f"it was killed, because it took more than {timeout_seconds:g} s", bytes(tail), cut, True)
    return Outcome(_problem(process.returncode), bytes(tail), cut, False)


def _problem(status: int) -> str:
    if status < 0:
        return f"it was ended by the signal {-status}"
    return f"it ended with the exit status {status}" if status else ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group of a program that has not been waited for, so that its number cannot be another's."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
