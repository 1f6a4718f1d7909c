"""The preflight flow: its page, what it returns, and that nothing stops it from going through the whole list."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect_aws import AwsCredentials
from pydantic import SecretStr

from blocks import BackupEncryption, BackupIdentities, BackupStore, MongoDBSource
from deployments import embedded
from flows.cli.app import main
from flows.cli.status import Status
from flows.core.encryption import Identity
from flows.core.errors import ConfigurationError, PreflightFailed
from flows.core.evidence import EvidenceKind
from flows.core.preflight import PreflightReport, State
from flows.core.preflight_facts import Unknown
from flows.core.signing import SigningKey
from flows.preflight import preflight
from flows.storage import evidence
from flows.tasks.preflight import documents_place, look_at_store
from flows.tasks.settings import PreflightLimits, Retention
from flows.verify import verify
from tests.flows.conftest import BACKUP_USER, CANARY, Repo, back_up
from tests.support.evidence import record
from tests.support.flow_runs import logged, page, run_flow
from tests.support.forgery import Forger

ALICE = Identity.generate()
KEY = SigningKey.generate()
ANY_OPLOG = PreflightLimits(oplog_hours=0)  # other tests may have written more within a second than the oplog holds
FAIL, WARN, PASS, NOT_CHECKED = State.FAIL, State.WARN, State.PASS, State.NOT_CHECKED


@pytest.fixture(scope="module", autouse=True)
def keys(_prefect: None) -> None:
    BackupEncryption(recipients=[ALICE.public], signing_key=KEY.secret).save("preflown", overwrite=True)
    BackupIdentities(identities=[ALICE.secret], trusted_signers=[KEY.public]).save("pilot", overwrite=True)


@pytest.fixture(scope="module")
def s3(parts: embedded.Parts) -> embedded.S3Server:
    """A server of its own: what other tests left on the shared one would be what the credentials see beyond theirs."""
    return parts.s3()


def states(report: PreflightReport) -> dict[str, State]:
    return {row.check: row.state for row in report.rows}


def shown(run: UUID) -> dict[str, str]:
    """The result of each row, in the order of the table of the page."""
    cells = [line.strip("| ").split(" | ") for line in page(run).splitlines() if line.startswith("| ")]
    return dict(cells[2:])


def test_a_set_up_that_is_in_order_passes_and_its_page_says_so(
    invoices: str, repo: Repo, guarded_blocks: None, admin: Any, s3: embedded.S3Server, spool: Path
) -> None:
    admin[invoices]["invoices"].insert_one({"_id": 1})
    back_up(source="guarded-source", databases=[invoices], encryption="preflown")
    verify(identities="pilot", encryption="preflown")
    now = datetime.now(UTC)
    evidence.append(repo.block.open(), "default", record(EvidenceKind.DRILL, at=now, plan="default"), KEY, now=now)
    before = repo.files

    run = run_flow(
        preflight,
        source="guarded-source",
        databases=[invoices],
        identities="pilot",
        encryption="preflown",
        documents="s3://elsewhere",
        limits=ANY_OPLOG,
    )
    admin.drop_database(invoices)

    found = states(run.value)
    assert {check: state for check, state in found.items() if state is not PASS} == {
        "TLS to MongoDB": WARN,
        "TLS to the store": WARN,
        "Object Lock": WARN,
        "lifecycle rules": NOT_CHECKED,
        "documents kept apart": NOT_CHECKED,
    }
    text = page(run.id)
    assert "* **PASSED: 0 failed, 3 warnings, 2 not checked, 17 passed**" in text
    assert len(shown(run.id)) == len(found) == 22
    opened = f"the newest backup is opened by {ALICE.public}, and signed by a trusted signer"
    assert f"* **restore identity**: {opened}." in text
    # What was tried is gone again, and no secret is anywhere.
    assert repo.files == before
    assert list(spool.iterdir()) == []
    for secret in (CANARY, s3.secret_key, ALICE.secret, KEY.secret):
        assert secret not in text + str(run.value) + "\n".join(logged(run.id))


def test_what_is_wrong_fails_the_run_after_its_page_is_there(
    invoices: str, repo: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in (
        {"plan": "../x"},
        {"source": "nobody"},
        {"store": "nobody"},
        {"identities": "nobody"},
        {"encryption": "nobody"},
        {"documents": "nobody"},
        {"documents": "ftp://elsewhere"},
        {"documents": "s3://"},
        {"documents": "s3://bucket/../secrets"},
        {"retention": Retention(days=0)},
    ):
        assert isinstance(run_flow(preflight, **wrong).error, ConfigurationError), wrong
    assert repo.proxy.requests == []

    # The documents are where the backups are, given as a block.
    keep = Retention(days=14, weekly=5)
    run = run_flow(preflight, databases=[invoices], documents="backups", retention=keep, limits=ANY_OPLOG)

    error = run.error
    assert isinstance(error, PreflightFailed)
    assert error.facts["failed"] == ["rights of the backup user", "documents kept apart", "newest backup"]
    assert error.hint.startswith("The page preflight-default under Artifacts says how to mend each. The first: Turn on")
    found = shown(run.id)
    assert list(found)[:3] == error.facts["failed"]
    assert (found["rights of the backup user"], found["last drill"]) == ("FAIL", "not checked")
    assert "* **not checked: last drill**: there is no backup yet. Run a backup" in page(run.id)
    assert repo.files == []

    capsys.readouterr()
    words = ["preflight", "--databases", invoices, "--retention", "days=14", "--limits", "oplog_hours=0"]
    assert main(words) == Status.FINDINGS
    said = capsys.readouterr()
    assert "# Preflight of plan default" in said.out
    assert "* **FAIL: newest backup**: there is none. Run the backup flow once" in said.out
    assert "2 checks of the preflight failed" in said.err


def test_room_that_is_short_for_a_drill_or_that_nobody_knows(invoices: str, repo: Repo) -> None:
    MongoDBSource(host="127.0.0.1", port=1, timeout_seconds=0.5).save("gone", overwrite=True)
    run = run_flow(preflight, source="gone")
    assert shown(run.id)["spool space"] == "not checked"
    assert " are free; what a backup needs is not known" in page(run.id)

    manifest = repo.repository.whole(back_up(databases=[invoices]))
    (segment,) = manifest.segments
    (entry,) = segment.entries
    grown = replace(entry, totals=replace(entry.totals, bytes=2**60))
    (record,) = manifest.namespaces
    record = replace(record, content=replace(record.content, bytes=2**60))
    Forger(repo.folder, manifest).write(
        replace(manifest, segments=(replace(segment, entries=(grown,)),), namespaces=(record,))
    )
    run = run_flow(preflight, databases=[invoices])
    assert shown(run.id)["spool space"] == "warn"
    assert "; a drill in a throw-away MongoDB needs 1024.0 PiB" in page(run.id)


def test_what_cannot_be_used_fails_its_rows_and_no_others(
    invoices: str,
    repo: Repo,
    guarded: embedded.Mongod,
    s3: embedded.S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = guarded.uri.replace("admin:admin-password@", f"{BACKUP_USER}:not-the-password@")
    broken = MongoDBSource(connection_string=SecretStr(f"{uri}&tls=true"), tls_ca_file="/no/such/file.pem")
    broken.save("broken", overwrite=True)
    (tmp_path / "file").touch()
    monkeypatch.setenv("MONGO_BACKUP_SPOOL", str(tmp_path / "file"))

    run = run_flow(preflight, source="broken")

    assert isinstance(run.error, PreflightFailed)
    text = page(run.id)
    assert "* **FAIL: MongoDB answers**: the settings of the source cannot be used" in text
    assert "* **not checked: TLS to MongoDB**: the settings of the source cannot be used" in text
    assert "* **FAIL: spool space**: the spool folder cannot be used" in text
    assert "* **warn: credentials are in blocks**: the password for MongoDB is part of a connection string" in text
    assert shown(run.id)["store takes backups"] == "pass"
    assert "not-the-password" not in text

    bare = {"bucket": s3.bucket, "prefix": repo.block.prefix, "endpoint": s3.endpoint}
    unknown = BackupStore(credentials=AwsCredentials(profile_name="no-such-profile"), **bare)
    found = look_at_store.fn(unknown, "default", documents_place("s3://elsewhere", unknown), kept=7)
    (line,) = found.lines
    assert (line.name, line.ok) == ("open the block", False)
    assert line.detail.endswith("reason: ProfileNotFound)")
    assert found.documents == found.keys_from == Unknown("the SDK failed", "Check the store's block.")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    found = look_at_store.fn(BackupStore(credentials=AwsCredentials(), **bare), "default", None, kept=7)
    assert (found.keys_from, all(line.ok for line in found.lines)) == ("env", True)
