"""The probe: what each kind of store can do, where its profile is wrong, and that nothing is left behind."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from flows.core.checks import CheckLine, check_rows, failed
from flows.storage.probe import check_store, probe_store
from flows.storage.profiles import PROFILES
from flows.storage.s3 import S3Store
from tests.storage.conftest import Emulated, Server
from tests.support.fault_proxy import DEAD, PASS, SWALLOW, FaultProxy, answer, conceal, status
from tests.support.providers import behave_like

DENIED = status(403, "AccessDenied")
PROVIDERS = list(PROFILES)


def probed(store: S3Store, now: datetime | None = None) -> dict[str, CheckLine]:
    lines = probe_store(store, "abc", now=now or datetime.now(UTC), sleep=time.sleep)
    assert len({line.name for line in lines}) == len(lines)
    return {line.name: line for line in lines}


def left(server: Server) -> list[str]:
    """Everything in the bucket, versions, markers and unfinished uploads too."""
    client = server.client()
    if server.folder is not None:
        return [item["Key"] for item in client.list_objects_v2(Bucket=server.bucket).get("Contents", [])]
    found = client.list_object_versions(Bucket=server.bucket)
    uploads = client.list_multipart_uploads(Bucket=server.bucket).get("Uploads", [])
    return [item["Key"] for item in [*found.get("Versions", []), *found.get("DeleteMarkers", []), *uploads]]


@pytest.fixture
def versioned(moto: Server) -> Server:
    """A bucket that keeps versions, and does not lock."""
    moto.client().put_bucket_versioning(Bucket=moto.bucket, VersioningConfiguration={"Status": "Enabled"})
    return moto


TOLD = {
    "ranged read": dict.fromkeys(PROVIDERS, "5 bytes from the middle"),
    "multipart upload": dict.fromkeys(PROVIDERS, "2 parts, 5.0 MiB"),
    "conditional write": {
        **dict.fromkeys(PROVIDERS, "the store refuses to overwrite when asked"),
        "other": "the store overwrites an object that it was told to keep",
    },
    "list uploads": {**dict.fromkeys(PROVIDERS, "by folder"), "minio": "not by folder"},
    "checksums": {
        "aws": "SHA-256 kept",
        "r2": "SHA-256 kept, not with parts",
        "b2": "none kept",
        "spaces": "none kept",
        "minio": "none kept",
        "other": "none kept",
    },
    "versions": {
        **dict.fromkeys(PROVIDERS, "none are kept"),
        "b2": "a deletion only hides; 2 versions stayed and could be deleted",
        "minio": "a deletion only hides; 2 versions stayed and could be deleted",
    },
    "object lock": {
        **dict.fromkeys(PROVIDERS, "the bucket has none"),
        "minio": "a locked object could not be deleted before its time",
    },
    "encryption sse-s3": {
        "aws": "done",
        "r2": "refused: NotImplemented",
        "b2": "done",
        "spaces": "refused: InvalidArgument",
        "minio": "done",
        "other": "not done: the store repeats whatever it is told",
    },
    "encryption sse-c": {
        **dict.fromkeys(PROVIDERS, "done"),
        "other": "not done: the store repeats whatever it is told",
    },
}


@pytest.mark.parametrize("emulated", PROVIDERS, indirect=True)
def test_a_provider_is_as_its_profile_says(emulated: Emulated) -> None:
    found = probed(emulated.store())
    assert failed(found.values()) == []
    unknown = {
        # What nobody has tried is off in the profile, and on in the server that stands for the provider.
        "b2": {"conditional write"},
        "spaces": {"conditional write"},
        "other": {"encryption sse-s3", "encryption sse-kms", "encryption sse-c"},
    }
    assert {line.name for line in found.values() if line.contradicts} == unknown.get(emulated.name, set())
    assert left(emulated.server) == []
    for name, seen in TOLD.items():
        assert (name, found[name].detail) == (name, seen[emulated.name])


def test_a_header_that_the_store_refuses_points_to_the_profile(moto: Server) -> None:
    with FaultProxy(moto.host, moto.port) as proxy:
        behave_like("r2", proxy)
        found = probed(moto.store(endpoint=proxy.url))  # as if it were AWS
        assert [line.name for line in failed(found.values())] == ["write"]
        assert found["write"].detail.startswith("the store cannot do what was asked (store=")
        assert found["write"].hint.startswith("Set `provider` in the store's block to who runs it, or to `other`")
        assert found["clean up"].ok


@pytest.mark.parametrize(
    ("profile", "bucket", "contradictions"),
    [
        (
            "r2",
            "versioned",
            {
                "versions": "versions: the profile `r2` says no, the store does yes",
                "encryption sse-s3": "`sse-s3`: the profile `r2` says no, the store does yes",
                "checksums": "`sha256`: the profile `r2` says single, the store does parts",
            },
        ),
        ("spaces", "locking", {"object lock": "Object Lock: the profile `spaces` says no, the store does yes"}),
        (
            "minio",
            "versioned",
            {"list uploads": "uploads are listed by folder: the profile `minio` says no, the store does yes"},
        ),
        (
            "b2",
            "versioned",
            {"conditional write": "conditional writes: the profile `b2` says no, the store does yes"},
        ),
    ],
)
def test_a_profile_that_says_less_than_the_store_does(
    request: pytest.FixtureRequest, profile: str, bucket: str, contradictions: dict[str, str]
) -> None:
    server: Server = request.getfixturevalue(bucket)
    with FaultProxy(server.host, server.port) as proxy:
        behave_like("aws", proxy)
        found = probed(server.store(profile=profile, endpoint=proxy.url))
    assert {line: found[line].contradicts for line in contradictions} == contradictions


@pytest.mark.parametrize(
    ("profile", "line", "contradiction", "fine"),
    [
        ("aws", "checksums", "`sha256`: the profile `aws` says parts, the store does nowhere", True),
        ("aws", "encryption sse-kms", "`sse-kms`: the profile `aws` says yes, the store does no", True),
        ("minio", "conditional write", "conditional writes: the profile `minio` says yes, the store does no", False),
        ("b2", "versions", "versions: the profile `b2` says yes, the store does no", False),
    ],
)
def test_a_profile_that_says_more_than_the_store_does(
    rclone: Server, profile: str, line: str, contradiction: str, fine: bool
) -> None:
    found = probed(rclone.store(profile=profile))[line]
    assert (found.contradicts, found.ok) == (contradiction, fine)


def test_credentials_that_may_only_hide_are_told_with_what_it_means(versioned: Server) -> None:
    with FaultProxy(versioned.host, versioned.port) as proxy:
        proxy.fail("GET ?versions", times=None, action=DENIED)
        found = probed(versioned.store(endpoint=proxy.url))
        assert found["versions"].detail == "a deletion only hides, and these credentials may not delete versions"
        assert found["versions"].means == "what is pruned lives on until a time that cannot be seen"
        assert found["versions"].hint == (
            "Allow s3:ListBucketVersions and s3:DeleteObjectVersion, or let a rule of the bucket do it."
        )
        assert not found["clean up"].ok


def test_what_the_credentials_may_not_do_is_said_with_what_it_means(locking: Server) -> None:
    with FaultProxy(locking.host, locking.port) as proxy:
        proxy.fail("DELETE", times=None, action=DENIED)
        proxy.fail("POST ?delete", times=None, action=DENIED)
        found = probed(locking.store(endpoint=proxy.url))
        assert [line.name for line in failed(found.values())] == ["abort an upload", "delete", "clean up"]
        assert found["delete"].hint == (
            "Allow s3:DeleteObject for the store's credentials, on this bucket and prefix. "
            "Allow it, or leave it so on purpose (append-only) and prune with other credentials."
        )
        assert found["versions"].detail == "not tried: nothing could be deleted"
        assert found["object lock"].detail.startswith("not known, a locked object can never be deleted")


def test_a_store_that_may_not_be_listed_is_cleaned_all_the_same(moto: Server) -> None:
    with FaultProxy(moto.host, moto.port) as proxy:
        proxy.fail("GET list-type=2", times=None, action=DENIED)
        found = probed(moto.store(endpoint=proxy.url))
    assert [line.name for line in failed(found.values())] == ["list"]
    assert found["list"].hint == "Allow s3:ListBucket for the store's credentials, on this bucket and prefix."
    assert left(moto) == []


@pytest.mark.parametrize("n", range(0, 20, 2))
def test_a_store_that_fails_at_any_write_is_left_clean(moto: Server, n: int) -> None:
    with FaultProxy(moto.host, moto.port) as proxy:
        # Twice, because the SDK repeats a request once.
        proxy.fail(lambda r: r.write in {n, n + 1}, times=2, action=status(500, "InternalError"))
        found = probed(moto.store(endpoint=proxy.url))
        tried = len(proxy.writes)
    assert failed(found.values())
    assert left(moto) == []
    assert tried > n + 2  # it went on, and cleaned up


def test_a_store_that_is_gone_is_said_line_by_line(moto: Server) -> None:
    with FaultProxy(moto.host, moto.port) as proxy:
        proxy.at_write(0, DEAD)
        found = probed(moto.store(endpoint=proxy.url))
    assert [(line.name, line.ok) for line in found.values()] == [
        ("reach the bucket", True),
        ("clock", True),
        ("list", True),
        ("write", False),
        ("clean up", False),
    ]


def test_what_a_killed_probe_left_is_removed_by_a_later_one(moto: Server) -> None:
    store = moto.store()
    store.put(".probe/killed/object", b"1")
    store.put("plan/backups/2026-03-06T04-00-00Z/manifest.json", b"not ours")
    moto.client().create_multipart_upload(Bucket=moto.bucket, Key="backups/.probe/killed/unfinished")
    probed(store)
    assert ".probe/killed/object" in [item.key for item in store.list("")]  # it may still be at work
    with FaultProxy(moto.host, moto.port) as proxy:
        _set_clock(proxy, datetime.now(UTC) + timedelta(minutes=61))
        assert probed(moto.store(endpoint=proxy.url))["clean up"].ok
    assert left(moto) == ["backups/plan/backups/2026-03-06T04-00-00Z/manifest.json"]


@pytest.mark.parametrize(
    ("minutes", "fine", "detail"), [(-6, False, "360 s behind"), (4, True, "240 s ahead"), (6, False, "360 s ahead")]
)
def test_clocks_that_differ_are_said(moto: Server, minutes: int, fine: bool, detail: str) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    with FaultProxy(moto.host, moto.port) as proxy:
        _set_clock(proxy, now + timedelta(minutes=minutes))
        line = probed(moto.store(endpoint=proxy.url), now)["clock"]
    assert (line.ok, line.detail) == (fine, f"the store is {detail}")
    assert line.hint == ("" if fine else "Set the clock of this machine.")


def test_a_lock_that_holds_nothing_is_found_out(locking: Server) -> None:
    with FaultProxy(locking.host, locking.port) as proxy:
        proxy.fail("DELETE /locked?versionId=", action=SWALLOW)
        found = probed(locking.store(endpoint=proxy.url, lock="governance"))
    line = found["object lock"]
    assert (line.ok, line.detail) == (False, "a locked object could be deleted all the same")
    assert line.hint == "Do not rely on the locks of this store."


def test_a_bucket_that_locks_all_by_itself_keeps_what_the_probe_wrote(locking: Server) -> None:
    locking.client().put_object_lock_configuration(
        Bucket=locking.bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 3}},
        },
    )
    found = probed(locking.store())
    assert found["object lock"].detail.endswith("; the bucket locks every new object for 3 days")
    assert found["versions"].detail == "the bucket locks every new object"
    assert not found["clean up"].ok
    until = f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%d}"
    assert f".probe/abc/object: locked until {until}" in found["clean up"].detail


def test_a_bucket_without_the_lock_that_the_block_wants(moto: Server) -> None:
    line = probed(moto.store(lock="governance"))["object lock"]
    assert (line.ok, line.detail) == (False, "the bucket has none")
    assert line.hint == "Make a bucket with Object Lock, or set `lock` to `none`."


def test_a_storage_class_that_is_paid_for_longer_is_a_warning(moto: Server) -> None:
    line = probed(moto.store(storage_class="GLACIER_IR"))["storage class"]
    assert (line.ok, line.detail) == (True, "GLACIER_IR")
    assert line.means == "warning: every segment is paid for 90 days, however early it is removed"
    with FaultProxy(moto.host, moto.port) as proxy:
        proxy.fail(lambda r: "x-amz-storage-class" in r.headers, times=None, action=status(400, "InvalidStorageClass"))
        line = probed(moto.store(endpoint=proxy.url, storage_class="GLACIER_IR"))["storage class"]
    assert (line.ok, line.detail.partition(" (")[0]) == (False, "the store refuses the request")


def test_a_range_that_is_ignored_is_said(moto: Server) -> None:
    with FaultProxy(moto.host, moto.port) as proxy:
        proxy.fail("GET .probe/abc/object", action=PASS)  # the line before reads all of it
        proxy.fail("GET .probe/abc/object", action=answer(200, b"all of it"))
        line = probed(moto.store(endpoint=proxy.url))["ranged read"]
    assert not line.ok
    assert line.detail.startswith("the store answers with another range than was asked for")


def test_a_probe_keeps_to_its_folder(rclone: Server) -> None:
    with FaultProxy(rclone.host, rclone.port) as proxy:
        probed(rclone.store(endpoint=proxy.url))
        scratch = f"/{rclone.bucket}/backups/.probe/abc/"
        strange = {path for method, path in proxy.writes if not path.startswith(scratch)}
    assert strange == {f"/{rclone.bucket}?delete"}


def test_the_small_version_tries_what_is_needed_and_leaves_nothing(moto: Server) -> None:
    lines = check_store(moto.store(), "abc")
    assert [line.name for line in lines] == [
        "reach the bucket",
        "list",
        "write",
        "read back",
        "conditional write",
        "start an upload",
        "abort an upload",
        "clean up",
    ]
    assert failed(lines) == []
    assert left(moto) == []


BOTH = pytest.mark.parametrize("emulated", ["aws", "other"], indirect=True)


@BOTH
def test_a_check_with_an_unknown_access_key_ends_at_the_first_line(emulated: Emulated) -> None:
    emulated.first(lambda _: True, times=None, action=status(403, "InvalidAccessKeyId"))
    assert check_store(emulated.store(), "abc") == [
        CheckLine(
            "reach the bucket",
            False,
            f"the store does not know the access key (store='{emulated.store().location}', "
            "operation='ListObjectsV2', code='InvalidAccessKeyId')",
            "Check the access key and the endpoint of the store's credentials.",
        )
    ]


@BOTH
def test_a_check_of_a_store_that_may_only_be_read_says_what_to_allow(emulated: Emulated) -> None:
    emulated.first(lambda request: request.write is not None, times=None, action=DENIED)
    lines = check_store(emulated.store(), "abc")
    assert [(line.name, line.ok) for line in lines] == [("reach the bucket", True), ("list", True), ("write", False)]
    assert lines[-1].hint == "Allow s3:PutObject for the store's credentials, on this bucket and prefix."


@BOTH
def test_a_check_of_a_store_that_may_not_be_listed_goes_on(emulated: Emulated) -> None:
    emulated.first("GET list-type=2", times=None, action=DENIED)
    lines = check_store(emulated.store(), "abc")
    assert [line.name for line in lines if not line.ok] == ["list"]
    assert len(lines) == 8
    assert left(emulated.server) == []


def test_a_check_finds_a_store_that_overwrites_what_it_was_told_to_keep(rclone: Server) -> None:
    lines = {line.name: line for line in check_store(rclone.store(profile="minio"), "abc")}
    assert [line.name for line in failed(lines.values())] == ["conditional write"]
    assert lines["conditional write"].hint == (
        "Use the provider `other` for this store, and run one backup of a plan at a time."
    )


def test_the_lines_make_a_table() -> None:
    line = CheckLine("write", False, "refused", "Allow it.", "no backups", "the profile says yes")
    assert check_rows([line, CheckLine("list", True, "allowed")]) == [
        {
            "tried": "write",
            "fine": "NO",
            "seen": "refused",
            "means for backups": "no backups",
            "contradicts": "the profile says yes",
            "do": "Allow it.",
        },
        {"tried": "list", "fine": "yes", "seen": "allowed", "means for backups": "", "contradicts": "", "do": ""},
    ]


def _set_clock(proxy: FaultProxy, moment: datetime) -> None:
    date = (("date", format_datetime(moment, usegmt=True)),)
    proxy.fail(times=None, action=dataclasses.replace(conceal("date"), headers=date))
