"""Encryption and verifications: what they write into the store tells nothing that the backup hides."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from flows.core.canonical import canonical, plain
from flows.core.encryption import Identities
from flows.core.errors import BackupDamaged
from flows.core.results import Outcome
from flows.core.verification import NOT_SHOWN, Walk
from flows.core.verify_report import VerifyReport
from flows.storage.memory import MemoryStore
from tests.support.protected import INVOICES, unsigned
from tests.support.verifications import ALICE, NOW, OPEN, OPERATOR, SEALED, Scene, scene_of, verify

FORGED = INVOICES.metadata.replace("abab", "cdcd")


def forge(scene: Scene) -> None:
    """Say something else of options and indexes: public keys are enough to seal it."""
    records = tuple(dataclasses.replace(record, metadata=FORGED) for record in scene.backup.namespaces)
    manifest = dataclasses.replace(unsigned(scene.backup), namespaces=records, sealed=None)
    scene.store.put(scene.backup.key, manifest.seal().to_json())


@pytest.mark.parametrize("identities", [OPERATOR, Identities((ALICE,))], ids=["signers trusted", "nobody trusted"])
def test_an_intruder_learns_no_options_and_indexes_from_what_is_found(tmp_path: Path, identities: Identities) -> None:
    scene = scene_of(SEALED, tmp_path)
    forge(scene)

    (found,) = verify(scene.store, identities=identities, backup=scene.backup.backup)

    differing = [finding for finding in found.findings if finding.what == "options and indexes differ"]
    assert [(finding.expected, finding.got) for finding in differing] == [(FORGED, INVOICES.metadata)] * 3
    report = VerifyReport("mpg", "s3://b", "all", Walk.ALL, "Anna", NOW, NOW, 1, None, (found,))
    record = report.record(signers=True, time_zone="UTC", versions={})
    stored = b"".join(scene.get(item.key) for item in scene.store.list("") if "/segment-" not in item.key)
    for text in (stored, canonical(plain(record))):
        assert b"abab" not in text
        assert text.count(NOT_SHOWN.encode()) == 6
        assert b"options and indexes differ" in text
    # People with the right to look at runs see what differs.
    assert "abab" in report.page()
    with pytest.raises(BackupDamaged):
        report.check()


def test_what_the_store_does_not_encrypt_as_asked_is_told_and_no_damage(tmp_path: Path) -> None:
    """Such as what was written anew, or before its block asked for it."""
    scene = scene_of(SEALED, tmp_path)

    class Forgetful(MemoryStore):
        def encryption_gap(self, key: str) -> str:
            return "" if key == scene.key(1) else "expected sse-kms, got none"

    store = Forgetful()
    vars(store).update(vars(scene.store))
    (found,) = verify(store, backup=scene.backup.backup)
    assert found.outcome is Outcome.SOUND
    assert found.warnings == (
        f"{scene.backup.segments[0].name} is not encrypted by the store as its block asks: expected sse-kms, got none; "
        "so is 1 more",
    )


def test_of_an_open_backup_all_is_told(tmp_path: Path) -> None:
    scene = scene_of(OPEN, tmp_path)
    forge(scene)
    (found,) = verify(scene.store, identities=Identities(), backup=scene.backup.backup)
    stored = scene.get(found.result_key)
    assert b"abab" in stored
    assert NOT_SHOWN.encode() not in stored
