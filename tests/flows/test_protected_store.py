"""Stores that do not delete, lock and encrypt: what backups and pruning make of them."""

from __future__ import annotations

import base64
import os
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from prefect_aws import MinIOCredentials
from pymongo import MongoClient

from blocks import BackupStore
from flows.backup import backup
from flows.copy_backup import copy_backup
from flows.core.backup_page import backup_page
from flows.core.errors import StoreDenied, StoreError
from flows.core.keys import backup_time
from flows.core.report import format_time
from flows.prune import prune
from flows.restore import restore
from flows.storage.repository import Repository
from flows.tasks.settings import Retention
from tests.flows.conftest import Repo, back_up
from tests.support.contents import contents
from tests.support.fault_proxy import FaultProxy, Request, status
from tests.support.flow_runs import logged, page, run_flow
from tests.support.providers import encrypt_for_clients
from tests.support.repositories import backup_at, plant

KMS_KEY = "arn:aws:kms:us-east-1:123456789012:key/k-1"
KEEPS = "the store's credentials cannot delete: other ones have to prune, and remove default/backups/.probe-{}"


def _deletes(request: Request) -> bool:
    return request.method == "DELETE" or (request.method == "POST" and request.path.endswith("?delete"))


def test_credentials_that_cannot_delete_still_back_up_and_others_prune(
    invoices: str, repo: Repo, proxy: FaultProxy
) -> None:
    proxy.fail(_deletes, times=None, action=status(403, "AccessDenied"))

    run = run_flow(backup, databases=[invoices], retention=None)

    taken = run.value.backup
    assert run.value.warnings == (KEEPS.format(taken),)
    assert f"* **Warning**: {KEEPS.format(taken)}" in page(run.id)
    assert KEEPS.format(taken) in logged(run.id)
    repo.verify(taken)
    assert f"default/backups/.probe-{taken}" in repo.files
    # Pruning is what they cannot do, and that is an error.
    denied = run_flow(prune, retention=Retention(garbage_after_hours=0), dry_run=False)
    assert isinstance(denied.error, StoreDenied)
    assert denied.error.hint == "Allow s3:DeleteObject for the store's credentials, on this bucket and prefix."

    proxy.reset()  # as another deployment, whose block has other credentials
    report = prune(retention=Retention(garbage_after_hours=0), dry_run=False)

    assert (report.garbage_objects, report.findings) == (1, ())
    repo.verify(taken)
    assert not any(".probe" in name for name in repo.files)


@dataclass(frozen=True)
class Vault:
    """A bucket with Object Lock, and a block for it that is saved as `vault`."""

    block: BackupStore
    client: Any

    def open(self) -> Repository:
        return Repository(self.block.open(), "default")


def store_at(endpoint: str, bucket: str, **fields: Any) -> BackupStore:
    keys = MinIOCredentials(minio_root_user="user", minio_root_password="key-1")
    return BackupStore(credentials=keys, bucket=bucket, endpoint=endpoint, **fields)


@pytest.fixture
def vault(_prefect: None, moto_port: int) -> Vault:
    endpoint, bucket = f"http://127.0.0.1:{moto_port}", f"vault-{uuid.uuid4().hex[:8]}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="user", aws_secret_access_key="key-1", region_name="us-east-1"
    )
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    block = store_at(endpoint, bucket, lock="governance", lock_days=3, encryption="sse-kms", kms_key=KMS_KEY)
    block.save("vault", overwrite=True)
    return Vault(block, client)


def test_a_backup_is_locked_and_encrypted_and_pruning_says_what_it_leaves(invoices: str, vault: Vault) -> None:
    old = backup_at(datetime.now(UTC).replace(microsecond=0) - timedelta(days=30))
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    store = vault.block.open()
    store.put(old.key.replace("mpg/", "default/"), replace(old, plan="default").to_json(), lock_until=until)

    run = run_flow(backup, store="vault", databases=[invoices], retention=Retention(days=1, at_least=1))

    manifest = vault.open().whole(run.value.backup)
    ends = backup_time(manifest.backup) + timedelta(days=3)
    for key in [manifest.key, *map(manifest.segment_key, manifest.segments)]:
        lock = store.lock(key)
        assert lock is not None
        assert (lock.mode, lock.until) == ("governance", ends)
        assert (store.head(key).encryption, store.head(key).encryption_key) == ("sse-kms", KMS_KEY)
    assert [(part.store_encryption, part.store_key) for part in manifest.segments] == [("sse-kms", KMS_KEY)]
    assert f"* **Encrypted by the store**: sse-kms with the key `{KMS_KEY}`" in backup_page(manifest)
    assert run.value.stores[0].pruned == ()
    warning = "backups are locked for 3 days and kept for 1: they stay until their locks end"
    assert run.value.stores[0].findings == (warning,)
    shown = page(run.id)
    assert f"* **Finding**: {warning}" in shown
    assert f"stays whole, because it is locked until {format_time(until)} |" in shown
    assert set(vault.open().backup_ids()) == {old.backup, manifest.backup}

    by_hand = run_flow(prune, store="vault", retention=Retention(days=7, at_least=1), dry_run=False)
    assert by_hand.value.findings == ()
    assert "* **Finding**: none" in page(by_hand.id)

    # Where the block does not say for how long, retention does.
    vault.block.model_copy(update={"lock_days": None}).save("vault", overwrite=True)
    as_kept = backup(store="vault", databases=[invoices], retention=Retention(days=2, at_least=1))
    lock = vault.open().lock(as_kept.backup)
    assert lock is not None
    assert lock.until == backup_time(as_kept.backup) + timedelta(days=2)
    assert as_kept.stores[0].findings == ()


def test_garbage_that_is_locked_is_a_finding_of_every_prune(vault: Vault) -> None:
    store = vault.block.open()
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    key = "default/backups/2026-03-06T04-00-00Z/segment-00000.archive.gz"
    store.put(key, b"left by a crash", lock_until=until)
    for _ in range(2):
        run = run_flow(prune, store="vault", retention=Retention(garbage_after_hours=0), dry_run=False)
        assert run.value.findings == (
            "default/backups/2026-03-06T04-00-00Z: 1 deleted object is still in the store, "
            f"locked until {format_time(until)}",
        )
        assert f"| {key} | locked | {format_time(until)} |" in page(run.id)
        assert run.value.findings[0] in logged(run.id)


def test_a_copy_is_locked_unless_it_is_older_than_its_lock(repo: Repo, vault: Vault) -> None:
    """Locks count from the start of a backup, and no store takes one that is over."""
    now = datetime.now(UTC).replace(microsecond=0)
    old, new = (replace(backup_at(now - timedelta(days=days)), plan="default") for days in (30, 1))
    plant(repo.block.open(), old, new)

    copy_backup(to="vault", backup="missing")

    store = vault.block.open()
    for made, until in ((old, None), (new, backup_time(new.backup) + timedelta(days=3))):
        vault.open().whole(made.backup)
        for key in [made.key, *map(made.segment_key, made.segments)]:
            lock = store.lock(key)
            assert (lock and lock.until) == until


def test_a_bucket_that_cannot_lock_is_refused_before_anything_is_read(invoices: str, vault: Vault) -> None:
    vault.client.create_bucket(Bucket=f"{vault.block.bucket}-plain")
    vault.block.model_copy(update={"bucket": f"{vault.block.bucket}-plain"}).save("vault", overwrite=True)
    run = run_flow(backup, store="vault", databases=[invoices])
    assert isinstance(run.error, StoreError)
    assert run.error.message == "the bucket has no Object Lock, so nothing in it can be locked"
    assert vault.client.list_objects_v2(Bucket=f"{vault.block.bucket}-plain").get("Contents", []) == []


def test_a_backup_with_a_customers_key_is_restored_with_it_and_not_without(
    mongo_client: MongoClient[dict[str, Any]], invoices: str, vault: Vault, moto_port: int, spool: Path
) -> None:
    before = contents(mongo_client, invoices)
    with FaultProxy("127.0.0.1", moto_port) as proxy:
        encrypt_for_clients(proxy)
        key = base64.b64encode(os.urandom(32)).decode()
        store_at(proxy.url, vault.block.bucket).save("vault-without-key", overwrite=True)
        with_key = store_at(proxy.url, vault.block.bucket, encryption="sse-c", customer_key=key)
        with_key.save("vault-with-key", overwrite=True)
        back_up(store="vault-with-key", databases=[invoices])
        mongo_client.drop_database(invoices)
        refused = run_flow(restore, store="vault-without-key", into_source=True, dry_run=False)
        assert isinstance(refused.error, StoreError)
        restore(store="vault-with-key", into_source=True, dry_run=False)
    assert contents(mongo_client, invoices) == before
