"""Finding the rows of one person in tables of an export, wherever the person stands, and files without these rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.core.errors import ConfigurationError, IntegrityError
from flows.core.parquet.erasure import identities, rows_of, targets
from flows.core.parquet.pseudonymise import apply
from flows.core.parquet.pseudonyms import Keys
from flows.core.parquet.rewriting import rewrite
from flows.core.parquet.rules import RuleSet
from flows.core.parquet.sought import Sought
from flows.core.parquet.traces import holds, rows_with, traces
from tests.core.parquet.test_actions import KEY, OTHER
from tests.core.parquet.test_pseudonymise import KEYS, rules_of, table_of

NS = "shop.a"
PEOPLE: list[dict[str, Any]] = [
    {"_id": 0, "who": "C-1", "n": 1, "list": [{"who": "C-2"}, {"who": "C-3"}], "tags": ["C-9"]},
    {"_id": 1, "who": "C-2", "n": 2, "list": [], "tags": None},
    {"_id": "odd", "who": 7, "n": 7, "list": [{"who": 7}], "tags": ["x", "C-1"]},
    {"_id": 3, "who": "C-4", "n": 4},
    {"_id": 4, "who": {"id": "C-1"}, "n": None, "tags": ["C-11"]},
]


def found(table: pa.Table, *values: str, **more: Any) -> list[int]:
    sought = Sought(values, **{"fields": {}, **more})
    sought.check()
    mask = rows_of(table, targets(table.schema, NS, sought))
    return [row for row, hit in enumerate(mask.to_pylist()) if hit]


def test_a_person_is_found_in_a_field_as_it_is() -> None:
    table = table_of(PEOPLE)
    assert found(table, "C-1", fields={NS: ("who",)}) == [0]
    assert found(table, "C-1", fields={"shop.*": ("who", "tags[]")}) == [0, 2]
    assert found(table, "C-1", "C-4", fields={NS: ("who",)}) == [0, 3]
    assert found(table, "7", fields={NS: ("who",)}) == [2]  # a number among texts, in the column beside it
    assert found(table, "7", fields={NS: ("n",)}) == [2]
    assert found(table, "C-1", fields={NS: ("who.id",)}) == [4]  # a document among texts
    assert found(table, "C-3", fields={NS: ("list[].who",)}) == [0]
    assert found(table, "7", fields={NS: ("list[].who",)}) == [2]
    assert found(table, "C-1", fields={"till.*": ("who",)}) == []
    assert found(table.slice(1), "C-4", fields={NS: ("who",)}) == [2]
    assert found(table.slice(0, 0), "C-4", fields={NS: ("who",)}) == []
    assert found(pa.concat_tables([table, table]), "C-4", fields={NS: ("who",)}) == [3, 8]


def test_a_person_is_found_where_no_column_is() -> None:
    table = table_of([*PEOPLE, {"late": "C-1", "n": "C-1"}, {"list": [{"late": "C-1"}]}], PEOPLE)
    assert found(table, "C-1", fields={NS: ("late",)}) == [5]
    assert found(table, "C-1", fields={NS: ("n",)}) == [5]
    assert found(table, "C-1", fields={NS: ("list[].late",)}) == [6]
    many = {f"k{number}": {"who": f"C-{number}"} for number in range(300)}
    table = table_of([{"map": {**many, "list": [{"who": "C-x"}, 5]}}, {"map": {"list": [["C-x"]]}}])
    assert found(table, "C-12", fields={NS: ("map.k12.who",)}) == [0]
    assert found(table, "C-x", fields={NS: ("map.list[].who",)}) == [0]
    assert found(table, "C-x", fields={NS: ("map.list[][]",)}) == [1]
    assert found(table, "C-x", fields={NS: ("map.list",)}) == [1]
    assert found(table, "C-x", fields={NS: ("map.none.who",)}) == []


RULES: list[dict[str, Any]] = [
    {"path": "_id", "action": "keep"},
    {"path": "who", "action": "hmac", "domain": "subject", "bits": 96, "normalize": "lower"},
    {"path": "list[].who", "action": "hmac", "domain": "subject"},
    {"path": "who.id", "action": "hmac", "domain": "subject"},
    {"path": "n", "action": "hmac"},
    {"path": "tags[]", "action": "mask"},
]


def test_a_person_is_found_by_pseudonyms() -> None:
    left = apply(table_of(PEOPLE), rules_of(*RULES), KEYS)
    assert found(left, "c-1", domain="subject", keys=KEYS) == [0]
    assert found(left, "C-2", domain="subject", keys=KEYS) == [0, 1]
    assert found(left, "7", domain="subject", keys=KEYS) == [2]
    assert found(left, "7", fields={NS: ("n",)}, keys=KEYS) == [2]  # its own domain
    assert found(left, "3", fields={NS: ("_id",)}, keys=KEYS) == [3]  # a field that a rule keeps
    assert found(left, "C-1", domain="other", keys=KEYS) == []
    # What is in JSON alone, by the rules of today.
    rules = RuleSet((rules_of(*RULES),))
    assert found(left, "C-1", domain="subject", keys=KEYS, rules=rules) == [0, 4]


def test_each_key_is_asked() -> None:
    left = apply(table_of(PEOPLE), rules_of(*RULES), KEYS)
    assert found(left, "C-1", domain="subject", keys=Keys([OTHER])) == []
    assert found(left, "C-1", domain="subject", keys=Keys([OTHER, KEY])) == [0]


def test_nobody_is_sought_by_what_does_not_tell_people_apart() -> None:
    left = apply(table_of(PEOPLE), rules_of(*RULES), KEYS)
    with pytest.raises(ConfigurationError) as caught:
        found(left, "C-1", fields={NS: ("tags[]",)}, keys=KEYS)
    assert str(caught.value) == (
        "people cannot be found by a field of which the rules left too little (namespace='shop.a', path='tags[]', "
        "rule='mask keep_first=0 keep_last=0')\nHINT: Name a field that is kept, or one with pseudonyms."
    )


@pytest.mark.parametrize(
    ("sought", "text"),
    [
        (Sought((), {}, "subject", KEYS), "nobody could be found by this (values=0, fields={}, domain='subject')"),
        (Sought(("C-1",), {}), "nobody could be found by this (values=1"),
        (Sought(("C-1",), {}, "subject"), "pseudonyms cannot be found without the key"),
        (Sought(("C-1",), {NS: ("who.*",)}), "a person is found by single fields (at='shop.a', got='who.*')"),
        (Sought(("C-1",), {NS: ("who..x",)}), "not a path of a field (at='fields.shop.a', got='who..x')"),
        (Sought(("C-1",), {"": ("who",)}), "not a pattern"),
    ],
)
def test_what_finds_nobody_is_refused(sought: Sought, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        sought.check()
    assert text in str(caught.value)
    assert "C-1" not in str(caught.value) + repr(sought)


def test_documents_are_told_apart_by_what_has_left_of_their_id() -> None:
    table = table_of(PEOPLE)
    rule, texts = identities(table) or ("", pa.nulls(0))
    assert (rule, len(set(texts.to_pylist())), texts.null_count) == ("", 5, 0)
    left = apply(table, rules_of({"path": "_id", "action": "hmac"}), KEYS)
    rule, texts = identities(left) or ("", pa.nulls(0))
    assert (rule, len(set(texts.to_pylist()))) == ("hmac bits=128", 5)
    assert identities(apply(table, rules_of({"path": "n", "action": "keep"}), KEYS)) is None
    assert identities(apply(table, rules_of({"path": "_id", "action": "bucket", "step": 10}), KEYS)) is None
    both = table_of([{"_id": {"a": 1, "b": "x"}}, {"_id": {"a": 2}}, {"_id": {"a": 1, "b": "x"}}])
    _, texts = identities(both) or ("", pa.nulls(0))
    assert texts[0] == texts[2] != texts[1]


def test_traces_are_found_wherever_they_stand() -> None:
    documents = [
        {"text": "ask Anna Meier first", "n": 4711, "list": ["Anna Meier"], "blob": b"..Anna Meier..", "map": {}},
        {"text": 4711, "n": 1, "late": "Anna Meier", "map": {"Anna Meier": None}},
    ]
    seen = traces(table_of(documents, [{**documents[0], "map": {"x": 1}}]), frozenset({b"Anna Meier", b"4711"}))
    assert seen == {"text": 1, "n": 1, "list[]": 1, "blob": 1, "_extra": 1, "_nulls": 1}
    assert rows_with(table_of(documents), frozenset({b"Anna Meier"})).to_pylist() == [True, True]
    assert rows_with(table_of(documents), frozenset({b"4711"})).to_pylist() == [True, True]
    assert rows_with(table_of(documents), frozenset({b"Anna"})).to_pylist() == [False, False]
    assert traces(table_of(documents), frozenset({b"Hans Meier"})) == {}
    assert holds(b"xx4711xx", frozenset({b"4711"})) is False  # too short to mean anything within others
    assert holds(b"xx47110815xx", frozenset({b"47110815"}))


def test_a_file_is_written_anew_without_rows(tmp_path: Path) -> None:
    table = table_of(PEOPLE * 3).replace_schema_metadata({"mongo-backup.export": "x"})
    path = tmp_path / "part-0.parquet"
    form = {"write_statistics": ["n"], "bloom_filter_options": {"who": {"ndv": 5, "fpp": 0.01}}}
    pq.write_table(table, path, row_group_size=4, compression="zstd", **form)
    sought = Sought(("C-1",), {NS: ("who",)})
    wanted = targets(table.schema, NS, sought)
    rows: list[int] = []
    gone, made = rewrite(path, tmp_path / "new", lambda part: rows_of(part, wanted), progress=rows.append)
    assert made is not None
    assert (gone, made.rows, rows) == (3, 12, [0, 0, 0, 0])
    again = pq.read_table(made.path)
    assert again.equals(table.filter(pa.array([row % 5 != 0 for row in range(15)])))
    assert again.schema.equals(table.schema, check_metadata=True)
    columns = [pq.ParquetFile(made.path).metadata.row_group(0).column(number) for number in range(5)]
    assert {column.path_in_schema for column in columns if column.is_stats_set} == {"n"}
    assert rewrite(path, tmp_path / "none", lambda part: pa.array([False] * len(part)), progress=rows.append) == (
        0,
        None,
    )
    assert list((tmp_path / "none").iterdir()) == []
    assert rewrite(path, tmp_path / "all", lambda part: pa.array([True] * len(part)), progress=rows.append) == (
        15,
        None,
    )
    path.write_bytes(b"PAR1" + bson.encode({}) + b"PAR1")
    with pytest.raises(IntegrityError, match="a file of an export cannot be read as Parquet"):
        rewrite(path, tmp_path / "bad", lambda part: pa.array([True] * len(part)), progress=rows.append)
