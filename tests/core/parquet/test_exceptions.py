"""What the format page says is not kept, each as it says; and what it says is."""

from __future__ import annotations

import json
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from bson import Decimal128, Int64, ObjectId, Regex

import flows.core
from flows.core.parquet.dictionary import data_dictionary
from flows.core.parquet.documents import documents_of
from flows.core.parquet.engine import Engine
from flows.core.parquet.growth import grown
from flows.core.parquet.kernel_engine import KernelEngine
from flows.core.parquet.python_engine import PythonEngine
from flows.core.parquet.schema import Kind
from tests.support.wild import Raw, encode, raw, same_documents
from tests.support.zoo import everything

ENGINES = pytest.mark.parametrize("one", [PythonEngine(), KernelEngine()], ids=lambda one: one.name)


def there_and_back(
    one: Engine, *documents: dict[str, Any], known: int | None = None
) -> tuple[pa.Table, list[dict[str, Any]]]:
    raws = [encode(document) for document in documents]
    schema, _changes = grown(None, one.profile("shop.things", b"".join(raws[:known])))
    converted = one.convert(schema, b"".join(raws))
    assert converted.rejects == ()
    return converted.table, list(documents_of(schema, converted.table))


@ENGINES
def test_1_the_type_of_a_number_that_was_widened(one: Engine) -> None:
    documents = [{"a": 1, "b": 1, "c": 1}, {"a": Int64(2), "b": 2.5, "c": Decimal128("0.5")}]
    _table, back = there_and_back(one, *documents)
    assert back[0] == {"a": Int64(1), "b": 1.0, "c": Decimal128("1")}
    assert [type(value) for value in back[0].values()] == [Int64, float, Decimal128]
    # A double would not have it: the next integer that it knows is one further.
    _table, back = there_and_back(one, {"b": 0.5}, {"b": 0.5}, {"b": Int64(2**53 + 1)})
    assert back[2]["b"] == 2**53 + 1


@ENGINES
def test_2_digits_of_a_decimal_that_do_not_change_its_worth(one: Engine) -> None:
    texts = ["1.10", "-0", "0E+3", "100"]
    noncanonical = Raw(b"\x13" + struct.pack("<QQ", 5, 0x6C00000000000000))
    table, back = there_and_back(one, *({"d": Decimal128(text)} for text in texts), {"d": noncanonical})
    assert [str(document["d"]) for document in back] == ["1.1", "0", "0", "1E+2", "0"]
    assert table.column("d").to_pylist() == [Decimal("1.1"), 0, 0, 100, 0]
    # Where they are text they are kept.
    _table, back = there_and_back(one, *({"d": Decimal128(text)} for text in ("1E+6000", "1.10", "NaN", "1E-6000")))
    assert [str(document["d"]) for document in back] == ["1E+6000", "1.10", "NaN", "1E-6000"]
    _table, back = there_and_back(one, {"d": 0.5}, {"d": 0.5}, {"d": Decimal128("1.10")})
    assert str(back[2]["d"]) == "1.10"


@ENGINES
def test_3_the_order_of_fields_and_names_of_elements(one: Engine) -> None:
    odd = Raw(b"\x04" + encode({"x": 1, "7": 2}))
    _table, back = there_and_back(one, {"a": 1, "b": odd}, {"b": [3], "a": 2})
    assert back == [{"a": 1, "b": [1, 2]}, {"a": 2, "b": [3]}]
    assert list(back[1]) == ["a", "b"]


@ENGINES
def test_4_payloads_of_nan(one: Engine) -> None:
    payload = Raw(b"\x01" + struct.pack("<Q", 0xFFF8000000000123))
    table, _back = there_and_back(one, {"f": payload, "g": payload}, {"g": "text"}, {"g": "text"})
    assert table.column("f").chunk(0).view(pa.uint64())[0].as_py() == 0xFFF8000000000123
    assert table.column("g__json")[0].as_py() == '{"$numberDouble":"NaN"}'


@ENGINES
def test_5_documents_that_look_like_extended_json(one: Engine) -> None:
    oid = {"$oid": "65e7f0000000000000000001"}
    almost = [{"$oid": "no"}, {"$date": 5}, {"$numberInt": 5}, {"$binary": "x"}, {"$code": 1}, {"$date": "2020"}]
    _table, back = there_and_back(
        one, {"struct": oid, "json": oid}, {"json": "text"}, {"json": "text"}, {"almost": almost}
    )
    assert back[0] == {"struct": oid, "json": ObjectId(oid["$oid"])}
    _table, back = there_and_back(one, {"a": 1}, {"almost": almost}, known=1)
    assert back[1] == {"almost": almost}


@ENGINES
def test_6_deprecated_types(one: Engine) -> None:
    kinds = {"u": raw(0x06), "p": raw(0x0C), "s": raw(0x0E)}
    table, back = there_and_back(one, kinds)
    assert same_documents([encode(kinds)], back) == []
    assert {name: json.loads(table.column(name)[0].as_py()) for name in kinds} == {
        "u": {"$undefined": True},
        "p": {"$dbPointer": {"$ref": "old", "$id": {"$oid": "78" * 12}}},
        "s": {"$symbol": "old"},
    }
    # Options of a regular expression that the driver drops are in the text.
    table, back = there_and_back(one, {"r": Raw(b"\x0b^a\0zi\0")})
    assert table.column("r")[0].as_py() == '{"$regularExpression":{"pattern":"^a","options":"zi"}}'
    assert back[0]["r"] == Regex("^a", "i")


@ENGINES
def test_the_zoo_comes_back(one: Engine) -> None:
    documents = [
        {"_id": number, **document} if "_id" not in document else document
        for number, document in enumerate(everything())
    ]
    _table, back = there_and_back(one, *documents)
    assert same_documents(map(encode, documents), back) == []


@ENGINES
def test_missing_null_and_empty_are_three_things(one: Engine) -> None:
    documents: list[dict[str, Any]] = [
        {"s": {"a": 1}, "l": [{"a": 1}, None], "t": "x"},
        {},
        {"s": None, "l": None, "t": None, "only": None},
        {"s": {}, "l": [], "t": ""},
        {"s": {"a": None}, "l": [{"a": None}, {}]},
    ]
    table, back = there_and_back(one, *documents)
    assert back == documents
    assert table.column("_nulls").to_pylist() == [[], [], ["/l", "/only", "/s", "/t"], [], ["/l/0/a", "/s/a"]]
    assert table.column("_extra").null_count == 5


@ENGINES
def test_what_a_profile_has_not_seen_is_in_extra_by_its_pointer(one: Engine) -> None:
    documents: list[dict[str, Any]] = [
        {"a": 1, "s": {"x": 1}, "l": [{"p": 1}], "m": [1]},
        {
            "a": "text",
            "s": {"x": 1, "y/z": [1]},
            "l": [{"p": 1}, {"p": "text", "q": None}, 5],
            "m": [1, "two"],
            "~": {},
        },
    ]
    table, back = there_and_back(one, *documents, known=1)
    assert json.loads(table.column("_extra")[1].as_py()) == {
        "/a": "text",
        "/l/1/p": "text",
        "/l/2": {"$numberInt": "5"},
        "/m/1": "two",
        "/s/y~1z": [{"$numberInt": "1"}],
        "/~0": {},
    }
    assert table.column("_nulls")[1].as_py() == ["/l/1/q"]
    assert back == documents


def test_the_page_names_every_exception_that_is_tested_and_every_kind() -> None:
    page = Path(flows.core.__file__).with_name("EXPORT.md").read_text()
    exceptions = page.split("## What is not kept")[1].split("\n## ")[0]
    numbers = {line.split(".")[0] for line in exceptions.splitlines() if line[:1].isdigit()}
    assert numbers == {name.split("_")[1] for name in globals() if name.startswith("test_") and name[5].isdigit()}
    assert all(f"`{kind.value}`" in page for kind in Kind)


def test_the_data_dictionary_says_what_each_column_is() -> None:
    documents: list[dict[str, Any]] = [
        {"_id": 1, "total": Decimal128("1.50"), "items": [{"sku": "x|y"}], "paid": None, "new`": {"a": 1}},
        {"_id": 2, "total": "none", "items": []},
        {"_id": 3, "total": Decimal128("1.50")},
    ]
    profile = PythonEngine().profile("shop.*things*", b"".join(map(encode, documents)))
    schema, _changes = grown(None, profile)
    page = data_dictionary(schema, profile, {"/total": "2026-03-06T04-00-00Z"})
    lines = page.splitlines()
    assert lines[0] == r"# Data dictionary of shop.\*things\*"
    seen = "decimal 2, string 1 | 2026-03-06T04-00-00Z |"
    assert [line for line in lines if line.startswith("| ")][2:] == [
        "| `_id` | `/_id` | integer, 64 bits | 100 % | 0 % | int 3 |  |",
        f"| `total` | `/total` | decimal, 4 digits behind the point | 100 % | 0 % | {seen}",
        f"| `total__json` | `/total` | text: canonical Extended JSON | 100 % | 0 % | {seen}",
        "| `items` | `/items` | list of struct | 66.7 % | 0 % | array 2 |  |",
        "| `items[].sku` | `/items/[]/sku` | text | 100 % | 0 % | string 1 |  |",
        "| `new'` | `/new'` | struct | 33.3 % | 0 % | object 1 |  |",
        "| `new'.a` | `/new'/a` | integer, 64 bits | 100 % | 0 % | int 1 |  |",
        "| none | `/paid` | in `_extra` and `_nulls` | 33.3 % | 100 % | null 1 |  |",
    ]
    assert schema.sha256 in page
    assert "1.50" not in page
    assert "none " not in page.replace("| none |", "")
