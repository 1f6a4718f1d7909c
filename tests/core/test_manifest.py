"""The manifest: written canonically, read with suspicion."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import bson
import pytest

from flows.core import manifest as manifest_module
from flows.core.errors import DumpFailed, FormatError, IntegrityError, UnsupportedVersion
from flows.core.manifest import Manifest
from flows.core.signing import SigningKey
from flows.core.source import Consistency, Kind
from tests.support.samples import collection, entry, manifest, segment

ONE, TWO = bson.encode({"_id": 1}), bson.encode({"_id": 2})
INVOICES, LOG = collection("mpg.invoices"), collection("mpg.log", capped=True)
METRICS, VIEW = collection("mpg.metrics", Kind.TIMESERIES), collection("mpg.open", Kind.VIEW)


KEY = SigningKey.generate()


def sample() -> Manifest:
    return manifest(
        [INVOICES, LOG, METRICS, VIEW],
        [
            segment(1, entry(INVOICES, TWO)),
            segment(0, entry(INVOICES, ONE), entry(LOG, ONE), entry(METRICS, TWO), entry(VIEW, b"")),
        ],
    )


def changed(path: list[str | int], value: Any, of: Manifest | None = None) -> bytes:
    top = json.loads((of or sample()).to_json())
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


@pytest.mark.parametrize("name", ["store_encryption", "store_key"])
def test_a_manifest_of_an_older_release_says_nothing_of_the_stores_encryption(name: str) -> None:
    old = Manifest.from_json(changed(["segments", 0, name], ...))
    assert getattr(old.segments[0], name) == ""
    new = Manifest.from_json(changed(["segments", 0, name], "sse-kms"))
    assert getattr(new.segments[0], name) == "sse-kms"
    with pytest.raises(FormatError, match=rf"a field has the wrong type .*at='manifest.segments\[0\].{name}'"):
        Manifest.from_json(changed(["segments", 0, name], 1))


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


def test_a_signed_manifest_reads_back_as_it_was_written() -> None:
    signed = sample().signed(KEY)
    assert Manifest.from_json(signed.to_json()) == signed
    assert signed.signature is not None
    assert signed.signature.signer == KEY.public
    assert dataclasses.replace(signed, signature=None) == sample()


def test_a_manifest_from_before_signatures_is_readable() -> None:
    top = json.loads(sample().to_json())
    del top["signature"], top["identity"]
    assert Manifest.from_json(json.dumps(top).encode()) == sample()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["backup"], "2026-03-07T04-00-00Z"),
        (["plan"], "other"),
        (["warnings"], ["all is well"]),
        (["namespaces", 0, "metadata"], "{}"),
        (["segments", 0, "sha256"], "1" * 64),
        (["segments", 0, "recipients"], ["age1"]),
        (["started"], "2026-03-07T04:00:00.000Z"),
        (["versions"], ...),
        (["a field of a later release"], "x"),
    ],
)
def test_no_field_of_a_signed_manifest_can_be_changed(path: list[str | int], value: Any) -> None:
    with pytest.raises(IntegrityError, match="the signature of the manifest is wrong"):
        Manifest.from_json(changed(path, value, sample().signed(KEY)))


def test_segments_of_a_signed_manifest_cannot_change_places() -> None:
    signed = sample().signed(KEY)
    with pytest.raises(IntegrityError, match="the signature of the manifest is wrong"):
        Manifest.from_json(dataclasses.replace(signed, segments=signed.segments[::-1]).to_json())


def test_a_signature_covers_fields_that_are_not_known_here() -> None:
    top = json.loads(sample().to_json())
    top["later"] = {"é": [1, 2]}
    del top["signature"]
    message = json.dumps(top, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    top["signature"] = dataclasses.asdict(KEY.sign(message, domain="manifest"))
    assert Manifest.from_json(json.dumps(top).encode()).signature is not None


@pytest.mark.parametrize(
    ("part", "change"), [("value", str.upper), ("public_key", str.upper), ("value", lambda s: s[1:])]
)
def test_a_signature_has_one_spelling(part: str, change: Any) -> None:
    signed = sample().signed(KEY)
    text = change(getattr(signed.signature, part))
    with pytest.raises(FormatError, match=f"at='manifest.signature.{part}'"):
        Manifest.from_json(changed(["signature", part], text, signed))


def test_text_that_is_no_unicode_is_no_crash() -> None:
    data = sample().signed(KEY).to_json().replace(b'"plan":"mpg"', b'"plan":"\\ud800"')
    with pytest.raises(IntegrityError, match="the signature of the manifest is wrong"):
        Manifest.from_json(data)


def test_segments_that_are_not_encrypted_alike_are_refused() -> None:
    first, second = sample().segments
    sealed = dataclasses.replace(second, name=f"{second.name}.age", recipients=("age1a",))
    with pytest.raises(IntegrityError, match="the segments of a backup are not encrypted alike"):
        Manifest.from_json(dataclasses.replace(sample(), segments=(first, sealed)).to_json())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("recipients", ["age1a"]),
        ("name", "segment-00001.archive.gz.age"),
        ("compression", "zstd"),
        ("compression", "oone"),
    ],
)
def test_a_segment_that_is_not_packed_as_its_name_says_is_refused(field: str, value: Any) -> None:
    with pytest.raises(FormatError, match="a segment is not packed as its name says"):
        Manifest.from_json(changed(["segments", 1, field], value))


def test_a_signature_is_checked_by_hand_as_the_format_page_says(tmp_path: Path) -> None:
    assert shutil.which("openssl"), "openssl is part of every Linux; install the package openssl"
    page = (Path(manifest_module.__file__).parent / "FORMAT.md").read_text()
    (script,) = (block for block in page.split("```") if "openssl pkeyutl" in block)
    for data, expected in (
        (sample().signed(KEY).to_json(), "Signature Verified Successfully"),
        (changed(["users"], True, sample().signed(KEY)), "Signature Verification Failure"),
    ):
        (tmp_path / "manifest.json").write_bytes(data)
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert expected in done.stdout, done.stderr
