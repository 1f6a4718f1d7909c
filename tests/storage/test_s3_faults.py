"""What happens to an upload, a check and a download when the network or the store fails."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import botocore.exceptions
import pytest
import urllib3.exceptions
from botocore.config import Config
from botocore.parsers import ResponseParserError

from flows.core.errors import (
    ConfigurationError,
    IntegrityError,
    ObjectExists,
    StoreDenied,
    StoredWrongly,
    StoreError,
    StoreUnavailable,
    Truncated,
)
from flows.storage.profiles import PROFILES
from flows.storage.s3_errors import explain, explain_code
from flows.storage.store import PendingUpload
from tests.storage.conftest import MIB, Server
from tests.storage.contract import file_with, sha
from tests.support.fault_proxy import (
    DEAD,
    DEAD_AFTER,
    DROP,
    DROP_ANSWER,
    SWALLOW,
    FaultProxy,
    Request,
    answer,
    call,
    cut_answer,
    flip_answer,
    flip_request,
    status,
)

AGAIN = "HINT: Run it again; if it stays, check the network and the status page of the store."


@pytest.fixture(params=["rclone", "moto"])
def server(request: pytest.FixtureRequest) -> Server:
    return request.getfixturevalue(request.param)


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    with FaultProxy(server.host, server.port) as proxy:
        yield proxy


def test_everything_passes_the_proxy_unchanged(server: Server, proxy: FaultProxy, tmp_path: Path) -> None:
    data = os.urandom(11 * MIB)
    path = file_with(tmp_path, data)
    store = server.store(endpoint=proxy.url)
    store.put_file("plan/Zürich+%20", path)
    store.confirm("plan/Zürich+%20", path=None, sha256=sha(data), size=len(data))
    assert store.download("plan/Zürich+%20", tmp_path / "out", size=len(data)) == sha(data)
    assert [stored.key for stored in store.list("plan")] == ["plan/Zürich+%20"]
    store.delete(["plan/Zürich+%20"])
    key = f"/{server.bucket}/backups/plan/Zürich+%20"
    assert [method for method, path in proxy.writes] == ["POST", "PUT", "PUT", "PUT", "POST", "POST"]
    assert proxy.writes[0] == ("POST", f"{key}?uploads")
    assert proxy.writes[-1] == ("POST", f"/{server.bucket}?delete")
    assert proxy.requests[-2][0] == "GET"


@pytest.mark.parametrize("fault", [status(503), status(500, "InternalError"), DROP], ids=["503", "500", "drop"])
@pytest.mark.parametrize("size", [100, 11 * MIB])
def test_a_store_that_fails_twice_and_then_works_gets_the_file_at_the_second_try(
    server: Server, proxy: FaultProxy, tmp_path: Path, fault, size: int
) -> None:
    data = os.urandom(size)
    path = file_with(tmp_path, data)
    store = server.store(endpoint=proxy.url)
    proxy.fail(lambda request: request.write is not None, times=2, action=fault)
    with pytest.raises(StoreUnavailable) as caught:
        store.put_file("plan/segment", path)
    assert caught.value.retryable
    assert len(proxy.requests) == 2  # the SDK repeats a request once, and no more
    store.put_file("plan/segment", path)
    store.confirm("plan/segment", path=path, sha256=sha(data), size=size)


def test_a_store_that_is_busy_is_said(rclone: Server) -> None:
    with FaultProxy(rclone.host, rclone.port) as proxy:
        proxy.fail(times=2)
        with pytest.raises(StoreUnavailable) as caught:
            rclone.store(endpoint=proxy.url).put("plan/a", b"")
    assert str(caught.value) == (
        f"the store does not answer (store='s3://{rclone.bucket}/backups', key='plan/a', "
        f"operation='PutObject', code='SlowDown')\n{AGAIN}"
    )


def test_how_long_a_store_wants_to_be_left_alone_is_said(server: Server, proxy: FaultProxy) -> None:
    proxy.fail(times=2, action=status(503, "SlowDown", retry_after="120"))
    with pytest.raises(StoreUnavailable) as caught:
        server.store(endpoint=proxy.url).put("plan/a", b"")
    assert caught.value.facts["retry_after"] == "120"


@pytest.mark.parametrize("at", [0, 1, 300])
def test_a_listing_that_breaks_off_is_not_a_short_one(moto: Server, at: int) -> None:
    """Where nothing at all of its body arrives the SDK gives an empty one."""
    with FaultProxy(moto.host, moto.port) as proxy:
        store = moto.store(endpoint=proxy.url)
        store.put("plan/a", b"1")
        proxy.fail("GET list-type=2", times=2, action=cut_answer(at))
        with pytest.raises(StoreUnavailable):
            list(store.list(""))
        assert [item.key for item in store.list("")] == ["plan/a"]


@pytest.mark.parametrize("text", [b"", b"not XML"])
def test_a_listing_without_a_body_is_not_an_empty_one(rclone: Server, text: bytes) -> None:
    with FaultProxy(rclone.host, rclone.port) as proxy:
        proxy.fail(times=None, action=answer(200, text))
        with pytest.raises(StoreUnavailable):
            list(rclone.store(endpoint=proxy.url).list(""))
        with pytest.raises(StoreUnavailable, match="the answer is not that of an S3 store"):
            rclone.store(endpoint=proxy.url).head("plan/a")


def test_a_part_that_fails_for_good_aborts_the_upload(server: Server, proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.fail("PUT partNumber=2", times=None, action=status(503))
    store = server.store(endpoint=proxy.url)
    with pytest.raises(StoreUnavailable):
        store.put_file("plan/segment", file_with(tmp_path, bytes(11 * MIB)))
    assert proxy.writes[-1][0] == "DELETE"
    assert list(store.uploads("")) == []
    assert list(store.list("")) == []


def test_credentials_that_cannot_abort_fail_as_they_would_and_go_on(
    server: Server, proxy: FaultProxy, tmp_path: Path
) -> None:
    store, path = server.store(endpoint=proxy.url), file_with(tmp_path, bytes(11 * MIB))
    proxy.fail("DELETE", times=None, action=status(403, "AccessDenied"))
    proxy.fail("PUT partNumber=2", times=2, action=status(503))
    with pytest.raises(StoreUnavailable):  # the first error, not that of the abortion
        store.put_file("plan/segment", path)
    assert store.put_file("plan/segment", path).size == 11 * MIB
    left = list(store.uploads("plan"))  # for a prune with other credentials
    assert [upload.key for upload in left] == ["plan/segment"]
    server.store().abort(left[0])
    assert list(store.uploads("")) == []


def test_progress_counts_what_is_sent_again_once(server: Server, proxy: FaultProxy, tmp_path: Path) -> None:
    sent: list[int] = []
    proxy.fail("PUT partNumber=2", action=status(503))
    server.store(endpoint=proxy.url).put_file("a", file_with(tmp_path, bytes(11 * MIB)), progress=sent.append)
    assert sum(sent) == 11 * MIB


def test_a_store_that_answers_200_and_kept_nothing_is_caught(server: Server, proxy: FaultProxy, tmp_path: Path) -> None:
    store = server.store(endpoint=proxy.url)
    proxy.fail("PUT", times=None, action=SWALLOW)
    store.put("plan/manifest.json", b"{}")
    with pytest.raises(StoredWrongly, match="kept nothing"):
        store.confirm("plan/manifest.json", path=None, sha256=sha(b"{}"), size=2)
    with pytest.raises(StoredWrongly) as caught:
        store.put_file("plan/segment", file_with(tmp_path, b"123"))
    assert str(caught.value) == (
        f"the store took the upload and kept nothing (store='s3://{server.bucket}/backups', "
        "key='plan/segment', expected=3, got='no object')\n"
        "HINT: The upload is repeated; if it happens again, check the store."
    )
    assert caught.value.retryable


def test_a_store_that_kept_an_older_object_is_caught(server: Server, proxy: FaultProxy, tmp_path: Path) -> None:
    store = server.store(endpoint=proxy.url)
    store.put("plan/segment", b"old")
    proxy.fail("PUT", action=SWALLOW)
    path = file_with(tmp_path, b"new")
    store.put_file("plan/segment", path)
    with pytest.raises(StoredWrongly, match="another SHA-256"):
        store.confirm("plan/segment", path=path, sha256=sha(b"new"), size=3)


def test_a_byte_that_flips_on_its_way_up_is_caught(rclone: Server, tmp_path: Path) -> None:
    path = file_with(tmp_path, bytes(5000))
    with FaultProxy(rclone.host, rclone.port) as proxy:
        store = rclone.store(endpoint=proxy.url)
        proxy.fail("PUT", times=None, action=flip_request(4000))
        store.put_file("plan/segment", path)  # rclone does not look at the hash that was signed
        with pytest.raises(StoredWrongly) as caught:
            store.confirm("plan/segment", path=path, sha256=sha(bytes(5000)), size=5000)
    assert caught.value.facts["key"] == "plan/segment"


@pytest.mark.parametrize("at", [0, 2500, 4999])
def test_a_byte_that_flips_on_its_way_down_is_caught(rclone: Server, tmp_path: Path, at: int) -> None:
    data = os.urandom(5000)
    with FaultProxy(rclone.host, rclone.port) as proxy:
        store = rclone.store(endpoint=proxy.url)
        store.put_file("plan/segment", file_with(tmp_path, data))
        proxy.fail("GET", times=None, action=flip_answer(at))
        assert store.download("plan/segment", tmp_path / "out", size=len(data)) != sha(data)
        with pytest.raises(StoredWrongly) as caught:
            store.confirm("plan/segment", path=None, sha256=sha(data), size=len(data))
    assert caught.value.facts["key"] == "plan/segment"


def test_a_byte_that_does_not_fit_the_stores_own_checksum_is_caught(moto: Server, tmp_path: Path) -> None:
    with FaultProxy(moto.host, moto.port) as proxy:
        store = moto.store(endpoint=proxy.url)
        store.put("plan/segment", bytes(5000))
        proxy.fail("GET", times=None, action=flip_answer(4999))
        with pytest.raises(IntegrityError) as caught:
            store.download("plan/segment", tmp_path / "out", size=5000)
    assert str(caught.value) == (
        "the bytes read do not have the checksum that the store keeps of them "
        f"(store='s3://{moto.bucket}/backups', key='plan/segment', reason='FlexibleChecksumError')\n"
        "HINT: Verify the backup, and use an older one if it is damaged."
    )
    assert not (tmp_path / "out").exists()


def test_a_cut_download_goes_on_where_it_was(server: Server, proxy: FaultProxy, tmp_path: Path) -> None:
    data = os.urandom(11 * MIB)
    store = server.store(endpoint=proxy.url)
    store.put_file("plan/segment", file_with(tmp_path, data))
    proxy.reset()
    proxy.fail("GET", times=4, action=cut_answer(2 * MIB + 100))
    received: list[int] = []
    assert store.download("plan/segment", tmp_path / "out", size=len(data), progress=received.append) == sha(data)
    assert (tmp_path / "out").read_bytes() == data
    assert sum(received) == len(data)
    assert len(proxy.requests) == 5
    proxy.fail("GET", times=4, action=cut_answer(2 * MIB + 100))
    store.confirm("plan/segment", path=None, sha256=sha(data), size=len(data))
    proxy.fail("GET", times=4, action=cut_answer(2 * MIB + 100))
    assert b"".join(store.read("plan/segment")) == data


def test_a_download_without_progress_gives_up(server: Server, proxy: FaultProxy, tmp_path: Path) -> None:
    store = server.store(endpoint=proxy.url)
    store.put("plan/segment", bytes(5000))
    proxy.reset()
    proxy.fail("GET", times=None, action=cut_answer(0))
    with pytest.raises(StoreUnavailable) as caught:
        store.download("plan/segment", tmp_path / "out", size=5000)
    assert str(caught.value) == (
        f"the store does not answer (store='s3://{server.bucket}/backups', key='plan/segment', "
        f"reason='IncompleteReadError')\n{AGAIN}"
    )
    assert len(proxy.requests) == 3
    assert not (tmp_path / "out").exists()


def test_an_object_that_is_replaced_during_a_download_is_not_stitched(
    server: Server, proxy: FaultProxy, tmp_path: Path
) -> None:
    store, direct = server.store(endpoint=proxy.url), server.store()
    store.put("plan/segment", bytes(3 * MIB))
    replace = lambda _: direct.put("plan/segment", b"x" * 3 * MIB)  # noqa: E731
    proxy.fail("GET", action=cut_answer(MIB + 100))
    proxy.fail("GET", action=call(before=replace))
    with pytest.raises(IntegrityError, match="the object was replaced while it was read") as caught:
        store.download("plan/segment", tmp_path / "out", size=3 * MIB)
    assert caught.value.facts["key"] == "plan/segment"
    assert not (tmp_path / "out").exists()


def test_an_object_that_is_replaced_while_it_is_confirmed_is_not_confirmed(rclone: Server) -> None:
    with FaultProxy(rclone.host, rclone.port) as proxy:
        store = rclone.store(endpoint=proxy.url)
        store.put("plan/segment", bytes(3 * MIB))
        proxy.fail("GET", action=cut_answer(MIB + 100))
        proxy.fail("GET", action=call(before=lambda _: rclone.store().put("plan/segment", b"x" * 3 * MIB)))
        with pytest.raises(StoredWrongly, match="the object was replaced while it was read"):
            store.confirm("plan/segment", path=None, sha256=sha(bytes(3 * MIB)), size=3 * MIB)


def test_a_conditional_write_whose_answer_is_lost_is_not_taken_for_somebody_elses(moto: Server) -> None:
    with FaultProxy(moto.host, moto.port) as proxy:
        store = moto.store(endpoint=proxy.url)
        proxy.at_write(0, DROP_ANSWER)
        store.put("plan/manifest.json", b"mine", if_absent=True)
        assert [method for method, _ in proxy.writes] == ["PUT", "PUT"]
        with pytest.raises(ObjectExists):
            store.put("plan/manifest.json", b"mine", if_absent=True)


def test_a_lost_answer_does_not_hide_that_the_key_was_taken(moto: Server) -> None:
    with FaultProxy(moto.host, moto.port) as proxy:
        store = moto.store(endpoint=proxy.url)
        store.put("plan/manifest.json", b"theirs")
        proxy.reset()
        proxy.at_write(0, DROP_ANSWER)
        with pytest.raises(ObjectExists):
            store.put("plan/manifest.json", b"mine", if_absent=True)
        assert store.get("plan/manifest.json", limit=100) == b"theirs"


def test_a_store_that_lacks_the_deletion_of_many_deletes_one_by_one(server: Server, proxy: FaultProxy) -> None:
    store = server.store(endpoint=proxy.url)
    for key in ("a", "b"):
        store.put(key, b"")
    proxy.reset()
    proxy.fail("POST ?delete", action=status(501, "NotImplemented"))
    assert store.delete(["a", "b", "none"]) == ()
    assert [method for method, _ in proxy.writes] == ["POST", "DELETE", "DELETE", "DELETE"]
    assert list(store.list("")) == []


def test_a_key_that_the_store_keeps_is_named(server: Server, proxy: FaultProxy) -> None:
    store = server.store(endpoint=proxy.url)
    kept = b"<DeleteResult><Error><Key>backups/plan/b</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    proxy.fail("POST ?delete", action=answer(200, kept))
    with pytest.raises(StoreDenied) as caught:
        store.delete(["plan/a", "plan/b"])
    assert str(caught.value) == (
        f"the store denies access (store='s3://{server.bucket}/backups', key='plan/b', failed=1, "
        "operation='DeleteObjects', code='AccessDenied')\n"
        "HINT: Allow s3:DeleteObject for the store's credentials, on this bucket and prefix."
    )


def test_a_store_that_cannot_list_uploads_gives_none(server: Server, proxy: FaultProxy) -> None:
    proxy.fail("GET ?uploads", times=None, action=status(501, "NotImplemented"))
    assert list(server.store(endpoint=proxy.url).uploads("plan")) == []


def test_a_denied_read_says_what_to_allow(server: Server, proxy: FaultProxy) -> None:
    proxy.fail("GET", action=status(403, "AccessDenied"))
    proxy.fail("HEAD", action=status(403, "AccessDenied"))
    store = server.store(endpoint=proxy.url)
    with pytest.raises(StoreDenied) as caught:
        store.get("plan/a", limit=1)
    assert str(caught.value) == (
        f"the store denies access (store='s3://{server.bucket}/backups', key='plan/a', "
        "operation='GetObject', code='AccessDenied')\n"
        "HINT: Allow s3:GetObject for the store's credentials, on this bucket and prefix."
    )
    with pytest.raises(StoreDenied) as caught:
        store.head("plan/a")
    assert caught.value.facts["code"] == "403"
    assert caught.value.hint == "Allow s3:GetObject for the store's credentials, on this bucket and prefix."


def test_a_store_that_sends_all_where_the_start_was_asked_for(server: Server, proxy: FaultProxy) -> None:
    store = server.store(endpoint=proxy.url)
    proxy.fail("GET", action=answer(200, b"12345"))
    assert store.get_start("plan/segment", size=3) == b"123"


@pytest.mark.parametrize(("code", "kind"), [(200, StoreUnavailable), (404, StoreError), (502, StoreUnavailable)])
def test_a_web_page_in_place_of_a_store_is_said(rclone: Server, code: int, kind: type[StoreError]) -> None:
    with FaultProxy(rclone.host, rclone.port) as proxy:
        page = b"<html>Welcome to the console<br></html>"
        proxy.fail(times=None, action=answer(code, page, "text/html; charset=utf-8"))
        with pytest.raises(StoreError) as caught:
            list(rclone.store(endpoint=proxy.url).list(""))
    assert type(caught.value) is kind
    assert str(caught.value) == (
        f"a web page answers in place of the store (store='s3://{rclone.bucket}/backups', "
        f"operation='ListObjectsV2', code='{500 if code == 200 else code}')\n"
        "HINT: Check the endpoint of the store's credentials: it may be that of a console or of a proxy."
    )


@pytest.mark.parametrize("what", ["uploads", "abort", "delete", "list"])
def test_a_refusal_is_never_swallowed(rclone: Server, what: str) -> None:
    with FaultProxy(rclone.host, rclone.port) as proxy:
        store = rclone.store(endpoint=proxy.url)
        proxy.fail(times=None, action=status(403, "AccessDenied"))
        with pytest.raises(StoreDenied):
            {
                "uploads": lambda: list(store.uploads("plan")),
                "abort": lambda: store.abort(PendingUpload("plan/a", "id", datetime.now(UTC))),
                "delete": lambda: store.delete(["plan/a"]),
                "list": lambda: list(store.list("plan")),
            }[what]()


@pytest.mark.parametrize("end", [DEAD, DEAD_AFTER], ids=["before", "after"])
def test_an_upload_that_dies_at_any_write_leaves_no_part_of_an_object(
    server: Server, proxy: FaultProxy, tmp_path: Path, end
) -> None:
    path = file_with(tmp_path, os.urandom(6 * MIB))
    once = Config(retries={"total_max_attempts": 1})  # to repeat a request to what is dead only takes time
    store = server.store(endpoint=proxy.url, more=once)
    store.put_file("plan/0", path)
    for n in range(len(proxy.writes)):
        proxy.reset()
        proxy.at_write(n, end)
        with pytest.raises(StoreUnavailable):
            store.put_file(f"plan/{n + 1}", path)
        proxy.reset()
        assert all(stored.size == 6 * MIB for stored in store.list("plan"))
        for upload in store.uploads("plan"):
            store.abort(upload)
        assert list(store.uploads("plan")) == []


def test_a_store_that_dies_in_the_middle_is_seen_by_everybody(server: Server, proxy: FaultProxy) -> None:
    store = server.store(endpoint=proxy.url)
    store.put("plan/a", b"1")
    proxy.die()
    for attempt in (lambda: store.get("plan/a", limit=1), lambda: store.put("b", b""), lambda: list(store.list(""))):
        with pytest.raises(StoreUnavailable):
            attempt()
    proxy.reset()
    assert store.get("plan/a", limit=1) == b"1"


def test_the_proxy_tells_when_a_request_comes_and_when_it_is_done(server: Server, proxy: FaultProxy) -> None:
    seen: list[tuple[str, int | None, bytes]] = []
    done = threading.Event()

    def before(request: Request) -> None:
        seen.append((request.method, request.write, request.body))

    proxy.at_write(1, call(before=before, after=lambda _: done.set()))
    store = server.store(endpoint=proxy.url)
    store.put("a", b"first")
    assert not done.is_set()
    store.put("b", b"second")
    assert done.is_set()
    assert seen == [("PUT", 1, b"second")]


@pytest.mark.parametrize(
    ("code", "status_code", "operation", "kind"),
    [
        ("SlowDown", 503, "PutObject", StoreUnavailable),
        ("SlowDown", 400, "PutObject", StoreUnavailable),
        ("503", 503, "HeadObject", StoreUnavailable),
        ("NoSuchUpload", 404, "UploadPart", StoreUnavailable),
        ("ConditionalRequestConflict", 409, "PutObject", StoreUnavailable),
        ("BadDigest", 400, "PutObject", StoredWrongly),
        ("PreconditionFailed", 412, "PutObject", ObjectExists),
        ("PreconditionFailed", 412, "GetObject", IntegrityError),
        ("InvalidAccessKeyId", 403, "PutObject", StoreDenied),
        ("ExpiredToken", 400, "PutObject", StoreDenied),
        ("RequestTimeTooSkewed", 403, "PutObject", StoreDenied),
        ("InvalidObjectState", 403, "GetObject", StoreError),
        ("PermanentRedirect", 301, "PutObject", StoreError),
        ("NotImplemented", 501, "PutObject", StoreError),
        ("EntityTooLarge", 400, "PutObject", StoreError),
    ],
)
def test_a_code_of_s3_becomes_the_error_that_decides_what_happens_next(
    code: str, status_code: int, operation: str, kind: type[Exception]
) -> None:
    error = explain_code(
        {"Code": code, "Message": "said"}, {"store": "s3://b"}, operation=operation, status=status_code
    )
    assert type(error) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (botocore.exceptions.ConnectTimeoutError(endpoint_url="http://s"), StoreUnavailable),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="http://s"), StoreUnavailable),
        (botocore.exceptions.SSLError(endpoint_url="https://s", error="self-signed"), StoreError),
        (botocore.exceptions.ParamValidationError(report="Invalid bucket name"), ConfigurationError),
        (botocore.exceptions.UnauthorizedSSOTokenError(), StoreError),
        (ResponseParserError("no XML"), StoreError),
        (urllib3.exceptions.ProtocolError("broken"), StoreUnavailable),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_of_the_sdk_becomes_the_error_that_decides_what_happens_next(
    error: Exception, kind: type[Exception]
) -> None:
    ours = explain(error, "s3://b/p", "plan/a")
    assert type(ours) is kind
    assert ours.facts == {"store": "s3://b/p", "key": "plan/a", "reason": type(error).__name__}
    assert ours.hint


def test_another_refusal_is_quoted() -> None:
    error = explain_code(
        {"Code": "EntityTooLarge", "Message": "too large"}, {"store": "s3://b"}, operation="PutObject", status=400
    )
    assert str(error) == (
        "the store refuses the request (says='too large', store='s3://b', operation='PutObject', code='EntityTooLarge')"
    )


def test_no_profile_but_the_documented_ones_trusts_a_conditional_write() -> None:
    assert [name for name, one in PROFILES.items() if one.conditional_writes] == ["aws", "r2", "minio"]


def test_an_object_that_ends_early_is_truncated(moto: Server, tmp_path: Path) -> None:
    store = moto.store()
    store.put("plan/segment", b"123")
    with pytest.raises(Truncated):
        store.download("plan/segment", tmp_path / "out", size=4)
