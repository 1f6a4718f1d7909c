"""The verify flow on a real store: what it reads, what it finds, what it leaves, and what others make of that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from blocks import BackupEncryption, BackupIdentities
from flows.cli.app import main
from flows.cli.status import Status
from flows.core.encryption import Identity
from flows.core.errors import BackupDamaged, BackupUnopened, ConfigurationError, StoreUnavailable
from flows.core.evidence import Check, EvidenceKind, Result
from flows.core.results import Outcome
from flows.core.signing import SigningKey
from flows.core.verification import Walk
from flows.inventory import inventory
from flows.prune import prune
from flows.restore import restore
from flows.storage.evidence import read_chain
from flows.tasks.settings import Retention
from flows.verify import verify
from tests.flows.conftest import Repo, back_up
from tests.support.contents import Contents
from tests.support.fault_proxy import Request, cut_answer, flip_answer
from tests.support.flow_runs import eventually, logged, page, run_flow, task_runs

Client = MongoClient[dict[str, Any]]

ALICE, EVE = Identity.generate(), Identity.generate()
KEY = SigningKey.generate()


@pytest.fixture(scope="module", autouse=True)
def keys(_prefect: None) -> None:
    BackupEncryption(recipients=[ALICE.public], signing_key=KEY.secret).save("verified", overwrite=True)
    BackupIdentities(identities=[ALICE.secret], trusted_signers=[KEY.public]).save("verifier", overwrite=True)
    BackupIdentities(identities=[EVE.secret]).save("eve", overwrite=True)


def flip(path: Path, place: int = 100) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def test_one_of_everything_is_sound_to_the_last_document(stored_zoo: Contents, spool: Path) -> None:
    run = run_flow(verify, store="zoo", share="all", documents=Walk.ALL)
    (one,) = run.value.backups
    assert (one.outcome, one.findings, one.not_checked) == (Outcome.SOUND, (), ())
    assert one.walked == one.documents > 100
    assert run.value.listed == 1
    assert "* **Sound: all that was read is as the manifests say**" in page(run.id)
    assert not list(spool.rglob("segment-*"))


def test_encrypted_and_signed_backups_are_opened_and_the_page_says_by_whom(invoices: str, repo: Repo) -> None:
    first = back_up(databases=[invoices], encryption="verified")
    second = back_up(databases=[invoices], encryption="verified")

    run = run_flow(verify, identities="verifier", share="all")

    report = run.value
    assert [one.backup for one in report.backups] == [second, first]
    for one in report.backups:
        assert (one.outcome, one.documents, one.segments_read) == (Outcome.SOUND, 500, 1)
        stored = json.loads((repo.folder / one.result_key).read_bytes())
        assert (stored["outcome"], stored["plan"], stored["backup"]) == ("sound", "default", one.backup)
    text = page(run.id)
    assert f"opened by `{ALICE.public}`" in text
    assert f"signed by `{KEY.public}`, a trusted signer" in text
    assert ALICE.secret not in text
    assert all(row.standing.verified is not None and row.state == "listed" for row in inventory())


def test_the_run_fails_after_everything_was_looked_at_and_others_know(
    mongo_client: Client, invoices: str, repo: Repo
) -> None:
    oldest, damaged, missing, newest = (back_up(databases=[invoices]) for _ in range(4))
    flip(repo.path(damaged))
    repo.path(missing).unlink()

    run = run_flow(verify, share="all")

    error = run.error
    assert isinstance(error, BackupDamaged)
    assert error.message == "2 backups are damaged"
    assert error.facts["backups"] == [missing, damaged]
    assert "an object of this backup is missing" in error.facts["first"]
    assert "Take a new backup now" in error.hint
    text = page(run.id)
    assert "* **FAILED: 2 backups are not as the manifest says**" in text
    assert "* **Read again**: 4 of 4 backups, 3 segments" in text
    assert "the SHA-256 of the object is not the one in the manifest" in text
    assert any(f"backup {newest}: sound" in line for line in logged(run.id))
    state = {row.backup: row.state for row in inventory()}
    assert state[newest] == state[oldest] == "listed"
    assert state[damaged].startswith("not verified: the verification of 20")
    assert state[damaged].endswith(" found it damaged")
    assert state[missing].startswith("not verified: the store has 0 segments of 0 bytes")

    plan = prune(retention=Retention(days=0, last=2, at_least=2)).plan
    reasons = {decision.backup: decision.reason for decision in plan.decisions}
    assert reasons[oldest] == "one of the last 2 verified; one of the newest 2 verified, which are never removed"
    assert damaged not in plan.relied_on

    # A listed backup that is damaged is not silently restored.
    tried = run_flow(restore, backup=damaged, into_source=True, rename={invoices: "nowhere"}, dry_run=True)
    assert "* **Warning**: the verification of 20" in page(tried.id)
    assert "found it damaged: it may not restore" in page(tried.id)


def test_a_wrong_key_fails_the_run_and_no_key_is_said(invoices: str, repo: Repo) -> None:
    taken = back_up(databases=[invoices], encryption="verified")
    run = run_flow(verify)
    assert run.value.backups[0].outcome is Outcome.SEALED
    assert f"* {taken}: encrypted, and no identities were given" in page(run.id)
    error = run_flow(verify, identities="eve").error
    assert isinstance(error, BackupUnopened)
    assert error.message == "1 backup could not be opened with the identities given"
    assert "none of the identities opens this backup" in error.facts["first"]


def test_broken_transfers_go_on_and_what_broke_on_the_way_is_no_damage(invoices: str, repo: Repo) -> None:
    back_up(databases=[invoices])

    def segment(request: Request) -> bool:
        return request.method == "GET" and "/segment-" in request.path

    repo.proxy.fail(segment, times=4, action=cut_answer(1500))
    assert run_flow(verify).value.backups[0].outcome is Outcome.SOUND
    repo.proxy.reset()
    repo.proxy.fail(segment, times=1, action=flip_answer(1500))
    run = run_flow(verify)
    assert run.value.backups[0].outcome is Outcome.SOUND
    assert "was found sound when it was read a second time; first: " in page(run.id)


def test_a_store_that_goes_away_ends_the_run_and_what_was_found_is_kept(invoices: str, repo: Repo) -> None:
    older, damaged = back_up(databases=[invoices]), back_up(databases=[invoices])
    flip(repo.path(damaged))
    repo.proxy.fail(
        lambda request: request.method == "GET" and f"{older}/segment-" in request.path,
        times=None,
        action=cut_answer(0),
    )
    run = run_flow(verify, share="all")
    assert isinstance(run.error, StoreUnavailable)
    assert "* **Stopped before all was read**: the store does not answer" in page(run.id)
    assert "the SHA-256 of the object is not the one in the manifest" in page(run.id)
    repo.proxy.reset()
    assert {row.backup: row.state == "listed" for row in inventory()} == {older: True, damaged: False}
    tries = eventually(lambda: [t for t in task_runs(run.id) if older in t.name and "verify" in t.name], "its task")
    assert tries[0].run_count == 3


def test_the_command_line_reads_one_backup_where_one_is_named_and_fails_on_damage(
    invoices: str, repo: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = back_up(databases=[invoices]), back_up(databases=[invoices])
    assert main(["verify", "--backup", first]) == 0
    said = capsys.readouterr().out
    assert "# Verification of plan default" in said
    assert (f"| {first} |" in said, f"| {second} |" in said) == (True, False)
    flip(repo.path(second))
    assert main(["verify", "--backup", "latest"]) == Status.FINDINGS
    assert "1 backup is damaged" in capsys.readouterr().err


def test_bad_input_is_refused_before_anything_is_read_and_an_empty_plan_is_no_error(repo: Repo) -> None:
    for wrong in ({"share": "a little"}, {"plan": "../x"}, {"segments_in_flight": 0}, {"identities": "nobody"}):
        assert isinstance(run_flow(verify, **wrong).error, ConfigurationError)
    assert repo.proxy.requests == []
    run = run_flow(verify)
    assert run.value.backups == ()
    assert "* **Nothing was read: the plan has no backups**" in page(run.id)


def test_a_verification_leaves_evidence_signed_where_a_key_is_given(invoices: str, repo: Repo) -> None:
    taken = back_up(databases=[invoices], encryption="verified")
    run = run_flow(verify, identities="verifier", encryption="verified", time_zone="Europe/Berlin")
    flip(repo.path(taken))
    failed = run_flow(verify, identities="verifier")

    first, second = (item.record for item in read_chain(repo.block.open(), "default"))
    assert first is not None
    assert second is not None
    assert (first.sequence, second.sequence) == (1, 2)
    record = first.record
    manifest = repo.repository.manifest(taken)
    assert (record.kind, record.result, record.time_zone) == (EvidenceKind.VERIFICATION, Result.PASSED, "Europe/Berlin")
    assert [(item.key, item.sha256) for item in record.objects] == [
        (manifest.segment_key(segment), segment.sha256) for segment in manifest.segments
    ]
    assert (record.figures.listed_backups, record.figures.listed_bytes) == (1, manifest.stored_bytes)
    assert {Check.SIGNATURE, Check.DECRYPTION, Check.CONTENT} <= set(record.compared)
    assert first.signature is not None
    assert first.signature.signer == KEY.public
    assert f"* **Evidence**: `{run.value.evidence_key}`" in page(run.id)
    assert (second.record.result, second.signature) == (Result.FAILED, None)
    assert {finding.backup for finding in second.record.findings} == {taken}
    assert isinstance(failed.error, BackupDamaged)
