"""Archives of other tools: what their names say, and what a survey finds in them, or refuses."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import bson
import pytest
import zstandard

from flows.core.archive import ArchiveHeader, ArchiveWriter, PreludeEntry
from flows.core.errors import (
    BackupError,
    ConfigurationError,
    FormatError,
    IntegrityError,
    Stopped,
    Truncated,
    UnsupportedVersion,
)
from flows.core.extjson import loads_metadata
from flows.core.foreign import ForeignName, Survey, parse_foreign, survey_archive
from flows.core.names import Namespace
from flows.core.source import Consistency, Kind
from tests.support.samples import Sink

GOLDEN = Path(__file__).parent.parent / "golden"
STORED = datetime(2026, 3, 6, 4, 30, tzinfo=UTC)
LOOSE = "collections were dumped one after the other, so they need not be of one point in time"
NO_COUNTS = "mongodump keeps no counts: a dump that broke off looks whole, so compare these with what you expect"
ONE = bson.encode({"_id": 1})


def look(path: Path, *, key: str = "mpg-1772769600.gz", users: bool = False) -> Survey:
    return survey_archive(path, key=key, sha256="0" * 64, modified=STORED, users=users, progress=lambda _: None)


def refused(path: Path, kind: type[BackupError] | tuple[type[BackupError], ...]) -> BackupError:
    with pytest.raises(kind) as caught:
        look(path)
    assert caught.value.facts["key"] == "mpg-1772769600.gz"
    return caught.value


def written(
    path: Path, entries: dict[PreludeEntry, bytes], *, server: str = "4.0.28", data: dict[str, str] | None = None
) -> Path:
    """An archive as a tool might have written it; `data` names the blocks that have another name than their entry."""
    sink = Sink()
    writer = ArchiveWriter(sink, ArchiveHeader(server, "r4.0.28"), list(entries))
    for entry, documents in entries.items():
        name = (data or {}).get(entry.namespace.collection, entry.namespace.collection)
        writer.begin(Namespace(entry.namespace.database, name))
        writer.write(documents)
        writer.end()
    writer.finish()
    path.write_bytes(sink.data)
    return path


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "plan"),
    [
        ("mpg-1772769600.gz", "mpg"),
        ("mpg-1772769600.archive", "mpg"),
        ("mpg-1772769600.archive.gz", "mpg"),
        ("My_Plan-2-1772769600.gz", "My_Plan-2"),
    ],
)
def test_a_name_says_the_plan_and_the_time(key: str, plan: str) -> None:
    assert parse_foreign(key) == ForeignName(plan, datetime(2026, 3, 6, 4, 0, tzinfo=UTC))


@pytest.mark.parametrize(
    "key",
    [
        "mpg-1772769600.tgz",
        "mpg-1772769600.gz.log",
        "mpg-1772769600",
        "mpg-20260306.gz",
        "mpg-17727696001.gz",
        "-1772769600.gz",
        "mpg.gz",
        "invoices/mpg-1772769600.gz",
        "mpg-1772769600.gz\n",
        "mpg-١٧٧٢٧٦٩٦٠٠.gz",
    ],
)
def test_other_names_are_none_of_ours(key: str) -> None:
    assert parse_foreign(key) is None


# --- what is found ----------------------------------------------------------------------------------------------------


def test_the_zoo_is_described_as_a_manifest_would() -> None:
    expected = json.loads((GOLDEN / "zoo.expected.json").read_text())["collections"]
    manifest = look(GOLDEN / "zoo.archive.gz").manifest
    manifest.check()
    kinds = {str(record.namespace): record.kind for record in manifest.namespaces}
    assert {name for name, kind in kinds.items() if kind is Kind.VIEW} == {"zoo.open_invoices", "zoo.view_of_view"}
    assert kinds["zoo.metrics"] is Kind.TIMESERIES
    counts = {r.data_namespace.collection: r.content.documents for r in manifest.namespaces if r.kind is not Kind.VIEW}
    assert counts == {name: found["count"] for name, found in expected.items() if name != "system.views"}
    (segment,) = manifest.segments
    assert (segment.compression, segment.bytes) == ("gzip", (GOLDEN / "zoo.archive.gz").stat().st_size)
    assert segment.archive_bytes == len(gzip.decompress((GOLDEN / "zoo.archive.gz").read_bytes()))


def test_nothing_is_claimed_that_an_archive_does_not_say() -> None:
    manifest = look(GOLDEN / "zoo.archive.gz").manifest
    assert (manifest.plan, manifest.backup) == ("mpg", "mpg-1772769600.gz")
    assert (manifest.started, manifest.finished) == (datetime(2026, 3, 6, 4, 0, tzinfo=UTC), STORED)
    assert (manifest.consistency, manifest.cluster_time) == (Consistency.NONE, None)
    assert {record.consistency for record in manifest.namespaces} == {Consistency.NONE}
    assert (manifest.source.server_version, manifest.source.topology) == ("6.0.5", "not recorded")
    assert manifest.warnings == (LOOSE, NO_COUNTS)
    assert not manifest.users
    named_otherwise = look(GOLDEN / "zoo.archive.gz", key="old/dump.gz").manifest
    assert (named_otherwise.plan, named_otherwise.started) == ("", STORED)


def test_an_oplog_and_users_are_reported() -> None:
    found = look(GOLDEN / "full-oplog.archive.gz")
    assert (found.oplog_entries, found.users, found.roles) == (37, 2, 1)
    assert found.manifest.warnings == (
        f"the archive holds an oplog of 37 entries, which is NOT applied: {LOOSE}",
        NO_COUNTS,
        "the archive holds 2 users and 1 roles, which are NOT restored without `include_users`",
    )
    assert found.manifest.users
    assert Namespace("", "oplog") not in {record.namespace for record in found.manifest.namespaces}
    assert "users" not in str(look(GOLDEN / "full-oplog.archive.gz", users=True).manifest.warnings)


def test_users_of_one_database_are_counted() -> None:
    found = look(GOLDEN / "db-users.archive.gz")
    assert (found.oplog_entries, found.users, found.roles) == (0, 1, 0)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_the_compression_is_told_from_the_first_bytes(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "archive"
    path.write_bytes(pack((GOLDEN / "minimal.archive").read_bytes()))  # type: ignore[operator]
    assert look(path).manifest.documents == 2


def test_progress_hears_of_all_stored_bytes_and_may_stop() -> None:
    heard: list[int] = []
    path = GOLDEN / "zoo.archive.gz"
    survey_archive(path, key="k", sha256="", modified=STORED, users=False, progress=heard.append)
    assert sum(heard) == path.stat().st_size

    def stop(_: int) -> None:
        raise Stopped("stop")

    with pytest.raises(Stopped):
        survey_archive(path, key="k", sha256="", modified=STORED, users=False, progress=stop)


def test_an_archive_of_an_old_tool_has_neither_types_nor_uuids(tmp_path: Path) -> None:
    entries = {
        PreludeEntry(Namespace("d", "a"), '{"indexes":[{"v":1,"key":{"_id":1},"name":"_id_","ns":"d.a"}]}', ""): ONE,
        PreludeEntry(Namespace("d", "v"), '{"options":{"viewOn":"a","pipeline":[]},"indexes":[]}', ""): b"",
        PreludeEntry(Namespace("d", "bare"), "", ""): ONE,
    }
    records = look(written(tmp_path / "old", entries)).manifest.namespaces
    assert [(record.namespace.collection, record.kind) for record in records] == [
        ("a", Kind.COLLECTION),
        ("v", Kind.VIEW),
        ("bare", Kind.COLLECTION),
    ]
    assert {loads_metadata(record.metadata).uuid for record in records} == {None}


def test_a_view_that_was_dumped_as_a_collection_is_one(tmp_path: Path) -> None:
    entries = {PreludeEntry(Namespace("d", "v"), '{"indexes":[]}', "view"): ONE}
    (record,) = look(written(tmp_path / "views", entries)).manifest.namespaces
    assert (record.kind, record.content.documents) == (Kind.COLLECTION, 1)


def test_collections_that_belong_to_a_server_are_left_out_and_named(tmp_path: Path) -> None:
    names = [("d", "a"), ("d", "a$b"), ("d", "system.js"), ("d", "system.profile"), ("local", "startup_log")]
    entries = {PreludeEntry(Namespace(*name), "", ""): ONE for name in names}
    manifest = look(written(tmp_path / "internal", entries)).manifest
    assert [str(record.namespace) for record in manifest.namespaces] == ["d.a", "d.a$b", "d.system.js"]
    assert manifest.warnings[2:] == (
        "collections of MongoDB's own are not restored: d.system.profile, local.startup_log",
    )


# --- what is refused --------------------------------------------------------------------------------------------------


def test_an_archive_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    for name in ("minimal.archive", "zoo.archive.gz"):
        whole = (GOLDEN / name).read_bytes()
        for size in range(0, len(whole), max(1, len(whole) // 60)):
            path.write_bytes(whole[:size])
            error = refused(path, FormatError)
            assert "Nothing was written." in error.hint
    assert isinstance(refused(path, FormatError), Truncated)


def test_a_flipped_bit_anywhere_in_a_gzip_is_refused(tmp_path: Path) -> None:
    whole = (GOLDEN / "zoo.archive.gz").read_bytes()
    path = tmp_path / "flipped"
    # The first ten bytes are gzip's header, with a time and a system that mean nothing; the last eight CRC and size.
    for place in [*range(10, len(whole), len(whole) // 40), *range(len(whole) - 8, len(whole))]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        refused(path, (FormatError, IntegrityError))


def test_a_flipped_bit_in_a_document_of_a_plain_archive_is_refused(tmp_path: Path) -> None:
    whole = bytearray((GOLDEN / "minimal.archive").read_bytes())
    whole[whole.index("é".encode()) + 1] ^= 0x01
    path = tmp_path / "flipped"
    path.write_bytes(whole)
    error = refused(path, IntegrityError)
    assert str(error).startswith(
        "CRC of a namespace in the archive does not match its documents (key='mpg-1772769600.gz', namespace='d.c', "
    )
    assert error.hint == "The archive is damaged: use another backup. Nothing was written."


def test_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(b"%PDF-1.7")
    assert refused(path, FormatError).message == "not a mongodump archive"


def test_an_archive_of_a_database_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert str(refused(written(tmp_path / "empty", {}), ConfigurationError)) == (
        "the archive holds no collections (key='mpg-1772769600.gz')\n"
        "HINT: mongodump writes such an archive, without an error, of a database that does not exist: use another one."
    )


def test_time_series_without_buckets_are_refused(tmp_path: Path) -> None:
    entries = {PreludeEntry(Namespace("d", "ts"), "", "timeseries"): ONE}
    error = refused(written(tmp_path / "viewless", entries, server="8.3.0"), UnsupportedVersion)
    assert error.facts["namespace"] == "d.ts"
    buckets = {"ts": "system.buckets.ts"}
    (record,) = look(written(tmp_path / "buckets", entries, server="8.2.1", data=buckets)).manifest.namespaces
    assert record.data_namespace == Namespace("d", "system.buckets.ts")
