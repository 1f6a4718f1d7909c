"""The inventory: the flow, its artifact, and the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME

from flows.__main__ import main
from flows.inventory import inventory
from tests.flows.conftest import Repo, back_up


def test_backups_of_all_plans_are_listed_oldest_first(invoices: str, repo: Repo) -> None:
    first = back_up(databases=[invoices])
    second = back_up(databases=[invoices])
    other = back_up(plan="other", databases=[invoices])
    assert [(row.plan, row.backup) for row in inventory()] == [
        ("default", first),
        ("default", second),
        ("other", other),
    ]
    assert [row.backup for row in inventory(plan="other")] == [other]


def test_the_table_is_an_artifact_and_has_what_a_person_asks(invoices: str, repo: Repo) -> None:
    back_up(databases=[invoices])
    inventory()
    with get_client(sync_client=True) as client:
        found = client.read_latest_artifacts()
    table = next(artifact for artifact in found if artifact.key == "inventory-backups")
    for text in ("documents", "500", "snapshot", "listed"):
        assert text in str(table.data)


def test_the_command_line_prints_the_same(invoices: str, repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    made = back_up(databases=[invoices])
    assert main(["inventory", "--plan", "default"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "plan", "backup", "age", "documents", "BSON", "stored", "segments", "consistency", "state",
    ]  # fmt: skip
    assert made in lines[2]
    (repo.folder / "default" / "backups" / made / "manifest.json").write_text("{")
    assert main(["inventory"]) == 0
    assert "unreadable: the manifest is not JSON" in capsys.readouterr().out


def test_the_command_says_what_is_wrong_and_exits_with_1() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows", "inventory", "--store", "nowhere"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value(), "PREFECT_HOME": str(PREFECT_HOME.value())},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 1
    assert "there is no block 'nowhere' of the type MongoDB Backup Store" in done.stderr
