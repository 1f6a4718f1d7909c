"""The inventory: the flow, its artifact, and the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME

from blocks import BackupEncryption, BackupIdentities
from flows.cli.app import main
from flows.cli.status import Status
from flows.inventory import inventory
from flows.prune import prune
from flows.tasks.settings import Retention
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
        "plan", "backup", "age", "state", "read", "again", "documents", "BSON", "stored", "protection", "held",
        "segments", "consistency", "taken", "(UTC)",
    ]  # fmt: skip
    assert made in lines[2]
    assert "not encrypted, not signed" in lines[2]
    (repo.folder / "default" / "backups" / made / "manifest.json").write_text("{")
    assert main(["inventory"]) == 0
    assert "unreadable: the manifest is not JSON" in capsys.readouterr().out


def test_archives_of_mongodump_in_the_root_are_listed_as_foreign(invoices: str, repo: Repo) -> None:
    store = repo.block.open()
    keys = ["My_Plan-1772769600.archive", "default-1772769600.gz", "default-1772856000.archive.gz"]
    for key in keys:
        store.put(key, b"0" * 1536)
    for key in ("default-1772769600.tgz", "default-20260306.gz", "default/default-1772769600.gz", "notes.txt"):
        store.put(key, b"not listed")
    made = back_up(databases=[invoices])

    rows = inventory()

    assert [(row.plan, row.backup, row.state) for row in rows] == [
        ("My_Plan", keys[0], "foreign"),
        ("default", keys[1], "foreign"),
        ("default", keys[2], "foreign"),
        ("default", made, "listed"),
    ]
    assert rows[1].taken == datetime(2026, 3, 6, 4, 0, tzinfo=UTC)
    assert abs(rows[1].age - (datetime.now(UTC) - rows[1].taken)) < timedelta(minutes=5)
    cells = rows[1].cells()
    assert (cells["taken (UTC)"], cells["stored"], cells["documents"]) == ("2026-03-06 04:00:00", "1.5 KiB", "-")
    assert [row.backup for row in inventory(plan="default")] == [keys[1], keys[2], made]
    assert [row.backup for row in inventory(plan="My_Plan")] == [keys[0]]


def test_archives_of_mongodump_are_no_part_of_retention_and_never_removed(invoices: str, repo: Repo) -> None:
    store = repo.block.open()
    keys = ["default-1262304000.gz", "default-1772769600.archive"]
    for key in keys:
        store.put(key, b"an archive")
    store.put("default/backups/2020-01-01T00-00-00Z/segment-00000.archive.gz", b"garbage of a crash")
    made = [back_up(databases=[invoices]) for _ in range(2)]

    report = prune(retention=Retention(days=1, at_least=1, garbage_after_hours=0), dry_run=False)

    assert [decision.backup for decision in report.plan.decisions] == made[::-1]
    assert report.garbage_objects == 1
    assert [name for name in repo.files if "/" not in name] == keys
    # Not even where nothing else is left to keep.
    for backup in made:
        repo.repository.delete(backup, now=datetime.now(UTC))
    assert prune(retention=Retention(days=1, garbage_after_hours=0), dry_run=False).plan.decisions == ()
    assert repo.files == keys


def test_the_command_says_what_is_wrong() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows", "inventory", "--store", "nowhere"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value(), "PREFECT_HOME": str(PREFECT_HOME.value())},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == Status.WRONG_USE
    assert "there is no block 'nowhere' of the type MongoDB Backup Store" in done.stderr


def test_the_command_makes_keys_that_the_blocks_take(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (secret,) = (line for line in lines if not line.startswith("#"))  # so the output is an identity file of age
    recipient, signer, signing_key = (
        next(line.rpartition(" ")[2] for line in lines if f" {kind}" in line)
        for kind in ("age1", "ed25519:", "ed25519-secret:")
    )
    protection = BackupEncryption(recipients=[recipient], signing_key=signing_key).open()
    identities = BackupIdentities(identities=[secret], trusted_signers=[signer]).open()
    assert (identities.keys[0].public,) == protection.recipients
    assert BackupIdentities(identities="\n".join(lines)).open().keys == identities.keys  # all of the file
    assert protection.signing_key is not None
    assert identities.signers == (protection.signing_key.public,)


def test_making_keys_loads_no_prefect_and_asks_no_server() -> None:
    code = "import sys; from flows.cli.app import main; main(['keys']); print('prefect' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "False", done.stderr
