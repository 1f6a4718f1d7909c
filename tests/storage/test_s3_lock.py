"""Object Lock on S3, and the stores that only look as if they had it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.core.errors import ConfigurationError, StoreDenied, StoreError, StoreUnavailable
from flows.storage.options import StoreOptions
from flows.storage.profiles import PROFILES
from flows.storage.s3 import S3Store
from flows.storage.store import Leftover, Lock, Obstacle
from tests.storage.conftest import MIB, Server
from tests.storage.contract import StoreContract, file_with
from tests.storage.lock_contract import LATER, SOON, LockContract
from tests.support.fault_proxy import SWALLOW, FaultProxy, answer, status


class TestLocksOverMoto(LockContract):
    @pytest.fixture
    def store(self, locking: Server) -> S3Store:
        return locking.store("backups", lock="governance")


class TestOverMotoWithVersionsAndLocks(StoreContract):
    MANY = 30

    @pytest.fixture
    def store(self, locking: Server) -> S3Store:
        return locking.store("backups", lock="governance")

    @pytest.fixture
    def neighbour(self, locking: Server) -> S3Store:
        return locking.store("backups-old", lock="governance")


@pytest.fixture
def proxy(locking: Server) -> Iterator[FaultProxy]:
    with FaultProxy(locking.host, locking.port) as proxy:
        yield proxy


def test_a_store_that_repeats_headers_is_not_taken_for_one_that_locks(rclone: Server, tmp_path: Path) -> None:
    """It would show the lock, and take its extension for a write of the object."""
    store = rclone.store(lock="governance")
    store.put("plan/a", b"data")
    for attempt in (
        lambda: store.put("plan/b", b"1", lock_until=SOON),
        lambda: store.put_file("plan/b", file_with(tmp_path, b"1"), lock_until=SOON),
        lambda: store.extend_lock(["plan/a"], SOON),
    ):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert str(caught.value) == (
            f"the bucket has no Object Lock, so nothing in it can be locked (store='s3://{rclone.bucket}/backups')\n"
            "HINT: Make a bucket with Object Lock, or set `lock` to `none` in the store's block."
        )
    assert [item.key for item in store.list("")] == ["plan/a"]
    assert store.get("plan/a", limit=100) == b"data"


def test_a_bucket_without_object_lock_is_said(moto: Server) -> None:
    with pytest.raises(StoreError, match="the bucket has no Object Lock"):
        moto.store(lock="compliance").put("plan/a", b"1", lock_until=SOON)


def test_credentials_that_may_not_ask_for_object_lock_are_said(locking: Server, proxy: FaultProxy) -> None:
    proxy.fail("GET ?object-lock", action=status(403, "AccessDenied"))
    with pytest.raises(StoreDenied) as caught:
        locking.store(endpoint=proxy.url, lock="governance").put("plan/a", b"1", lock_until=SOON)
    assert caught.value.hint == (
        "Allow s3:GetBucketObjectLockConfiguration for the store's credentials, on this bucket and prefix."
    )


def test_a_store_that_was_not_set_to_lock_does_not(locking: Server) -> None:
    with pytest.raises(ConfigurationError, match="this store is not set to lock objects"):
        locking.store().put("plan/a", b"1", lock_until=SOON)


@pytest.mark.parametrize("name", ["r2", "spaces"])
def test_a_provider_without_object_lock_is_refused(moto: Server, name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        moto.store(profile=name, lock="governance")
    assert str(caught.value) == (
        f"this provider has no Object Lock (provider='{name}')\n"
        "HINT: Set `lock` to `none`, or use a provider that locks objects: aws, b2 or minio."
    )


@pytest.mark.parametrize("name", ["b2", "minio", "other"])
def test_what_is_to_be_locked_goes_with_its_md5(locking: Server, tmp_path: Path, name: str) -> None:
    store, sent = locking.store(profile=name, lock="governance"), []
    for operation in ("PutObject", "UploadPart"):
        store.folder.client.meta.events.register(
            f"before-send.s3.{operation}", lambda request, **_: sent.append(request.headers.get("Content-MD5"))
        )
    progress: list[int] = []
    store.put("small", b"123", lock_until=SOON)
    store.put_file("file", file_with(tmp_path, bytes(6 * MIB)), lock_until=SOON, progress=progress.append)
    md5 = [base64.b64encode(hashlib.md5(part).digest()) for part in (b"123", bytes(5 * MIB), bytes(MIB))]
    assert sent[0] == md5[0]
    assert set(sent[1:]) == set(md5[1:])
    assert sum(progress) == 6 * MIB


def test_another_client_of_the_same_kind_sends_no_md5(locking: Server) -> None:
    store, sent = locking.store(profile="minio"), []
    store.folder.client.meta.events.register(
        "before-send.s3.PutObject", lambda request, **_: sent.append(request.headers.get("Content-MD5"))
    )
    store.put("small", b"123")
    assert sent == [None]


def test_a_stricter_lock_stays_as_strict(locking: Server) -> None:
    locking.store(lock="compliance").put("plan/a", b"1", lock_until=SOON)
    store = locking.store(lock="governance")
    assert store.lock("plan/a") == Lock("compliance", SOON)
    store.extend_lock(["plan/a"], LATER)
    assert store.lock("plan/a") == Lock("compliance", LATER)


def test_a_legal_hold_has_no_end(locking: Server) -> None:
    store = locking.store(lock="governance")
    store.put("plan/a", b"1")
    locking.client().put_object_legal_hold(Bucket=locking.bucket, Key="backups/plan/a", LegalHold={"Status": "ON"})
    lock = store.lock("plan/a")
    assert lock == Lock("legal hold", None)
    assert lock.holds(datetime.max.replace(tzinfo=UTC))
    assert store.delete(["plan/a"]) == (Leftover("plan/a", Obstacle.LOCKED, None),)


def test_the_longest_lock_of_several_versions_counts(locking: Server) -> None:
    store = locking.store(lock="governance")
    for until in (LATER, SOON):
        store.put("plan/a", b"1", lock_until=until)
    assert store.delete(["plan/a"]) == (Leftover("plan/a", Obstacle.LOCKED, LATER),)


def test_a_lock_that_the_credentials_may_not_see_is_known_by_the_words_of_the_store(
    locking: Server, proxy: FaultProxy
) -> None:
    store = locking.store(endpoint=proxy.url, lock="governance")
    store.put("plan/a", b"1", lock_until=SOON)
    proxy.fail("HEAD", times=None, action=status(403, "AccessDenied"))
    assert store.delete(["plan/a"]) == (Leftover("plan/a", Obstacle.LOCKED, None),)
    # As MinIO says it.
    worm = (
        b"<DeleteResult><Error><Key>backups/plan/a</Key><Code>InvalidRequest</Code>"
        b"<Message>Object is WORM protected and cannot be overwritten</Message></Error></DeleteResult>"
    )
    proxy.fail("POST ?delete", times=None, action=answer(200, worm))
    assert store.delete(["plan/a"]) == (Leftover("plan/a", Obstacle.LOCKED, None),)


def test_a_store_that_fails_while_a_lock_is_looked_at_is_not_taken_for_a_refusal(
    locking: Server, proxy: FaultProxy
) -> None:
    store = locking.store(endpoint=proxy.url, lock="governance")
    store.put("plan/a", b"1", lock_until=SOON)
    proxy.fail("HEAD", times=None, action=status(503))
    with pytest.raises(StoreUnavailable):
        store.delete(["plan/a"])


def test_a_lock_that_the_store_forgot_is_set_again_or_said(locking: Server, proxy: FaultProxy) -> None:
    store = locking.store(endpoint=proxy.url, lock="governance")
    store.put("plan/a", b"1")
    proxy.fail("PUT ?retention", action=SWALLOW)
    with pytest.raises(StoreError) as caught:
        store.extend_lock(["plan/a"], SOON)
    assert str(caught.value) == (
        "the store took the lock of an object and does not show it "
        f"(store='s3://{locking.bucket}/backups', key='plan/a', expected='{SOON.isoformat()}', got=None)\n"
        "HINT: Allow s3:PutObjectRetention and s3:GetObjectRetention for the store's credentials."
    )
    proxy.fail("PUT ?retention", action=status(403, "AccessDenied"))
    with pytest.raises(StoreDenied) as denied:
        store.extend_lock(["plan/a"], SOON)
    assert denied.value.hint == "Allow s3:PutObjectRetention for the store's credentials, on this bucket and prefix."


def test_a_fraction_of_a_second_is_no_difference(locking: Server) -> None:
    store = locking.store(lock="governance")
    until = SOON + timedelta(microseconds=123_456)
    store.put("plan/a", b"1", lock_until=until)
    assert store.extend_lock(["plan/a"], until) == 0


def test_options_are_checked_when_a_store_is_opened(locking: Server) -> None:
    profile = dataclasses.replace(PROFILES["aws"], object_lock=False)
    with pytest.raises(ConfigurationError, match="no Object Lock"):
        S3Store(locking.client(), locking.bucket, "", profile, StoreOptions(lock="governance"))
