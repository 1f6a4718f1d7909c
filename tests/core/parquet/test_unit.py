"""A unit of an export: an archive in, files out; and nothing where the archive is not what it should be."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import bson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.core.errors import FormatError, IntegrityError, Truncated
from flows.core.names import Namespace
from flows.core.parquet import unit
from flows.core.parquet.changes import IdentityForm, fingerprints, with_change_columns
from flows.core.parquet.engine import engine
from flows.core.parquet.growth import grown
from flows.core.parquet.parts import FileFormat
from flows.core.parquet.records import FileRole
from flows.core.parquet.unit import Columns, Selector, batches_of, profile_unit, write_unit
from flows.core.tally import Totals
from tests.support.samples import archive, collection, entry

FIRST, SECOND, OTHER = (collection(f"mpg.{name}") for name in ("first", "second", "other"))
PYTHON = engine("python")


def documents(count: int, **more: Any) -> bytes:
    return b"".join(bson.encode({"_id": number, "text": "x" * (number % 5), **more}) for number in range(count))


CONTENTS = {FIRST: documents(40), OTHER: documents(3), SECOND: documents(20, n=1.5)}
ARCHIVE = archive(CONTENTS)
EXPECTED = {info.data_namespace: entry(info, data).totals for info, data in CONTENTS.items()}
TWICE = b"\x10_id\x00\x63\x00\x00\x00\x10a\x00\x01\x00\x00\x00\x10a\x00\x02\x00\x00\x00"
REJECT = (len(TWICE) + 5).to_bytes(4, "little") + TWICE + b"\0"


def name(info: Any) -> Namespace:
    return info.data_namespace


def columns(data: bytes, **more: Any) -> Columns:
    schema, _ = grown(None, PYTHON.profile("mpg.first", data))
    return Columns(schema, schema.arrow, FileFormat(), **more)


def write(data: bytes, folder: Path, wanted: dict[Namespace, Columns], **more: Any) -> Any:
    expected = more.pop("expected", None)
    stream = io.BytesIO(data)
    return write_unit(PYTHON, stream, expected, wanted, folder, "part-00007", progress=lambda *_: None, **more)


def test_batches_are_bounded_whole_and_of_one_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "BATCH_BYTES", 300)
    monkeypatch.setattr("flows.core.archive.reader.READ_BYTES", 200)
    found: dict[Namespace, list[bytes]] = {}
    for batch in batches_of(io.BytesIO(ARCHIVE), EXPECTED, frozenset({name(FIRST), name(SECOND)})):
        assert len(batch.buffer) < 600
        assert b"".join(batch.each()) == batch.buffer
        assert batch.first(2) == b"".join(list(batch.each())[:2])
        found.setdefault(batch.namespace, []).append(batch.buffer)
    assert len(found[name(FIRST)]) > 2
    assert {key: b"".join(parts) for key, parts in found.items()} == {
        name(FIRST): CONTENTS[FIRST],
        name(SECOND): CONTENTS[SECOND],
    }


def test_profiles_are_those_of_all_documents() -> None:
    told: list[int] = []
    wanted = frozenset({name(SECOND)})
    found = profile_unit(PYTHON, io.BytesIO(ARCHIVE), EXPECTED, wanted, progress=lambda count, _: told.append(count))
    assert found.keys() == wanted
    assert found[name(SECOND)].as_json() == PYTHON.profile("mpg.second", CONTENTS[SECOND]).as_json()
    assert sum(told) == 20


def test_each_namespace_gets_files_of_its_own(tmp_path: Path) -> None:
    wanted = {name(FIRST): columns(CONTENTS[FIRST]), name(SECOND): columns(CONTENTS[SECOND])}
    done = write(ARCHIVE, tmp_path, wanted, expected=EXPECTED)
    assert {key: (one.documents, one.rejected, one.rejects) for key, one in done.items()} == {
        name(FIRST): (40, 0, None),
        name(SECOND): (20, 0, None),
    }
    (file,) = done[name(SECOND)].files
    assert (file.name, file.rows) == ("part-00007-000.parquet", 20)
    assert pq.read_table(file.path)["n"].to_pylist() == [1.5] * 20


def test_the_rows_of_a_namespace_are_not_held_beside_those_of_the_next(tmp_path: Path) -> None:
    wanted = {name(info): columns(data) for info, data in CONTENTS.items()}
    ready: list[int] = []

    def progress(*_: int) -> None:
        ready.append(len(list(tmp_path.rglob("*.parquet"))))

    write_unit(PYTHON, io.BytesIO(ARCHIVE), EXPECTED, wanted, tmp_path, "part", progress=progress)
    assert ready == [0, 1, 2]


@pytest.mark.parametrize("cut", [len(ARCHIVE) - 1, len(ARCHIVE) // 2])
def test_of_an_archive_that_ends_too_early_nothing_is_left(tmp_path: Path, cut: int) -> None:
    with pytest.raises((Truncated, FormatError)):
        write(ARCHIVE[:cut], tmp_path, {name(FIRST): columns(CONTENTS[FIRST])}, expected=EXPECTED)
    assert not list(tmp_path.rglob("*.parquet*"))


def test_an_archive_that_is_not_what_its_manifest_says_leaves_nothing(tmp_path: Path) -> None:
    changed = bytearray(ARCHIVE)
    changed[ARCHIVE.index(b"xxxx\0")] ^= 1
    other = {**EXPECTED, name(OTHER): Totals(3, 10, 0, "")}
    for number, (data, expected) in enumerate([(bytes(changed), EXPECTED), (ARCHIVE, other)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(IntegrityError):
            write(data, folder, {name(FIRST): columns(CONTENTS[FIRST])}, expected=expected)
        assert not list(folder.rglob("*.parquet*"))


def test_documents_that_cannot_be_rows_are_kept_but_not_where_rules_hide_values(tmp_path: Path) -> None:
    data = documents(2) + REJECT + documents(3)
    made = archive({FIRST: data})
    for number, transform in enumerate((None, lambda table: table)):
        folder = tmp_path / str(number)
        folder.mkdir()
        one = write(made, folder, {name(FIRST): columns(data, transform=transform)})[name(FIRST)]
        assert (one.documents, one.rejected, one.files[0].rows) == (6, 1, 5)
        assert (one.rejects.read_bytes() if one.rejects else None) == (REJECT if number == 0 else None)


def test_only_changed_documents_are_written_with_what_became_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit, "BATCH_BYTES", 60)
    monkeypatch.setattr("flows.core.archive.reader.READ_BYTES", 60)
    data = documents(3) + REJECT + b"".join(bson.encode({"_id": number, "text": ""}) for number in range(3, 7))
    made = archive({FIRST: data})
    plain = columns(data)
    form = IdentityForm.of(b"secret", plain.arrow, ("_id",))
    changed = Columns(
        plain.schema, with_change_columns(plain.arrow), plain.form, identities=form, role=FileRole.CHANGES
    )
    ids = {1: "insert", 99: "insert", 3: "update"}
    keys = fingerprints([bson.encode({"_id": number}) for number in ids], b"secret")["_key"].to_pylist()
    selection = dict(zip(keys, ids.values(), strict=True))
    select = Selector({name(FIRST): selection}, "2026-03-06T04-00-00Z")
    one = write(made, tmp_path, {name(FIRST): changed}, select=select)[name(FIRST)]
    by_role = {file.role: pq.read_table(file.path) for file in one.files}
    rows = by_role[FileRole.CHANGES]
    assert rows["_id"].to_pylist() == [1, 3]
    assert rows["_op"].to_pylist() == ["insert", "update"]
    assert set(rows["_export"].to_pylist()) == {"2026-03-06T04-00-00Z"}
    assert one.rejected == 1
    identities = by_role[FileRole.IDENTITIES]
    assert identities.schema.names == ["_key", "_hash", "_id"]
    assert identities["_id"].to_pylist() == [0, 1, 2, 99, 3, 4, 5, 6]
    assert identities["_key"].type == pa.binary(16)


def test_nothing_is_selected_where_nothing_has_changed(tmp_path: Path) -> None:
    made = archive({FIRST: documents(5)})
    plain = columns(documents(5))
    compared = columns(documents(5), identities=IdentityForm.of(b"secret", plain.arrow, ("_id",)))
    one = write(made, tmp_path, {name(FIRST): compared}, select=Selector({name(FIRST): {}}, "x"))[name(FIRST)]
    assert (one.documents, [file.role for file in one.files]) == (5, [FileRole.IDENTITIES])
