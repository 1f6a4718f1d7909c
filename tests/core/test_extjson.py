from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.core.archive import ArchiveReader
from flows.core.errors import FormatError
from flows.core.extjson import CollectionMetadata, dumps_metadata, encode_exactly, loads_metadata

GOLDEN = Path(__file__).parent.parent / "golden"

int64s = st.integers(-(2**63), 2**63 - 1)
uint32s = st.integers(0, 2**32 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
cstrings = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
# Hypothesis takes words from the code under test, and a document may not begin with one of these.
WRAPPERS = {
    *(
        "$numberInt",
        "$numberLong",
        "$numberDouble",
        "$numberDecimal",
        "$oid",
        "$date",
        "$timestamp",
        "$binary",
        "$uuid",
    ),
    *("$regularExpression", "$code", "$scope", "$minKey", "$maxKey", "$symbol", "$dbPointer", "$undefined"),
}
keys = cstrings.filter(lambda key: key not in WRAPPERS) | st.sampled_from(
    ["", "a.b", "$expr", "$regex", "$options", "$ref", "$id", "$db", "$type", "_id", "e\u2028"]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1),
    int64s.map(Int64),
    st.floats(allow_nan=False),
    st.just(float("nan")),
    text,
    st.binary(max_size=20),
    st.builds(Binary, st.binary(max_size=20), st.sampled_from([1, 2, 3, 5, 6, 7, 8, 9, 128, 255])),
    st.builds(Binary, st.binary(min_size=16, max_size=16), st.just(4)),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    int64s.map(DatetimeMS),
    st.builds(Timestamp, uint32s, uint32s),
    st.builds(Regex, cstrings, st.sets(st.sampled_from("imsux")).map(lambda flags: "".join(sorted(flags)))),
    text.map(Code),
    st.decimals(allow_nan=False, min_value=-(10**20), max_value=10**20, places=3).map(Decimal128),
    st.sampled_from(["NaN", "-Infinity", "Infinity", "1E+6144", "-0E-6176", "0.000"]).map(Decimal128),
    st.just(MinKey()),
    st.just(MaxKey()),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3),
        st.builds(Code, text, st.dictionaries(keys, inner, max_size=2)),
    ),
    max_leaves=8,
)
metadata_documents = st.dictionaries(keys, values, max_size=5)


def dumps(options: Any = None, indexes: Any = ()) -> str:
    return dumps_metadata(options=options, indexes=indexes, uuid=None, collection_name="c", type="collection")


def options_of(value: str) -> Any:
    return loads_metadata('{"options":{"v":' + value + "}}").options["v"]


@settings(max_examples=200)
@given(metadata_documents, st.lists(metadata_documents, max_size=2))
def test_any_document_comes_back_as_the_same_bson(options: dict[str, Any], indexes: list[dict[str, Any]]) -> None:
    raw = encode_exactly(options)
    raw_indexes = [encode_exactly(index) for index in indexes]
    again = loads_metadata(dumps(raw, raw_indexes))
    assert encode_exactly(again.options) == raw
    assert [encode_exactly(index) for index in again.indexes] == raw_indexes


@pytest.mark.parametrize(
    "options",
    [
        {"a": 1, "_id": 2},
        {"v": {"$ref": "c", "$id": 1, "more": 2, "$db": "d"}},
        {"v": {"$ref": 5, "$id": 1}},
        {"v": [{"$ref": "c", "$id": {"_id": 1}}]},
    ],
)
def test_documents_that_the_driver_would_rearrange_keep_their_order(options: dict[str, Any]) -> None:
    raw = encode_exactly({"wrapped": options})[len(b"....\3wrapped\0") : -1]
    assert encode_exactly(loads_metadata(dumps(raw)).options) == raw


def test_the_text_is_that_of_mongodump() -> None:
    text = dumps_metadata(
        options={"capped": True, "size": 65536},
        indexes=[bson.encode({"v": 2, "key": {"_id": 1}, "name": "_id_", "ttl": Int64(3600)})],
        uuid="ab" * 16,
        collection_name="grüße/\u2028<&>",
        type="collection",
    )
    assert text == (
        '{"options":{"capped":true,"size":{"$numberInt":"65536"}},"indexes":[{"v":{"$numberInt":"2"},'
        '"key":{"_id":{"$numberInt":"1"}},"name":"_id_","ttl":{"$numberLong":"3600"}}],'
        f'"uuid":"{"ab" * 16}","collectionName":"grüße/\\u2028<&>","type":"collection"}}'
    )


@pytest.mark.parametrize("name", ["zoo.archive.gz", "full-oplog.archive.gz"])
def test_the_metadata_of_real_dumps_is_read_and_written_the_same(name: str) -> None:
    reader = ArchiveReader(io.BytesIO(gzip.decompress((GOLDEN / name).read_bytes())))
    texts = [entry.metadata for entry in reader.entries if entry.metadata]
    assert texts
    for text in texts:
        read = loads_metadata(text)
        again = dumps_metadata(
            options=read.options,
            indexes=read.indexes,
            uuid=read.uuid,
            collection_name=read.collection_name,
            type=read.type,
        )
        assert again == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (0.5, "0.5"),
        (999999.0, "999999.0"),
        (1e6, "1E+06"),
        (-1234567.5, "-1.2345675E+06"),
        (1e9, "1E+09"),
        (1e100, "1E+100"),
        (0.0001, "0.0001"),
        (0.00001, "1E-05"),
        (5e-324, "5E-324"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (float("nan"), "NaN"),
    ],
)
def test_doubles_are_written_as_go_writes_them(value: float, text: str) -> None:
    assert f'{{"$numberDouble":"{text}"}}' in dumps({"v": value})


def test_no_options_are_left_out_and_empty_ones_too() -> None:
    assert (
        dumps(None) == dumps({}) == dumps(bson.encode({})) == '{"indexes":[],"collectionName":"c","type":"collection"}'
    )


def test_no_type_is_left_out() -> None:
    text = dumps_metadata(options=None, indexes=[], uuid=None, collection_name="c", type="")
    assert text == '{"indexes":[],"collectionName":"c"}'


def test_no_text_is_no_metadata() -> None:
    assert loads_metadata("") == loads_metadata("{}") == CollectionMetadata()


def test_null_and_unknown_fields_are_accepted() -> None:
    read = loads_metadata('{"options":null,"indexes":null,"uuid":null,"future":[1],"collectionName":"c"}')
    assert read == CollectionMetadata(collection_name="c")


def test_query_operators_and_references_stay_documents() -> None:
    for text in (
        '{"$regex":"^a","$options":"i"}',
        '{"$ref":"c","$id":"x"}',
        '{"$type":"string"}',
        '{"a":1,"$oid":"x"}',
    ):
        value = options_of(text)
        assert type(value) is dict
        assert list(value) == [part.split('"')[1] for part in text.split(",")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("2147483648", Int64(2**31)),
        ("2.0", 2.0),
        ("1e3", 1000.0),
        ('{"$binary":"AAE=","$type":"00"}', b"\0\1"),
        ('{"$binary":"AAE=","$type":"80"}', Binary(b"\0\1", 128)),
        ('{"$uuid":"00000000-0000-0000-0000-000000000005"}', Binary(bytes(15) + b"\5", 4)),
        ('{"$date":{"$numberLong":"-99999999999999999"}}', DatetimeMS(-99999999999999999)),
        ('{"$scope":1}', None),
    ],
)
def test_older_and_relaxed_forms_are_read_as_mongorestore_reads_them(text: str, value: Any) -> None:
    if value is None:
        with pytest.raises(FormatError, match="malformed Extended JSON value"):
            options_of(text)
    else:
        assert encode_exactly({"v": options_of(text)}) == encode_exactly({"v": value})


@pytest.mark.parametrize(
    "text",
    [
        '{"$date":"2020-01-01T00:00:00Z"}',
        '{"$date":1}',
        '{"$oid":"12"}',
        '{"$oid":"65e7f0000000000000000001","more":1}',
        '{"$numberInt":"2147483648"}',
        '{"$numberInt":" 1"}',
        '{"$numberInt":1}',
        '{"$numberLong":"9223372036854775808"}',
        '{"$numberDouble":"1_0"}',
        '{"$numberDecimal":"x"}',
        '{"$timestamp":{"t":1}}',
        '{"$timestamp":{"t":-1,"i":1}}',
        '{"$timestamp":{"t":true,"i":1}}',
        '{"$binary":{"base64":"*","subType":"00"}}',
        '{"$binary":{"base64":"AA==","subType":"100"}}',
        '{"$uuid":"0"}',
        '{"$regularExpression":{"pattern":"a","options":"z"}}',
        '{"$code":"x","$scope":1}',
        '{"$minKey":2}',
        '{"$symbol":"s"}',
        '{"$undefined":true}',
        '{"$dbPointer":{"$ref":"c","$id":{"$oid":"65e7f0000000000000000001"}}}',
    ],
)
def test_a_malformed_wrapper_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="malformed Extended JSON value"):
        options_of(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "metadata of a collection is not JSON"),
        ("{} x", "metadata of a collection is not JSON"),
        ('{"options":{"a":NaN}}', "metadata of a collection is not JSON"),
        ('{"options":{"a":1e999}}', "metadata of a collection is not JSON"),
        ('{"options":' + "[" * 200_000, "metadata of a collection is not JSON"),
        ("[]", "metadata of a collection is not a document"),
        ('{"indexes":[1]}', "index in the metadata of a collection is not a document"),
        ('{"options":[]}', "field in the metadata of a collection has the wrong type"),
        ('{"uuid":1}', "field in the metadata of a collection has the wrong type"),
        ('{"options":{"a":1,"a":2}}', "key appears twice in a document of the metadata"),
        ('{"options":{"a":9223372036854775808}}', "a value has no BSON form"),
        ('{"options":{"a\\u0000b":1}}', "a value has no BSON form"),
        ('{"options":{"a":"\\ud800"}}', "a value has no BSON form"),
    ],
)
def test_text_that_is_not_metadata_is_refused(text: str, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        loads_metadata(text)
    assert caught.value.message == message


def symbol() -> bytes:
    body = b"\x0ea\0" + struct.pack("<I", 2) + b"s\0"
    return struct.pack("<I", len(body) + 5) + body + b"\0"


def same_key_twice() -> bytes:
    body = b"\x10a\0\1\0\0\0" * 2
    return struct.pack("<I", len(body) + 5) + body + b"\0"


@pytest.mark.parametrize(
    "options",
    [symbol(), same_key_twice(), bson.encode({"a": {"$numberInt": "1"}}), bson.encode({"a": {"$oid": None}})],
)
def test_what_would_be_another_collection_after_a_restore_is_never_written(options: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        dumps(options)
    assert str(caught.value) == (
        "options or indexes of a collection would not be the same after a restore (collection='c')\n"
        "HINT: Look for keys that read as Extended JSON, as $oid or $date, and for deprecated BSON types."
    )


def test_what_is_not_bson_is_refused() -> None:
    with pytest.raises(FormatError, match="not a BSON document"):
        dumps(b"\5\0\0\0\1")
    with pytest.raises(FormatError, match="a value has no BSON form"):
        dumps({"a": object()})
    with pytest.raises(FormatError, match="uuid of a collection is not 32 hex digits"):
        dumps_metadata(options=None, indexes=[], uuid="AB", collection_name="c", type="")
