"""Schemas come from profiles, and only grow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bson import Decimal128, Int64, Timestamp

from flows.core.errors import FormatError, IntegrityError
from flows.core.parquet.documents import documents_of
from flows.core.parquet.growth import SchemaChange, grown
from flows.core.parquet.profile import Profile
from flows.core.parquet.python_engine import PythonEngine
from flows.core.parquet.schema import ExportSchema
from tests.support.wild import Wild, encode, raw, same_documents

ENGINE = PythonEngine()


def profile_of(*documents: dict[str, Any]) -> Profile:
    found = Profile("shop.things")
    found.add(b"".join(map(encode, documents)))
    return found


def schema_of(*documents: dict[str, Any]) -> ExportSchema:
    return grown(None, profile_of(*documents))[0]


def types_of(*values: Any) -> dict[str, str]:
    """The columns of documents that have these values in a field."""
    fields = schema_of(*({"f": value} for value in values)).arrow
    return {field.name: str(field.type) for field in fields if not field.name.startswith("_")}


DECIMAL = Decimal128("10.25")


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        ([1, Int64(2**63 - 1)], {"f": "int64"}),
        ([1, 2.5], {"f": "double"}),
        ([1, 2, 3, Int64(2**53), 2.5], {"f": "double"}),
        ([2.5, 3.5, Int64(2**53 + 1)], {"f": "double", "f__json": "string"}),
        ([2.5, Int64(2**53 + 1), Int64(2**60)], {"f": "int64", "f__json": "string"}),
        ([DECIMAL, 7], {"f": "decimal128(38, 4)"}),
        ([DECIMAL, 7.5, 8.5], {"f": "double", "f__json": "string"}),
        ([DECIMAL, DECIMAL, Decimal128("NaN")], {"f": "decimal128(38, 4)", "f__json": "string"}),
        ([Decimal128("0E-6176")], {"f": "decimal128(38, 2)"}),
        ([Decimal128("1E+6000"), Decimal128("NaN"), DECIMAL], {"f": "string"}),
        ([Decimal128("12345678901234567890.123456789012")], {"f": "decimal128(38, 12)"}),
        ([Decimal128("1E+30"), Decimal128("1E-30")], {"f": "string"}),
        (["a", "b", 1], {"f": "string", "f__json": "string"}),
        (["a", 1], {"f": "int64", "f__json": "string"}),
        ([Timestamp(1, 1), Timestamp(1, 2), "a"], {"f": "string"}),
        ([None, None], {}),
        ([[], [None], [[]]], {}),
        ([[], "a"], {"f": "string", "f__json": "string"}),
        ([{}], {"f": "string"}),
        ([{"a": None}], {"f": "string"}),
        ([[1, 2], [None]], {"f": "list<element: int64>"}),
        ([[1, "a"]], {"f": "list<element: string>"}),
        ([[1, 2.5]], {"f": "list<element: double>"}),
        ([[{"a": 1}, 5]], {"f": "list<element: string>"}),
        ([raw(0x06)], {"f": "string"}),
    ],
    ids=str,
)
def test_a_column_has_the_type_that_fits_most_of_its_values(values: list[Any], columns: dict[str, str]) -> None:
    assert types_of(*values) == columns


def test_many_names_are_data_and_deep_levels_are_text() -> None:
    assert types_of({f"id{number}": 1 for number in range(257)}) == {"f": "string"}
    assert types_of({f"id{number}": 1 for number in range(256)})["f"].startswith("struct<id0: int64, id1:")
    deep: Any = 1
    for _ in range(8):
        deep = {"d": deep}
    struct = types_of(deep)["f"]
    assert struct == "struct<d: " * 7 + "string" + ">" * 7


def test_names_that_readers_would_not_take_are_changed_and_their_paths_are_kept() -> None:
    document = {"a": 1, "A": 2, "": 3, "tab\t": 4, "_extra": 5, "b": 6, "b__json": 7, "x/y~": {"z.z": [{"q": 1}]}}
    arrow = schema_of(document, {"b": "text"}).arrow
    assert arrow.names == [
        *("a", "A_2", "_empty", "tab_", "_extra_2", "b", "b__json", "b__json_2", "x/y~", "_nulls", "_extra")
    ]
    paths = {field.name: field.metadata[b"mongo.path"].decode() for field in arrow}
    assert (paths["A_2"], paths["_empty"], paths["b__json"], paths["b__json_2"]) == ("/A", "/", "/b", "/b__json")
    inner = arrow.field("x/y~").type.field("z.z")
    assert inner.type.value_type.field("q").metadata[b"mongo.path"] == b"/x~1y~0/z.z/[]/q"
    ids = [field.metadata[b"PARQUET:field_id"] for field in arrow]
    assert len(set(ids)) == len(ids)


def test_a_schema_only_grows() -> None:
    first = schema_of({"a": 1, "sub": {"x": 1}, "list": [1]})
    second, changes = grown(first, profile_of({"a": "now text", "sub": {"y": 2.5}, "list": ["text"], "new": [True]}))
    assert changes == (
        SchemaChange("companion", "/a", "a__json", "json"),
        SchemaChange("column", "/sub/y", "y", "double"),
        SchemaChange("column", "/new", "new", "list"),
    )
    assert [str(second.arrow.field(name).type) for name in ("a", "sub", "list", "new")] == [
        *("int64", "struct<x: int64, y: double>", "list<element: int64>", "list<element: bool>")
    ]
    assert (first.version, second.version) == (1, 2)
    assert grown(second, profile_of({"a": "more", "b": None})) == (second, ())


def test_columns_keep_their_name_type_and_number_whatever_comes() -> None:
    profiles = [Profile("shop.wild") for _ in range(5)]
    documents = [Wild(seed, 0.7).documents(60) for seed in range(5)]
    schema = None
    known: dict[bytes, tuple[Any, ...]] = {}
    for profile, some in zip(profiles, documents, strict=True):
        profile.add(b"".join(some))
        schema, _changes = grown(schema, profile)
        found = dict(fields_of(schema.arrow))
        assert known.items() <= found.items()
        known = found
        everything = [document for part in documents for document in part]
        converted = ENGINE.convert(schema, b"".join(everything))
        assert same_documents(everything, documents_of(schema, converted.table)) == []


def fields_of(fields: Any) -> Any:
    """Number, name, path and how a value is held, of fields at all levels."""
    for field in fields:
        metadata = field.metadata
        kind = metadata[b"mongo.kind"] if field.type.num_fields else str(field.type)
        yield metadata[b"PARQUET:field_id"], (field.name, metadata[b"mongo.path"], kind)
        yield from fields_of([field.type.field(index) for index in range(field.type.num_fields)])


def test_a_struct_does_not_grow_beyond_256_fields() -> None:
    schema = schema_of({"f": {f"a{number}": 1 for number in range(200)}})
    schema, changes = grown(schema, profile_of({"f": {f"b{number}": 1 for number in range(100)}}))
    assert len(changes) == 56
    assert schema.arrow.field("f").type.num_fields == 256


def test_profiles_merge_to_the_same_in_any_order_but_for_the_order_of_fields() -> None:
    parts = [Wild(seed, 0.5).documents(80) for seed in range(3)]
    profiles = [ENGINE.profile("shop.wild", b"".join(part)) for part in parts]
    forward, backward = Profile("shop.wild"), Profile("shop.wild")
    for one, other in zip(profiles, reversed(profiles), strict=True):
        forward.merge(one)
        backward.merge(other)
    whole = ENGINE.profile("shop.wild", b"".join(document for part in parts for document in part))
    assert forward.as_json() == whole.as_json()
    assert unordered(backward.as_json()) == unordered(whole.as_json())


def unordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: unordered(part) for key, part in value.items()}
    return sorted(map(unordered, value), key=str) if isinstance(value, list) else value


def test_profiles_and_schemas_are_written_and_read() -> None:
    profile = ENGINE.profile("shop.wild", b"".join(Wild(3).documents(100)))
    assert Profile.from_json(json.loads(json.dumps(profile.as_json()))) == profile
    schema, _changes = grown(None, profile)
    again = ExportSchema.from_json(json.loads(json.dumps(schema.as_json())))
    assert again == schema
    assert again.arrow.equals(schema.arrow, check_metadata=True)
    assert again.sha256 == schema.sha256


def test_a_schema_that_was_changed_is_refused() -> None:
    value = schema_of({"a": 1}).as_json()
    with pytest.raises(IntegrityError, match="is not what its SHA-256 says"):
        ExportSchema.from_json(value | {"version": 7})
    with pytest.raises(FormatError, match=r"at='schema\.columns'"):
        ExportSchema.from_json(value | {"columns": 1})


def test_a_profile_has_no_value_of_a_document() -> None:
    text = json.dumps(
        profile_of({"phone": Int64(4930123456789), "email": "ann@example.com", "limit": Decimal128("77.5")}).as_json()
    )
    assert not any(value in text for value in ("4930123456789", "ann@", "77"))
