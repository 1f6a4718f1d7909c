"""Both engines give the same, and all of it comes back."""

from __future__ import annotations

import gc
import importlib.util
import io
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.core.errors import ConfigurationError, Truncated
from flows.core.parquet import kernel_engine, reading, tallies
from flows.core.parquet.documents import documents_of
from flows.core.parquet.engine import Engine, engine
from flows.core.parquet.growth import grown
from flows.core.parquet.kernel_engine import KernelEngine
from flows.core.parquet.python_engine import PythonEngine
from flows.core.parquet.schema import ExportSchema
from tests.support.wild import DECIMALS, Raw, Wild, contents, element, encode, raw, same_documents

PYTHON, KERNEL = PythonEngine(), KernelEngine()
ENGINES = pytest.mark.parametrize("one", [PYTHON, KERNEL], ids=lambda one: one.name)
NAMESPACE = "shop.wild"


@pytest.fixture(scope="module", autouse=True)
def _small_batches() -> Iterator[None]:
    """What an engine does from the second batch on it does here from the second documents on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tallies, "_FIRST", 100)
        patch.setattr(kernel_engine, "_FIRST", 100)
        patch.setattr(reading, "BATCH", 20_000)
        yield


def through_parquet(table: pa.Table) -> pa.Table:
    target = io.BytesIO()
    pq.write_table(table, target, compression="zstd", row_group_size=50)
    return pq.read_table(io.BytesIO(target.getvalue()))


def check(documents: list[bytes], profiled: list[bytes]) -> ExportSchema:
    """Both engines on documents, with a schema that knows some of them."""
    data, known = b"".join(documents), b"".join(profiled)
    profile = PYTHON.profile(NAMESPACE, known)
    assert KERNEL.profile(NAMESPACE, known).as_json() == profile.as_json()
    schema, _changes = grown(None, profile)
    slow, fast = PYTHON.convert(schema, data), KERNEL.convert(schema, data)
    assert fast.rejects == slow.rejects
    assert contents(fast.table) == contents(slow.table)
    for table in (fast.table, slow.table):
        table.validate(full=True)
        assert table.schema.equals(schema.arrow, check_metadata=True)
    rejected = {reject.document for reject in slow.rejects}
    good = [document for document in documents if document not in rejected]
    assert same_documents(good, documents_of(schema, through_parquet(fast.table))) == []
    return schema


@pytest.mark.parametrize("tame", [0.0, 0.6, 0.97])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.02], ids=lambda share: f"profile of {share:.0%}")
def test_wild_documents_come_back_from_both_engines(tame: float, share: float) -> None:
    documents = Wild(int(100 * tame), tame).documents(400)
    check(documents, documents[: int(share * len(documents))])


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=5),
    st.decimals(allow_nan=False, places=2, min_value=-(10**9), max_value=10**9).map(Decimal128),
    st.sampled_from(DECIMALS).map(Decimal128),
    st.integers(-(2**63), 2**63 - 1).map(DatetimeMS),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    st.tuples(st.binary(max_size=17), st.integers(0, 255)).map(lambda pair: Binary(*pair) if pair[1] else pair[0]),
    st.sampled_from([Timestamp(1, 2), MinKey(), MaxKey(), Regex("^a", "i"), Code("f()"), Code("g()", {"x": 1})]),
    st.sampled_from([0x06, 0x0C, 0x0E]).map(raw),
)
KEYS = st.one_of(
    st.sampled_from(["a", "b", "A", "", "a/b", "a__json"]), st.text(max_size=3).filter(lambda key: "\0" not in key)
)
# What an Extended JSON reader takes for a value is a test of its own.
PLAIN_KEYS = KEYS.filter(lambda key: not key.startswith("$"))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(PLAIN_KEYS, inner, max_size=3)),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(PLAIN_KEYS, VALUES, max_size=4), max_size=8), st.integers(0, 8))
def test_any_documents_come_back_from_both_engines(documents: list[dict[str, Any]], known: int) -> None:
    raws = [encode(document) for document in documents]
    check(raws, raws[:known])


@ENGINES
def test_bytes_that_are_not_documents_one_after_the_other_are_refused(one: Engine) -> None:
    data = encode({"a": 1}) + encode({"a": 2})
    schema, _changes = grown(None, one.profile(NAMESPACE, data))
    for broken, offset in ((data[:-1], 12), (data + b"\4\0\0\0", 24), (data + b"\1", 24)):
        for work in (lambda given: one.convert(schema, given), lambda given: one.profile(NAMESPACE, given)):
            with pytest.raises(Truncated) as failure:
                work(broken)
            assert failure.value.facts["offset"] == offset


@ENGINES
def test_no_documents_give_no_rows(one: Engine) -> None:
    schema, changes = grown(None, one.profile(NAMESPACE, b""))
    done = one.convert(schema, b"")
    assert (changes, done.rejects, done.table.num_rows) == ((), (), 0)
    assert done.table.schema.names == ["_nulls", "_extra"]


# Bytes that could be taken for a document, and must not be.
UNCLEAR = {
    "a name appears twice in one document": element("a", 1) + element("a", 2),
    "text that is not UTF-8": b"\x02a\0\3\0\0\0\xff\xfe\0",
    "a boolean that is neither true nor false": b"\x08a\0\2",
    "a type that BSON does not have": b"\x55a\0",
    "a value goes beyond its document": b"\x12a\0\1\0\0",
    "text does not end with a NUL": b"\x02a\0\2\0\0\0xy",
    "a length that cannot be": b"\x02a\0\xff\xff\xff\x7fxy\0",
    "a name without an end": b"\x10abc",
}


@ENGINES
@pytest.mark.parametrize("why", UNCLEAR)
@pytest.mark.parametrize("place", ["field", "element", "unknown", "json", "deep"])
def test_a_document_that_is_not_clearly_one_is_set_aside_whole(one: Engine, why: str, place: str) -> None:
    body = UNCLEAR[why]
    inner = struct.pack("<i", len(body) + 5) + body + b"\0"
    bad = {
        "field": inner,
        "element": encode({"list": [Raw(b"\x03" + inner)]}),
        "unknown": encode({"new": Raw(b"\x03" + inner)}),
        "json": encode({"json": Raw(b"\x03" + inner)}),
        "deep": encode({"code": Raw(b"\x0f" + struct.pack("<i", 4 + 6 + len(inner)) + b"\2\0\0\0x\0" + inner)}),
    }[place]
    good = [encode({"a": number, "list": [{"a": 1}], "json": {}, "code": Code("x", {})}) for number in range(3)]
    schema, _changes = grown(None, one.profile(NAMESPACE, b"".join(good)))
    data = b"".join([*good[:2], bad, good[2]])
    assert len(good[0]) < 100 <= len(good[0] + good[1])  # then the bad one is not in the first batch
    done = one.convert(schema, data)
    assert [(reject.document, reject.why) for reject in done.rejects] == [(bad, why)]
    assert done.table.column("a").to_pylist() == [0, 1, 2]
    profile = one.profile(NAMESPACE, data)
    assert (profile.documents, profile.rejects) == (3, 1)


@ENGINES
def test_text_is_utf8_by_the_rules_of_python(one: Engine) -> None:
    edges = [
        bytes((lead, second, third, 0xBF))
        for lead in (0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5)
        for second in (0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0)
        for third in (0x41, 0x80, 0xBF, 0xC2)
    ]
    texts = [
        *edges,
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xc2\x7f",
        b"\xc2\x80",
        b"\xdf\xbf",
        b"\xdf",
        b"\xe2\x82",
        b"\xff",
        b"\x80",
    ]
    texts += [b"eight ok" + text + b"and more" for text in texts]
    texts += [text[:3] for text in edges]
    documents = [encode({"a": Raw(b"\2" + struct.pack("<i", len(text) + 1) + text + b"\0")}) for text in texts]
    schema, _changes = grown(None, one.profile(NAMESPACE, encode({"a": "text"}) * 9))
    good = [text.decode() for text in texts if text.decode(errors="ignore").encode() == text]
    assert 20 < len(good) < len(texts) - 20
    found: list[str] = []
    rejected = 0
    for document in documents:  # alone, so that each is looked at by what is quick
        done = one.convert(schema, encode({"a": "first"}) * 9 + document)
        found += done.table.column("a").to_pylist()[9:]
        rejected += len(done.rejects)
        assert one.profile(NAMESPACE, encode({"a": "first"}) * 9 + document).rejects == len(done.rejects)
    assert found == good
    assert rejected == len(texts) - len(good)


@ENGINES
def test_levels_beyond_what_mongodb_has_are_set_aside_and_the_last_one_is_not(one: Engine) -> None:
    def nested(levels: int) -> bytes:
        document = encode({})
        for _ in range(levels - 1):
            document = encode({"a": Raw(b"\x03" + document)})
        return document

    documents = [nested(levels) for levels in (1, 195, 199, 200, 201, 5000)]
    profile = one.profile(NAMESPACE, b"".join(documents))
    schema, _changes = grown(None, profile)
    done = one.convert(schema, b"".join(documents))
    assert [len(reject.document) for reject in done.rejects] == [len(nested(201)), len(nested(5000))]
    assert (profile.documents, profile.rejects, done.table.num_rows) == (4, 2, 4)


@ENGINES
def test_a_field_that_no_profile_saw_goes_to_extra_however_often(one: Engine) -> None:
    schema, _changes = grown(None, one.profile(NAMESPACE, encode({"_id": 1, "in": {"a": 1}})))
    documents = [encode({"_id": n, "in": {"a": 1, "n/w": n}, "new": None}) for n in range(5000)]
    table = one.convert(schema, b"".join(documents)).table
    assert table.column("_extra").to_pylist() == [f'{{"/in/n~1w":{{"$numberInt":"{n}"}}}}' for n in range(5000)]
    assert table.column("_nulls").to_pylist() == [["/new"]] * 5000


def test_the_kernel_keeps_the_order_of_documents_that_it_leaves_to_python() -> None:
    documents = [
        encode(
            {
                "_id": number,
                "big" if number % 7 == 3 else "x": number,
                **({"x": Int64(2**62)} if number % 5 == 0 else {}),
            }
        )
        for number in range(3000)
    ]
    schema, _changes = grown(None, KERNEL.profile(NAMESPACE, encode({"_id": 1, "x": Decimal128("0.5")})))
    table = KERNEL.convert(schema, b"".join(documents)).table
    assert table.column("_id").to_pylist() == list(range(3000))
    assert contents(table) == contents(PYTHON.convert(schema, b"".join(documents)).table)


def test_threads_share_an_engine() -> None:
    parts = [Wild(seed, 0.9).documents(300) for seed in range(4)]
    schema, _changes = grown(None, PYTHON.profile(NAMESPACE, b"".join(parts[0])))
    one = KernelEngine()
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(lambda part: one.convert(schema, b"".join(part)).table, parts))
    assert gc.isenabled()
    for part, table in zip(parts, tables, strict=True):
        assert contents(table) == contents(PYTHON.convert(schema, b"".join(part)).table)


def test_damaged_documents_give_what_python_says_or_are_set_aside() -> None:
    random = Random(7)
    good = Wild(8, 0.8).documents(60)
    schema, _changes = grown(None, PYTHON.profile(NAMESPACE, b"".join(good)))
    damaged = []
    for document in good * 12:
        broken = bytearray(document)
        for _ in range(random.randrange(1, 4)):
            # Not in the length: that is what cuts documents from each other.
            broken[random.randrange(4, len(broken))] ^= 1 << random.randrange(8)
        damaged.append(bytes(broken))
    slow, fast = PYTHON.convert(schema, b"".join(damaged)), KERNEL.convert(schema, b"".join(damaged))
    assert fast.rejects == slow.rejects
    assert 50 < len(fast.rejects) < 600
    assert contents(fast.table) == contents(slow.table)
    profile = KERNEL.profile(NAMESPACE, b"".join(damaged))
    assert profile.as_json() == PYTHON.profile(NAMESPACE, b"".join(damaged)).as_json()
    assert profile.documents == fast.table.num_rows


def test_what_is_compiled_beforehand_is_all_that_exports_need(tmp_path: Path) -> None:
    seen = """
import sys
from flows.core.parquet import kernel, kernel_buffers
from flows.core.parquet.engine import engine, is_to_compile
from flows.core.parquet.growth import grown
from tests.support.wild import Wild
print(is_to_compile("python"), is_to_compile("auto"))
if sys.argv[1:]:
    documents = b"".join(Wild(5, 0.2).documents(3000))
    schema, _changes = grown(None, engine("kernel").profile("shop.wild", documents))
    engine("kernel").convert(schema, documents)
    used = [one.stats for of in (kernel, kernel_buffers) for one in vars(of).values() if hasattr(one, "stats")]
    print(sum(bool(one.cache_hits) for one in used), sum(len(one.cache_misses) for one in used))
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def python(*words: str) -> str:
        command = [sys.executable, *words]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    assert python("-c", seen) == "False True\n"
    python("-m", "flows.core.parquet.kernel_engine")
    state, hits, misses = python("-c", seen, "use").rsplit(maxsplit=2)
    assert (state, int(hits) > 8, misses) == ("False False", True, "0")


def test_a_missing_kernel_is_said_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (engine("auto").name, engine("kernel").name, engine("python").name) == ("kernel", "kernel", "python")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert engine("auto").name == "python"
    with pytest.raises(ConfigurationError) as failure:
        engine("kernel")
    assert str(failure.value) == (
        "the compiled engine of exports is not installed (missing='numba')\n"
        'HINT: Install it with: pip install "mongo-backup-flows[kernel]"; or export with the engine `python`, '
        "which takes about four times as long."
    )
