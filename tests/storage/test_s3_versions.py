"""Deleting on a bucket that keeps versions: the data is gone, or the store says what lives on and until when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from flows.core.errors import StoreDenied, StoreError, StoreUnavailable
from flows.storage.s3 import S3Store
from flows.storage.store import Leftover, Obstacle
from tests.storage.conftest import Server
from tests.support.fault_proxy import DROP, FaultProxy, answer, conceal, status

DENIED = status(403, "AccessDenied")
NOT_KNOWN = status(501, "NotImplemented")


def set_versions(server: Server, setting: str = "Enabled") -> None:
    server.client().put_bucket_versioning(Bucket=server.bucket, VersioningConfiguration={"Status": setting})


def kept(server: Server) -> list[tuple[str, str]]:
    """Everything that the bucket still holds: keys, and whether each is data or a delete marker."""
    found = server.client().list_object_versions(Bucket=server.bucket)
    return sorted(
        [(item["Key"], "data") for item in found.get("Versions", [])]
        + [(item["Key"], "marker") for item in found.get("DeleteMarkers", [])]
    )


@pytest.fixture
def versioned(moto: Server) -> Server:
    set_versions(moto)
    return moto


@pytest.fixture
def proxy(versioned: Server) -> Iterator[FaultProxy]:
    with FaultProxy(versioned.host, versioned.port) as proxy:
        yield proxy


@pytest.fixture
def store(versioned: Server, proxy: FaultProxy) -> S3Store:
    return versioned.store(endpoint=proxy.url)


def write_twice(store: S3Store, *keys: str) -> None:
    for key in keys:
        for content in (b"first", b"second"):
            store.put(key, content)


def test_all_versions_and_markers_of_the_keys_go_and_those_of_others_stay(versioned: Server, store: S3Store) -> None:
    write_twice(store, "plan/a", "plan/ab", "plan/b/c")
    versioned.client().delete_object(Bucket=versioned.bucket, Key="backups/plan/a")  # somebody hid it
    store.put("plan/a", b"third")
    assert store.delete(["plan/a", "plan/b/c"]) == ()
    assert kept(versioned) == [("backups/plan/ab", "data"), ("backups/plan/ab", "data")]


def test_more_versions_than_one_request_takes(versioned: Server, store: S3Store, monkeypatch) -> None:
    monkeypatch.setattr("flows.storage.s3_delete.DELETE_BATCH", 3)
    write_twice(store, "a", "b", "c", "d")
    assert store.delete(["a", "b", "c", "d"]) == ()
    assert kept(versioned) == []


def test_a_connection_that_breaks_while_the_rules_are_read_is_one_that_broke(
    versioned: Server, store: S3Store, proxy: FaultProxy
) -> None:
    write_twice(store, "a")
    proxy.fail("GET ?versions", times=None, action=DENIED)
    proxy.fail("GET ?lifecycle", times=2, action=DROP)
    with pytest.raises(StoreUnavailable):
        store.delete(["a"])


def test_what_was_written_before_versions_were_kept_goes_too(moto: Server) -> None:
    store = moto.store()
    for key in ("a", "b"):
        store.put(key, b"early")
    set_versions(moto)
    store.put("b", b"late")
    assert store.delete(["a", "b", "none"]) == ()
    assert kept(moto) == []


def test_a_bucket_that_no_longer_keeps_versions_is_emptied_too(versioned: Server, store: S3Store) -> None:
    write_twice(store, "a")
    set_versions(versioned, "Suspended")
    for key in ("a", "b"):
        store.put(key, b"late")
    assert store.delete(["a", "b"]) == ()
    assert kept(versioned) == []


def test_a_bucket_without_versions_needs_no_right_to_delete_them(moto: Server) -> None:
    with FaultProxy(moto.host, moto.port) as proxy:
        store = moto.store(endpoint=proxy.url)
        store.put("a", b"1")
        proxy.fail(lambda r: b"VersionId" in r.body or "versionId=" in r.path, times=None, action=DENIED)
        assert store.delete(["a"]) == ()
    assert kept(moto) == []


@pytest.mark.parametrize("how", [DENIED, NOT_KNOWN], ids=["denied", "not known"])
def test_credentials_that_cannot_list_versions_hide_and_say_so(
    versioned: Server, store: S3Store, proxy: FaultProxy, how
) -> None:
    write_twice(store, "a")
    proxy.fail("GET ?versions", times=None, action=how)
    assert store.delete(["a"]) == (Leftover("a", Obstacle.HIDDEN, None),)
    assert list(store.list("")) == []
    assert kept(versioned) == [("backups/a", "data"), ("backups/a", "data"), ("backups/a", "marker")]


def test_credentials_that_cannot_delete_versions_hide_and_say_until_when(
    versioned: Server, store: S3Store, proxy: FaultProxy
) -> None:
    write_twice(store, "a", "b")
    rules = (
        "<Rule><Status>Enabled</Status><Filter><Prefix>backups/</Prefix></Filter>{30}</Rule>"
        "<Rule><Status>Enabled</Status><Prefix>backups/</Prefix>{40}</Rule>"
        "<Rule><Status>Disabled</Status><Filter></Filter>{4}</Rule>"
        "<Rule><Status>Enabled</Status><Filter><Prefix>other/</Prefix></Filter>{3}</Rule>"
        "<Rule><Status>Enabled</Status><Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>{2}</Rule>"
        "<Rule><Status>Enabled</Status><Filter></Filter>{1}</Rule>"
    )
    for days in (1, 2, 3, 4, 30, 40):
        newer = "<NewerNoncurrentVersions>2</NewerNoncurrentVersions>" if days == 1 else ""
        inner = f"<NoncurrentDays>{days}</NoncurrentDays>{newer}"
        rules = rules.replace(f"{{{days}}}", f"<NoncurrentVersionExpiration>{inner}</NoncurrentVersionExpiration>")
    proxy.fail(
        "GET ?lifecycle",
        action=answer(200, f"<LifecycleConfiguration>{rules}</LifecycleConfiguration>".encode()),
    )
    proxy.fail(lambda r: b"<VersionId>" in r.body, times=None, action=_denials("a", "b"))
    left = store.delete(["a", "b"])
    assert [(item.key, item.why) for item in left] == [("a", Obstacle.HIDDEN), ("b", Obstacle.HIDDEN)]
    for item in left:
        assert item.until is not None
        assert abs(item.until - datetime.now(UTC) - timedelta(days=31)) < timedelta(minutes=5)
    assert list(store.list("")) == []
    proxy.fail("GET ?lifecycle", times=None, action=DENIED)
    write_twice(store, "a", "b")
    assert [item.until for item in store.delete(["a", "b"])] == [None, None]


def test_credentials_that_can_delete_nothing_are_refused_and_nothing_is_hidden(
    versioned: Server, store: S3Store, proxy: FaultProxy
) -> None:
    write_twice(store, "plan/a")
    proxy.fail("POST ?delete", times=None, action=_denials("plan/a"))
    with pytest.raises(StoreDenied) as caught:
        store.delete(["plan/a"])
    assert str(caught.value) == (
        f"the store denies access (store='s3://{versioned.bucket}/backups', key='plan/a', failed=1, "
        "operation='DeleteObjects', code='AccessDenied')\n"
        "HINT: Allow s3:DeleteObject for the store's credentials, on this bucket and prefix."
    )
    assert kept(versioned) == [("backups/plan/a", "data"), ("backups/plan/a", "data")]


def test_a_store_that_only_deletes_one_by_one_deletes_versions_too(
    versioned: Server, store: S3Store, proxy: FaultProxy
) -> None:
    write_twice(store, "a", "b")
    proxy.fail("POST ?delete", times=None, action=NOT_KNOWN)
    assert store.delete(["a", "b", "none"]) == ()
    assert kept(versioned) == []
    write_twice(store, "a")
    proxy.fail("DELETE versionId=", times=None, action=DENIED)
    assert store.delete(["a"]) == (Leftover("a", Obstacle.HIDDEN, None),)
    assert kept(versioned) == [("backups/a", "data"), ("backups/a", "data"), ("backups/a", "marker")]


@pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchVersion"])
def test_what_is_gone_already_is_fine(versioned: Server, store: S3Store, proxy: FaultProxy, code: str) -> None:
    """As stores say it that do not answer 204."""
    write_twice(store, "a")
    text = f"<DeleteResult><Error><Key>backups/a</Key><Code>{code}</Code></Error></DeleteResult>".encode()
    proxy.fail("POST ?delete", action=answer(200, text))
    assert store.delete(["a"]) == ()
    proxy.fail("POST ?delete", action=NOT_KNOWN)
    proxy.fail("DELETE", times=2, action=status(404, code))
    assert store.delete(["a"]) == ()
    proxy.fail("POST ?delete", action=NOT_KNOWN)
    proxy.fail("DELETE", action=status(404, "NoSuchBucket"))
    with pytest.raises(StoreError, match="bucket does not exist"):
        store.delete(["a"])


def test_a_store_that_does_not_tell_the_time_does_not_tell_until_when(
    versioned: Server, store: S3Store, proxy: FaultProxy
) -> None:
    write_twice(store, "a")
    rule = b"<Status>Enabled</Status><NoncurrentVersionExpiration><NoncurrentDays>9</NoncurrentDays>"
    rules = b"<LifecycleConfiguration><Rule>" + rule + b"</NoncurrentVersionExpiration></Rule></LifecycleConfiguration>"
    proxy.fail("GET ?lifecycle", times=None, action=answer(200, rules))
    proxy.fail("GET ?versions", times=None, action=DENIED)
    proxy.fail("POST ?delete", action=conceal("date"))
    assert store.delete(["a"]) == (Leftover("a", Obstacle.HIDDEN, None),)
    (left,) = store.delete(["a"])
    assert left.until is not None


def test_another_problem_with_one_of_many_is_raised(versioned: Server, store: S3Store, proxy: FaultProxy) -> None:
    write_twice(store, "a")
    text = b"<DeleteResult><Error><Key>backups/a</Key><Code>InternalError</Code></Error></DeleteResult>"
    proxy.fail("POST ?delete", action=answer(200, text))
    with pytest.raises(StoreError) as caught:
        store.delete(["a"])
    assert caught.value.facts["code"] == "InternalError"


def test_a_store_that_always_keeps_versions_need_not_say_so(versioned: Server, proxy: FaultProxy) -> None:
    store = versioned.store(endpoint=proxy.url, profile="b2")
    store.put("a", b"1")
    proxy.fail("GET ?versions", times=None, action=DENIED)
    proxy.fail("POST ?delete", action=answer(200, b"<DeleteResult></DeleteResult>"))
    assert store.delete(["a"]) == (Leftover("a", Obstacle.HIDDEN, None),)


def _denials(*keys: str):
    errors = "".join(f"<Error><Key>backups/{key}</Key><Code>AccessDenied</Code></Error>" for key in keys)
    return answer(200, f"<DeleteResult>{errors}</DeleteResult>".encode())
