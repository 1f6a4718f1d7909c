"""Encrypted and signed backups through the flows: who can read them, and what is refused before a write."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from pydantic import ValidationError
from pymongo import MongoClient

from blocks import BackupEncryption, BackupIdentities
from deployments import embedded
from flows.backup import backup
from flows.core.compress import Compression
from flows.core.encryption import Identities, Identity, Protection
from flows.core.errors import BackupError, ConfigurationError, IntegrityError, StoreDenied
from flows.core.restore_plan import RestoreMode
from flows.core.signing import SigningKey
from flows.prune import prune
from flows.restore import restore
from flows.restore_documents import restore_documents
from flows.storage.access import opening_identity
from flows.storage.repository import Repository
from flows.tasks.settings import Retention
from tests.flows.conftest import Repo, back_up, store_of_a_module
from tests.support.contents import Contents, contents
from tests.support.fault_proxy import status
from tests.support.flow_runs import new_second, page, run_flow
from tests.support.repositories import backup_at, plant

Client = MongoClient[dict[str, Any]]

ALICE, BOB, EVE = Identity.generate(), Identity.generate(), Identity.generate()
KEY, STRANGER = SigningKey.generate(), SigningKey.generate()
PASSPHRASE = "correct horse battery staple"


@pytest.fixture(scope="module", autouse=True)
def keys(_prefect: None) -> None:
    """The blocks of these tests; those of encryption and those of identities never share a secret."""
    team = [ALICE.public, BOB.public]
    BackupEncryption(recipients=team, signing_key=KEY.secret).save("team", overwrite=True)
    BackupEncryption(recipients=team).save("team-unsigned", overwrite=True)
    BackupEncryption(recipients=team, signing_key=STRANGER.secret).save("team-stranger", overwrite=True)
    BackupEncryption(recipients=[EVE.public], signing_key=KEY.secret).save("others", overwrite=True)
    BackupEncryption(passphrase=PASSPHRASE).save("passphrase", overwrite=True)
    BackupIdentities(identities=[ALICE.secret]).save("alice", overwrite=True)
    BackupIdentities(identities=[BOB.secret], trusted_signers=[KEY.public]).save("bob", overwrite=True)
    BackupIdentities(passphrases=["an older passphrase", PASSPHRASE]).save("passphrase", overwrite=True)
    BackupIdentities(trusted_signers=[KEY.public]).save("auditor", overwrite=True)


@pytest.mark.parametrize(
    ("identities", "line"),
    [
        ("alice", f"signed by `{KEY.public}`, not checked: no trusted signers were given"),
        ("bob", f"signed by `{KEY.public}`, a trusted signer"),
    ],
    ids=["alice", "bob"],
)
def test_each_recipient_alone_restores_everything(
    mongo_client: Client, zoo_database: tuple[str, Contents], database: str, repo: Repo, identities: str, line: str
) -> None:
    taken = back_up(databases=["zoo"], encryption="team")
    assert all(name.endswith(".age") for name in repo.files if "segment-" in name)

    run = run_flow(restore, rename={"zoo": database}, into_source=True, identities=identities)

    assert run.value.read_back > 0
    expected, restored = zoo_database[1].hashes, contents(mongo_client, database).hashes
    # Definitions of views are stored under names that hold that of the database.
    assert {**restored, "system.views": None} == {**expected, "system.views": None}
    opener = {"alice": ALICE, "bob": BOB}[identities]
    assert f"* **Signature**: {line}" in page(run.id)
    assert f"* **Encryption**: opened by `{opener.public}`" in page(run.id)
    assert repo.repository.manifest(taken).recipients == (ALICE.public, BOB.public)


@pytest.mark.parametrize("encryption", ["team", "passphrase", None])
def test_only_an_encrypted_backup_hides_what_is_in_it(
    mongo_client: Client, invoices: str, repo: Repo, encryption: str | None
) -> None:
    """Neither documents, nor what people write into options and indexes, which the manifest has too."""
    database = mongo_client[invoices]
    database["invoices"].create_index("number", partialFilterExpression={"to": "Anna Meier"})
    database.create_collection("checked", validator={"to": {"$ne": "Ben Okri"}})
    database.create_collection("hers", viewOn="invoices", pipeline=[{"$match": {"to": "Cleo Lang"}}])
    before = contents(mongo_client, invoices)
    taken = back_up(databases=[invoices], compression=Compression.NONE, encryption=encryption)
    stored = b"".join((repo.folder / name).read_bytes() for name in repo.files)
    for text in (b"INV-000042", b"Anna Meier", b"Ben Okri", b"Cleo Lang"):
        assert (text in stored) == (encryption is None)
    mongo_client.drop_database(invoices)
    reader = {"team": "bob", "passphrase": "passphrase", None: None}[encryption]
    restore(into_source=True, identities=reader)
    assert contents(mongo_client, invoices) == before
    assert bool(repo.repository.manifest(taken).recipients) == (encryption is not None)


@pytest.mark.parametrize("compression", Compression)
def test_a_passphrase_restores_what_it_protects(
    mongo_client: Client, invoices: str, database: str, repo: Repo, compression: Compression
) -> None:
    back_up(databases=[invoices], encryption="passphrase", compression=compression)
    before = contents(mongo_client, invoices)
    mongo_client.drop_database(invoices)
    run = run_flow(restore, into_source=True, identities="passphrase")
    assert contents(mongo_client, invoices) == before
    assert "* **Encryption**: opened by a passphrase" in page(run.id)
    assert "* **Signature**: not signed: whoever may write to the bucket can change it" in page(run.id)
    assert PASSPHRASE not in page(run.id)
    assert run.value.documents == 500


def test_keys_are_rotated(mongo_client: Client, invoices: str, database: str, repo: Repo) -> None:
    BackupEncryption(recipients=[ALICE.public]).save("rotated", overwrite=True)
    old = back_up(databases=[invoices], encryption="rotated")
    BackupEncryption(recipients=[BOB.public]).save("rotated", overwrite=True)
    new = back_up(databases=[invoices], encryption="rotated")
    BackupIdentities(identities=[BOB.secret, ALICE.secret]).save("rotated", overwrite=True)
    mongo_client.drop_database(invoices)
    for taken, opener in ((old, ALICE), (new, BOB)):
        run = run_flow(restore, backup=taken, into_source=True, identities="rotated")
        assert run.value.documents == 500
        assert f"opened by `{opener.public}`" in page(run.id)
        mongo_client.drop_database(invoices)


def test_the_block_of_the_backup_host_opens_nothing(invoices: str, repo: Repo) -> None:
    taken = repo.repository.manifest(back_up(databases=[invoices], encryption="team"))
    with get_client(sync_client=True) as client:
        held = client.read_block_document_by_name("team", "mongodb-backup-encryption", include_secrets=True).data
    assert held == {"recipients": f"{ALICE.public}\n{BOB.public}", "signing_key": KEY.secret, "passphrase": ""}
    texts = [ALICE.public, BOB.public, KEY.secret]
    for text in texts:
        with pytest.raises(ValidationError):
            BackupIdentities(identities=[text])
    with pytest.raises(ConfigurationError, match="none of the identities opens this backup"):
        opening_identity(repo.block.open(), taken, Identities((), tuple(texts)))


def test_backups_that_no_trusted_signer_signed_push_out_no_others(invoices: str, repo: Repo) -> None:
    signed, middle, last = (back_up(databases=[invoices], encryption=name) for name in ("team", "team-stranger", None))
    one = Retention(days=0, last=1, at_least=1)
    assert prune(retention=one).plan.remove == (signed, middle)  # a dry run, which trusts everybody
    report = prune(retention=one, identities="auditor", dry_run=False)
    assert repo.repository.backup_ids() == [signed, last]
    assert report.findings == (
        f"no trusted signer signed 2 of the backups, so they do not count as verified; the newest is {last}",
    )


# Refused before the first write


def segments_are_denied(repo: Repo) -> None:
    repo.proxy.fail(
        lambda request: request.method == "GET" and "/segment-" in request.path,
        times=None,
        action=status(403, "AccessDenied"),
    )


def header_is_changed(repo: Repo) -> None:
    path = repo.path(repo.repository.backup_ids()[-1])
    data = bytearray(path.read_bytes())
    at = data.index(b"-> X25519") + 20  # in Base64: another letter, and not a character that has no place there
    data[at] = ord("B" if data[at] == ord("A") else "A")
    path.write_bytes(data)


@pytest.fixture(scope="module")
def protected(keys: None, mongo_client: Client, s3: embedded.S3Server) -> Iterator[Path]:
    """The folder of a store with a plan for each protection, of a database that has changed since."""
    store_of_a_module(s3, "protected")
    mongo_client["protected"]["invoices"].insert_one({"_id": 42})
    for name in ("team", "team-unsigned", "team-stranger", "others", "passphrase", None):
        backup(name or "open", store="protected", databases=["protected"], encryption=name, retention=None)
    mongo_client["protected"]["invoices"].insert_one({"_id": "since"})
    yield s3.folder / s3.bucket / "protected"
    mongo_client.drop_database("protected")


@pytest.mark.parametrize(
    ("plan", "identities", "kind", "message"),
    [
        pytest.param("team", None, ConfigurationError, "no identities were given", id="no key"),
        pytest.param("team", "auditor", ConfigurationError, "no identities were given", id="only a signer"),
        pytest.param("others", "alice", ConfigurationError, "none of the identities opens", id="wrong key"),
        pytest.param("team", "passphrase", ConfigurationError, "none of the identities", id="wrong kind"),
        pytest.param("passphrase", "alice", ConfigurationError, "none of the identities", id="no passphrase"),
        pytest.param("team-unsigned", "bob", IntegrityError, "the manifest is not signed", id="unsigned"),
        pytest.param("open", "auditor", IntegrityError, "the manifest is not signed", id="open, unsigned"),
        pytest.param("team-stranger", "bob", IntegrityError, "somebody who is not trusted", id="stranger"),
    ],
)
def test_what_may_not_be_read_is_refused_before_the_first_write(
    mongo_client: Client, protected: Path, plan: str, identities: str | None, kind: type[BackupError], message: str
) -> None:
    before, stored = contents(mongo_client, "protected"), sorted(protected.rglob("*"))
    replace = {"into_source": True, "mode": RestoreMode.REPLACE, "confirm": "protected"}
    with pytest.raises(kind, match=message) as caught:
        restore(plan, store="protected", identities=identities, **replace)
    assert caught.value.hint
    assert contents(mongo_client, "protected") == before
    assert sorted(protected.rglob("*")) == stored  # nor was anything backed up for a restore that could not follow


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (segments_are_denied, StoreDenied, "the store denies access"),
        (header_is_changed, IntegrityError, "not encrypted to the recipients"),
    ],
)
def test_what_cannot_be_read_is_refused_before_the_first_write(
    mongo_client: Client,
    invoices: str,
    repo: Repo,
    fault: Callable[[Repo], None],
    kind: type[BackupError],
    message: str,
) -> None:
    back_up(databases=[invoices], encryption="team")
    mongo_client[invoices]["invoices"].update_many({}, {"$set": {"changed": "since"}})
    before, stored = contents(mongo_client, invoices), repo.files
    fault(repo)
    with pytest.raises(kind, match=message) as caught:
        restore(identities="alice", into_source=True, mode=RestoreMode.REPLACE, confirm=invoices)
    assert caught.value.hint
    assert contents(mongo_client, invoices) == before
    assert repo.files == stored


@pytest.mark.parametrize(
    ("identities", "message"), [(None, "no identities were given"), ("bob", "the manifest is not signed")]
)
def test_documents_that_cannot_be_read_are_refused_before_the_first_write(
    mongo_client: Client, invoices: str, repo: Repo, identities: str | None, message: str
) -> None:
    back_up(databases=[invoices], encryption="team-unsigned")
    mongo_client[invoices]["invoices"].delete_one({"_id": 42})
    before = contents(mongo_client, invoices)
    with pytest.raises(BackupError, match=message):
        restore_documents(namespace=f"{invoices}.invoices", filter={}, identities=identities)
    assert contents(mongo_client, invoices) == before


def test_documents_come_back_from_an_encrypted_backup(mongo_client: Client, invoices: str, repo: Repo) -> None:
    back_up(databases=[invoices], encryption="team")
    mongo_client[invoices]["invoices"].delete_one({"_id": 42})
    run = run_flow(restore_documents, namespace=f"{invoices}.invoices", filter={"_id": 42}, identities="bob")
    assert run.value.inserted == 1
    assert f"* **Encryption**: opened by `{BOB.public}`" in page(run.id)
    assert mongo_client[invoices]["invoices"].count_documents({"number": "INV-000042"}) == 1


# What a restore overwrites


@pytest.mark.parametrize(
    ("encryption", "identities", "expected"),
    [
        pytest.param("team", "bob", (ALICE.public, BOB.public), id="trusted"),
        pytest.param("team", "alice", (ALICE.public,), id="not trusted"),
        pytest.param(None, "alice", (ALICE.public,), id="open"),
        pytest.param("passphrase", "passphrase", None, id="passphrase"),
        pytest.param(None, "passphrase", None, id="open, passphrase"),
    ],
)
def test_what_is_overwritten_is_kept_encrypted_and_comes_back(
    mongo_client: Client,
    invoices: str,
    repo: Repo,
    encryption: str | None,
    identities: str,
    expected: tuple[str, ...] | None,
) -> None:
    back_up(databases=[invoices], encryption=encryption)
    mongo_client[invoices]["invoices"].update_many({}, {"$set": {"changed": "since"}})
    changed = contents(mongo_client, invoices)
    replace = {"into_source": True, "mode": RestoreMode.REPLACE, "confirm": invoices}

    restore(identities=identities, **replace)

    safety = Repository(repo.block.open(), "default-before-restore")
    (kept,) = safety.backup_ids()
    manifest = safety.manifest(kept)
    assert all(part.name.endswith(".age") for part in manifest.segments)
    assert expected in (None, manifest.recipients)
    assert (manifest.identity is not None) == (expected is None)
    # It is not signed, so trusting by name would refuse it.
    reader = "alice" if identities == "bob" else identities
    restore(plan="default-before-restore", identities=reader, safety_backup=False, **replace)
    assert contents(mongo_client, invoices).hashes == changed.hashes


def test_an_intruder_who_adds_a_recipient_to_a_manifest_reads_nothing_of_production(
    mongo_client: Client, invoices: str, repo: Repo
) -> None:
    """Public keys are enough to make a backup that opens; what a restore keeps must not go to the forger."""
    store = repo.block.open()
    forged = back_up(databases=[invoices], encryption="team-unsigned")
    BackupEncryption(recipients=[ALICE.public, EVE.public]).save("forger", overwrite=True)
    forged = back_up(databases=[invoices], encryption="forger")
    restore(backup=forged, identities="alice", into_source=True, mode=RestoreMode.REPLACE, confirm=invoices)
    safety = Repository(store, "default-before-restore")
    assert safety.manifest("latest").recipients == Protection((ALICE.public,)).recipients
    with pytest.raises(ConfigurationError, match="none of the identities opens"):
        opening_identity(store, safety.manifest("latest"), Identities((EVE,)))


def test_a_forged_backup_pushes_no_signed_one_out_when_a_backup_prunes(invoices: str, repo: Repo) -> None:
    signed = back_up(databases=[invoices], encryption="team")
    with new_second() as made:
        forged = dataclasses.replace(backup_at(datetime.now(UTC).replace(microsecond=0)), plan="default")
        made.append(forged.backup)
    plant(repo.block.open(), forged)
    newest = back_up(databases=[invoices], encryption="team", retention=Retention(days=0, last=1, at_least=2))
    assert repo.repository.backup_ids() == [signed, forged.backup, newest]
