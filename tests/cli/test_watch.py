"""The plain watch on a folder: its statuses and its help, without any Prefect."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from flows.cli.app import main
from flows.cli.status import Status
from flows.cli.watch import watch
from flows.core.manifest import Manifest
from flows.storage.memory import MemoryStore
from tests.support.repositories import ONE, plant
from tests.support.samples import STARTED, collection, entry, manifest, segment

ROOT = Path(__file__).parents[2]
ONLY_SUSPICIONS = ("--plan", "mpg", "--backup-hours", "0", "--verification-hours", "0", "--drill-days", "0")


def made(hours: int, *names: str) -> Manifest:
    infos = [collection(name) for name in names]
    parts = [segment(0, *(entry(info, ONE) for info in infos))]
    return manifest(infos, parts, started=STARTED + timedelta(hours=hours))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two backups, of which the newer one lacks a collection."""
    store = MemoryStore()
    plant(store, made(0, "mpg.invoices", "mpg.customers"), made(1, "mpg.invoices"))
    for item in store.list(""):
        path = tmp_path / "copy" / item.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.get(item.key, limit=10**6))
    return tmp_path / "copy"


def test_suspicions_have_a_status_of_their_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "--folder", str(folder), *ONLY_SUSPICIONS]) == Status.SUSPICIONS
    said = capsys.readouterr().out
    assert "mpg/backups NOT OK: backup" in said
    assert "\nSUSPICION  a namespace is gone since backup 2026-03-06T04-00-00Z: mpg.customers\n" in said
    assert main(["watch", "--folder", str(folder), *ONLY_SUSPICIONS, "--ignore", "mpg.c*", "logs.*"]) == Status.DONE
    assert main(["watch", "--folder", str(folder / "none"), *ONLY_SUSPICIONS, "--json"]) == Status.UNREACHABLE
    told = capsys.readouterr().out
    assert json.loads(told[told.index("{") :])["verdict"] == "unreadable"


def test_no_prefect_is_loaded(folder: Path) -> None:
    typed = ["watch", "--folder", str(folder), *ONLY_SUSPICIONS, "--quiet"]
    code = f"import sys; from flows.cli.app import main; print(main({typed!r}), 'prefect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["6", "False"], done.stderr
    assert done.stderr.startswith("mpg/backups NOT OK")  # quiet is nothing but errors


def test_the_help_has_all_parameters_variables_and_statuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["watch", "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for name in set(inspect.signature(watch).parameters) - {"manner"}:
        assert f"--{name.replace('_', '-')} " in text
    for word in ("MONGO_BACKUP_S3_BUCKET", "_SECRET_KEY", "MONGO_BACKUP_PING_URL", "_FILE", "6: it looked"):
        assert word in text
