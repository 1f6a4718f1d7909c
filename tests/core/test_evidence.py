"""Evidence records: what is stored is what was said, and what is no record is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import timedelta, timezone
from typing import Any

import pytest

from flows.core.errors import BackupError, ConfigurationError, FormatError, IntegrityError, UnsupportedVersion
from flows.core.evidence import (
    LINKED,
    MOST_FINDINGS,
    ChainedRecord,
    EvidenceKey,
    EvidenceKind,
    EvidenceRecord,
    Figures,
    Finding,
    Link,
    ObjectEvidence,
    Result,
    chain,
    limited,
)
from tests.support.evidence import KEY, STRANGER, looked_at, record
from tests.support.samples import STARTED

FINDING = Finding("a bit was flipped", "2026-03-06T04-00-00Z", "mpg/backups/x", "mpg.invoices", 12, "00", "01")
FULL = record(
    EvidenceKind.DRILL,
    findings=(FINDING, Finding("an index is missing")),
    backups=(looked_at(STARTED, size=10, read=5, result=Result.FAILED),),
    objects=(ObjectEvidence("mpg/backups/x", 10, "ab" * 32),),
    figures=Figures(1, 2, 3, 4),
    operator="Jörg \ud800 <b>",
)


def made(what: EvidenceRecord = FULL, *existing: EvidenceKey, key: Any = KEY) -> tuple[ChainedRecord, bytes]:
    return chain(what, existing, key=key, now=STARTED + timedelta(minutes=1))


@pytest.mark.parametrize("key", [KEY, None], ids=["signed", "unsigned"])
@pytest.mark.parametrize("what", [FULL, record()], ids=["full", "bare"])
def test_a_record_reads_back_as_it_was_written(what: EvidenceRecord, key: Any) -> None:
    chained, data = made(what, key=key)
    assert ChainedRecord.from_json(data) == chained
    assert chained.record == what
    assert chained.sha256 == hashlib.sha256(data).hexdigest()
    assert (chained.signature is None) == (key is None)


def test_the_bytes_are_canonical_and_times_are_utc() -> None:
    zone = timezone(timedelta(hours=1))
    _, data = made(dataclasses.replace(record(), started=STARTED.astimezone(zone), operator="Jörg"), key=None)
    assert (
        data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    )
    assert b'"started":"2026-03-06T04:00:00.000Z"' in data
    assert "Jörg".encode() in data


def test_records_differ_only_in_what_is_stored() -> None:
    assert record().same_as(record(at=STARTED + timedelta(microseconds=7)))
    assert not record().same_as(record(at=STARTED + timedelta(milliseconds=7)))


def test_a_key_says_where_and_what_a_record_is() -> None:
    chained, _ = made()
    key = f"mpg/evidence/00000001-2026-03-06T04-00-00Z-drill-{chained.sha256}.json"
    assert str(chained.key) == key
    assert EvidenceKey.parse("mpg", key) == chained.key


@pytest.mark.parametrize(
    "name",
    ["", "1-2026-03-06T04-00-00Z-drill-{}.json", "00000001-2026-03-32T04-00-00Z-drill-{}.json",
     "00000001-2026-03-06T04-00-00Z-drill-{}.html", "00000001-2026-03-06T04-00-00Z-drill-AB.json",
     "00000001-2026-03-06T04-00-00Z-drill-{}.json\n", "a/00000001-2026-03-06T04-00-00Z-drill-{}.json"],
)  # fmt: skip
def test_other_names_are_no_keys(name: str) -> None:
    assert EvidenceKey.parse("mpg", "mpg/evidence/" + name.format("ab" * 32)) is None


def test_a_record_names_those_of_the_last_numbers_before_it() -> None:
    keys: list[EvidenceKey] = []
    for number in range(8):
        chained, _ = made(record(at=STARTED + timedelta(hours=number)), *keys)
        assert chained.sequence == number + 1
        assert chained.before == tuple(Link(key.sequence, key.sha256) for key in keys[-LINKED:])
        keys.append(chained.key)


def test_both_of_two_records_with_one_number_are_named() -> None:
    one, other = made(record())[0], made(record(operator="other"))[0]
    chained, _ = made(FULL, one.key, other.key)
    assert chained.sequence == 2
    assert set(chained.before) == {Link(1, one.sha256), Link(1, other.sha256)}


def test_the_last_number_is_told() -> None:
    with pytest.raises(IntegrityError, match="come to its last number"):
        made(FULL, EvidenceKey("mpg", 99_999_999, STARTED, "drill", "ab" * 32))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"findings": ()}, FormatError, "findings where and only where it failed"),
        ({"result": Result.PASSED}, FormatError, "findings where and only where it failed"),
        ({"finished": STARTED - timedelta(days=1)}, FormatError, "ends before it begins"),
        ({"time_zone": "Mars/Olympus"}, ConfigurationError, "not a time zone"),
        ({"time_zone": "../../etc/passwd"}, ConfigurationError, "not a time zone"),
        ({"time_zone": ""}, ConfigurationError, "not a time zone"),
        ({"plan": "../mpg"}, ConfigurationError, "not a name for a plan"),
        ({"backups": (dataclasses.replace(looked_at(STARTED, size=1), backup="../x"),)}, FormatError, "id of a backup"),
        ({"details": {"long": "x" * 20_000_000}}, FormatError, "too large for a record"),
    ],
)
def test_what_contradicts_itself_is_not_stored(change: dict[str, Any], error: type[BackupError], match: str) -> None:
    with pytest.raises(error, match=match):
        made(dataclasses.replace(FULL, **change))


def test_a_record_takes_so_many_findings_and_counts_the_others() -> None:
    found, left_out = limited([FINDING] * (MOST_FINDINGS + 7))
    assert (len(found), left_out) == (MOST_FINDINGS, 7)
    assert limited([FINDING]) == ((FINDING,), 0)


def test_every_flipped_bit_of_a_signed_record_is_refused() -> None:
    _, data = made(dataclasses.replace(record(), operator="a"))
    name = data.index(b'"signature"')
    for place in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[place] ^= 1 << bit
            try:
                got = ChainedRecord.from_json(bytes(broken))
            except BackupError:
                continue
            if name < place < name + len(b'"signature"'):
                assert got.signature is None  # so whoever trusts signers refuses it, and its SHA-256 is not its key's
                continue
            # What JSON does not care for: the line feed at the end.
            assert place == len(data) - 1, (place, bit)
            assert got.record == ChainedRecord.from_json(data).record


def test_a_signature_of_another_kind_of_record_is_none() -> None:
    _, data = made(key=None)
    value = json.loads(data)
    value.pop("signature")
    message = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )
    signature = STRANGER.sign(message + b"\n", domain="manifest")
    value["signature"] = dataclasses.asdict(signature)
    with pytest.raises(IntegrityError, match="the signature of the evidence is wrong"):
        ChainedRecord.from_json(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"format": 2}, UnsupportedVersion, "format version that is not known"),
        ({"kind": "party"}, FormatError, "not known here"),
        ({"sequence": 3}, FormatError, "does not follow those that it names"),
        ({"before": [{"sequence": 1, "sha256": "x"}]}, FormatError, "wrong form"),
        ({"time_zone": "Mars/Olympus"}, FormatError, "not a time zone"),
        ({"plan": "../mpg"}, FormatError, "not a name for a plan"),
        ({"figures": {"rto_ms": 1}}, FormatError, "a field is missing"),
        ({"figures": {"rto_ms": -1, "rpo_ms": 1, "listed_backups": 1, "listed_bytes": 1}}, FormatError, "negative"),
        ({"result": "passed"}, FormatError, "findings where and only where it failed"),
    ],
)
def test_what_is_no_record_is_refused(change: dict[str, Any], error: type[BackupError], match: str) -> None:
    value = {**json.loads(made(key=None)[1]), **change}
    with pytest.raises(error, match=match):
        ChainedRecord.from_json(json.dumps(value).encode())


def test_fields_that_are_not_known_are_passed_over() -> None:
    value = {**json.loads(made(key=None)[1]), "weather": "fine"}
    assert ChainedRecord.from_json(json.dumps(value).encode()).record == FULL


def test_a_place_is_told_in_one_line() -> None:
    assert FINDING.where == "mpg/backups/x, mpg.invoices, offset 12"
    assert Finding("x", backup="2026-03-06T04-00-00Z").where == "2026-03-06T04-00-00Z"
    assert Finding("x").where == ""
