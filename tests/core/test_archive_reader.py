"""Reading archives of mongodump: real ones, odd ones, and any that can be written."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import struct
from collections.abc import Iterable
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.core.archive import (
    ArchiveHeader,
    ArchiveReader,
    ArchiveWriter,
    Batch,
    End,
    PreludeEntry,
    reader,
    verify_archive,
)
from flows.core.archive.format import encode_entry, encode_header
from flows.core.errors import FormatError
from flows.core.names import Namespace
from tests.support.archives import (
    BODY,
    GOLDEN,
    HEADER,
    MINIMAL,
    ONE,
    TWO,
    A,
    B,
    block,
    data,
    end,
    golden,
    prelude,
    read,
)

# --- real dumps -------------------------------------------------------------------------------------------------------


def id_order(document: bytes) -> tuple[int, Any]:
    """The server's order of the `_id` values in the zoo, without collation."""
    value = bson.decode(document)["_id"]
    if isinstance(value, bson.Decimal128):
        value = float(value.to_decimal())
    ranks = [type(None), (int, float), str, dict, bytes, bson.ObjectId, bool, object]
    rank = 6 if isinstance(value, bool) else next(i for i, kind in enumerate(ranks) if isinstance(value, kind))
    return rank, value if rank in (1, 2, 5) else 0


def digests(documents: list[bytes]) -> set[str]:
    """The md5 of the documents in the orders that the server may have them in: few documents may be collated."""
    orders: list[Iterable[bytes]] = [documents, sorted(documents, key=id_order)]
    if len(documents) <= 3:
        orders += itertools.permutations(documents)
    return {hashlib.md5(b"".join(order)).hexdigest() for order in orders}


def test_the_zoo_has_the_documents_that_the_server_counted_and_hashed() -> None:
    expected = json.loads((GOLDEN / "zoo.expected.json").read_text())["collections"]
    found = read(golden("zoo.archive.gz"))
    views = {Namespace("zoo", "open_invoices"), Namespace("zoo", "view_of_view")}
    # The definitions of views are in the prelude, not among the documents.
    del expected["system.views"]
    assert {namespace.collection for namespace in found.keys() - views} == expected.keys()
    for name, record in expected.items():
        documents = found[Namespace("zoo", name)]
        assert len(documents) == record["count"], name
        assert record["md5"] in digests(documents), name
    assert all(found[view] == [] for view in views)


def test_the_prelude_of_the_zoo_names_the_time_series_collection_and_the_body_its_buckets() -> None:
    summary = verify_archive(io.BytesIO(golden("zoo.archive.gz")))
    assert summary.header == ArchiveHeader("6.0.5", "built-without-version-string", 4)
    metrics = next(entry for entry in summary.entries if entry.type == "timeseries")
    assert metrics.namespace == Namespace("zoo", "metrics")
    assert metrics.namespace.buckets in summary.totals
    assert metrics.namespace not in summary.totals
    assert summary.warnings == ()


def test_a_full_dump_with_oplog_and_users_is_read() -> None:
    summary = verify_archive(io.BytesIO(golden("full-oplog.archive.gz")))
    counts = {str(namespace): totals.documents for namespace, totals in summary.totals.items()}
    assert counts == {
        "admin.system.users": 2,
        "admin.system.roles": 1,
        "admin.system.version": 2,
        "audit.log": 84,
        "shop.orders": 20060,
        ".oplog": 37,
    }
    assert summary.warnings == ()


def test_a_dump_of_one_database_with_its_users_is_read() -> None:
    summary = verify_archive(io.BytesIO(golden("db-users.archive.gz")))
    assert summary.totals[Namespace("shop", "orders")].documents == 20065
    assert summary.warnings == ("shop.$admin.system.roles is empty: mongorestore --drop removes those of the target",)


def test_the_minimal_archive_is_read() -> None:
    assert read(MINIMAL) == {
        Namespace("d", "c"): [bson.encode({"_id": 1, "x": "é"}), bson.encode({"_id": 2})],
        Namespace("d", "e"): [],
    }


# --- what mongorestore tolerates --------------------------------------------------------------------------------------


def test_namespaces_may_take_turns() -> None:
    body = (
        data(A, ONE)
        + data(B, TWO)
        + data(A, TWO, TWO)
        + end(A, ONE, TWO, TWO)
        + data(B)
        + data(B, ONE)
        + end(B, TWO, ONE)
    )
    assert read(prelude(A, B) + body) == {A: [ONE, TWO, TWO], B: [TWO, ONE]}


@pytest.mark.parametrize(
    "body",
    [
        end(A),
        data(A) + data(A) + end(A),
        block({"collection": "a", "db": "d"}) + end(A),
        block({**BODY, "CRC": bson.Int64(-1)}) + end(A),
        block({"EOF": True, "collection": "a", "db": "d"}),
    ],
)
def test_odd_blocks_of_an_empty_namespace_are_accepted(body: bytes) -> None:
    assert read(prelude(A) + body) == {A: []}


@pytest.mark.parametrize(
    "fields",
    [
        {"server_version": "7.0.1"},
        {
            "server_version": "3.4.3",
            "tool_version": "r3.4.3",
            "version": "9.9",
            "concurrent_collections": bson.Int64(4),
        },
        {"server_version": "7.0.1", "concurrent_collections": 4.0, "from the future": [1]},
    ],
)
def test_a_header_may_lack_fields_and_have_more(fields: dict[str, Any]) -> None:
    assert read(prelude(A, header=bson.encode(fields)) + end(A)) == {A: []}


def test_an_entry_of_an_old_tool_has_no_type_or_size_and_relaxed_metadata() -> None:
    metadata = '{"options":{"capped":true,"size":4096},"indexes":[{"v":1,"key":{"_id":1},"name":"_id_","ns":"d.a"}]}'
    start = prelude(entries=[bson.encode({"collection": "a", "db": "d", "metadata": metadata})])
    archive = ArchiveReader(io.BytesIO(start + end(A)))
    assert archive.entries == (PreludeEntry(A, metadata, ""),)
    assert archive.metadata[A].options == {"capped": True, "size": 4096}
    assert [event.namespace for event in archive] == [A]
    assert archive.warnings == []


def test_a_namespace_that_is_twice_in_the_prelude_counts_once() -> None:
    archive = ArchiveReader(io.BytesIO(prelude(A, A) + end(A)))
    assert [entry.namespace for entry in archive.entries] == [A]
    assert archive.warnings == ["d.a is twice in the prelude; the first entry counts"]


def test_an_archive_is_read_only_once() -> None:
    archive = ArchiveReader(io.BytesIO(MINIMAL))
    list(archive)
    with pytest.raises(FormatError, match="an archive can be read only once"):
        list(archive)


# --- warnings ---------------------------------------------------------------------------------------------------------

USERS, ROLES, VERSION = (Namespace("admin", f"system.{name}") for name in ("users", "roles", "version"))
OPLOG = Namespace("", "oplog")
MANY = [Namespace("d", str(number)) for number in range(6)]
SCHEMA = bson.encode({"_id": "authSchema", "currentVersion": 5})


def sections(*namespaces: Namespace) -> bytes:
    return b"".join(data(namespace, ONE) + end(namespace, ONE) for namespace in namespaces)


@pytest.mark.parametrize(
    ("archive", "warnings"),
    [
        (prelude(*MANY[:4]) + b"".join(map(data, MANY[:4])) + b"".join(map(end, MANY[:4])), []),
        (
            prelude(*MANY) + b"".join(map(data, MANY)) + b"".join(map(end, MANY)),
            ["6 namespaces are open at once and the archive promises 4: mongorestore hangs unless it runs with -j 6"],
        ),
        (prelude(VERSION, USERS, A) + data(VERSION, SCHEMA) + end(VERSION, SCHEMA) + sections(USERS, A), []),
        (
            prelude(VERSION, USERS, A) + data(VERSION, SCHEMA) + end(VERSION, SCHEMA) + sections(A, USERS),
            ["admin.system.users comes after collections: mongorestore may refuse the users and roles"],
        ),
        (
            prelude(USERS, ROLES) + sections(USERS) + end(ROLES),
            [
                "admin.system.users comes without the version of its schema: mongorestore refuses the users",
                "admin.system.roles is empty: mongorestore --drop removes those of the target",
            ],
        ),
        (prelude(USERS, header=encode_header(ArchiveHeader("8.1.0", "t"))) + sections(USERS), []),
        (prelude(A, OPLOG) + sections(A, OPLOG), []),
        (
            prelude(A, OPLOG) + sections(OPLOG, A),
            ["the oplog does not come after all collections: mongorestore --oplogReplay fails or hangs"],
        ),
        (
            prelude(A, OPLOG) + data(A, ONE) + sections(OPLOG) + end(A, ONE),
            ["the oplog does not come after all collections: mongorestore --oplogReplay fails or hangs"],
        ),
        (
            prelude(entries=[encode_entry(PreludeEntry(A, '{"indexes":[{"key":{"b":1}}]}', ""))]) + end(A),
            ["d.a has an index without a name, which mongorestore drops silently: {'key': {'b': 1}}"],
        ),
        (
            prelude(Namespace("local", "oplog.rs")) + end(Namespace("local", "oplog.rs")),
            ["mongorestore hangs on local.oplog.rs unless it runs with --nsExclude local.oplog.rs"],
        ),
    ],
)
def test_what_mongorestore_stumbles_over_is_a_warning(archive: bytes, warnings: list[str]) -> None:
    assert list(verify_archive(io.BytesIO(archive)).warnings) == warnings


# --- any archive ------------------------------------------------------------------------------------------------------

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6)
namespaces = st.builds(Namespace, names.filter(lambda name: "." not in name), names).filter(
    lambda namespace: not namespace.collection.startswith(("system.", "$admin."))
)
documents = st.lists(st.binary(max_size=120).map(lambda value: bson.encode({"v": value})), max_size=8)


@settings(deadline=None)
@given(
    st.dictionaries(namespaces, st.lists(documents, max_size=3), max_size=4), st.integers(1, 300), st.integers(1, 50)
)
def test_what_was_written_in_any_batches_is_read_in_any_blocks(
    content: dict[Namespace, list[list[bytes]]], read_bytes: int, at_most: int
) -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, at_most))

    out = io.BytesIO()
    writer = ArchiveWriter(out, HEADER, [PreludeEntry(namespace, "", "collection") for namespace in content])
    for namespace, batches in content.items():
        writer.begin(namespace)
        for batch in batches:
            assert writer.write(b"".join(batch)) == len(batch)
        writer.end()
    totals = writer.finish()

    found: dict[Namespace, list[bytes]] = {namespace: [] for namespace in content}
    ends = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "READ_BYTES", read_bytes)
        for event in ArchiveReader(Trickle(out.getvalue())):
            if isinstance(event, End):
                ends[event.namespace] = event.totals
                continue
            assert event.starts
            assert len(event.buffer) <= read_bytes or len(event.starts) == 1
            found[event.namespace] += event.documents()
    assert found == {namespace: [d for batch in batches for d in batch] for namespace, batches in content.items()}
    assert ends == totals


def test_a_large_document_is_a_batch_by_itself() -> None:
    large = struct.pack("<I", 2**24) + bytes(2**24 - 4)
    sizes = [
        (len(event.starts), len(event.buffer))
        for event in ArchiveReader(
            io.BytesIO(prelude(A) + data(A, ONE, large, TWO, ONE) + end(A, ONE, large, TWO, ONE))
        )
        if isinstance(event, Batch)
    ]
    assert sizes == [(1, 14), (1, 2**24), (2, 28)]
