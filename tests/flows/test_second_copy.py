"""A plan with several stores, and backups that are brought from one store to another."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pymongo import MongoClient

from blocks import BackupEncryption, BackupIdentities, BackupStore
from deployments import embedded
from flows.backup import backup
from flows.copy_backup import copy_backup
from flows.core.copied import CopiedBackup
from flows.core.encryption import Identity
from flows.core.errors import BackupError, ConfigurationError, RepositoryError, SomeStoresFailed, StoreDenied
from flows.core.signing import SigningKey
from flows.restore import restore
from flows.tasks.settings import OtherStore, Retention
from tests.flows.conftest import Repo, back_up
from tests.support.contents import contents
from tests.support.fault_proxy import FaultProxy, status
from tests.support.flow_runs import logged, page, run_flow

Client = MongoClient[dict[str, Any]]

LAST = {"days": 0, "last": 1, "at_least": 1}
DENIED = status(403, "AccessDenied")


@pytest.fixture
def offsite(repo: Repo, s3: embedded.S3Server) -> Repo:
    """A second store, saved as the block `offsite`; nothing stands before it."""
    block = BackupStore(**{**dict(repo.block), "prefix": f"{repo.block.prefix}-offsite", "endpoint": s3.endpoint})
    block.save("offsite", overwrite=True)
    return dataclasses.replace(repo, block=block, folder=s3.folder / s3.bucket / block.prefix)


def test_each_store_gets_the_backup_and_keeps_it_as_long_as_it_is_told(
    invoices: str, repo: Repo, offsite: Repo
) -> None:
    taken = [
        back_up(
            databases=[invoices],
            retention=Retention(),
            stores=[OtherStore(store="offsite", retention=Retention(**LAST))],
        )
    ]
    run = run_flow(backup, databases=[invoices], stores=[{"store": "offsite", "retention": LAST}])
    taken.append(run.value.backup)

    assert repo.repository.backup_ids() == taken
    assert offsite.repository.backup_ids() == taken[1:]
    assert [(item.store, item.pruned) for item in run.value.stores] == [("backups", ()), ("offsite", (taken[0],))]
    repo.verify(taken[1])
    offsite.verify(taken[1])
    assert "pruned: 1 backups stay, 1 go; garbage of 0 objects, 0 B" in logged(run.id)


def test_a_script_may_name_a_store_alone(invoices: str, repo: Repo, offsite: Repo) -> None:
    taken = back_up(databases=[invoices], stores=["offsite"])
    assert repo.repository.backup_ids() == offsite.repository.backup_ids() == [taken]


@pytest.mark.parametrize(
    ("request_", "order"),
    [
        ("PUT /.probe-", ("backups", "offsite")),
        ("PUT /segment-", ("backups", "offsite")),
        ("PUT /segment-", ("offsite", "backups")),
        ("PUT /manifest.json", ("backups", "offsite")),
    ],
)
def test_a_store_that_fails_does_not_undo_the_other_and_a_copy_makes_up_for_it(
    mongo_client: Client,
    invoices: str,
    repo: Repo,
    offsite: Repo,
    proxy: FaultProxy,
    request_: str,
    order: tuple[str, str],
) -> None:
    proxy.fail(request_, times=None, action=DENIED)  # only `backups` is behind the proxy

    other = OtherStore(store=order[1], retention=None)
    run = run_flow(backup, databases=[invoices], store=order[0], retention=None, stores=[other])

    (taken,) = offsite.repository.backup_ids()
    offsite.verify(taken)
    assert repo.repository.backup_ids() == []
    assert isinstance(run.error, SomeStoresFailed)
    assert run.error.message == "the backup is in 1 of the 2 stores of this plan"
    assert (run.error.facts["backup"], run.error.facts["stored_in"]) == (taken, ["offsite"])
    assert run.error.facts["not_stored_in"].keys() == {"backups"}
    assert run.error.hint.endswith(f"plan=default, store=offsite, to=backups, backup={taken}.")
    assert "* **Stored in**: `offsite`\n* **NOT stored in** `backups`: " in page(run.id)

    proxy.reset()
    assert copy_backup(store="offsite", to="backups", backup=taken) == [
        CopiedBackup(taken, 1, 0 if "manifest" in request_ else 1, offsite.path(taken).stat().st_size)
    ]
    repo.verify(taken)
    before = contents(mongo_client, invoices)
    mongo_client.drop_database(invoices)
    restore(into_source=True, backup=taken)
    assert contents(mongo_client, invoices) == before


def test_where_every_store_fails_the_run_says_why_of_each(
    invoices: str, repo: Repo, offsite: Repo, proxy: FaultProxy
) -> None:
    BackupStore(**{**dict(offsite.block), "bucket": "no-such-bucket"}).save("offsite", overwrite=True)
    proxy.fail("PUT /segment-", times=None, action=DENIED)
    run = run_flow(backup, databases=[invoices], stores=["offsite"])
    assert isinstance(run.error, StoreDenied)
    assert run.error.facts["other_stores"] == {"offsite": "bucket does not exist"}
    assert repo.repository.backup_ids() == []


def test_a_store_that_comes_back_in_time_gets_the_backup(
    invoices: str, repo: Repo, offsite: Repo, proxy: FaultProxy
) -> None:
    proxy.fail("PUT /segment-", times=2, action=status(503))  # the SDK asks twice
    run = run_flow(backup, databases=[invoices], stores=["offsite"], retention=None)
    assert repo.repository.backup_ids() == offsite.repository.backup_ids() == [run.value.backup]
    assert any("Retry 1/1" in line for line in logged(run.id))


def test_a_store_that_cannot_be_pruned_is_told_and_the_other_is_pruned(
    invoices: str, repo: Repo, offsite: Repo, proxy: FaultProxy
) -> None:
    first = back_up(databases=[invoices], stores=["offsite"])
    proxy.fail("DELETE", times=None, action=DENIED)
    proxy.fail("POST", times=None, action=DENIED)  # which deletes several
    run = run_flow(
        backup, databases=[invoices], retention=Retention(**LAST), stores=[{"store": "offsite", "retention": LAST}]
    )
    (second,) = offsite.repository.backup_ids()
    assert repo.repository.backup_ids() == [first, second]
    assert isinstance(run.error, SomeStoresFailed)
    assert run.error.message == "the backup is in all stores of this plan, and one of them could not be pruned"
    assert run.error.facts["not_pruned"].keys() == {"backups"}


@pytest.mark.parametrize(
    ("stores", "message"),
    [
        (["backups"], "a store is named twice"),
        (["offsite", "offsite"], "a store is named twice"),
        (["same"], "two stores of this plan are the same place, so they would be one copy"),
        (["unknown"], "there is no block 'unknown' of the type MongoDB Backup Store"),
        ([{"store": "offsite", "retention": {"days": 0}}], "a retention without any rule is refused"),
    ],
)
def test_stores_that_cannot_be_two_copies_are_refused(
    invoices: str, repo: Repo, offsite: Repo, stores: list[Any], message: str
) -> None:
    BackupStore(**dict(repo.block)).save("same", overwrite=True)
    run = run_flow(backup, databases=[invoices], stores=stores)
    assert isinstance(run.error, ConfigurationError)
    assert run.error.message.startswith(message)
    assert repo.files == offsite.files == []


def test_an_encrypted_and_signed_backup_is_copied_without_any_key(
    mongo_client: Client, invoices: str, repo: Repo, offsite: Repo
) -> None:
    reader, signer = Identity.generate(), SigningKey.generate()
    BackupEncryption(recipients=[reader.public], signing_key=signer.secret).save("sealed", overwrite=True)
    BackupIdentities(identities=[reader.secret], trusted_signers=[signer.public]).save("reader", overwrite=True)
    taken = back_up(databases=[invoices], encryption="sealed")

    run = run_flow(copy_backup, to="offsite")

    assert [item.backup for item in run.value] == [taken]
    assert "* **Unchanged**: nothing was decrypted; the manifest is the same to the byte" in page(run.id)
    assert {name: (repo.folder / name).read_bytes() for name in repo.files} == {
        name: (offsite.folder / name).read_bytes() for name in offsite.files
    }
    before = contents(mongo_client, invoices)
    mongo_client.drop_database(invoices)
    restore(into_source=True, store="offsite", identities="reader")
    assert contents(mongo_client, invoices) == before


def test_all_that_is_missing_is_copied_and_what_cannot_be_is_told(invoices: str, repo: Repo, offsite: Repo) -> None:
    taken = [back_up(databases=[invoices]) for _ in range(3)]
    repo.path(taken[1]).write_bytes(b"damaged".ljust(repo.path(taken[1]).stat().st_size))
    copy_backup(to="offsite", backup=taken[0])

    run = run_flow(copy_backup, to="offsite", backup="missing")

    assert isinstance(run.error, RepositoryError)
    assert run.error.message == "1 of 2 backups could not be copied"
    assert run.error.facts["problems"].keys() == {taken[1]}
    assert offsite.repository.backup_ids() == [taken[0], taken[2]]
    offsite.verify(taken[2])
    assert "1 are whole in `offsite`, 1 could not be copied" in page(run.id)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"to": "backups"}, ConfigurationError, "two stores of this plan are the same place"),
        ({"to": "offsite"}, RepositoryError, "there is no backup of this plan"),
        ({"to": "offsite", "backup": "2026-03-06T04-00-00Z"}, RepositoryError, "no such backup in this plan"),
        ({"to": "offsite", "segments_in_flight": 0}, ConfigurationError, "the number of segments in flight"),
    ],
)
def test_a_copy_that_cannot_be_made_is_refused(
    repo: Repo, offsite: Repo, parameters: dict[str, Any], error: type[BackupError], message: str
) -> None:
    run = run_flow(copy_backup, **parameters)
    assert isinstance(run.error, error)
    assert run.error.message.startswith(message)
    assert repo.files == offsite.files == []
