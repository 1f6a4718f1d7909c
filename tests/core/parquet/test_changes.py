"""What has changed between two sets of documents: exactly the inserts, updates and deletes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import bson
import pyarrow as pa
import pytest
from bson import Int64, ObjectId

from flows.core.parquet import changes
from flows.core.parquet.changes import (
    Comparison,
    fingerprints,
    id_documents,
    id_value,
    read_selection,
    save_selection,
)
from flows.core.parquet.records import Changes

SECRET = b"k" * 32
OLD = pa.schema([*pa.schema([("_key", changes.BINARY), ("_hash", changes.BINARY)]), pa.field("_id", pa.int64())])


def documents(values: dict[int, Any]) -> list[bytes]:
    return [bson.encode({"_id": key, "v": value}) for key, value in values.items()]


def identities(values: dict[int, Any]) -> pa.Table:
    return fingerprints(documents(values), SECRET).append_column("_id", pa.array(list(values), pa.int64()))


def key_of(identity: int) -> bytes:
    return fingerprints([bson.encode({"_id": identity})], SECRET)["_key"][0].as_py()


@pytest.mark.parametrize("bucket_rows", [1_000_000, 20])
def test_inserts_updates_and_deletes_are_found_in_bounded_buckets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket_rows: int
) -> None:
    monkeypatch.setattr(changes, "_BUCKET_ROWS", bucket_rows)
    chance = random.Random(7)
    old = {key: chance.randrange(5) for key in range(200)}
    new = {key: chance.randrange(5) for key in chance.sample(range(250), 180)}
    units = {0: dict(list(new.items())[:70]), 3: dict(list(new.items())[70:]), 5: {}}

    found = Comparison(tmp_path, 200, OLD)
    pieces = identities(old)
    found.add_old(pieces.slice(0, 90))
    found.add_old(pieces.slice(90))
    for unit, values in units.items():
        found.add_new(unit, fingerprints(documents(values), SECRET))
    gone = [key for table in found.deleted() for key in table["_id"].to_pylist()]

    assert sorted(gone) == sorted(old.keys() - new.keys())
    expected = {
        unit: {
            key_of(key): "insert" if key not in old else "update"
            for key, value in values.items()
            if old.get(key) != value
        }
        for unit, values in units.items()
    }
    assert found.selections() == {unit: rows for unit, rows in expected.items() if rows}
    path = tmp_path / "selection"
    save_selection(path, expected[3])
    assert read_selection(path) == expected[3]
    assert read_selection(tmp_path / "none") == {}
    counted = [op for rows in expected.values() for op in rows.values()]
    assert found.changes(len(gone)) == Changes(counted.count("insert"), counted.count("update"), len(gone))


def test_nothing_changed_and_nothing_there(tmp_path: Path) -> None:
    for number, (old, new) in enumerate([({1: 1}, {1: 1}), ({}, {})]):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = Comparison(folder, 0, OLD)
        found.add_old(identities(old))
        found.add_new(0, fingerprints(documents(new), SECRET))
        assert [table.num_rows for table in found.deleted()] == [0]
        assert (found.changes(0), found.selections()) == (Changes(0, 0, 0), {})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, Int64(1), True),
        (1, 1.0, True),
        (1, 1.5, False),
        (1, "1", False),
        (2**62, float(2**62), True),
        (float("nan"), 0, False),
        (float("inf"), 2**62, False),
        (True, 1, False),
        (None, 0, False),
        ({"a": 1}, {"a": 2}, False),
    ],
)
def test_ids_are_the_same_where_mongodb_takes_them_for_the_same(one: Any, other: Any, same: bool) -> None:
    values = [id_value(bson.encode({"x": 1, "_id": value})) for value in (one, other)]
    assert (values[0] == values[1]) is same
    assert all(values)


def test_an_id_is_found_wherever_it_stands_and_a_document_without_one_is_its_own() -> None:
    identity = ObjectId()
    first, last = bson.encode({"_id": identity, "x": 1}), bson.encode({"x": 1, "_id": identity})
    table = fingerprints([first, last, b"\x07\0\0\0\x55\x55\0", bson.encode({"x": 1})], SECRET)
    keys = table["_key"].to_pylist()
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert bson.decode_all(id_documents([first, bson.encode({"x": 1})])) == [{"_id": identity}, {}]


def test_hashes_depend_on_the_key() -> None:
    document = bson.encode({"_id": 1})
    one, other = (fingerprints([document], key) for key in (SECRET, changes.public_secret("mpg")))
    assert one["_key"].to_pylist() != other["_key"].to_pylist()
    assert one["_hash"].to_pylist() != other["_hash"].to_pylist()
