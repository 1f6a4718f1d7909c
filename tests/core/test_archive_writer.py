from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import bson
import pytest

from flows.core.archive import ArchiveHeader, ArchiveWriter, PreludeEntry, verify_archive
from flows.core.errors import BackupError, FormatError, SpoolError, UnsupportedVersion
from flows.core.extjson import dumps_metadata
from flows.core.names import Namespace
from flows.core.tally import Totals

GOLDEN = Path(__file__).parent.parent / "golden"
HEADER = ArchiveHeader(server_version="7.0.14", tool_version="100.18.0")
USERS = Namespace("admin", "system.users")
VERSION = Namespace("admin", "system.version")
OPLOG = Namespace("", "oplog")
C = Namespace("d", "c")
E = Namespace("d", "e")


def entry(namespace: Namespace, kind: str = "collection", metadata: str = "") -> PreludeEntry:
    return PreludeEntry(namespace, metadata, kind)


def writer(*namespaces: Namespace, out: io.BytesIO | None = None) -> ArchiveWriter:
    return ArchiveWriter(out or io.BytesIO(), HEADER, [entry(namespace) for namespace in namespaces])


def write_minimal(out: object) -> dict[Namespace, Totals]:
    metadata = dumps_metadata(
        options=None,
        indexes=[{"v": 2, "key": {"_id": 1}, "name": "_id_"}],
        uuid="ab" * 16,
        collection_name="c",
        type="collection",
    )
    archive = ArchiveWriter(out, HEADER, [entry(C, metadata=metadata), entry(E, "")])  # type: ignore[arg-type]
    archive.begin(C)
    assert archive.write(bson.encode({"_id": 1, "x": "é"}) + bson.encode({"_id": 2})) == 2
    archive.end()
    archive.begin(E)
    archive.end()
    return archive.finish()


def test_the_bytes_are_those_of_the_official_tools() -> None:
    out = io.BytesIO()
    totals = write_minimal(out)
    assert out.getvalue() == (GOLDEN / "minimal.archive").read_bytes()
    assert [(total.documents, total.bytes, total.crc) for total in totals.values()] == [
        (2, 38, 0xFC693C16B2B56740),
        (0, 0, 0),
    ]


def test_an_output_that_takes_a_byte_at_a_time_gets_all_of_them() -> None:
    class Slow(io.BytesIO):
        def write(self, data: bytes | memoryview, /) -> int:  # type: ignore[override]
            return super().write(data[:1])

    out = Slow()
    write_minimal(out)
    assert out.getvalue() == (GOLDEN / "minimal.archive").read_bytes()


def test_an_output_that_takes_nothing_is_an_error_and_not_a_loop() -> None:
    class Full(io.BytesIO):
        def write(self, data: object, /) -> int:
            return 0

    with pytest.raises(SpoolError, match="output takes no more bytes"):
        write_minimal(Full())


class Crash(BaseException):
    """Derived so that no handler can pretend to have survived it."""


class CrashingOutput(io.BytesIO):
    def __init__(self, crash_at: int) -> None:
        super().__init__()
        self.left = crash_at

    def write(self, data: object, /) -> int:
        if self.left == 0:
            raise Crash
        self.left -= 1
        return super().write(data)  # type: ignore[arg-type]


WRITES = 6  # of `write_minimal`


def test_write_minimal_writes_as_often_as_the_crash_test_believes() -> None:
    out = CrashingOutput(WRITES)
    write_minimal(out)
    assert out.left == 0


@pytest.mark.parametrize("crash_at", range(WRITES))
def test_a_crash_at_any_write_leaves_nothing_that_looks_whole(crash_at: int) -> None:
    out = CrashingOutput(crash_at)
    with pytest.raises(Crash):
        write_minimal(out)
    with pytest.raises(FormatError):
        verify_archive(io.BytesIO(out.getvalue()))


def test_after_a_failed_write_the_namespace_cannot_be_ended() -> None:
    out = io.BytesIO()
    archive = writer(C, out=out)
    archive.begin(C)
    archive.write(bson.encode({"a": 1}))
    with pytest.raises(FormatError, match="impossible document length"):
        archive.write(b"\0\0\0\0\0")
    before = out.getvalue()
    steps: list[Callable[[], object]] = [
        archive.end,
        archive.finish,
        lambda: archive.write(b""),
        lambda: archive.begin(C),
    ]
    for step in steps:
        with pytest.raises(FormatError, match="archive is finished, or an earlier step has failed"):
            step()
    assert out.getvalue() == before


def test_nothing_can_be_written_after_finish() -> None:
    archive = writer()
    assert archive.finish() == {}
    with pytest.raises(FormatError, match="archive is finished, or an earlier step has failed"):
        archive.begin(C)


def test_time_series_are_written_as_buckets_up_to_8_2_and_under_their_own_name_since() -> None:
    metrics = entry(Namespace("d", "metrics"), "timeseries")
    buckets = Namespace("d", "system.buckets.metrics")
    for version, name in (
        ("6.0.5", buckets),
        ("8.2.9", buckets),
        ("8.3.0", metrics.namespace),
        ("9.0.0-rc1", metrics.namespace),
    ):
        out = io.BytesIO()
        archive = ArchiveWriter(out, ArchiveHeader(version, "t"), [metrics])
        archive.begin(name)
        archive.end()
        assert archive.finish().keys() == {name} == verify_archive(io.BytesIO(out.getvalue())).totals.keys()


def test_users_come_first_and_the_oplog_last() -> None:
    archive = writer(C, OPLOG, USERS, VERSION)
    for namespace in (VERSION, USERS, C, OPLOG):
        archive.begin(namespace)
        archive.end()
    archive.finish()


def begin_all(*namespaces: Namespace) -> None:
    archive = writer(*sorted(set(namespaces)))
    for namespace in namespaces:
        archive.begin(namespace)
        archive.end()


def two_at_once() -> None:
    archive = writer(C, E)
    archive.begin(C)
    archive.begin(E)


def stop_while_open() -> None:
    archive = writer(C)
    archive.begin(C)
    archive.finish()


def construct(header: ArchiveHeader = HEADER, *entries: PreludeEntry) -> None:
    ArchiveWriter(io.BytesIO(), header, entries)


@pytest.mark.parametrize(
    ("attempt", "text"),
    [
        (lambda: begin_all(C, C), "namespace is written twice (namespace='d.c')"),
        (lambda: writer(C).begin(E), "namespace is not in the prelude (namespace='d.e')"),
        (two_at_once, "another namespace is open (namespace='d.e', open='d.c')"),
        (lambda: writer(C).write(b""), "no namespace is open"),
        (lambda: writer(C).end(), "no namespace is open"),
        (lambda: writer(C, E).finish(), "namespaces of the prelude were not written (got=['d.c', 'd.e'])"),
        (stop_while_open, "a namespace is still open (namespace='d.c')"),
        (
            lambda: writer(C, USERS).begin(C),
            "users and roles must come before all collections (namespace='d.c')",
        ),
        (
            lambda: writer(Namespace("d", "$admin.system.roles"), C).begin(C),
            "users and roles must come before all collections (namespace='d.c')",
        ),
        (lambda: writer(OPLOG, C).begin(OPLOG), "the oplog must come after all collections (namespace='.oplog')"),
        (lambda: construct(HEADER, entry(C), entry(C)), "namespace is twice in the prelude (namespace='d.c')"),
        (lambda: construct(HEADER, entry(Namespace("d", ""))), "entry of the prelude has no name (namespace='d.')"),
        (lambda: construct(HEADER, entry(Namespace("", "c"))), "entry of the prelude has no name (namespace='.c')"),
        (
            lambda: construct(HEADER, entry(C, metadata="x" * 2)),
            "metadata of a collection is not JSON (got='Expecting value: line 1 column 1 (char 0)')",
        ),
        (lambda: construct(ArchiveHeader("7.0.14", "")), "header of an archive has no tool version"),
    ],
)
def test_an_archive_that_would_not_restore_is_refused(attempt: Callable[[], None], text: str) -> None:
    with pytest.raises(FormatError) as caught:
        attempt()
    assert str(caught.value) == text


@pytest.mark.parametrize("version", ["unknown", "", "7.0", "7.0.x", "7.0.14.1", " 7.0.14", "v7.0.14", "7.0.١"])
def test_a_server_version_that_mongorestore_cannot_read_is_refused(version: str) -> None:
    with pytest.raises(UnsupportedVersion) as caught:
        construct(ArchiveHeader(version, "t"), entry(C))
    assert str(caught.value) == (
        f"the server version is not three numbers (expected='N.N.N, N.N.N-x or N.N.N+x', got={version!r})"
    )


@pytest.mark.parametrize(
    ("version", "release"), [("7.0.14", (7, 0, 14)), ("8.0.16-353-gb1", (8, 0, 16)), ("8.0.16+x.y", (8, 0, 16))]
)
def test_a_server_version_may_have_a_suffix(version: str, release: tuple[int, int, int]) -> None:
    assert ArchiveHeader(version, "t").release == release


def test_a_prelude_that_cannot_be_read_back_is_refused() -> None:
    with pytest.raises(FormatError, match="metadata of a collection is too large for an archive"):
        construct(HEADER, entry(C, metadata='{"x":"' + "x" * 2**24 + '"}'))
    with pytest.raises(BackupError, match="header of an archive cannot be encoded"):
        construct(HEADER, entry(Namespace("d", "\ud800")))
    with pytest.raises(FormatError, match="header of an archive is not valid"):
        construct(ArchiveHeader("7.0.14", "t", concurrent_collections=0))
