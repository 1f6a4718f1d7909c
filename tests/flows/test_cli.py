"""The command line on real parts: what it prints, what scripts get, and its exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from flows.cli.app import main
from flows.cli.names import block_names
from flows.cli.status import Status
from tests.flows.conftest import Repo, back_up

Client = MongoClient[dict[str, Any]]
ROOT = Path(__file__).parents[2]


def said(capsys: pytest.CaptureFixture[str], *typed: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(list(typed))
    told = capsys.readouterr()
    return status, told.out, told.err


def test_a_day_at_the_command_line(
    mongo_client: Client, invoices: str, repo: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = said(capsys, "backup", "--databases", invoices, "--retention", "none")
    assert (status, "# Backup " in out, "dumped segment 0: 500 documents" in err) == (0, True, True)
    (taken,) = repo.repository.backup_ids()

    status, out, err = said(capsys, "inventory", "--json")
    assert (status, [row["backup"] for row in json.loads(out)]) == (0, [taken])
    assert err == ""

    restore = ("restore", "--rename", f"{invoices}={invoices}_copy", "--into-source")
    status, out, err = said(capsys, *restore, "--dry-run")
    assert (status, "nothing has been written" in out) == (0, True)
    assert f"{invoices}_copy" not in mongo_client.list_database_names()

    status, out, err = said(capsys, *restore, "--json")
    assert (status, json.loads(out)["documents"]) == (0, 500)
    assert mongo_client[f"{invoices}_copy"]["invoices"].count_documents({}) == 500

    # There is something now, which is refused; the same with the reason for scripts.
    status, out, err = said(capsys, *restore)
    assert (status, "the target already has namespaces" in err, "HINT" in err) == (Status.REFUSED, True, True)
    status, out, err = said(capsys, *restore, "--json")
    assert (status, json.loads(out)["error"]) == (Status.REFUSED, "target-not-empty")
    mongo_client.drop_database(f"{invoices}_copy")

    status, out, err = said(capsys, "prune", "--quiet")
    assert (status, out, err) == (0, "", "")


def test_what_is_found_and_what_is_missing_have_statuses_of_their_own(
    invoices: str, repo: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = back_up(databases=[invoices])
    path = repo.path(taken)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    status, out, err = said(capsys, "verify")
    assert (status, taken in out, "damaged" in err) == (Status.FINDINGS, True, True)
    status, _, err = said(capsys, "inventory", "--store", "nowhere")
    assert (status, "there is no block 'nowhere'" in err) == (Status.WRONG_USE, True)
    repo.proxy.die()
    status, _, err = said(capsys, "inventory")
    assert (status, "does not answer" in err) == (Status.UNREACHABLE, True)


def test_names_of_blocks_are_completed(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    assert "backups" in block_names("mongodb-backup-store")
    assert "source" in block_names("mongodb-backup-source")
    _, out, _ = said(capsys, "__complete", "restore", "--store", "back")
    assert "backups" in out


def test_a_server_that_does_not_answer_is_told_in_a_sentence(tmp_path: Path) -> None:
    done = run({"PREFECT_API_URL": "http://127.0.0.1:9/api"}, tmp_path, "inventory")
    assert done.returncode == Status.UNREACHABLE
    assert done.stderr.startswith("the Prefect server does not answer")
    assert "--no-server" in done.stderr


def run(environment: dict[str, str], home: Path, *typed: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.run(
        [sys.executable, "-m", "flows", *typed],
        cwd=ROOT,
        env={**kept, "PREFECT_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
