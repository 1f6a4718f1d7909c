"""Whether a backup may be read is found out with one small request, and what is missing is said."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest

from flows.core.encryption import HEADER_BYTES, Identities, Identity, Protection
from flows.core.errors import ConfigurationError, IntegrityError
from flows.core.signing import SigningKey
from flows.storage.access import check_access, opening_identity
from flows.storage.memory import MemoryStore
from tests.support.protected import read_backup, store_backup
from tests.support.samples import STARTED

ALICE, BOB, CAROL, EVE = (Identity.generate() for _ in range(4))
TEAM = Protection((ALICE.public, BOB.public, CAROL.public))
KEY = SigningKey.generate()


class CountingStore(MemoryStore):
    read: list[tuple[str, int]]

    def get_start(self, key: str, *, size: int) -> bytes:
        self.read.append((key, size))
        return super().get_start(key, size=size)


@pytest.fixture
def store() -> CountingStore:
    made = CountingStore()
    made.read = []
    return made


@pytest.mark.parametrize("identity", [ALICE, BOB, CAROL])
def test_each_recipient_reads_a_backup_alone(store: MemoryStore, tmp_path: Path, identity: Identity) -> None:
    made = store_backup(store, tmp_path, TEAM)
    assert read_backup(store, tmp_path, made.backup, Identities((identity,))) == made


def test_it_is_said_which_of_the_identities_opens_it_with_one_request(store: CountingStore, tmp_path: Path) -> None:
    made = store_backup(store, tmp_path, TEAM)
    assert opening_identity(store, made, Identities((EVE, CAROL, BOB))) == CAROL
    assert store.read == [(made.segment_key(made.segments[0]), HEADER_BYTES)]


def test_an_open_backup_costs_no_request(store: CountingStore, tmp_path: Path) -> None:
    made = store_backup(store, tmp_path, Protection(signing_key=KEY))
    assert check_access(store, made, Identities((ALICE,), signers=(KEY.public,))).identity is None
    assert store.read == []


def test_a_passphrase_opens_its_backups_and_keys_open_theirs(store: MemoryStore, tmp_path: Path) -> None:
    first = store_backup(store, tmp_path, Protection.by_passphrase("correct horse battery"))
    second = store_backup(store, tmp_path, TEAM, started=STARTED + timedelta(hours=1))
    both = Identities((BOB,), ("an older passphrase", "correct horse battery"))
    assert read_backup(store, tmp_path, first.backup, both) == first
    assert read_backup(store, tmp_path, second.backup, both) == second


def test_a_wrong_passphrase_is_told(store: MemoryStore, tmp_path: Path) -> None:
    made = store_backup(store, tmp_path, Protection.by_passphrase("correct horse battery"))
    with pytest.raises(ConfigurationError) as caught:
        check_access(store, made, Identities((), ("wrong horse battery",)))
    assert str(caught.value) == (
        "none of the identities opens this backup "
        "(backup='2026-03-06T04-00-00Z', expected='a passphrase', got='passphrases that do not fit')\n"
        "HINT: Add to the MongoDB Backup Identities block the passphrase that belongs to it. Without it nobody can "
        "read this backup."
    )


def test_keys_are_rotated_without_a_change_of_old_backups(store: MemoryStore, tmp_path: Path) -> None:
    old = store_backup(store, tmp_path, Protection((ALICE.public,)))
    new = store_backup(store, tmp_path, Protection((BOB.public,)), started=STARTED + timedelta(days=1))
    for backup, opens in ((old, ALICE), (new, BOB)):
        assert check_access(store, backup, Identities((BOB, ALICE))).identity == opens
    # Whoever left in between reads what was there before, and nothing since.
    with pytest.raises(ConfigurationError, match="none of the identities opens this backup"):
        check_access(store, new, Identities((ALICE,)))


def test_a_missing_identity_is_told(store: MemoryStore, tmp_path: Path) -> None:
    made = store_backup(store, tmp_path, Protection((ALICE.public,)))
    with pytest.raises(ConfigurationError) as caught:
        check_access(store, made, Identities())
    assert str(caught.value) == (
        "the backup is encrypted, and no identities were given "
        f"(backup='2026-03-06T04-00-00Z', expected=('{ALICE.public}',))\n"
        "HINT: Set `identities` to the name of a MongoDB Backup Identities block that holds the secret key of one of "
        "its recipients."
    )


def test_a_wrong_identity_is_told_by_its_public_key(store: MemoryStore, tmp_path: Path) -> None:
    made = store_backup(store, tmp_path, Protection((ALICE.public,)))
    with pytest.raises(ConfigurationError) as caught:
        check_access(store, made, Identities((EVE,)))
    assert str(caught.value) == (
        "none of the identities opens this backup "
        f"(backup='2026-03-06T04-00-00Z', expected=('{ALICE.public}',), got=['{EVE.public}'])\n"
        "HINT: Add to the MongoDB Backup Identities block the secret key that belongs to it. Without it nobody can "
        "read this backup."
    )


def test_nothing_that_takes_backups_opens_them(store: MemoryStore, tmp_path: Path) -> None:
    """The backup host has the recipients and the signing key."""
    host = dataclasses.replace(TEAM, signing_key=KEY)
    made = store_backup(store, tmp_path, host)
    held = [*host.recipients, KEY.secret]
    with pytest.raises(ConfigurationError, match="none of the identities opens"):
        check_access(store, made, Identities((), tuple(held)))
    assert made.identity is None


@pytest.mark.parametrize("recipients", [(EVE.public,), (EVE.public, ALICE.public)], ids=["replaced", "added"])
def test_recipients_that_the_object_does_not_have_are_noticed(
    store: MemoryStore, tmp_path: Path, recipients: tuple[str, ...]
) -> None:
    made = store_backup(store, tmp_path, Protection((ALICE.public,)))
    parts = tuple(dataclasses.replace(part, recipients=recipients) for part in made.segments)
    forged = dataclasses.replace(made, segments=parts)
    key = made.segment_key(made.segments[0])
    with pytest.raises(IntegrityError) as caught:
        check_access(store, forged, Identities((EVE, ALICE)))
    assert caught.value.message == "a segment is not encrypted to the recipients that the manifest names"
    assert (caught.value.facts["key"], caught.value.facts["segment"]) == (key, made.segments[0].name)


def test_an_object_of_others_is_noticed_by_its_header(store: MemoryStore, tmp_path: Path) -> None:
    made = store_backup(store, tmp_path, Protection((ALICE.public,)))
    other = store_backup(store, tmp_path, Protection((EVE.public,)), plan="other")
    store.put(made.segment_key(made.segments[0]), store.get(other.segment_key(other.segments[0]), limit=10**6))
    with pytest.raises(IntegrityError, match="a segment is not encrypted to the recipients that the manifest names"):
        check_access(store, made, Identities((ALICE,)))


def test_an_object_that_is_not_encrypted_is_noticed_by_its_header(store: MemoryStore, tmp_path: Path) -> None:
    made = store_backup(store, tmp_path, Protection((ALICE.public,)))
    key = made.segment_key(made.segments[0])
    store.put(key, bytes(made.segments[0].bytes))
    with pytest.raises(IntegrityError) as caught:
        check_access(store, made, Identities((ALICE,)))
    assert caught.value.facts["key"] == key
