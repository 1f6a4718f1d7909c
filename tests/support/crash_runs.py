"""Runs of `crash_runner`, from the side of a test."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]


@dataclass
class CrashRuns:
    """A folder in which processes run, die, and leave their logs."""

    folder: Path
    environment: dict[str, str]  # whole: it names the Prefect server

    def run_all(self, scenarios: Iterable[dict[str, Any]]) -> dict[str, int]:
        """Run each in a process of its own; gives the exit status by plan.

        Args:
            scenarios: The fields of `crash_runner.Scenario`, but for the folder.
        """
        file = self.folder / "scenarios.json"
        file.write_text(json.dumps([{"folder": str(self.folder), **scenario} for scenario in scenarios]))
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.crash_runner", str(file)],
            cwd=_ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        return {plan: int(status) for plan, _, status in (line.partition(" ") for line in done.stdout.splitlines())}

    def log(self, plan: str) -> str:
        """What the runs of a plan have written."""
        return (self.folder / f"{plan}.log").read_text()
