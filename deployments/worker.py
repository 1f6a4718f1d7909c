"""A Prefect worker whose runs end before it does: `python -m deployments.worker --pool mongo-backup`.

Prefect's own worker kills its runs when it is asked to end: their segments stay in the spool, their uploads in the
store, and services that a restore has stopped stay stopped. This one asks the runs first, and ends when they have
tidied up.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import FrameType

import psutil

GRACE = "MONGO_BACKUP_STOP_SECONDS"
GRACE_SECONDS = 45.0  # [s] unless the variable says otherwise
_LOOK_SECONDS = 0.2


def main(arguments: list[str]) -> int:
    """Run `prefect worker start`, until it ends or a signal asks for that; a second signal ends all at once.

    Args:
        arguments: Those of `prefect worker start`. The variable `MONGO_BACKUP_STOP_SECONDS` says how long runs may take
            to tidy up [s]; then they are killed.

    Returns:
        The exit status of the worker; 2 where the variable is not a number of seconds.
    """
    given = os.environ.get(GRACE, "").strip()
    if not re.fullmatch(r"\d*(\.\d+)?", given, re.ASCII):
        print(f"{GRACE} is no time in seconds: {given!r}. Such as: 45", file=sys.stderr)
        return 2
    grace = float(given) if given else GRACE_SECONDS
    asked: list[int] = []

    def ask(number: int, _: FrameType | None) -> None:
        asked.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ask)
    # In a session of its own: Ctrl-C goes to everything on the terminal, and the worker would kill its runs then.
    worker = subprocess.Popen([sys.executable, "-m", "prefect", "worker", "start", *arguments], start_new_session=True)
    while worker.poll() is None and not asked:
        time.sleep(_LOOK_SECONDS)
    if worker.poll() is None:
        _end_runs(worker, asked, grace)
        worker.terminate()
    return worker.wait()


def _end_runs(worker: subprocess.Popen[bytes], asked: list[int], grace: float) -> None:
    """Ask all runs to end, those too that begin meanwhile, and wait until none is left."""
    deadline = time.monotonic() + grace
    told: set[int] = set()
    while runs := _runs(worker):
        for run in runs:
            if run.pid not in told:
                told.add(run.pid)
                print(f"Asking the run of process {run.pid} to end; it has {grace:g} s to tidy up.", flush=True)
                with suppress(psutil.NoSuchProcess):
                    run.terminate()
        if len(asked) > 1 or time.monotonic() > deadline:
            print(f"Killing what still runs: {len(runs)}. The next backup of the plan clears what is left.", flush=True)
            return
        time.sleep(_LOOK_SECONDS)


def _runs(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes of a worker: each is a run."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(worker.pid).children():
            with suppress(psutil.NoSuchProcess):
                if child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
