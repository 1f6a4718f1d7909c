"""The flows about evidence: the proof of its chain, and the document of a period, on a real store."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from blocks import BackupEncryption, BackupIdentities
from flows.cli.app import main
from flows.cli.status import Status
from flows.core.encryption import Identity
from flows.core.errors import ConfigurationError, IntegrityError
from flows.core.signing import SigningKey
from flows.evidence import evidence_report, evidence_verify
from flows.verify import verify
from tests.flows.conftest import Repo, back_up
from tests.support.flow_runs import page, run_flow

ALICE, KEY, STRANGER = Identity.generate(), SigningKey.generate(), SigningKey.generate()


@pytest.fixture(scope="module", autouse=True)
def keys(_prefect: None) -> None:
    BackupEncryption(recipients=[ALICE.public], signing_key=KEY.secret).save("witness", overwrite=True)
    BackupIdentities(identities=[ALICE.secret], trusted_signers=[KEY.public]).save("auditor", overwrite=True)
    BackupIdentities(trusted_signers=[STRANGER.public]).save("another-auditor", overwrite=True)


def test_evidence_is_proved_reported_and_found_out_when_it_was_changed(
    invoices: str, repo: Repo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    back_up(databases=[invoices], encryption="witness")
    for _ in range(2):
        verify(identities="auditor", encryption="witness", time_zone="Europe/Berlin")

    proof = run_flow(evidence_verify, identities="auditor")
    assert (proof.value.whole, proof.value.records) == (True, 2)
    assert "2 records" in page(proof.id)
    assert isinstance(run_flow(evidence_verify, identities="another-auditor").error, IntegrityError)

    report = run_flow(evidence_report, identities="auditor", time_zone="Europe/Berlin")
    assert hashlib.sha256((repo.folder / report.value.key).read_bytes()).hexdigest() == report.value.sha256
    assert f"SHA-256 `{report.value.sha256}`" in page(report.id)

    assert main(["evidence", "verify", "--folder", str(repo.folder), "--trust", KEY.public]) == 0
    newest = sorted((repo.folder / "default" / "evidence").glob("*.json"))[-1]
    newest.write_bytes(newest.read_bytes().replace(b'"passed"', b'"failed"'))
    failed = run_flow(evidence_verify, identities="auditor")
    assert isinstance(failed.error, IntegrityError)
    assert newest.name in page(failed.id)
    capsys.readouterr()
    assert main(["evidence", "verify", "--folder", str(repo.folder), "--trust", KEY.public]) == Status.FINDINGS
    assert newest.name in capsys.readouterr().out


def test_what_cannot_be_is_refused(repo: Repo) -> None:
    with pytest.raises(ConfigurationError):
        evidence_verify(expect_head="abc")
    with pytest.raises(ConfigurationError, match="not a time zone"):
        evidence_report(time_zone="Mars/Olympus")
    assert repo.files == []
