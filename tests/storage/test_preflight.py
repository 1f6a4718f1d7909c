"""What a preflight finds out about the backups of a plan and the evidence of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from flows.core.encryption import Identities, Identity, Protection
from flows.core.errors import StoreDenied, StoreUnavailable
from flows.core.evidence import EvidenceKey, EvidenceKind, Finding
from flows.core.keys import backup_prefix
from flows.core.preflight import Row, State
from flows.core.preflight_facts import BackupsFacts, Last, NewestBackup
from flows.core.results import ALL, Outcome, ResultName
from flows.core.signing import SigningKey
from flows.storage.evidence import append, last_of
from flows.storage.memory import MemoryStore
from flows.storage.preflight import survey_backups
from tests.support.evidence import record
from tests.support.preflights import GOOD, row
from tests.support.protected import store_backup
from tests.support.samples import STARTED

FAIL, PASS, NOT_CHECKED = State.FAIL, State.PASS, State.NOT_CHECKED
ALICE, EVE = Identity.generate(), Identity.generate()
KEY, STRANGER = SigningKey.generate(), SigningKey.generate()
OPERATOR = Identities((ALICE,), signers=(KEY.public,))
NOW = STARTED + timedelta(hours=8)
PASSPHRASE = "correct horse battery staple"


def survey(store: MemoryStore, identities: Identities = OPERATOR, now: datetime = NOW) -> BackupsFacts:
    return survey_backups(store, "mpg", identities, in_flight=2, now=now)


def said(check: str, store: MemoryStore, identities: Identities = OPERATOR, now: datetime = NOW) -> Row:
    return row(check, replace(GOOD, backups=survey(store, identities, now)), now=now)


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    """With one backup, encrypted and signed."""
    made = MemoryStore()
    store_backup(made, tmp_path, Protection((ALICE.public,), signing_key=KEY))
    return made


def test_a_backup_that_is_there_and_can_be_opened(store: MemoryStore) -> None:
    newest = survey(store).newest
    assert isinstance(newest, NewestBackup)
    assert (newest.backup, newest.recipients, newest.marks) == ("2026-03-06T04-00-00Z", (ALICE.public,), ())
    assert newest.restore_bytes == sum(
        sorted(item.size for item in store.list("mpg/backups") if "segment-" in item.key)[-2:]
    )
    assert said("newest backup", store).seen == "2026-03-06T04-00-00Z, 8 h 0 min old, and all its objects are there"
    assert said("restore identity", store).seen == (
        f"the newest backup is opened by {ALICE.public}, and signed by a trusted signer"
    )
    assert said("encryption at rest", store).state is PASS


def test_the_identity_has_to_open_the_newest_backup(store: MemoryStore, tmp_path: Path) -> None:
    for wrong, seen in (
        (Identities(), "the backup is encrypted, and no identities were given"),
        (Identities((EVE,)), "none of the identities opens this backup"),
        (Identities((ALICE,), signers=(STRANGER.public,)), "the manifest is signed by somebody who is not trusted"),
    ):
        found = said("restore identity", store, wrong)
        assert (found.state, seen in found.seen) == (FAIL, True), found
        assert ALICE.secret not in found.seen
    opened = MemoryStore()
    store_backup(opened, tmp_path, Protection())
    assert (
        said("restore identity", opened, Identities()).seen == "the newest backup is not encrypted, so nobody needs one"
    )
    by_passphrase = MemoryStore()
    store_backup(by_passphrase, tmp_path, Protection.by_passphrase(PASSPHRASE))
    found = said("restore identity", by_passphrase, Identities(passphrases=(PASSPHRASE,)))
    assert found.seen == "the newest backup is opened by a passphrase"


def test_a_plan_without_backups_is_told_to_take_one(tmp_path: Path) -> None:
    empty = MemoryStore()
    assert survey(empty) == BackupsFacts(None, Last(), Last())
    assert said("newest backup", empty).state is FAIL
    assert said("last drill", empty).state is said("last verification", empty).state is NOT_CHECKED


def test_a_backup_that_is_not_whole_or_from_the_future_fails(store: MemoryStore, tmp_path: Path) -> None:
    folder = backup_prefix("mpg", "2026-03-06T04-00-00Z")
    mark = ResultName(NOW, ALL, Outcome.DAMAGED, "0" * 12, "1" * 12)
    store.put(f"{folder}{mark}", b"{}")
    found = said("newest backup", store)
    assert (found.state, "found it damaged" in found.seen) == (FAIL, True), found
    assert said("newest backup", store, now=STARTED - timedelta(hours=1)).seen.startswith(
        "the newest backup is dated in the future"
    )
    store.delete([next(item.key for item in store.list(folder) if "segment-" in item.key)])
    found = said("newest backup", store)
    assert (found.state, "an object of this backup is missing" in found.seen) == (FAIL, True), found
    assert said("restore identity", store).state is NOT_CHECKED


class Refusing(MemoryStore):
    """Lists nothing."""

    error: type[StoreDenied] | type[StoreUnavailable] = StoreDenied

    def list(self, prefix: str):  # type: ignore[no-untyped-def]
        raise self.error("the store says no", hint="Allow it.")


@pytest.mark.parametrize("error", [StoreDenied, StoreUnavailable])
def test_a_store_that_does_not_tell_leaves_rows_unchecked(error: type[StoreDenied]) -> None:
    refusing = Refusing()
    refusing.error = error
    for check in ("newest backup", "last drill", "last verification"):
        found = said(check, refusing)
        assert (found.state, found.seen, found.do) == (NOT_CHECKED, "the store says no", "Allow it.")


DAMAGE = (Finding("it differs", backup="2026-03-06T04-00-00Z"),)


def drilled(store: MemoryStore, hours: int, *, passed: bool = True, key: SigningKey | None = KEY) -> datetime:
    at = NOW - timedelta(hours=hours)
    append(store, "mpg", record(EvidenceKind.DRILL, at=at, findings=() if passed else DAMAGE), key, now=at)
    return at


def test_the_last_drill_and_the_last_that_passed_are_found(store: MemoryStore) -> None:
    drilled(store, 100)
    passed = drilled(store, 50)
    failed = drilled(store, 2, passed=False)
    append(store, "mpg", record(at=NOW), KEY, now=NOW)
    assert survey(store).drill == Last(failed, passed)
    assert survey(store).verification == Last(NOW, NOW)
    assert said("last drill", store).seen == "the newest, of 2026-03-06 10:00 UTC, failed"
    again = drilled(store, 1)
    assert survey(store).drill == Last(again, again)
    assert said("last drill", store).state is PASS
    assert said("last drill", store, now=NOW + timedelta(days=36)).state is FAIL


def test_records_that_nobody_vouches_for_are_left_out(store: MemoryStore) -> None:
    honest = drilled(store, 2000)
    drilled(store, 3, key=None)
    drilled(store, 2, key=STRANGER)
    ahead = record(EvidenceKind.DRILL, at=NOW + timedelta(days=900))
    append(store, "mpg", ahead, KEY, now=NOW)
    for content in (b"nonsense", b"{}"):  # of which the key says that it is what it is
        sha256 = hashlib.sha256(content).hexdigest()
        store.put(str(EvidenceKey("mpg", 9, NOW.replace(microsecond=0), "drill", sha256)), content)
    assert survey(store).drill == Last(honest, honest, untrusted=2)
    assert said("last drill", store).seen.endswith("; 2 records are left out, which nobody who is trusted signed")
    # Without trusted signers whoever wrote it is believed.
    assert survey(store, Identities((ALICE,))).drill == Last(NOW - timedelta(hours=2), NOW - timedelta(hours=2))


class CountingStore(MemoryStore):
    reads = 0

    def get(self, key: str, *, limit: int) -> bytes:
        self.reads += 1
        return super().get(key, limit=limit)


def test_only_so_many_failures_are_read_back() -> None:
    store = CountingStore()
    drilled(store, 1000)
    for number in range(70):
        drilled(store, 900 - number, passed=False)
    store.reads = 0
    assert last_of(store, "mpg", EvidenceKind.DRILL, trusted=(), now=NOW).passed is None
    assert store.reads == 60
