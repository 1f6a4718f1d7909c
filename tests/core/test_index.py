"""The facts of a backup, and the index: a cache that is believed only where it is whole."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import bson
import pytest

from flows.core.errors import BackupError, FormatError, UnsupportedVersion
from flows.core.index import BackupFacts, IndexEntry, read_index, write_index
from flows.core.source import Consistency
from flows.storage.store import BY_READING, BY_STORE
from tests.support.samples import collection, entry, manifest, segment

INVOICES = collection("mpg.invoices")
ONE = bson.encode({"_id": 1})
MADE = manifest([INVOICES], [segment(i, entry(INVOICES, ONE), data=b"stored") for i in range(2)])
FACTS = BackupFacts(
    "2026-03-06T04-00-00Z", 2, 2 * len(ONE), 12, 2, Consistency.SNAPSHOT, confirmed=True, encrypted=False, signer=""
)
ENTRY = IndexEntry(1234, datetime(2026, 3, 6, 4, 1, 2, 345678, tzinfo=UTC), FACTS)


def test_facts_are_those_of_the_manifest() -> None:
    assert BackupFacts.of(MADE) == FACTS


@pytest.mark.parametrize(("way", "confirmed"), [(BY_READING, True), (BY_STORE, True), ("", False), ("hoped", False)])
def test_a_segment_counts_as_confirmed_where_the_store_has_proved_it(way: str, confirmed: bool) -> None:
    doubtful = dataclasses.replace(MADE.segments[1], confirmed=way)
    facts = BackupFacts.of(dataclasses.replace(MADE, segments=(MADE.segments[0], doubtful)))
    assert facts.confirmed is confirmed
    expected = "" if confirmed else "a segment was never confirmed by the store"
    assert facts.damage(segments=2, stored_bytes=12) == expected


@pytest.mark.parametrize(("segments", "stored"), [(1, 6), (2, 11), (3, 18)])
def test_a_backup_whose_objects_are_others_is_damaged(segments: int, stored: int) -> None:
    assert FACTS.damage(segments=segments, stored_bytes=stored) == (
        f"the store has {segments} segments of {stored} bytes, the manifest names 2 of 12"
    )


def test_the_index_reads_back_as_it_was_written() -> None:
    other = IndexEntry(
        99,
        ENTRY.modified,
        dataclasses.replace(FACTS, backup="2026-03-07T04-00-00Z", confirmed=False, encrypted=True, signer="ed25519:ab"),
    )
    data = write_index("mpg", [ENTRY, other])
    assert read_index("mpg", data) == {FACTS.backup: ENTRY, other.facts.backup: other}
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode() + b"\n"


def altered(**fields: Any) -> bytes:
    """An index whose only entry has other fields."""
    value = json.loads(write_index("mpg", [ENTRY]))
    value["backups"][0] |= fields
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", FormatError),
        (b"\xff\xfe", FormatError),
        (b"[" * 100_000, FormatError),
        (write_index("mpg", [ENTRY])[:-10], FormatError),
        (write_index("other", [ENTRY]), FormatError),
        (write_index("mpg", [ENTRY, ENTRY]), FormatError),
        (write_index("mpg", [ENTRY]).replace(b'"format":1', b'"format":2'), UnsupportedVersion),
        (altered(backup="../../other"), FormatError),
        (altered(confirmed=1), FormatError),
        (altered(documents=-1), FormatError),
        (altered(documents=1e400), FormatError),
        (altered(consistency="perfect"), FormatError),
        (altered(manifest={"bytes": 1, "modified": "2026-03-06T04:00:00"}), FormatError),
    ],
)
def test_an_index_that_is_damaged_is_none(data: bytes, error: type[BackupError]) -> None:
    with pytest.raises(error):
        read_index("mpg", data)
