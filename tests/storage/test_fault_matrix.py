"""Every call of the store against every fault that a provider shows, as a table.

A cell says what the caller gets. Whatever that is, the same call ends right once the fault is over, and nothing is left
that should not be.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config

from flows.core.errors import (
    BackupError,
    FormatError,
    ObjectExists,
    StoreDenied,
    StoredWrongly,
    StoreError,
    StoreUnavailable,
    Truncated,
)
from flows.storage.options import StoreOptions
from flows.storage.profiles import PROFILES
from flows.storage.s3 import S3Store
from flows.storage.store import Leftover, Obstacle, PendingUpload
from tests.storage.conftest import MIB, Server
from tests.storage.contract import file_with, sha
from tests.storage.lock_contract import SOON
from tests.support.fault_proxy import DROP, FaultProxy, Request, answer, call, cut_answer, status

ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>a fault made by a test</Message></Error>"
DATA = os.urandom(6 * MIB)  # two parts
STORED = DATA[:100_000]  # one request: to upload parts for each cell takes time


@dataclass
class Scene:
    """A store in which there is something to do for each call."""

    store: S3Store
    later: S3Store  # the same, once the fault is over
    folder: Path
    upload: PendingUpload
    counted: list[int] = field(default_factory=list)

    @property
    def large(self) -> Path:
        return file_with(self.folder, DATA, "large")

    @property
    def out(self) -> Path:
        """Where no file is."""
        self.counted.append(1)
        return self.folder / f"out-{len(self.counted)}"


@dataclass(frozen=True)
class Place:
    """Where all cells happen."""

    proxy: FaultProxy
    direct: Any
    patient: Any
    quick: Any


@dataclass(frozen=True)
class Call:
    """A call of the store, which of its requests is to fail, what it gives when none does, and what it needs there."""

    act: Callable[[Scene], Any]
    meets: Callable[[Request], bool]
    gives: Any
    needs: tuple[str, ...] = ()


def requests(method: str, *parts: str, without: tuple[str, ...] = ()) -> Callable[[Request], bool]:
    return lambda r: (
        r.method == method and all(part in r.path for part in parts) and not any(part in r.path for part in without)
    )


CALLS = {
    "put": Call(lambda s: s.store.put("new", b"1"), requests("PUT", "/new"), None),
    "put if absent": Call(lambda s: s.store.put("new", b"1", if_absent=True), requests("PUT", "/new"), None),
    "put and lock": Call(lambda s: s.store.put("new", b"1", lock_until=SOON), requests("GET", "?object-lock"), None),
    "put file": Call(
        lambda s: s.store.put_file("new", file_with(s.folder, b"1")).size, requests("PUT", "/new", without=("?",)), 1
    ),
    "put file: look at it": Call(
        lambda s: s.store.put_file("new", file_with(s.folder, b"1")).size, requests("HEAD", "/new"), 1
    ),
    "put file: start": Call(
        lambda s: s.store.put_file("new", s.large).size, requests("POST", "/new?uploads"), len(DATA)
    ),
    "put file: part": Call(
        lambda s: s.store.put_file("new", s.large).size, requests("PUT", "/new", "partNumber=2"), len(DATA)
    ),
    "put file: complete": Call(
        lambda s: s.store.put_file("new", s.large).size, requests("POST", "/new", "uploadId="), len(DATA)
    ),
    "confirm: look": Call(
        lambda s: s.store.confirm("old", path=None, sha256=sha(b"12345"), size=5),
        requests("HEAD", "/old"),
        "store checksum",
        ("old",),
    ),
    "confirm: read": Call(
        lambda s: s.store.confirm("parts", path=None, sha256=sha(DATA), size=len(DATA)),
        requests("GET", "/parts"),
        "read back",
        ("parts",),
    ),
    "get": Call(lambda s: s.store.get("old", limit=10), requests("GET", "/old"), b"12345", ("old",)),
    "download": Call(
        lambda s: s.store.download("large", s.out, size=len(STORED)),
        requests("GET", "/large"),
        sha(STORED),
        ("large",),
    ),
    "read": Call(lambda s: b"".join(s.store.read("large")), requests("GET", "/large"), STORED, ("large",)),
    "head": Call(lambda s: s.store.head("old").size, requests("HEAD", "/old"), 5, ("old",)),
    "list": Call(
        lambda s: sorted(item.key for item in s.store.list("")),
        requests("GET", "list-type=2"),
        ["large", "old"],
        ("old", "large"),
    ),
    "delete": Call(lambda s: s.store.delete(["old"]), requests("POST", "?delete"), (), ("old",)),
    "delete: versions": Call(lambda s: s.store.delete(["old"]), requests("GET", "?versions"), (), ("old",)),
    "uploads": Call(
        lambda s: [item.key for item in s.store.uploads("")],
        requests("GET", "?uploads"),
        ["unfinished"],
        ("unfinished",),
    ),
    "abort": Call(lambda s: s.store.abort(s.upload), requests("DELETE", "/unfinished"), None, ("unfinished",)),
    "lock": Call(lambda s: s.store.lock("old"), requests("HEAD", "/old"), None, ("old",)),
    "extend lock": Call(lambda s: s.store.extend_lock(["old"], SOON), requests("PUT", "?retention"), 1, ("old",)),
    "extend lock: look": Call(lambda s: s.store.extend_lock(["old"], SOON), requests("HEAD", "/old"), 1, ("old",)),
}


class _Held:
    """Requests that the store hears of late."""

    def __init__(self) -> None:
        self._go = threading.Event()
        self._changed = threading.Condition()
        self._under_way = 0

    def begin(self) -> None:
        self._go.clear()
        self._under_way = 0

    def let_go(self) -> None:
        """And wait until the store has answered each of them."""
        self._go.set()
        with self._changed:
            self._changed.wait_for(lambda: self._under_way == 0, timeout=20)

    def before(self, _: Request) -> None:
        with self._changed:
            self._under_way += 1
        self._go.wait(20)

    def after(self, _: Request) -> None:
        with self._changed:
            self._under_way -= 1
            self._changed.notify()


_held = _Held()
FAULTS = {
    "503 with Retry-After": status(503, "SlowDown", retry_after="30"),
    "429": status(429, "TooManyRequests"),
    "500": status(500, "InternalError"),
    "200 with an error": answer(200, ERROR % b"InternalError"),
    "no connection": DROP,
    "cut": cut_answer(0),
    "slow": call(before=_held.before, after=_held.after),
    "denied": status(403, "AccessDenied"),
    "not known": status(501, "NotImplemented"),
    "header refused": status(400, "InvalidArgument", "Unsupported header 'x-amz-sdk-checksum-algorithm'"),
    "web page": answer(502, b"<html>bad gateway</html>", "text/html"),
}
USUAL: dict[str, type[BackupError]] = {
    "503 with Retry-After": StoreUnavailable,
    "429": StoreUnavailable,
    "500": StoreUnavailable,
    "200 with an error": StoreUnavailable,
    "no connection": StoreUnavailable,
    "cut": StoreUnavailable,
    "slow": StoreUnavailable,
    "denied": StoreDenied,
    "not known": StoreError,
    "header refused": StoreError,
    "web page": StoreUnavailable,
}
BODILESS = ("put", "put if absent", "put file", "put file: look at it", "put file: part", "confirm: look", "head")
BODILESS += ("abort", "lock", "extend lock", "extend lock: look")
DONE = object()  # the call ends as it should, all the same
HIDDEN = (Leftover("old", Obstacle.HIDDEN, None),)
CELLS: dict[tuple[str, str], Any] = {
    # What a store cannot list or does not know is done without.
    ("uploads", "not known"): [],
    ("delete", "not known"): DONE,
    ("delete: versions", "not known"): HIDDEN,
    ("delete: versions", "denied"): HIDDEN,
    # A page of errors in place of an object is found out by its size.
    ("confirm: read", "200 with an error"): StoredWrongly,
    ("get", "200 with an error"): FormatError,
    ("download", "200 with an error"): Truncated,
    # Answers without a body cannot be cut.
    **{(name, "cut"): DONE for name in BODILESS},
}
# What the store did while nobody was told of it.
LATE: dict[tuple[str, str], Any] = {
    ("put if absent", "slow"): ObjectExists,
    ("put if absent", "cut"): ObjectExists,
    ("extend lock", "slow"): 0,
    ("extend lock", "cut"): 0,
    ("extend lock: look", "cut"): 0,
}


@pytest.fixture(scope="module")
def place(moto_port: int) -> Iterator[Place]:
    """What all cells share; each has a bucket of its own, since listings of moto hash all that is in one."""
    server = Server("127.0.0.1", moto_port, PROFILES["aws"], "", None)
    with FaultProxy(server.host, server.port) as proxy:
        # One try, as what the SDK repeats is not the matter here; a short patience only where a store is to be slow.
        once = Config(retries={"total_max_attempts": 1}, read_timeout=60, connect_timeout=60)
        patient, quick = (server.client(proxy.url, more=more) for more in (once, once.merge(Config(read_timeout=1))))
        yield Place(proxy, server.client(), patient, quick)


@pytest.fixture
def scene(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> Iterator[tuple[Scene, FaultProxy]]:
    _held.begin()
    place.proxy.reset()
    cell = request.node.callspec.params
    bucket, needs = f"cell-{uuid.uuid4().hex[:8]}", CALLS[cell["name"]].needs
    place.direct.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    direct, patient, quick = (
        S3Store(client, bucket, "", PROFILES["aws"], StoreOptions(lock="governance"), part_bytes=5 * MIB)
        for client in (place.direct, place.patient, place.quick)
    )
    if "old" in needs:
        direct.put("old", b"12345")
    if "large" in needs:
        direct.put_file("large", file_with(tmp_path, STORED))
    if "parts" in needs:  # the store has no checksum of all of it
        direct.put_file("parts", file_with(tmp_path, DATA))
    upload = ""
    if "unfinished" in needs:
        upload = place.direct.create_multipart_upload(**direct.folder.at("unfinished"))["UploadId"]
    pending = PendingUpload("unfinished", upload, datetime.now(UTC))
    yield Scene(quick if cell["fault"] == "slow" else patient, patient, tmp_path, pending), place.proxy
    _held.let_go()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_meets_a_fault(scene: tuple[Scene, FaultProxy], name: str, fault: str) -> None:
    stage, proxy = scene
    tried, expected = CALLS[name], CELLS.get((name, fault), USUAL[fault])
    met: list[str] = []

    def meets(request: Request) -> bool:
        if tried.meets(request):
            met.append(request.path)
            return True
        return False

    proxy.fail(meets, times=None, action=FAULTS[fault])
    if isinstance(expected, type):
        with pytest.raises(BackupError) as caught:
            tried.act(stage)
        error = caught.value
        assert type(error) is expected
        assert error.retryable is (expected in {StoreUnavailable, StoredWrongly})
        assert error.facts["store"] == stage.store.location
        assert error.hint or expected is FormatError
        if fault == "503 with Retry-After":
            assert error.facts["retry_after"] == "30"
    else:
        assert tried.act(stage) == (tried.gives if expected is DONE else expected)
    assert met
    assert not list(stage.folder.glob("out-*"))

    _held.let_go()
    proxy.reset()
    stage.store = stage.later
    again = LATE.get((name, fault), tried.gives)
    if isinstance(again, type):
        with pytest.raises(again):
            tried.act(stage)
    elif expected is not HIDDEN:
        assert tried.act(stage) == again
    # Of an upload whose start nobody heard of nobody can abort the parts, but pruning.
    unheard = {"new"} if name == "put file: start" and fault in {"cut", "slow"} else set()
    assert {item.key for item in stage.store.uploads("")} <= {"unfinished"} | unheard
    for item in stage.store.list(""):
        assert item.size == {"new": item.size, "old": 5, "large": len(STORED), "parts": len(DATA)}[item.key]
