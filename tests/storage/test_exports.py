"""A data set in a store: at whatever write a run ends, readers see the version before it or the one after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.core.canonical import canonical
from flows.core.errors import FormatError, IntegrityError, ObjectMissing, Refused, StoredWrongly, StoreError
from flows.core.names import Namespace
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.dataset_keys import data_prefix, files_prefix, schema_key, version_key, views_key
from flows.core.parquet.records import ExportedNamespace, ExportKind, ExportRecord, FileRole, SchemaRecord
from flows.core.source import Consistency
from flows.storage import exports
from flows.storage.memory import MemoryStore
from tests.support.repositories import HookedStore

NOW = datetime(2026, 3, 6, 4, 0, 0, tzinfo=UTC)
GRACE = timedelta(hours=12)
INVOICES = Namespace("mpg", "invoices")
SCHEMA = {"columns": []}


class Killed(BaseException):
    """The end of the process; no handler of the code under test sees it."""


def ignore(*_: int) -> None:
    return


def run(store: MemoryStore, folder: Path, export: str, *, now: datetime = NOW) -> Dataset:
    """What an export does to a store, write by write."""
    exports.prepare(store, "mpg")
    before = exports.read_dataset(store, "mpg", now=now)
    prefix = files_prefix("mpg", INVOICES, export)
    files = []
    for number in range(2):
        path = folder / f"{export}-{number}"
        path.write_bytes(f"{export} {number}".encode())
        local = exports.local_file(path, f"{prefix}part-{number:05d}-000.parquet", FileRole.ROWS, 10)
        files.append(exports.store_file(store, local, progress=ignore))
    schema = SchemaRecord(INVOICES, 1, "cd" * 32, schema_key("mpg", INVOICES, "cd" * 32), {})
    exports.store_schema(store, schema.key, SCHEMA)
    files.append(exports.store_text(store, "# Fields", f"{prefix}dictionary.md", FileRole.DICTIONARY))
    item = ExportedNamespace(INVOICES, ExportKind.FULL, "", 20, 0, schema.sha256, None, "", "", tuple(files))
    record = ExportRecord(
        export, "mpg", export, None, Consistency.NONE, NOW, NOW, NOW, "python", "", (), (), {}, (item,)
    )
    after = before.following((*before.exports, record), (schema,), written=now, by="export")
    exports.publish(store, after, "SELECT 1;\n")
    exports.sweep(store, after, now=now, grace=GRACE)
    return after


def look(store: MemoryStore) -> tuple[int, list[str]]:
    """What a reader finds, who begins at the manifest and reads all that it names."""
    dataset = exports.read_dataset(store, "mpg", now=NOW)
    for file in dataset.files:
        store.confirm(file.key, path=None, sha256=file.sha256, size=file.bytes)
    for record in dataset.schemas:
        assert store.get(record.key, limit=1000) == canonical(SCHEMA)
    if dataset.version:
        store.get(views_key("mpg", dataset.version), limit=1000)
    return dataset.version, [record.export for record in dataset.exports]


def dying(store: MemoryStore, at: int, *, after: bool) -> tuple[MemoryStore, list[str]]:
    """The same store, for a process that is killed before or after one of its writes."""
    writes: list[str] = []

    class Mortal(HookedStore):
        def put(self, key: str, data: bytes, **options) -> None:
            self._write(f"put {key}", lambda: MemoryStore.put(self, key, data, **options))

        def delete(self, keys):
            gone = list(keys)
            found: list = []
            self._write(f"delete {len(gone)}", lambda: found.extend(MemoryStore.delete(self, gone)))
            return tuple(found)

        def _write(self, what: str, act: Callable[[], None]) -> None:
            writes.append(what)
            if len(writes) - 1 == at and not after:
                raise Killed
            act()
            if len(writes) - 1 == at:
                raise Killed

    return Mortal(store, lambda *_: None), writes


def test_killed_at_any_write_readers_see_all_or_nothing_and_the_next_run_goes_on(tmp_path: Path) -> None:
    store = MemoryStore(clock=lambda: NOW)
    run(store, tmp_path, "2026-03-06T04-00-00Z")
    clean, writes = dying(store, 10_000, after=True)
    run(clean, tmp_path, "2026-03-07T04-00-00Z")
    manifest = writes.index(f"put {version_key('mpg', 2)}")
    assert (len(writes), manifest) == (7, 6)  # the last write
    outcomes = set()
    for at in range(len(writes)):
        for after in (False, True):
            store = MemoryStore(clock=lambda: NOW)
            run(store, tmp_path, "2026-03-06T04-00-00Z")
            with pytest.raises(Killed):
                run(dying(store, at, after=after)[0], tmp_path, "2026-03-07T04-00-00Z")
            seen = look(store)
            is_there = (at, after) >= (manifest, True)
            assert seen[0] == (2 if is_there else 1), (at, after)
            outcomes.add(seen[0])
            later = NOW + timedelta(days=1)
            run(store, tmp_path, "2026-03-08T04-00-00Z", now=later)
            version, listed = look(store)
            assert (version, listed[-1], len(listed)) == (seen[0] + 1, "2026-03-08T04-00-00Z", seen[0] + 1)
            # What the killed run left is gone, or is part of the data set.
            named = {file.key for file in exports.read_dataset(store, "mpg", now=NOW).files}
            assert {item.key for item in store.list(data_prefix("mpg"))} == named
    assert outcomes == {1, 2}


def test_two_runs_at_once_cannot_both_make_the_next_version(tmp_path: Path) -> None:
    store = MemoryStore(clock=lambda: NOW)
    first = run(store, tmp_path, "2026-03-06T04-00-00Z")
    mine = first.following(first.exports, first.schemas, written=NOW, by="mine")
    other = first.following(first.exports, first.schemas, written=NOW, by="other")
    exports.publish(store, other, "")
    with pytest.raises(Refused, match="another run has changed"):
        exports.publish(store, mine, "")
    assert exports.read_dataset(store, "mpg", now=NOW).by == "other"
    exports.publish(store, other, "")  # again, after a lost answer


def test_a_version_whose_files_are_not_all_there_is_not_published(tmp_path: Path) -> None:
    store = MemoryStore(clock=lambda: NOW)
    first = run(store, tmp_path, "2026-03-06T04-00-00Z")
    following = first.following(first.exports, first.schemas, written=NOW, by="export")
    store.put(first.files[0].key, b"short")
    with pytest.raises(IntegrityError, match="another size"):
        exports.publish(store, following, "")
    store.delete([first.files[0].key])
    with pytest.raises(ObjectMissing, match="missing"):
        exports.publish(store, following, "")
    assert exports.versions(store, "mpg") == [1]


def test_two_manifests_stay_and_garbage_goes_when_it_is_old(tmp_path: Path) -> None:
    times = [NOW]
    store = MemoryStore(clock=lambda: times[0])
    for day in (6, 7, 8):
        last = run(store, tmp_path, f"2026-03-0{day}T04-00-00Z")
    assert exports.versions(store, "mpg") == [2, 3]
    stray = f"{data_prefix('mpg')}mpg.invoices/2026-03-05T04-00-00Z/part-00000-000.parquet"
    store.put(stray, b"left by a crash")
    assert exports.sweep(store, last, now=NOW + GRACE - timedelta(seconds=1), grace=GRACE) == (0, ())
    assert exports.sweep(store, last, now=NOW + GRACE, grace=GRACE) == (1, ())
    assert look(store)[0] == 3


def test_files_of_the_version_before_stay_for_those_who_read_it(tmp_path: Path) -> None:
    store = MemoryStore(clock=lambda: NOW)
    first = run(store, tmp_path, "2026-03-06T04-00-00Z")
    without = first.replacing({first.files[0].key: None}, written=NOW, by="compact")
    exports.publish(store, without, "")
    late = NOW + timedelta(days=30)
    assert exports.sweep(store, without, now=late, grace=GRACE) == (0, ())
    after = without.following(without.exports, without.schemas, written=NOW, by="export")
    exports.publish(store, after, "")
    assert exports.sweep(store, after, now=late, grace=GRACE)[0] == 3  # the first manifest, its views and that file
    assert exports.sweep(store, without, now=late, grace=GRACE) == (0, ())  # it is not the newest any more


def test_a_store_that_keeps_something_else_is_found_out(tmp_path: Path) -> None:
    class Liar(MemoryStore):
        def put(self, key: str, data: bytes, **options) -> None:
            super().put(key, data[:-1] + b"?" if self.lies in key else data, **options)

    store = Liar(clock=lambda: NOW)
    for lie, error, text in (
        (".probe", StoreError, "something else than what was written"),
        ("part-00001", StoredWrongly, "another SHA-256"),
        ("schemas/", IntegrityError, "another schema"),
        ("dictionary", StoredWrongly, "another SHA-256"),
        ("versions/00000001.json", IntegrityError, "has something else"),
    ):
        store.lies = lie
        with pytest.raises(error, match=text):
            run(store, tmp_path, "2026-03-06T04-00-00Z")
        store.delete([item.key for item in store.list("")])


def test_a_manifest_that_is_damaged_or_of_another_data_set_is_refused(tmp_path: Path) -> None:
    store = MemoryStore(clock=lambda: NOW)
    first = run(store, tmp_path, "2026-03-06T04-00-00Z")
    store.put(version_key("mpg", 2), b"{")
    with pytest.raises(FormatError, match="not JSON") as caught:
        look(store)
    assert caught.value.facts["key"] == version_key("mpg", 2)
    store.put(version_key("mpg", 2), first.to_json())
    with pytest.raises(IntegrityError, match="names another one"):
        look(store)


def test_a_file_that_was_changed_is_not_used(tmp_path: Path) -> None:
    store = MemoryStore(clock=lambda: NOW)
    file = run(store, tmp_path, "2026-03-06T04-00-00Z").files[0]
    store.put(file.key, b"x" * file.bytes)
    with pytest.raises(IntegrityError, match="SHA-256 of a file"):
        exports.fetch(store, file, tmp_path / "fetched", progress=ignore)
    assert not (tmp_path / "fetched").exists()
    with pytest.raises(ObjectMissing):
        exports.read_schema(store, dataclasses.replace(exports_schema(), key="mpg/export/schemas/gone.json"))
    store.put("mpg/export/schemas/odd.json", b"{")
    with pytest.raises(FormatError, match="not JSON"):
        exports.read_schema(store, dataclasses.replace(exports_schema(), key="mpg/export/schemas/odd.json"))


def exports_schema() -> SchemaRecord:
    return SchemaRecord(INVOICES, 1, "cd" * 32, "key", {})
