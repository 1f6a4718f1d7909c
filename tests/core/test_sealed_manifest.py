"""The manifest of an encrypted backup shows nothing that people write into options and indexes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import bson
import pytest

from flows.core.encryption import Identity, seal
from flows.core.errors import BackupError, FormatError, IntegrityError
from flows.core.extjson import loads_metadata
from flows.core.manifest import Manifest
from flows.core.signing import SigningKey
from tests.support.samples import collection, entry, manifest, segment

ALICE, BOB, EVE = Identity.generate(), Identity.generate(), Identity.generate()
TEAM = (ALICE.public, BOB.public)
FILTER = '{"indexes":[{"key":{"_id":1},"name":"_id_"},{"name":"vip","partialFilterExpression":{"name":"Anna Meier"}}]}'
VIP = dataclasses.replace(collection("mpg.customers"), metadata=FILTER)
LOG = collection("mpg.log")


def backup(recipients: tuple[str, ...] = TEAM) -> Manifest:
    part = segment(0, entry(VIP, bson.encode({"_id": 1})), entry(LOG, b""))
    if recipients:
        part = dataclasses.replace(part, name=f"{part.name}.age", recipients=recipients)
    return manifest([VIP, LOG], [part])


def texts(of: Manifest) -> list[str]:
    return [record.metadata for record in of.namespaces]


def test_each_recipient_opens_what_nobody_else_reads() -> None:
    stored = backup().signed(SigningKey.generate()).to_json()
    assert b"Anna Meier" not in stored
    assert b"vip" not in stored
    found = Manifest.from_json(stored)
    for identity in (ALICE, BOB):
        assert texts(found.opened(identity)) == [FILTER, LOG.metadata]
        assert dataclasses.replace(found.opened(identity), namespaces=(), sealed=found.sealed) == dataclasses.replace(
            found, namespaces=()
        )


def test_a_backup_that_is_not_encrypted_is_not_sealed() -> None:
    found = Manifest.from_json(backup(()).to_json())
    assert (found.sealed, texts(found)) == (None, [FILTER, LOG.metadata])
    assert found.opened(ALICE) == found


def test_whoever_forgets_to_open_it_restores_nothing_instead_of_collections_without_indexes() -> None:
    for text in texts(Manifest.from_json(backup().to_json())):
        with pytest.raises(FormatError, match="metadata of a collection is not JSON"):
            loads_metadata(text)


def sealed(value: object) -> str:
    return seal(json.dumps(value).encode(), TEAM)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda own: own.replace("E", "e"), IntegrityError, "does not decrypt"),
        (lambda own: own[:-80], IntegrityError, "does not decrypt"),
        (lambda own: "\udc80", IntegrityError, "does not decrypt"),
        (lambda own: seal(b"{}", [EVE.public]), IntegrityError, "does not decrypt"),
        (
            lambda own: sealed({"format": 1, "plan": "mpg", "backup": "2026-03-07T04-00-00Z", "metadata": ["", ""]}),
            IntegrityError,
            "what is sealed in the manifest is not of this backup",
        ),
        (
            lambda own: sealed({"format": 1, "plan": "mpg", "backup": "2026-03-06T04-00-00Z", "metadata": [""]}),
            IntegrityError,
            "what is sealed in the manifest is not of this backup",
        ),
        (lambda own: sealed([]), FormatError, "not a JSON object"),
        (lambda own: seal(b"\xff", TEAM), FormatError, "the manifest.sealed is not JSON"),
    ],
)
def test_what_was_sealed_by_somebody_else_is_refused(
    change: Callable[[str], str], kind: type[BackupError], message: str
) -> None:
    own = backup()
    assert own.sealed is not None
    with pytest.raises(kind, match=message):
        dataclasses.replace(own, sealed=change(own.sealed)).opened(ALICE)


def test_a_sealed_manifest_of_open_segments_is_refused() -> None:
    value = {**json.loads(backup(()).to_json()), "sealed": backup().sealed}
    with pytest.raises(FormatError, match="sealed and its segments are not encrypted"):
        Manifest.from_json(json.dumps(value).encode())
