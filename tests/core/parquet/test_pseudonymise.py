"""Rules applied to tables: what leaves, what is refused, and that nothing else is in what is written."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import bson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.core.errors import ConfigurationError, IntegrityError
from flows.core.parquet.actions import Moment
from flows.core.parquet.engine import engine
from flows.core.parquet.growth import grown
from flows.core.parquet.listing import listed, ruled_columns_page
from flows.core.parquet.pseudonymise import apply, transformed, unused
from flows.core.parquet.pseudonyms import Keys
from flows.core.parquet.rules import NamespaceRules, RuleSet, Unit
from flows.core.parquet.statistics import safe_statistics
from tests.core.parquet.test_actions import KEY, changed

KEYS = Keys([KEY])
DOCUMENTS: list[dict[str, Any]] = [
    {
        "_id": bson.ObjectId("65f000000000000000000001"),
        "customer": {"id": "C-1", "name": "Anna Meier", "address": {"zip": "12345", "street": "Weg 1"}},
        "at": datetime(2026, 3, 6, 4),
        "sum": bson.Decimal128("19.99"),
        "count": 19,
        "rate": 0.5,
        "items": [{"sku": "A-1", "note": "Anna"}, {"sku": None}],
        "tags": ["red", "blue"],
        "blob": b"Anna",
        "paid": True,
        "gone": "Anna",
    },
    {"_id": 5, "customer": "Anna", "at": "Anna", "sum": None, "items": "Anna", "extra": None},
    {
        "_id": bson.ObjectId("65f000000000000000000002"),
        "customer": {"id": 7},
        "at": datetime(1999, 12, 31),
        "items": [],
        "tags": None,
    },
    {"customer": {"id": "C-1", "address": None}, "items": [{"sku": "A-2"}, {"note": "x"}]},
]
RULES: list[dict[str, Any]] = [
    {"path": "customer.id", "action": "hmac", "domain": "subject"},
    {"path": "customer.address.zip", "action": "truncate", "chars": 2},
    {"path": "at", "action": "date", "unit": "month"},
    {"path": "sum", "action": "bucket", "step": 10},
    {"path": "count", "action": "bucket", "step": 10},
    {"path": "rate", "action": "keep"},
    {"path": "items[].sku", "action": "mask", "keep_last": 1},
    {"path": "tags[]", "action": "keep"},
    {"path": "blob", "action": "hmac"},
    {"path": "paid", "action": "keep"},
]


def rules_of(*given: dict[str, Any], unlisted: str = "drop", **more: Any) -> NamespaceRules:
    found = RuleSet.parse({"shop.a": {"unlisted": unlisted, "rules": list(given), **more}}).of("shop.a")
    assert found is not None
    return found


def table_of(documents: Iterable[dict[str, Any]], seen: Iterable[dict[str, Any]] | None = None) -> pa.Table:
    """A table, and where `seen` is given with a schema that knows no more than that."""
    python = engine("python")
    raw = b"".join(map(bson.encode, documents))
    profile = python.profile("shop.a", raw if seen is None else b"".join(map(bson.encode, seen)))
    return python.convert(grown(None, profile)[0], raw).table


def test_what_leaves_by_default_deny() -> None:
    table = table_of(DOCUMENTS)
    rules = rules_of(*RULES)
    left = apply(table, rules, KEYS)
    who = changed("C-1", action="hmac", domain="subject")
    rows = left.to_pylist()
    assert [name for name in left.schema.names if not name.endswith("__json")] == [
        *("customer", "at", "sum", "count", "rate", "items", "tags", "blob", "paid", "_nulls", "_extra")
    ]
    assert rows[0]["customer"] == {"id": who, "id__json": None, "address": {"zip": "12"}}
    assert rows[0]["at"].isoformat() == "2026-03-01T00:00:00+00:00"
    assert [str(rows[0]["sum"].normalize()), rows[0]["count"], rows[0]["rate"]] == ["1E+1", 10, 0.5]
    assert rows[0]["items"] == [{"sku": "****1"}, {"sku": None}]
    assert (rows[0]["tags"], rows[0]["paid"]) == (["red", "blue"], True)
    assert rows[0]["_nulls"] == ["/items/1/sku"]
    assert rows[1] == {**dict.fromkeys(left.schema.names), "_nulls": ["/sum"]}
    assert json.loads(rows[2]["customer"]["id__json"]) == changed(7, action="hmac", domain="subject")
    assert (rows[2]["items"], rows[2]["tags"], rows[2]["_nulls"]) == ([], None, ["/tags"])
    assert rows[3]["customer"] == {"id": who, "id__json": None, "address": None}
    assert rows[3]["items"] == [{"sku": "****2"}, {"sku": None}]
    assert rows[3]["_nulls"] == ["/customer/address"]
    assert {row["_extra"] for row in rows} == {None}
    assert left.schema.equals(transformed(table.schema, rules), check_metadata=True)


def test_columns_say_what_was_done_to_them() -> None:
    schema = transformed(table_of(DOCUMENTS).schema.with_metadata({"other": "gone"}), rules_of(*RULES))
    assert schema.metadata is None
    who = schema.field("customer").type.field("id")
    assert who.metadata[b"mongo.path"] == b"/customer/id"
    assert who.metadata[b"mongo.kind"] == b"text"
    assert who.metadata[b"mongo.rule"] == b"hmac domain=subject bits=128"
    before = table_of(DOCUMENTS).schema.field("customer").type.field("id")
    assert who.metadata[b"PARQUET:field_id"] == before.metadata[b"PARQUET:field_id"]
    assert schema.field("sum").type == pa.decimal128(38, 4)
    assert b"mongo.rule" not in schema.field("customer").metadata


def test_values_that_have_no_column_are_dropped_where_that_is_written() -> None:
    table = table_of([*DOCUMENTS, {"late": 1, "rate": "odd"}], DOCUMENTS)
    rules = rules_of({"path": "late", "action": "keep"}, {"path": "rate", "action": "keep"})
    assert apply(table, rules, KEYS).column("_extra")[-1].as_py() == '{"/late":{"$numberInt":"1"},"/rate":"odd"}'
    mixed = table_of([*DOCUMENTS, {"rate": "odd"}])
    assert apply(mixed, rules, KEYS).column("rate__json")[-1].as_py() == '"odd"'
    strict = rules_of({"path": "rate", "action": "keep"}, extra_columns="drop")
    assert apply(mixed, strict, KEYS).schema.names == ["rate", "_nulls", "_extra"]
    assert apply(table, strict, KEYS).column("_extra").null_count == len(table)


def test_what_is_not_listed_leaves_where_that_is_written() -> None:
    table = table_of(DOCUMENTS)
    left = apply(table, rules_of({"path": "customer.name", "action": "drop"}, unlisted="keep"), KEYS)
    assert left.drop_columns(["customer"]).equals(table.drop_columns(["customer"]))
    assert "name" not in [field.name for field in left.schema.field("customer").type]
    assert left.column("customer__json")[1].as_py() == '"Anna"'
    gone = apply(table, rules_of({"path": "customer", "action": "drop"}, unlisted="keep"), KEYS)
    assert not [name for name in gone.schema.names if name.startswith("customer")]
    assert gone.column("_nulls")[3].as_py() == []


def test_parts_of_a_table_give_parts_of_what_leaves() -> None:
    table = table_of(DOCUMENTS * 3)
    rules = rules_of(*RULES)
    whole = apply(table, rules, KEYS)
    parts = [apply(table.slice(start, 5), rules, KEYS) for start in (0, 5, 10)]
    assert pa.concat_tables(parts).equals(whole)
    assert apply(pa.concat_tables([table.slice(0, 5), table.slice(5)]), rules, KEYS).equals(whole)
    assert apply(table.slice(0, 0), rules, KEYS).schema == whole.schema


def refused(*given: dict[str, Any], **more: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        transformed(table_of(DOCUMENTS).schema, rules_of(*given, **more))
    return str(caught.value)


@pytest.mark.parametrize(
    ("rule", "expected", "got"),
    [
        ({"path": "rate", "action": "mask"}, "text", "double"),
        ({"path": "at", "action": "truncate", "chars": 1}, "text", "date"),
        ({"path": "customer.name", "action": "date", "unit": "day"}, "dates", "text"),
        ({"path": "paid", "action": "bucket", "step": 1}, "numbers", "boolean"),
        (
            {"path": "count", "action": "bucket", "step": 0.5},
            "numbers with digits behind the point, or a whole number as the step",
            "integer",
        ),
        (
            {"path": "sum", "action": "bucket", "step": 0.00001},
            "5 digits behind the point, or a step with 4",
            "decimal",
        ),
    ],
)
def test_a_rule_that_does_not_fit_its_field_is_refused(rule: dict[str, Any], expected: str, got: str) -> None:
    text = refused(rule)
    assert text.startswith(f"a rule does not fit the values of its field (namespace='shop.a', path={rule['path']!r}")
    assert f"expected={expected!r}, got={got!r})" in text


def test_a_rule_for_values_before_documents_or_arrays_is_refused() -> None:
    assert refused({"path": "customer", "action": "keep"}) == (
        "a rule for values has documents before it (namespace='shop.a', path='customer', action='keep')\n"
        "HINT: Name the fields within it, or write customer.* for all of them."
    )
    assert "Write tags[] for its elements, or tags.* for all that is in it." in refused(
        {"path": "tags", "action": "hmac"}
    )
    assert "customer.*" in refused({"path": "customer", "action": "hmac"}, unlisted="keep")
    dotted = table_of([{"a.b": {"c": 1}, "d.e": [1]}]).schema
    with pytest.raises(ConfigurationError, match=r"write /a\.b/\* for all of them"):
        transformed(dotted, rules_of({"path": "/a.b", "action": "keep"}))
    with pytest.raises(ConfigurationError, match=r"Write /d\.e/\[\] for its elements"):
        transformed(dotted, rules_of({"path": "/d.e", "action": "keep"}))
    assert transformed(table_of(DOCUMENTS).schema, rules_of({"path": "customer", "action": "keep"}, unlisted="keep"))


def test_rules_that_let_nothing_leave_are_refused() -> None:
    assert "the rules let no field of the collection leave (namespace='shop.a')" in refused()
    assert "the rules let no field" in refused({"path": "nothing", "action": "keep"})


def test_of_an_empty_collection_nothing_is_refused() -> None:
    table = table_of([{}])
    assert apply(table, rules_of(), KEYS).schema.names == ["_nulls", "_extra"]


def test_the_dictionary_says_what_was_done_to_values() -> None:
    page = ruled_columns_page(transformed(table_of(DOCUMENTS).schema, rules_of(*RULES)))
    assert "| `customer.id` | hmac domain=subject bits=128 | text |" in page
    assert "| `at` | date unit=month | date |" in page
    assert "rate" not in page
    assert "name" not in page
    assert ruled_columns_page(table_of(DOCUMENTS).schema) == ""


def test_a_column_that_does_not_say_what_it_holds_is_refused() -> None:
    with pytest.raises(IntegrityError, match="a column does not say which field of a document it holds"):
        transformed(pa.schema([pa.field("name", pa.string())]), rules_of())


def test_columns_of_this_project_pass() -> None:
    table = table_of(DOCUMENTS).append_column("_op", pa.array(["insert"] * 4))
    left = apply(table, rules_of({"path": "paid", "action": "keep"}), KEYS)
    assert left.schema.names == ["paid", "_nulls", "_extra", "_op"]
    with pytest.raises(ConfigurationError, match="the rules let no field"):
        transformed(table.schema, rules_of())


def test_rules_without_a_field_are_known() -> None:
    rules = [
        *RULES,
        {"path": "customer", "action": "drop"},
        {"path": "customer.emial", "action": "drop"},
        {"path": "gone.*", "action": "keep"},
        {"path": "items[].*", "action": "drop"},
        {"path": "deep.x.y", "action": "keep"},
    ]
    schema = table_of([*DOCUMENTS, {"deep": {str(n): n for n in range(300)}}]).schema
    assert unused(schema, rules_of(*rules)) == ("customer.emial", "gone.*")


def test_the_dry_run_shows_every_field_and_no_value() -> None:
    rows = listed(table_of(DOCUMENTS), rules_of(*RULES, {"path": "nothing", "action": "keep"}))
    shown = {(row["field"], row["type"]): row for row in rows}
    assert shown["customer.name", "text"] == {
        "collection": "shop.a",
        "field": "customer.name",
        "type": "text",
        "rule": "drop",
        "by": "unlisted",
        "looks like": "Xxxx Xxxxx",
    }
    assert shown["customer.id", "text"]["looks like"] == "X-9"
    assert shown["items[].sku", "text"]["by"] == "items[].sku"
    assert shown["tags[]", "text"]["looks like"] == "xxx  xxxx"
    assert shown["at", "date"]["looks like"] == "9999-99-99T99:99"
    assert shown["blob", "binary"]["looks like"] == "4 bytes"
    assert shown["sum", "decimal"]["looks like"] == "99.9999"
    assert shown["customer", "values of other types"]["looks like"] == '"Xxxx"'
    assert shown["customer", "values of other types"]["rule"] == "drop, but for what rules name within"
    assert shown["nothing", "no such field"]["by"] == "matches nothing"
    assert shown["_extra", "values without a column"]["rule"] == "by the rule of each field"
    for value in ("Anna", "C-1", "19", "12345", "65f0"):
        assert value not in json.dumps(rows)
    assert shown["paid", "boolean"]["looks like"] == "true or false"
    left_out = table_of(DOCUMENTS).append_column("_op", pa.array(["insert"] * 4))
    strict = {
        (row["field"], row["type"]): row["rule"] for row in listed(left_out, rules_of(*RULES, extra_columns="drop"))
    }
    assert strict["customer", "values of other types"] == strict["_extra", "values without a column"] == "drop"
    assert ("_op", "text") not in strict
    assert listed(table_of(DOCUMENTS).slice(0, 0), rules_of(*RULES))[0]["looks like"] == "-"


def test_names_that_are_data_are_not_told_by_the_dry_run() -> None:
    names = ["anna@example.com", "hans@example.com", "4917012345678", "Anna Meier", "line2", "$x", "größe", "a.b", ""]
    rows = listed(table_of([{"map": dict.fromkeys(names, 1)}]), rules_of({"path": "open", "action": "keep"}))
    assert [row["field"] for row in rows if row["type"] == "integer"] == [
        *("/map/xxxx@xxxxxxx.xxx", "map.9999999999999", "map.Xxxx Xxxxx", "map.line2", "map.$x", "map.größe"),
        *("/map/x.x", "/map/"),
    ]


def test_only_safe_columns_have_statistics() -> None:
    table = table_of([document for document in DOCUMENTS if "paid" in document])
    schema = table.schema
    assert safe_statistics(schema, None) == ["_id", "at", "sum", "count", "rate", "paid"]
    rules = rules_of(*RULES, {"path": "customer.address.street", "action": "keep"})
    left = apply(table, rules, KEYS)
    safe = safe_statistics(left.schema, rules)
    assert safe == ["customer.address.street", "at", "sum", "count", "rate", "paid"]
    file = io.BytesIO()
    pq.write_table(left, file, write_statistics=safe, write_page_index=True)
    group = pq.ParquetFile(file).metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    assert [column.path_in_schema for column in columns if column.is_stats_set] == safe
    assert safe_statistics(schema, rules_of(unlisted="keep")) == ["_id", "at", "sum", "count", "rate", "paid"]
    own = table.select(["paid"]).append_column("_op", pa.array(["insert"] * table.num_rows)).schema
    assert safe_statistics(own, None) == ["paid", "_op"]


def test_decimals_that_are_texts_are_numbers_to_rules() -> None:
    table = table_of([{"x": bson.Decimal128(text)} for text in ("1E+6000", "NaN", "-Infinity", "12.5", "12.50")])
    assert table.schema.field("x").metadata[b"mongo.kind"] == b"decimal-text"
    cut = apply(table, rules_of({"path": "x", "action": "bucket", "step": 5}), KEYS).column("x").to_pylist()
    assert cut == [None, "NaN", "-Infinity", "10", "10"]
    made = apply(table, rules_of({"path": "x", "action": "hmac", "domain": "d"}), KEYS).column("x").to_pylist()
    assert made[3] == made[4] == changed(12.5, action="hmac", domain="d")


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**14), 10**14), min_size=1), st.sampled_from(Unit))
def test_dates_are_rounded_in_columns_as_they_are_one_by_one(moments: list[int], unit: Unit) -> None:
    table = table_of([{"x": DatetimeMS(moment)} for moment in moments])
    rule = {"path": "x", "action": "date", "unit": unit.value}
    expected = [changed(Moment(moment), **{**rule, "path": "f"}) for moment in moments]
    left = apply(table, rules_of(rule), KEYS).column("x").cast(pa.int64()).to_pylist()
    assert left == [value.milliseconds if isinstance(value, Moment) else None for value in expected]


def test_what_a_column_cannot_hold_any_more_does_not_leave() -> None:
    table = table_of([{"x": bson.Decimal128("-" + "9" * 34)}, {"x": bson.Decimal128("0.0001")}])
    assert table.schema.field("x").type == pa.decimal128(38, 4)
    rounded = apply(table, rules_of({"path": "x", "action": "bucket", "step": 10**18}), KEYS).column("x")
    assert rounded.to_pylist() == [None, 0]


SECRET = "Kanarienvogel"
NUMBER = 0x6B616E617269656E  # its eight bytes are `kanarien`
PLANTED = [
    SECRET,
    SECRET.encode(),
    Binary(SECRET.encode(), 5),
    bson.Regex(SECRET),
    bson.Code(SECRET),
    bson.Code("x", {"y": SECRET}),
    bson.DBRef(SECRET, SECRET),
    bson.ObjectId(SECRET[:12].encode()),
    bson.Int64(NUMBER),
    bson.Decimal128(str(NUMBER)),
    None,
]
# Of the last three: as text, and as the bytes of a column.
TRACES = [SECRET.encode(), SECRET[:12].encode().hex().encode(), str(NUMBER).encode(), NUMBER.to_bytes(8, "little")]
NAMES = st.sampled_from(["open", "who", "x", "y", "a.b", "", "0", "$x", "c/d", "open__json", "_extra", "_op"])
PLANT = st.recursive(
    st.sampled_from(PLANTED),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES.filter(lambda name: name != "open"), inner, max_size=3)
    ),
    max_leaves=8,
)
CONTAINERS = st.lists(PLANT, max_size=3) | st.dictionaries(NAMES, PLANT, max_size=3)
OPEN = st.sampled_from(["fine", 1, 0.5, True, None, bson.Int64(2**60)])


@st.composite
def planted(draw: st.DrawFn) -> dict[str, Any]:
    """A document with the secret everywhere but in the values of `open`, for which there is a rule that keeps it."""
    document = draw(st.dictionaries(NAMES, PLANT, max_size=5))
    document["open"] = draw(OPEN | CONTAINERS)
    document["both"] = draw(st.lists(st.fixed_dictionaries({"open": OPEN, "x": PLANT}) | PLANT, max_size=3) | PLANT)
    return document


@settings(max_examples=60, deadline=None)
@given(st.lists(planted(), min_size=1, max_size=8), st.integers(1, 8))
def test_nothing_leaves_that_is_not_listed(documents: list[dict[str, Any]], known: int) -> None:
    rules = rules_of(
        {"path": "open", "action": "keep"},
        {"path": "who", "action": "hmac"},
        {"path": "both[].open", "action": "keep"},
        {"path": "always", "action": "keep"},
    )
    documents[0]["always"] = 1
    table = table_of(documents, documents[:known])
    try:
        left = apply(table, rules, KEYS)
    except ConfigurationError as error:
        assert "has documents before it" in str(error) or "has arrays before it" in str(error)  # noqa: PT017
        return
    assert len(left) == len(table)
    file = io.BytesIO()
    pq.write_table(left, file, compression="none", write_page_index=True, store_schema=True)
    assert [
        trace for trace in TRACES if trace in file.getvalue() or trace in left.schema.serialize().to_pybytes()
    ] == []
