"""The proof of a chain: every way to tamper with any record is told, and what cannot be told is not claimed."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from itertools import combinations

import pytest

from flows.core.errors import BackupError, ConfigurationError, IntegrityError, RepositoryError
from flows.core.evidence import ChainedRecord, EvidenceKey, StoredEvidence, chain
from flows.core.evidence_chain import ChainCheck, ChainReport, Fault, check_head
from flows.core.signing import SigningKey
from tests.support.evidence import KEY, STRANGER, record
from tests.support.samples import STARTED

NUMBER = 7
Chain = dict[str, bytes]  # what is stored, by key


def built(number: int = NUMBER, *, key: SigningKey | None = None, plan: str = "mpg", operator: str = "Jörg") -> Chain:
    stored: Chain = {}
    for hour in range(number):
        put(stored, hour, key=key, plan=plan, operator=operator)
    return stored


def put(stored: Chain, hour: int, *, key: SigningKey | None = None, plan: str = "mpg", operator: str = "Jörg") -> str:
    at = STARTED + timedelta(hours=hour)
    existing = [name for one in stored if (name := EvidenceKey.parse(plan, one)) is not None]
    chained, data = chain(record(at=at, plan=plan, operator=operator), existing, key=key, now=at)
    stored[str(chained.key)] = data
    return str(chained.key)


def look(key: str, data: bytes) -> StoredEvidence:
    name, digest = EvidenceKey.parse("mpg", key), hashlib.sha256(data).hexdigest()
    try:
        return StoredEvidence(key, name, digest, ChainedRecord.from_json(data))
    except BackupError as error:
        return StoredEvidence(key, name, digest, None, str(error))


def proved(stored: Chain, *, trusted: tuple[str, ...] = (), head: str | None = None) -> ChainReport:
    check = ChainCheck("mpg", trusted=trusted, expected_head=head)
    for key in sorted(stored):
        check.add(look(key, stored[key]))
    return check.report()


def faults(stored: Chain, *, trusted: tuple[str, ...] = (), head: str | None = None) -> set[Fault]:
    return {fault.fault for fault in proved(stored, trusted=trusted, head=head).faults}


def head_of(stored: Chain) -> str:
    name = EvidenceKey.parse("mpg", max(stored))
    assert name is not None
    return name.sha256


def rewritten(stored: Chain, key: str, data: bytes) -> Chain:
    """With other bytes in the place of a record, under the name that belongs to them."""
    name = EvidenceKey.parse("mpg", key)
    assert name is not None
    other = EvidenceKey("mpg", name.sequence, name.finished, name.kind, hashlib.sha256(data).hexdigest())
    return {**{k: v for k, v in stored.items() if k != key}, str(other): data}


@pytest.mark.parametrize("key", [KEY, None], ids=["signed", "unsigned"])
@pytest.mark.parametrize("number", range(1, NUMBER + 1))
def test_what_nobody_touched_is_whole(number: int, key: SigningKey | None) -> None:
    stored = built(number, key=key)
    report = proved(stored, trusted=(KEY.public,) if key else (), head=head_of(stored))
    report.check()
    assert (report.records, report.signed) == (number, number if key else 0)
    assert report.head is not None
    assert (report.head.sequence, report.head.sha256) == (number, head_of(stored))
    assert (report.first, report.last) == (STARTED, STARTED + timedelta(hours=number - 1))


def test_an_unsigned_chain_is_called_so() -> None:
    assert proved(built()).signatures.startswith("UNSIGNED: no record is signed")
    stored = built(3, key=KEY)
    put(stored, 3)
    assert proved(stored).signatures.startswith("3 of 4 records are signed; whoever can write to the bucket can make")
    assert "nobody was told whom to trust" in proved(built(key=KEY)).signatures
    assert (
        proved(built(key=KEY), trusted=(KEY.public,)).signatures == "7 of 7 records are signed, all by trusted signers"
    )


@pytest.mark.parametrize("gone", [set(c) for n in (1, 2, 3) for c in combinations(range(NUMBER), n)], ids=str)
def test_any_records_that_are_missing_are_told(gone: set[int]) -> None:
    stored = built()
    keys = sorted(stored)
    left = {key: stored[key] for number, key in enumerate(keys) if number not in gone}
    cut = set(range(NUMBER - len(gone), NUMBER)) == gone
    # Only the end can be cut off so that nobody sees it, and then the head that was noted is gone.
    assert faults(left) == (set() if cut else {Fault.MISSING})
    assert Fault.CUT_OFF in faults(left, head=head_of(stored)) or NUMBER - 1 not in gone


def test_each_missing_record_is_named() -> None:
    stored = built()
    keys = sorted(stored)
    (fault,) = proved({key: stored[key] for key in keys if key != keys[3]}).faults
    lost = EvidenceKey.parse("mpg", keys[3])
    assert lost is not None
    assert (fault.what, fault.key, fault.expected) == (
        "record 4 is missing: another one names it",
        keys[4],
        lost.sha256,
    )
    missing = proved({key: stored[key] for key in keys[5:]}).faults
    assert [fault.what for fault in missing] == [
        *(f"record {number} is missing: another one names it" for number in (2, 3, 4, 5)),
        "record 1 is missing: the numbers have a gap",
    ]


@pytest.mark.parametrize("number", range(NUMBER))
def test_every_changed_byte_of_any_record_is_told(number: int) -> None:
    stored = built(key=KEY)
    key = sorted(stored)[number]
    data = stored[key]
    damaged = {"cut": data[:-1], "longer": data + b" ", "empty": b"", "other": b"{}", "twice": data + data}
    for place in range(0, len(data), 7):
        damaged[f"bit {place}"] = data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]
    for what, broken in damaged.items():
        report = proved({**stored, key: broken})
        assert (report.faults[0].fault, report.faults[0].key) == (Fault.CHANGED, key), what
        assert {fault.fault for fault in report.faults} == {Fault.CHANGED}, what


@pytest.mark.parametrize("number", range(NUMBER))
def test_a_record_that_was_written_anew_is_told(number: int) -> None:
    """Whoever can write to the bucket changes a record, and gives it the name that belongs to it."""
    stored = built()
    key = sorted(stored)[number]
    forged = rewritten(stored, key, stored[key].replace("Jörg".encode(), b"Anna"))
    # The last one of an unsigned chain can be written anew so that nobody sees it but whoever noted the head.
    assert faults(forged) == ({Fault.MISSING, Fault.INSERTED} if number < NUMBER - 1 else set())
    assert Fault.CUT_OFF in faults(forged, head=head_of(stored)) or number < NUMBER - 1

    signed = built(key=KEY)
    key = sorted(signed)[number]
    forged = rewritten(signed, key, signed[key].replace("Jörg".encode(), b"Anna"))
    assert Fault.UNUSABLE in faults(forged)
    assert "the signature of the evidence is wrong" in {f.fault: f for f in proved(forged).faults}[Fault.UNUSABLE].what


@pytest.mark.parametrize(("one", "other"), list(combinations(range(NUMBER), 2)))
def test_any_two_records_that_changed_places_are_told(one: int, other: int) -> None:
    stored = built(key=KEY)
    keys = sorted(stored)
    swapped = {**stored, keys[one]: stored[keys[other]], keys[other]: stored[keys[one]]}
    assert faults(swapped) == {Fault.CHANGED}

    names = [EvidenceKey.parse("mpg", key) for key in (keys[one], keys[other])]
    first, second = (name for name in names if name is not None)
    renamed = {key: data for key, data in stored.items() if key not in (keys[one], keys[other])}
    renamed[str(EvidenceKey("mpg", second.sequence, first.finished, first.kind, first.sha256))] = stored[keys[one]]
    renamed[str(EvidenceKey("mpg", first.sequence, second.finished, second.kind, second.sha256))] = stored[keys[other]]
    assert Fault.MOVED in faults(renamed)


@pytest.mark.parametrize("number", range(NUMBER - 1))
def test_a_record_that_is_put_in_afterwards_is_told(number: int) -> None:
    for key in (None, KEY):
        stored = built()
        before = {one: stored[one] for one in sorted(stored)[:number]}
        added = put(before, number, operator="somebody else", key=key)
        report = proved({**stored, added: before[added]})
        assert [(fault.fault, fault.key) for fault in report.faults] == [(Fault.INSERTED, added)]


@pytest.mark.parametrize("number", range(NUMBER + 1))
@pytest.mark.parametrize("forger", [STRANGER, None], ids=["stranger", "unsigned"])
def test_what_no_trusted_signer_wrote_is_told_in_any_place(number: int, forger: SigningKey | None) -> None:
    stored = built(number, key=KEY)
    forged = put(stored, number, key=forger)
    for hour in range(number + 1, NUMBER + 1):
        put(stored, hour, key=KEY)
    report = proved(stored, trusted=(KEY.public,))
    assert [(fault.fault, fault.key) for fault in report.faults] == [
        (Fault.FORGED if forger else Fault.UNSIGNED, forged)
    ]
    assert report.records == NUMBER
    assert faults(stored) == set()


def test_a_chain_written_anew_by_a_stranger_is_told_where_somebody_is_trusted() -> None:
    stored = built(key=STRANGER, operator="somebody else")
    assert faults(stored, trusted=(KEY.public,)) == {Fault.FORGED}
    assert faults(stored) == set()  # the signers are shown
    assert proved(stored).signers == ((STRANGER.public, NUMBER),)
    assert faults(stored, head=head_of(built(key=KEY))) == {Fault.CUT_OFF}


def test_records_of_another_plan_are_told() -> None:
    other = {key.replace("web/", "mpg/"): data for key, data in built(key=KEY, plan="web").items()}
    assert faults(other, trusted=(KEY.public,)) == {Fault.MOVED}


def test_what_is_no_record_is_told() -> None:
    stored = built()
    assert faults({**stored, "mpg/evidence/note.txt": b"hello"}) == {Fault.STRAY}
    assert faults({**stored, "mpg/evidence/zz": b""}) == {Fault.STRAY}


def test_two_writers_at_one_moment_are_no_fault() -> None:
    stored = built(3)
    one, other = dict(stored), dict(stored)
    put(one, 3)
    put(other, 3, operator="other")
    both = {**one, **other}
    assert len(both) == 5
    assert faults(both) == set()
    put(both, 4)
    assert faults(both) == set()
    assert proved(both).records == 6
    # Each of the two counts: nobody can remove one.
    for key in sorted(both)[3:5]:
        assert faults({k: v for k, v in both.items() if k != key}) == {Fault.MISSING}


def test_a_writer_that_was_held_up_is_taken_in_by_the_next_one() -> None:
    stored = built(3)
    late = dict(stored)
    key = put(late, 3, operator="held up")
    put(stored, 4)
    put(stored, 5)
    stored[key] = late[key]
    assert faults(stored) == {Fault.INSERTED}
    put(stored, 6)
    assert faults(stored) == set()


def test_no_evidence_is_not_called_whole() -> None:
    report = proved({})
    assert (report.records, report.head) == (0, None)
    with pytest.raises(RepositoryError, match="there is no evidence of this plan"):
        report.check()
    assert faults({}, head="ab" * 32) == {Fault.CUT_OFF}


def test_a_fault_fails_the_check() -> None:
    stored = built()
    del stored[min(stored)]
    with pytest.raises(IntegrityError, match=r"the evidence is not what was written .*record 1 is missing"):
        proved(stored).check()


def test_a_head_is_read_as_people_paste_it() -> None:
    assert check_head(f" {'AB' * 32}\n") == "ab" * 32
    for text in ("", "ab", "x" * 64):
        with pytest.raises(ConfigurationError, match="not the head of a chain of evidence"):
            check_head(text)
