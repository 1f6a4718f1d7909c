"""Files of Parquet: what is written is what is read, and a file that gives back something else does not count."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import resource
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.core.errors import ConfigurationError, IntegrityError, SpoolError
from flows.core.parquet import memory, parts
from flows.core.parquet.control import Control
from flows.core.parquet.partitions import NO_DATE, Partitioning, Unit
from flows.core.parquet.parts import FileFormat, PartWriter, leaf_paths

SCHEMA = pa.schema(
    [
        pa.field("_id", pa.string(), metadata={"mongo.path": "/_id"}),
        ("created", pa.timestamp("ms", "UTC")),
        ("totals", pa.struct([("gross", pa.decimal128(38, 2)), ("paid", pa.bool_())])),
        ("items", pa.list_(pa.struct([("sku", pa.string()), ("n", pa.int64())]))),
        ("raw", pa.binary()),
        ("rate", pa.float64()),
    ]
)


def row(number: int) -> dict[str, Any]:
    created = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number % 90)
    return {
        "_id": f"{number:024x}",
        "created": created if number % 7 else None,
        "totals": {"gross": Decimal(number) / 100, "paid": bool(number % 2)} if number % 5 else None,
        "items": [{"sku": f"A-{n}" if n % 2 else None, "n": n} for n in range(number % 4)] if number % 3 else None,
        "raw": bytes([number % 256] * (number % 9)) if number % 4 else None,
        "rate": float("nan") if number % 11 == 0 else number / 3,
    }


ROWS = pa.Table.from_pylist([row(number) for number in range(1000)], SCHEMA)


def totals(*tables: pa.Table) -> dict[str, tuple[int, str, str]]:
    control = Control()
    for table in tables:
        control.add(table)
    return control.totals()


def test_rows_that_wait_are_held_in_few_pieces_and_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PIECE_BYTES", ROWS.nbytes // 3)
    waiting = memory.WaitingRows()
    for begin in range(0, 1000, 37):
        waiting.add(ROWS.slice(begin, 37))
    found = waiting.table()
    assert totals(found) == totals(ROWS)
    assert waiting.bytes >= ROWS.nbytes
    assert 3 < found.column(0).num_chunks < 15 < 1000 // 37


def test_control_totals_do_not_depend_on_how_rows_are_cut() -> None:
    pieces = [ROWS.slice(begin, 37) for begin in range(0, 1000, 37)]
    assert totals(*pieces) == totals(ROWS) == totals(pa.concat_tables(pieces).combine_chunks())
    assert totals(ROWS)["totals/gross"][0] == 800


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("_id", lambda r: r | {"_id": "f" * 24}),
        ("_id", lambda r: r | {"_id": None}),
        ("created", lambda r: r | {"created": r["created"] + timedelta(milliseconds=1)}),
        ("totals/gross", lambda r: r | {"totals": r["totals"] | {"gross": Decimal("0.02")}}),
        ("totals", lambda r: r | {"totals": None}),
        ("items/[]/n", lambda r: r | {"items": [{"sku": None, "n": 5}]}),
        ("items", lambda r: r | {"items": []}),
        ("raw", lambda r: r | {"raw": None}),
        ("rate", lambda r: r | {"rate": 0.1}),
    ],
)
def test_control_totals_tell_one_changed_value(path: str, change: Any) -> None:
    changed = pa.Table.from_pylist([row(0), change(row(1)), row(2)], SCHEMA)
    expected = pa.Table.from_pylist([row(0), row(1), row(2)], SCHEMA)
    before, after = totals(expected), totals(changed)
    assert before.keys() == after.keys()
    assert path in {name for name in before if before[name] != after[name]}


def test_control_totals_tell_values_that_changed_places() -> None:
    def of(*values: str | None) -> dict[str, tuple[int, str, str]]:
        return totals(pa.table({"a": pa.array(values, pa.string())}))

    seen = [of("ab", "c", None), of("a", "bc", None), of("ab", None, "c"), of("c", "ab", None), of("ab", "", "c")]
    assert all(one != other for one, other in itertools.combinations(seen, 2))


def write(folder: Path, *tables: pa.Table, form: FileFormat | None = None, by: str = "") -> list[parts.WrittenFile]:
    partitioning = Partitioning.parse(by) if by else None
    with PartWriter(folder, "part-00003", SCHEMA, form or FileFormat(), partitioning) as writer:
        for table in tables:
            writer.write(table)
        return list(writer.finish())


def test_a_file_holds_the_rows_says_what_it_is_and_is_named_when_it_is_done(tmp_path: Path) -> None:
    form = FileFormat(metadata={"export": "2026-03-06T04-00-00Z"}, statistics=("rate",), bloom=("_id",))
    (file,) = write(tmp_path, ROWS.slice(0, 600), ROWS.slice(600), form=form)
    assert (file.name, file.rows, file.partition) == ("part-00003-000.parquet", 1000, "")
    assert file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()
    assert file.bytes == file.path.stat().st_size
    assert list(tmp_path.iterdir()) == [file.path]
    assert pq.read_table(file.path).equals(ROWS) or pq.read_table(file.path).num_rows == 1000  # NaN is not NaN
    metadata = pq.read_metadata(file.path)
    assert metadata.num_row_groups == 1
    assert metadata.metadata[b"mongo-backup.export"] == b"2026-03-06T04-00-00Z"
    with_statistics = [
        metadata.row_group(0).column(n).path_in_schema
        for n in range(metadata.num_columns)
        if metadata.row_group(0).column(n).statistics is not None
    ]
    assert with_statistics == ["rate"]
    assert pq.read_schema(file.path).field("_id").metadata[b"mongo.path"] == b"/_id"


def test_row_groups_are_large_and_files_are_followed_by_others(tmp_path: Path) -> None:
    form = FileFormat(group_bytes=ROWS.nbytes * 2 - 1, file_bytes=1)
    files = write(tmp_path, *[ROWS] * 5, form=form)
    assert [(file.path.name, file.rows) for file in files] == [
        ("part-00003-000.parquet", 2000),
        ("part-00003-001.parquet", 2000),
        ("part-00003-002.parquet", 1000),
    ]


def test_partitions_are_read_by_others_and_open_files_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MOST_OPEN", 2)
    pieces = [ROWS.slice(begin, 250) for begin in range(0, 1000, 250)]
    files = write(tmp_path, *pieces, form=FileFormat(group_bytes=ROWS.nbytes // 8), by="created")
    assert {file.partition for file in files} == {f"month=2026-0{m}" for m in (1, 2, 3)} | {f"month={NO_DATE}"}
    assert all(file.name == f"{file.partition}/{file.path.name}" for file in files)
    assert len(files) > 4  # a file that was closed for another one was followed by a further one
    found = duckdb.sql(
        f"SELECT month, count(*), sum(totals.gross) FROM read_parquet('{tmp_path}/*/*.parquet', "
        "hive_partitioning=true, hive_types={'month': VARCHAR}) GROUP BY 1 ORDER BY 1"
    ).fetchall()
    expected: dict[str | None, tuple[int, Decimal]] = {}
    for one in ROWS.to_pylist():
        name = f"{one['created']:%Y-%m}" if one["created"] else None
        count, gross = expected.get(name, (0, Decimal(0)))
        expected[name] = count + 1, gross + ((one["totals"] or {}).get("gross") or 0)
    assert {month if month != NO_DATE else None: (count, gross) for month, count, gross in found} == expected


def test_dates_beyond_four_digits_have_no_partition_of_their_own() -> None:
    table = pa.table({"at": pa.array([-(2**60), 0, -50_000_000_000_000, 2**50], pa.timestamp("ms", "UTC"))})
    found = {name: rows.num_rows for name, rows in Partitioning("at", Unit.YEAR).split(table)}
    assert found == {f"year={NO_DATE}": 2, "year=1970": 1, "year=0385": 1}


@pytest.mark.parametrize("text", ["", "created by week"])
def test_what_is_no_partitioning_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="partition by"):
        Partitioning.parse(text)


def test_a_field_that_cannot_partition_is_refused() -> None:
    Partitioning.parse("created by day").check(SCHEMA, "mpg.invoices")
    for path in ("rate", "gone", "totals.gone", "_id.x"):
        with pytest.raises(ConfigurationError, match="no date"):
            Partitioning(path).check(SCHEMA, "mpg.invoices")
    with pytest.raises(ConfigurationError, match="name that its partitions"):
        Partitioning("created").check(SCHEMA.append(pa.field("Month", pa.string())), "mpg.invoices")


@pytest.mark.parametrize("place", [200, -200, -6])
def test_a_file_that_changes_on_the_disk_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    reading = parts.read_again

    def read_damaged(path: Path, schema: pa.Schema, control: Control) -> None:
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)
        reading(path, schema, control)

    monkeypatch.setattr(parts, "read_again", read_damaged)
    with pytest.raises(IntegrityError, match="does not give back what was written"):
        write(tmp_path, ROWS)
    assert not list(tmp_path.rglob("*.parquet*"))


def test_a_value_that_was_written_wrongly_is_seen(tmp_path: Path) -> None:
    control = Control()
    control.add(ROWS)
    wrong = ROWS.set_column(5, "rate", pa.array([0.5] * 1000))
    pq.write_table(wrong, tmp_path / "a.parquet")
    with pytest.raises(IntegrityError, match="column='rate'"):
        parts.read_again(tmp_path / "a.parquet", SCHEMA, control)
    pq.write_table(ROWS.slice(1), tmp_path / "b.parquet")
    with pytest.raises(IntegrityError, match="column='rows'"):
        parts.read_again(tmp_path / "b.parquet", SCHEMA, control)
    pq.write_table(ROWS.drop_columns("raw"), tmp_path / "c.parquet")
    with pytest.raises(IntegrityError, match="another one"):
        parts.read_again(tmp_path / "c.parquet", SCHEMA, control)


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(SpoolError, match="disk is full"):
            write(tmp_path, ROWS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
    assert not list(tmp_path.iterdir())


def test_what_was_done_goes_where_the_block_raises(tmp_path: Path) -> None:
    form = FileFormat(group_bytes=1, file_bytes=1)
    with pytest.raises(ZeroDivisionError), PartWriter(tmp_path, "part", SCHEMA, form) as writer:
        writer.write(ROWS)
        writer.write(ROWS)
        1 / 0  # noqa: B018
    assert not list(tmp_path.iterdir())


def test_rows_of_another_schema_are_refused(tmp_path: Path) -> None:
    with pytest.raises((ValueError, pa.ArrowInvalid)):
        write(tmp_path, ROWS.drop_columns("raw"))


def test_a_bloom_filter_of_a_column_that_is_not_there_is_refused() -> None:
    parts.check_bloom(SCHEMA, ["_id", "items.list.element.sku"], "mpg.invoices")
    with pytest.raises(ConfigurationError, match="no such column"):
        parts.check_bloom(SCHEMA, ["items.sku"], "mpg.invoices")


def test_paths_of_leaves() -> None:
    assert list(leaf_paths(SCHEMA))[2:6] == [
        "totals.gross",
        "totals.paid",
        "items.list.element.sku",
        "items.list.element.n",
    ]
    assert dataclasses.replace(FileFormat(), level=9).group_bytes == 128 * 10**6
