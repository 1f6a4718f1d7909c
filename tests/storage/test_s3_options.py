"""Encryption by the store and storage classes: what is asked for is sent, looked at afterwards, and needed to read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.core.errors import ConfigurationError, StoredWrongly, StoreError
from flows.storage.options import StoreOptions, encryption_key_of
from flows.storage.profiles import PROFILES
from flows.storage.s3 import S3Store
from flows.storage.transfer import confirm_stored
from tests.storage.conftest import MIB, Server
from tests.storage.contract import StoreContract, file_with, sha
from tests.support.fault_proxy import FaultProxy
from tests.support.providers import encrypt_for_clients

KEY = os.urandom(32)


@pytest.fixture
def proxy(moto: Server) -> Iterator[FaultProxy]:
    with FaultProxy(moto.host, moto.port) as proxy:
        encrypt_for_clients(proxy)
        yield proxy


class TestWithACustomerKey(StoreContract):
    MANY = 10

    @pytest.fixture
    def store(self, moto: Server, proxy: FaultProxy) -> S3Store:
        return moto.store("backups", endpoint=proxy.url, encryption="sse-c", customer_key=KEY)

    @pytest.fixture
    def neighbour(self, moto: Server, proxy: FaultProxy) -> S3Store:
        return moto.store("backups-old", endpoint=proxy.url, encryption="sse-c", customer_key=KEY)


@pytest.mark.parametrize("size", [3, 6 * MIB], ids=["single", "parts"])
@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({}, ""),
        ({"encryption": "sse-s3"}, "sse-s3"),
        ({"encryption": "sse-kms"}, "sse-kms"),
        ({"encryption": "sse-kms", "kms_key": "arn:aws:kms:eu-central-1:1:key/k-1"}, "sse-kms"),
        ({"encryption": "sse-kms", "kms_key": "alias/backups"}, "sse-kms"),
        ({"encryption": "sse-c", "customer_key": KEY}, "sse-c"),
    ],
)
def test_the_store_says_how_it_encrypted(
    moto: Server, proxy: FaultProxy, tmp_path: Path, options: dict, seen: str, size: int
) -> None:
    store, data = moto.store(endpoint=proxy.url, **options), os.urandom(size)
    stored = store.put_file("plan/segment", file_with(tmp_path, data))
    assert stored.encryption == store.head("plan/segment").encryption == seen
    if "k-1" in options.get("kms_key", ""):
        assert stored.encryption_key == options["kms_key"]
    assert store.encryption_gap("plan/segment") == ""
    assert store.confirm("plan/segment", path=None, sha256=sha(data), size=size)
    store.put("plan/manifest.json", b"{}", if_absent=True)
    assert store.head("plan/manifest.json").encryption == seen


def test_without_the_customers_key_nothing_is_read(moto: Server, proxy: FaultProxy) -> None:
    moto.store(endpoint=proxy.url, encryption="sse-c", customer_key=KEY).put("plan/a", b"secret")
    for store in (
        moto.store(endpoint=proxy.url),
        moto.store(endpoint=proxy.url, encryption="sse-c", customer_key=os.urandom(32)),
    ):
        with pytest.raises(StoreError):
            store.get("plan/a", limit=100)
        with pytest.raises(StoreError):
            store.head("plan/a")


def test_a_store_that_does_not_encrypt_as_asked_is_caught(moto: Server, tmp_path: Path) -> None:
    store = moto.store(encryption="sse-c", customer_key=KEY)  # without a proxy: moto takes the key and forgets it
    for write in (
        lambda: store.put("plan/a", b"1"),
        lambda: store.put_file("plan/a", file_with(tmp_path, b"1")),
    ):
        with pytest.raises(StoredWrongly) as caught:
            write()
        assert str(caught.value) == (
            "the store did not encrypt the object as it was asked to "
            f"(store='s3://{moto.bucket}/backups', key='plan/a', expected='sse-c', got='none')\n"
            "HINT: Run the probe flow: it says how this store can encrypt. Then correct the store's block."
        )


def test_the_key_is_told_as_the_store_tells_it() -> None:
    kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:aws:kms:r:1:key/k-1"}
    customers = {"SSECustomerAlgorithm": "AES256", "SSECustomerKeyMD5": "nqFVyITXUnobhptYC1q68A=="}
    assert encryption_key_of(kms) == "arn:aws:kms:r:1:key/k-1"
    assert encryption_key_of(customers) == "nqFVyITXUnobhptYC1q68A=="
    assert encryption_key_of({"ServerSideEncryption": "AES256"}) == ""


def test_an_object_that_is_not_encrypted_as_asked_is_no_proof(moto: Server, tmp_path: Path) -> None:
    """Such as one that was there before, or that somebody wrote anew."""
    path, data = file_with(tmp_path, b"123"), b"123"
    moto.store(encryption="sse-s3").put_file("plan/a", path)
    store = moto.store(encryption="sse-kms")
    assert store.encryption_gap("plan/a") == "expected sse-kms, got sse-s3"
    assert moto.store().encryption_gap("plan/a") == ""
    with pytest.raises(StoredWrongly, match="did not encrypt the object as it was asked to"):
        store.confirm("plan/a", path=path, sha256=sha(data), size=3)
    # So it is sent once more.
    confirm_stored(store, "plan/a", path, sha256=sha(data), size=3, progress=lambda _: None)
    assert store.head("plan/a").encryption == "sse-kms"


@pytest.mark.parametrize(
    ("answer", "difference"),
    [
        ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:aws:kms:r:1:key/k-1"}, None),
        ({"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": "arn:aws:kms:r:1:key/k-1"}, None),
        (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:aws:kms:r:1:key/k-2"},
            ("sse-kms with k-1", "sse-kms with arn:aws:kms:r:1:key/k-2"),
        ),
        ({"ServerSideEncryption": "AES256"}, ("sse-kms", "sse-s3")),
        ({}, ("sse-kms", "none")),
    ],
)
def test_the_key_of_kms_has_to_be_the_one_that_was_asked_for(answer: dict, difference: tuple | None) -> None:
    assert StoreOptions(encryption="sse-kms", kms_key="k-1").difference(answer) == difference


def test_segments_have_the_storage_class_and_manifests_do_not(moto: Server, tmp_path: Path) -> None:
    store = moto.store(storage_class="GLACIER_IR")
    for size in (3, 6 * MIB):
        store.put_file("plan/segment", file_with(tmp_path, bytes(size)))
        assert store.folder.head("plan/segment")["StorageClass"] == "GLACIER_IR"
    store.put("plan/manifest.json", b"{}")
    assert "StorageClass" not in store.folder.head("plan/manifest.json")


@pytest.mark.parametrize("name", ["GLACIER", "DEEP_ARCHIVE"])
@pytest.mark.parametrize("provider", PROFILES)
def test_a_class_whose_objects_cannot_be_read_at_once_is_refused(moto: Server, provider: str, name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        moto.store(profile=provider, storage_class=name)
    assert str(caught.value) == (
        f"objects of this storage class cannot be read at once (got='{name}')\n"
        "HINT: A backup is read back, verified and restored. Use GLACIER_IR, or move old backups by a lifecycle rule "
        "and order them back before a restore."
    )


@pytest.mark.parametrize(
    ("provider", "name", "known"),
    [
        ("aws", "STANDARD_IA", True),
        ("aws", "REDUCED_REDUNDANCY", False),
        ("r2", "STANDARD_IA", True),
        ("b2", "STANDARD_IA", False),
        ("spaces", "STANDARD_IA", False),
        ("minio", "REDUCED_REDUNDANCY", True),
        ("other", "WHATEVER", True),
    ],
)
def test_a_storage_class_is_one_of_the_providers(provider: str, name: str, known: bool) -> None:
    options = StoreOptions(storage_class=name)
    if known:
        options.check(PROFILES[provider])
        return
    with pytest.raises(ConfigurationError) as caught:
        options.check(PROFILES[provider])
    assert caught.value.message == "this provider has no such storage class"
    assert caught.value.hint.startswith("Use one of STANDARD")


@pytest.mark.parametrize(
    ("provider", "options", "message"),
    [
        ("r2", {"encryption": "sse-s3"}, "this provider does not encrypt in this way"),
        ("spaces", {"encryption": "sse-kms"}, "this provider does not encrypt in this way"),
        ("b2", {"encryption": "sse-kms"}, "this provider does not encrypt in this way"),
        ("aws", {"encryption": "rot13"}, "this provider does not encrypt in this way"),
        ("aws", {"kms_key": "k"}, "a KMS key without KMS encryption does nothing"),
        ("aws", {"encryption": "sse-c"}, "the encryption `sse-c` and a customer key go together"),
        ("aws", {"customer_key": KEY}, "the encryption `sse-c` and a customer key go together"),
        ("aws", {"encryption": "sse-c", "customer_key": KEY[1:]}, "the customer key has a wrong length"),
    ],
)
def test_an_encryption_that_cannot_be_is_refused(provider: str, options: dict, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        StoreOptions(**options).check(PROFILES[provider])
    assert caught.value.message == message
    assert caught.value.hint


def test_a_customers_key_is_not_shown() -> None:
    options = StoreOptions(encryption="sse-c", customer_key=b"canary-7f3e" * 3)
    assert "canary" not in repr(options)


def test_a_customers_key_is_not_in_the_folder_of_a_store(moto: Server) -> None:
    store = moto.store(encryption="sse-c", customer_key=b"canary-7f3e-" * 2 + b"12345678")
    assert "canary" not in repr(store.folder)
