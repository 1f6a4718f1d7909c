"""The newest row of each document, out of rows that were written with older and newer schemas."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from flows.core.parquet.compaction import Newest, base_schema, id_texts, widened

OLD = pa.schema(
    [("_id", pa.int64()), ("a", pa.struct([("x", pa.int64())])), ("l", pa.list_(pa.struct([("p", pa.string())])))]
)
NEW = pa.schema(
    [
        ("_id", pa.int64()),
        ("a", pa.struct([("x", pa.int64()), ("y", pa.struct([("z", pa.bool_())]))])),
        ("l", pa.list_(pa.struct([("p", pa.string()), ("q", pa.float64())]))),
        ("_id__json", pa.string()),
        ("_op", pa.string()),
        ("_export", pa.string()),
    ]
)


def changed(op: str, identity: Any, **more: Any) -> dict[str, Any]:
    whole = {"_id": identity} if isinstance(identity, int) else {"_id__json": identity}
    return {**whole, "_op": op, "_export": "2", **more}


def test_the_newest_row_of_each_document_stays_and_deleted_ones_go() -> None:
    base = pa.Table.from_pylist([{"_id": n, "a": {"x": n}, "l": [{"p": str(n)}] * n} for n in range(6)], OLD)
    first = pa.Table.from_pylist(
        [changed("update", 1, a={"x": 10}), changed("insert", '"t"'), changed("delete", 2)], NEW
    )
    second = pa.Table.from_pylist(
        [changed("delete", 1), changed("insert", 2, l=[]), changed("update", '"t"', a=None)], NEW
    )
    schema = base_schema(NEW)
    newest = Newest(("_id", "_id__json"), schema)
    rows = [row for table in (second, first, base) for row in newest.rows(table).to_pylist()]
    assert [(row["_id"], row["_id__json"]) for row in rows] == [
        (2, None),
        (None, '"t"'),
        (0, None),
        (3, None),
        (4, None),
        (5, None),
    ]
    assert rows[0]["l"] == []
    assert rows[3]["a"] == {"x": 3, "y": None}
    assert rows[3]["l"] == [{"p": "3", "q": None}] * 3


@pytest.mark.parametrize("length", [0, 1, 7])
def test_widened_rows_are_the_same_with_nulls_where_columns_came_later(length: int) -> None:
    values = [
        {"_id": n, "a": None if n % 3 == 0 else {"x": n}, "l": None if n % 2 else [{"p": "a"}, None] * (n % 4)}
        for n in range(2, 12)
    ]
    table = pa.Table.from_pylist(values, OLD).slice(2, length)
    schema = base_schema(NEW)
    wide = widened(table, schema)
    wide.validate(full=True)
    assert wide.schema.equals(schema)
    for row, one in zip(wide.to_pylist(), values[2:], strict=False):
        a = None if one["a"] is None else {**one["a"], "y": None}
        items = None if one["l"] is None else [part and {**part, "q": None} for part in one["l"]]
        assert row == {"_id": one["_id"], "a": a, "l": items, "_id__json": None}


def test_an_id_has_one_text_whatever_was_added_since() -> None:
    before = pa.table(
        {"_id": pa.array([{"k": 1, "b": b"x"}, None], pa.struct([("k", pa.int64()), ("b", pa.binary())]))}
    )
    later = pa.struct([("k", pa.int64()), ("b", pa.binary()), ("new", pa.string())])
    after = pa.table({"_id": pa.array([{"k": 1, "b": b"x"}, None], later), "_id__json": pa.array([None, "1"])})
    one, other = id_texts(before, ("_id",)).to_pylist(), id_texts(after, ("_id", "_id__json")).to_pylist()
    assert one[0] == other[0]
    assert len({*one, *other}) == 3
