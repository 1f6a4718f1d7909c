"""The contract on two S3 servers, and what only S3 has."""

from __future__ import annotations

import base64
import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from flows.core.checks import CheckLine
from flows.core.errors import (
    ConfigurationError,
    IntegrityError,
    StoreDenied,
    StoredWrongly,
    StoreError,
    StoreUnavailable,
)
from flows.core.retention import RetentionPolicy
from flows.storage.probe import check_store
from flows.storage.profiles import PROFILES, profile
from flows.storage.pruning import prune_repository
from flows.storage.repository import Repository
from flows.storage.s3 import S3Store, client_config
from flows.storage.s3_transfer import part_size
from flows.storage.store import PendingUpload
from tests.storage.conftest import ACCESS_KEY, MIB, Server
from tests.storage.contract import StoreContract, file_with, sha


class TestOverRclone(StoreContract):
    @pytest.fixture
    def store(self, rclone: Server) -> S3Store:
        return rclone.store("backups")

    @pytest.fixture
    def neighbour(self, rclone: Server) -> S3Store:
        return rclone.store("backups-old")


class TestOverMoto(StoreContract):
    MANY = 30  # it needs 10 ms for each; rclone shows that pages and batches work

    @pytest.fixture
    def store(self, moto: Server) -> S3Store:
        return moto.store("backups")

    @pytest.fixture
    def neighbour(self, moto: Server) -> S3Store:
        return moto.store("backups-old")


def test_a_store_may_be_a_whole_bucket(rclone: Server) -> None:
    store = rclone.store("")
    store.put("plan/a", b"1")
    rclone.store("backups").put("plan/a", b"22")
    assert store.location == f"s3://{rclone.bucket}"
    assert {(stored.key, stored.size) for stored in store.list("")} == {("plan/a", 1), ("backups/plan/a", 2)}


@pytest.mark.parametrize(
    ("name", "size", "with_file", "how"),
    [
        ("aws", 100, False, "store checksum"),
        ("aws", 11 * MIB, True, "store checksum"),
        ("aws", 11 * MIB, False, "read back"),
        ("r2", 11 * MIB, True, "read back"),
        ("minio", 100, True, "read back"),
    ],
)
def test_the_stores_checksum_is_used_where_it_covers_the_bytes(
    moto: Server, tmp_path: Path, name: str, size: int, with_file: bool, how: str
) -> None:
    data = os.urandom(size)
    path = file_with(tmp_path, data)
    store = moto.store(profile=name)
    store.put_file("segment", path)
    read: list[int] = []
    assert (
        store.confirm("segment", path=path if with_file else None, sha256=sha(data), size=size, progress=read.append)
        == how
    )
    assert sum(read) == (size if how == "read back" else 0)


@pytest.mark.parametrize(("name", "sent"), [("aws", True), ("r2", True), ("b2", False), ("minio", False)])
def test_a_sha256_goes_along_where_the_store_takes_it(moto: Server, tmp_path: Path, name: str, sent: bool) -> None:
    client, headers = moto.client(profile=name), []
    client.meta.events.register("before-send.s3.PutObject", lambda request, **_: headers.append(request.headers))
    store = S3Store(client, moto.bucket, "", PROFILES[name])
    store.put("small", b"123")
    store.put_file("file", file_with(tmp_path, b"123"))
    expected = base64.b64encode(hashlib.sha256(b"123").digest()) if sent else None
    assert [one.get("x-amz-checksum-sha256") for one in headers] == [expected, expected]
    if name != "aws":
        # What these stores refuse: checksums of the SDK's own choice, and any in a trailer.
        names = " ".join(name.lower() for one in headers for name in one)
        assert "crc" not in names
        assert "trailer" not in names


def test_parts_of_another_size_are_read_back_and_not_refused(moto: Server, tmp_path: Path) -> None:
    data = os.urandom(13 * MIB)
    path = file_with(tmp_path, data)
    moto.store().put_file("segment", path)
    later = S3Store(moto.client(), moto.bucket, "backups", moto.profile, part_bytes=6 * MIB)
    assert later.confirm("segment", path=path, sha256=sha(data), size=len(data)) == "read back"


def test_a_multipart_object_of_other_bytes_is_refused(moto: Server, tmp_path: Path) -> None:
    data = os.urandom(11 * MIB)
    moto.store().put_file("segment", file_with(tmp_path, data[:-1] + bytes([data[-1] ^ 1]), "other"))
    path = file_with(tmp_path, data)
    with pytest.raises(StoredWrongly):
        moto.store().confirm("segment", path=path, sha256=sha(data), size=len(data))


def test_a_local_file_that_changed_proves_nothing(moto: Server, tmp_path: Path) -> None:
    path = file_with(tmp_path, bytes(11 * MIB))
    moto.store().put_file("segment", path)
    with pytest.raises(IntegrityError) as caught:
        moto.store().confirm("segment", path=path, sha256=sha(b"recorded"), size=11 * MIB)
    assert str(caught.value) == (
        f"a file in the spool folder changed after it was hashed (path={str(path)!r}, "
        f"expected={sha(b'recorded')!r}, got={sha(bytes(11 * MIB))!r})\n"
        "HINT: Check the disk of this machine, and run the backup again."
    )


@pytest.mark.parametrize("flip", [0, 6 * MIB, 11 * MIB - 1])
def test_a_flipped_stored_byte_names_the_key(rclone: Server, tmp_path: Path, flip: int) -> None:
    data = os.urandom(11 * MIB)
    store = rclone.store()
    store.put_file("plan/segment", file_with(tmp_path, data))
    assert rclone.folder is not None
    with (rclone.folder / "backups/plan/segment").open("r+b") as file:
        file.seek(flip)
        file.write(bytes([data[flip] ^ 1]))
    with pytest.raises(StoredWrongly, match="another SHA-256 than what was sent") as caught:
        store.confirm("plan/segment", path=tmp_path / "segment", sha256=sha(data), size=len(data))
    assert caught.value.facts["key"] == "plan/segment"
    assert store.download("plan/segment", tmp_path / "out", size=len(data)) == caught.value.facts["got"]


def test_parts_are_equal_but_the_last(moto: Server, tmp_path: Path) -> None:
    moto.store().put_file("segment", file_with(tmp_path, bytes(11 * MIB)))
    head = moto.client().head_object(Bucket=moto.bucket, Key="backups/segment", PartNumber=1)
    assert (head["PartsCount"], head["ContentLength"]) == (3, 5 * MIB)


@pytest.mark.parametrize(
    ("size", "part"),
    [(0, 16), (16 * MIB, 16), (160_000 * MIB, 16), (160_000 * MIB + 1, 17), (5 * 1024 * 1024 * MIB, 525)],
)
def test_parts_grow_so_that_ten_thousand_are_enough(size: int, part: int) -> None:
    assert part_size(size, least=16 * MIB) == part * MIB
    assert -(-size // (part * MIB)) <= 10_000


def test_parts_smaller_than_the_provider_takes_are_refused(moto: Server) -> None:
    with pytest.raises(ConfigurationError) as caught:
        S3Store(moto.client(), moto.bucket, "", moto.profile, part_bytes=MIB)
    assert str(caught.value) == (
        "parts of an upload are too small for this provider (least=5242880, got=1048576)\n"
        "HINT: Leave the part size at its default."
    )


@pytest.mark.parametrize("where", ["moto", "rclone"])
def test_unfinished_uploads_are_listed_and_aborted(request: pytest.FixtureRequest, where: str) -> None:
    server: Server = request.getfixturevalue(where)
    store, client = server.store(), server.client()
    begun = client.create_multipart_upload(Bucket=server.bucket, Key="backups/plan/a")["UploadId"]
    client.create_multipart_upload(Bucket=server.bucket, Key="backups-old/plan/a")
    found = list(store.uploads("plan"))
    assert [(upload.key, upload.upload_id) for upload in found] == [("plan/a", begun)]
    assert found[0].started.tzinfo is not None
    store.abort(found[0])
    store.abort(found[0])
    assert list(store.uploads("")) == []


def test_a_prune_aborts_uploads_that_a_crash_left_once_they_are_old_enough(moto: Server) -> None:
    client, prefix = moto.client(), "backups/mpg/backups/2026-03-06T04-00-00Z"
    for key in (f"{prefix}/segment-00000.archive.gz", "backups/other/backups/x"):
        client.create_multipart_upload(Bucket=moto.bucket, Key=key)
    store, repository = moto.store(), Repository(moto.store(), "mpg")
    started = next(store.uploads("mpg")).started

    def prune(hours: float, *, dry_run: bool) -> int:
        now, grace = started + timedelta(hours=hours), timedelta(hours=12)
        policy = RetentionPolicy()
        return prune_repository(repository, policy, now=now, grace=grace, dry_run=dry_run).garbage_uploads

    assert prune(11.9, dry_run=False) == 0
    assert prune(12, dry_run=True) == 1
    assert len(list(store.uploads("mpg"))) == 1
    assert prune(12, dry_run=False) == 1
    # Those of other plans are theirs to remove.
    assert [upload.key for upload in store.uploads("")] == ["other/backups/x"]


def test_aborting_an_upload_that_never_was_is_fine(moto: Server) -> None:
    moto.store().abort(PendingUpload("plan/a", "none", datetime.now(UTC)))


def test_a_wrong_secret_is_said_and_not_shown(rclone: Server) -> None:
    client = rclone.client(secret="another-secret")
    store = S3Store(client, rclone.bucket, "backups", rclone.profile)
    with pytest.raises(StoreDenied) as caught:
        store.put("plan/a", b"")
    assert str(caught.value) == (
        f"the store refuses the signature (store='s3://{rclone.bucket}/backups', key='plan/a', "
        "operation='PutObject', code='SignatureDoesNotMatch')\n"
        "HINT: Check the secret key and the region of the store's credentials."
    )
    assert not caught.value.retryable
    for secret in ("another-secret", ACCESS_KEY):
        assert secret not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("where", ["moto", "rclone"])
def test_a_bucket_that_is_not_there_is_said(request: pytest.FixtureRequest, tmp_path: Path, where: str) -> None:
    server: Server = request.getfixturevalue(where)
    store = S3Store(server.client(), "no-such-bucket", "backups", server.profile, part_bytes=5 * MIB)
    text = (
        "bucket does not exist (store='s3://no-such-bucket/backups', {key}operation='{operation}', "
        "code='NoSuchBucket')\n"
        "HINT: Create the bucket, or correct its name in the store's block."
    )
    with pytest.raises(StoreError) as caught:
        store.put("plan/a", b"")
    assert str(caught.value) == text.format(key="key='plan/a', ", operation="PutObject")
    assert not caught.value.retryable
    # The transfer manager hides the code in a text.
    with pytest.raises(StoreError) as caught:
        store.put_file("plan/a", file_with(tmp_path, bytes(6 * MIB)))
    assert str(caught.value) == text.format(key="key='plan/a', ", operation="CreateMultipartUpload")
    with pytest.raises(StoreError) as caught:
        list(store.list(""))
    assert str(caught.value) == text.format(key="", operation="ListObjectsV2")
    assert check_store(store, "abc") == [
        CheckLine(
            "reach the bucket",
            False,
            text.format(key="", operation="ListObjectsV2").splitlines()[0],
            "Create the bucket, or correct its name in the store's block.",
        )
    ]


def test_nobody_at_the_endpoint_is_said(rclone: Server) -> None:
    store = rclone.store(endpoint="http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable) as caught:
        store.head("plan/a")
    assert str(caught.value) == (
        f"the store does not answer (store='s3://{rclone.bucket}/backups', key='plan/a', "
        "reason='EndpointConnectionError')\n"
        "HINT: Run it again; if it stays, check the network and the status page of the store."
    )


def test_no_credentials_are_said(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    client = boto3.session.Session().client(
        "s3",
        region_name="us-east-1",
        endpoint_url=f"http://{moto.host}:{moto.port}",
        config=client_config(moto.profile),
    )
    with pytest.raises(StoreDenied) as caught:
        S3Store(client, moto.bucket, "", moto.profile).get("a", limit=1)
    assert str(caught.value) == (
        f"no credentials for the store (store='s3://{moto.bucket}', key='a', reason='NoCredentialsError')\n"
        "HINT: Fill in the store's credentials block."
    )


def test_an_unknown_provider_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError) as caught:
        profile("gcs")
    assert str(caught.value) == "no such provider (got='gcs')\nHINT: Use one of aws, r2, b2, spaces, minio, other."


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_found_by_its_name(name: str) -> None:
    assert profile(name).name == name


def test_profiles_are_what_is_known_of_providers() -> None:
    """So that a change of what somebody found out, or saw documented, is made on purpose."""
    shown = {
        name: (
            p.checksums,
            p.sha256,
            p.conditional_writes,
            p.versions,
            p.object_lock,
            p.lists_uploads,
            p.min_part_bytes,
        )
        for name, p in PROFILES.items()
    }
    required, part = "when_required", 5 * MIB
    assert shown == {
        "aws": ("when_supported", "parts", True, "bucket", True, True, part),
        "r2": (required, "single", True, "never", False, True, part),
        "b2": (required, "nowhere", False, "always", True, True, part),
        "spaces": (required, "nowhere", False, "bucket", False, True, part),
        "minio": (required, "nowhere", True, "bucket", True, False, part),
        "other": (required, "nowhere", False, "bucket", None, True, part),
    }
    assert {name: set(p.encryption) for name, p in PROFILES.items()} == {
        "aws": {"sse-s3", "sse-kms", "sse-c"},
        "r2": {"sse-c"},
        "b2": {"sse-s3", "sse-c"},
        "spaces": {"sse-c"},
        "minio": {"sse-s3", "sse-kms", "sse-c"},
        "other": {"sse-s3", "sse-kms", "sse-c"},
    }


@pytest.mark.parametrize("name", PROFILES)
def test_a_client_of_every_profile_repeats_a_request_once(name: str) -> None:
    config = client_config(PROFILES[name])
    assert config.retries == {"mode": "standard", "total_max_attempts": 2}
    assert config.request_checksum_calculation == PROFILES[name].checksums
