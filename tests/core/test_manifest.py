"""The manifest: written canonically, read with suspicion."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import bson
import pytest

from flows.core.errors import DumpFailed, FormatError, IntegrityError, UnsupportedVersion
from flows.core.manifest import Manifest
from flows.core.source import Consistency, Kind
from tests.support.samples import collection, entry, manifest, segment

ONE, TWO = bson.encode({"_id": 1}), bson.encode({"_id": 2})
INVOICES, LOG = collection("mpg.invoices"), collection("mpg.log", capped=True)
METRICS, VIEW = collection("mpg.metrics", Kind.TIMESERIES), collection("mpg.open", Kind.VIEW)


def sample() -> Manifest:
    return manifest(
        [INVOICES, LOG, METRICS, VIEW],
        [
            segment(1, entry(INVOICES, TWO)),
            segment(0, entry(INVOICES, ONE), entry(LOG, ONE), entry(METRICS, TWO), entry(VIEW, b"")),
        ],
    )


def changed(path: list[str | int], value: Any) -> bytes:
    top = json.loads(sample().to_json())
    place = top
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(top).encode()


def test_a_manifest_reads_back_as_it_was_written() -> None:
    assert Manifest.from_json(sample().to_json()) == sample()


def test_a_manifest_of_an_older_release_says_nothing_of_the_stores_encryption() -> None:
    old = Manifest.from_json(changed(["segments", 0, "store_encryption"], ...))
    assert old.segments[0].store_encryption == ""
    new = Manifest.from_json(changed(["segments", 0, "store_encryption"], "sse-kms"))
    assert new.segments[0].store_encryption == "sse-kms"
    with pytest.raises(FormatError, match=r"a field has the wrong type .*at='manifest.segments\[0\].store_encryption'"):
        Manifest.from_json(changed(["segments", 0, "store_encryption"], 1))


def test_the_bytes_are_canonical() -> None:
    data = sample().to_json()
    assert (
        data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    )
    assert b'"started":"2026-03-06T04:00:00.000Z"' in data


def test_segments_of_one_namespace_are_added_up() -> None:
    record = sample().namespaces[0]
    assert (record.content.documents, record.content.bytes) == (2, len(ONE) + len(TWO))
    assert [s.name for s in sample().segments] == ["segment-00000.archive.gz", "segment-00001.archive.gz"]


def test_a_capped_collection_is_said_to_be_loose() -> None:
    consistency = {str(r.namespace): r.consistency for r in sample().namespaces}
    assert consistency["mpg.log"] is Consistency.NONE
    assert consistency["mpg.invoices"] is Consistency.SNAPSHOT
    assert sample().warnings == (
        "capped collections were read as they were, not at the cluster time of this backup: mpg.log",
    )


def test_without_a_cluster_time_nothing_is_promised() -> None:
    loose = manifest([INVOICES], [segment(0, entry(INVOICES, ONE))], at=None)
    assert loose.consistency is Consistency.NONE
    assert Manifest.from_json(loose.to_json()).cluster_time is None
    assert len(loose.warnings) == 1
    assert loose.warnings[0].startswith("the source is not a replica set")


def test_a_planned_namespace_in_no_segment_is_an_error() -> None:
    with pytest.raises(DumpFailed, match=r"planned is in no segment \(namespace='mpg.log'\)"):
        manifest([INVOICES, LOG], [segment(0, entry(INVOICES, ONE))])


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (["plan"], ..., "a field is missing (at='manifest.plan', expected='str')"),
        (["plan"], 5, "a field has the wrong type (at='manifest.plan', expected='str', got='int')"),
        (["users"], 1, "a field has the wrong type (at='manifest.users', expected='bool', got='int')"),
        (
            ["segments", 1, "bytes"],
            True,
            "a field has the wrong type (at='manifest.segments[1].bytes', expected='int', got='bool')",
        ),
        (["segments", 0, "bytes"], -1, "a field is negative (at='manifest.segments[0].bytes', got=-1)"),
        (
            ["segments", 0, "name"],
            "../../etc/passwd",
            "a field has the wrong form (at='manifest.segments[0].name', "
            "expected='segment-[0-9]{5,9}\\\\.archive(\\\\.gz|\\\\.zst)?(\\\\.age)?', got='../../etc/passwd')",
        ),
        (["segments", 0], [], "not a JSON object (at='manifest.segments[0]', got='list')"),
        (["warnings"], [3], "a field has the wrong type (at='manifest.warnings[0]', expected='str', got='int')"),
        (["started"], "today", "a field is not a time (at='manifest.started', got='today')"),
        (["started"], "2026-03-06T04:00:00", "a time has no zone (at='manifest.started', got='2026-03-06T04:00:00')"),
        (
            ["consistency"],
            "perfect",
            "a field has a value that is not known here "
            "(at='manifest.consistency', expected=['snapshot', 'none'], got='perfect')",
        ),
        (
            ["namespaces", 0, "content", "digest"],
            "xyz",
            "a field has the wrong form "
            "(at='manifest.namespaces[0].content.digest', expected='[0-9a-f]{32}', got='xyz')",
        ),
    ],
)
def test_a_damaged_manifest_names_the_field(path: list[str | int], value: Any, text: str) -> None:
    with pytest.raises(FormatError) as caught:
        Manifest.from_json(changed(path, value))
    assert str(caught.value) == text


def test_a_newer_format_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnsupportedVersion) as caught:
        Manifest.from_json(changed(["format"], 2))
    assert str(caught.value) == (
        "the manifest has a format version that is not known here (expected=1, got=2)\n"
        "HINT: Use the release of mongo-backup-flows that wrote it, or a newer one."
    )


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(FormatError, match="the manifest is not JSON"):
        Manifest.from_json(b"\x1f\x8b")


def test_a_manifest_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(IntegrityError, match="the segments do not add up to the namespace"):
        Manifest.from_json(changed(["namespaces", 0, "content", "documents"], 3))
    with pytest.raises(IntegrityError, match="the segments do not add up"):
        dataclasses.replace(sample(), segments=sample().segments[:1]).check()
    with pytest.raises(IntegrityError, match="holds a namespace that the manifest does not list"):
        dataclasses.replace(sample(), namespaces=sample().namespaces[1:]).check()
