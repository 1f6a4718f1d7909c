"""Runs backups, restores, drills or exports, each in a process of its own, that end themselves where they are told to.

    python -m tests.support.crash_runner scenarios.json

The file holds a list of `Scenario` as objects; the Prefect server is that of the environment. Two run at a time.
Of each run a line `<plan> <status>` is printed, where the status is 0, 1 for an exception, or -9 for a kill and -15 for
a signal that asks to end.
Its process id is in `<folder>/<plan>.pid` before it begins, its output in `<folder>/<plan>.log`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.backup import backup
from flows.drill import drill
from flows.export import export
from flows.restore import restore
from flows.tasks.commit import commit
from flows.tasks.compress import compress
from flows.tasks.dataset_versions import publish_version
from flows.tasks.dump import dump
from flows.tasks.exporting import describe, write
from flows.tasks.fetch import fetch
from flows.tasks.load import load
from flows.tasks.plan import plan, prepare_store
from flows.tasks.prune import prune_plan
from flows.tasks.settings import Retention
from flows.tasks.target import compare, create_views, finish, plan_restore_into, prepare
from flows.tasks.upload import upload
from flows.tasks.verify import verify

AT_A_TIME = 2
_OF_BACKUP = (plan, prepare_store, dump, compress, upload, verify, commit, prune_plan)
_OF_RESTORE = (plan_restore_into, prepare, fetch, load, compare, finish, create_views)
_OF_EXPORT = (write, describe, publish_version)
_BY_NAME = {"restore": restore, "drill": drill, "export": export}
TASKS = {task.name: task for task in (*_OF_BACKUP, *_OF_RESTORE, *_OF_EXPORT)}


@dataclass(frozen=True)
class Scenario:
    """One backup, restore, drill or export and where it dies."""

    plan: str  # but for a backup: a name for it, and its parameters name the plan
    folder: str  # for the spool folders, the log and the process id
    parameters: dict[str, Any]  # of the flow, beside plan and retention
    flow: str = "backup"
    task: str = ""  # name of the task at which it dies; none: it lives
    moment: str = ""  # "running" or "completion" of that task, or "ended" there by SIGTERM


def main() -> None:
    waiting = [Scenario(**fields) for fields in json.loads(Path(sys.argv[1]).read_text())]
    # A fork of a process with threads may hang; importing Prefect starts none, running a flow does.
    assert threading.active_count() == 1
    running: dict[int, str] = {}
    while waiting or running:
        while waiting and len(running) < AT_A_TIME:
            scenario = waiting.pop(0)
            running[start(scenario)] = scenario.plan
        pid, status = os.wait()
        print(running.pop(pid), os.waitstatus_to_exitcode(status), flush=True)


def start(scenario: Scenario) -> int:
    """Start it in a fork, which saves the seconds of importing everything again."""
    pid = os.fork()
    if pid:
        return pid
    try:
        status = run(scenario)
    except BaseException:  # noqa: BLE001 - a fork must never return into the loop of its parent
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    os._exit(status)


def run(scenario: Scenario) -> int:
    folder = Path(scenario.folder)
    with (folder / f"{scenario.plan}.log").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    (folder / f"{scenario.plan}.pid").write_text(str(os.getpid()))
    os.environ["MONGO_BACKUP_SPOOL"] = str(folder / f"{scenario.plan}.spool")
    if scenario.task:
        task = TASKS[scenario.task]
        register = task.on_running if scenario.moment == "running" else task.on_completion
        register(end if scenario.moment == "ended" else die)
    # The garbage of the run before is swept at once, and of the planted old backups none is worth keeping.
    retention = Retention(days=7, at_least=1, garbage_after_hours=0)
    # The heartbeat of a run costs a second at its end.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        if scenario.flow in _BY_NAME:
            _BY_NAME[scenario.flow](**scenario.parameters)
        else:
            backup(plan=scenario.plan, retention=retention, **scenario.parameters)
    return 0


def die(*_: object) -> None:
    """A hook for Prefect: the end that no handler sees."""
    os.kill(os.getpid(), signal.SIGKILL)


def end(*_: object) -> None:
    """A hook for Prefect: what a worker does to a run that is cancelled."""
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
