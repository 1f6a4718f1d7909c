"""The manifest of a data set: what it says, and what is refused as one."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest

from flows.core.errors import FormatError, IntegrityError, UnsupportedVersion
from flows.core.names import Namespace
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.dataset_keys import files_prefix, key_part, schema_key, version_key, version_of, views_key
from flows.core.parquet.records import (
    Changes,
    DataFile,
    ExportedNamespace,
    ExportKind,
    ExportRecord,
    FileRole,
    SchemaRecord,
)
from flows.core.source import ClusterTime, Consistency

NOW = datetime(2026, 3, 6, 4, 0, 0, tzinfo=UTC)
INVOICES = Namespace("mpg", "invoices")
IDS = [f"2026-03-0{day}T04-00-00Z" for day in range(1, 6)]


def file(export: str, name: str = "part-00000-000.parquet", role: FileRole = FileRole.ROWS) -> DataFile:
    return DataFile(files_prefix("mpg", INVOICES, export) + name, role, 500, 1000, "ab" * 32, "read back")


def record(export: str, kind: ExportKind = ExportKind.FULL, since: str = "") -> ExportRecord:
    is_changes = kind is ExportKind.CHANGES
    item = ExportedNamespace(
        namespace=INVOICES,
        kind=kind,
        since=since,
        documents=500,
        rejected=0,
        schema="cd" * 32,
        changes=Changes(1, 2, 3) if is_changes else None,
        hash_key="",
        partitioned_by="",
        files=(file(export, role=FileRole.CHANGES if is_changes else FileRole.ROWS),),
    )
    return ExportRecord(
        export=export,
        plan="mpg",
        backup=export,
        cluster_time=ClusterTime(1772769600, 7),
        consistency=Consistency.SNAPSHOT,
        data_time=NOW,
        started=NOW,
        finished=NOW,
        engine="python",
        rules="",
        keys=(),
        warnings=(),
        versions={"mongo-backup-flows": "0.1.0"},
        namespaces=(item,),
    )


def dataset(*exports: ExportRecord) -> Dataset:
    key = schema_key("mpg", INVOICES, "cd" * 32)
    schema = SchemaRecord(INVOICES, 1, "cd" * 32, key, {"/number": IDS[0]})
    return Dataset.empty("mpg", now=NOW).following(exports, [schema], written=NOW, by="export")


def test_it_is_written_and_read_again() -> None:
    written = dataset(record(IDS[0]), record(IDS[1], ExportKind.CHANGES, IDS[0]))
    data = written.to_json()
    assert Dataset.from_json(data) == written
    assert Dataset.from_json(data).to_json() == data
    assert (written.version, written.key) == (1, "mpg/export/versions/00000001.json")


def test_what_a_namespace_was_follows_from_the_last_full_export_and_the_changes_after_it() -> None:
    full, changes, again, after = (
        record(IDS[0]),
        record(IDS[1], ExportKind.CHANGES, IDS[0]),
        record(IDS[2], ExportKind.COMPACTED),
        record(IDS[3], ExportKind.CHANGES, IDS[2]),
    )
    data = dataset(after, again, changes, full)
    assert [export for export, _ in data.chain(INVOICES)] == [IDS[2], IDS[3]]
    assert [export for export, _ in data.chain(INVOICES, IDS[1])] == [IDS[0], IDS[1]]
    assert data.chain(INVOICES, IDS[4]) == ()
    assert data.chain(Namespace("mpg", "other")) == ()
    assert data.needed_by(IDS[0], INVOICES) == (IDS[1],)
    assert data.needed_by(IDS[1], INVOICES) == ()


def test_a_file_is_replaced_or_removed_in_the_next_version() -> None:
    old = dataset(record(IDS[0]), record(IDS[1]))
    new = file(IDS[0], "part-00000-000-v2.parquet")
    gone = {file(IDS[0]).key: new, file(IDS[1]).key: None}
    later = old.replacing(gone, written=NOW + timedelta(days=1), by="erase")
    assert (later.version, later.by, later.files) == (2, "erase", (new,))
    with pytest.raises(IntegrityError, match="not in the data set"):
        later.replacing(gone, written=NOW, by="erase")


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ((record(IDS[1], ExportKind.CHANGES, IDS[0]),), "follow one that is not"),
        ((record(IDS[0], ExportKind.CHANGES, IDS[0]),), "follow one that is not"),
        ((record(IDS[0]), record(IDS[0])), "twice"),
        ((dataclasses.replace(record(IDS[0]), namespaces=()), record(IDS[0])), "order"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(wrong: tuple[ExportRecord, ...], what: str) -> None:
    with pytest.raises(IntegrityError, match=what):
        Dataset.from_json(dataset(*wrong).to_json())


def test_a_file_outside_of_the_data_set_and_a_namespace_without_a_schema_are_refused() -> None:
    sound = json.loads(dataset(record(IDS[0])).to_json())
    outside = json.loads(json.dumps(sound).replace("mpg/export/data", "mpg/backups"))
    with pytest.raises(IntegrityError, match="outside"):
        Dataset.from_json(json.dumps(outside).encode())
    with pytest.raises(IntegrityError, match="no schema"):
        Dataset.from_json(json.dumps({**sound, "schemas": []}).encode())


def test_what_is_no_manifest_is_refused() -> None:
    sound = json.loads(dataset(record(IDS[0])).to_json())
    with pytest.raises(UnsupportedVersion):
        Dataset.from_json(json.dumps({**sound, "format": 2}).encode())
    with pytest.raises(FormatError, match="not JSON"):
        Dataset.from_json(b"{")
    sound["exports"][0]["namespaces"][0]["files"][0]["sha256"] = "no"
    with pytest.raises(FormatError, match="wrong form"):
        Dataset.from_json(json.dumps(sound).encode())


def test_keys() -> None:
    odd = Namespace("mpg", "a/b ..\n%ü")
    assert files_prefix("mpg", odd, IDS[0]) == f"mpg/export/data/mpg.a%2Fb%20..%0A%25%C3%BC/{IDS[0]}/"
    assert key_part("month=2026-03") == "month=2026-03"
    assert version_of(version_key("mpg", 12)) == 12
    assert version_of(views_key("mpg", 12)) is None
