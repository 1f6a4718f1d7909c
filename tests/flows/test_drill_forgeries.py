"""Drills of backups that somebody changed in the store who knows how to recompute every checksum."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from blocks import BackupIdentities, BackupStore
from deployments.embedded import S3Server
from flows.core.archive import PreludeEntry
from flows.core.evidence import Finding
from flows.core.signing import SigningKey
from flows.drill import drill
from flows.storage.repository import Repository
from tests.flows.conftest import back_up, store_of_a_module
from tests.support.drills import failed_drill
from tests.support.flow_runs import page, run_flow
from tests.support.forgery import Forger, with_field

Client = MongoClient[dict[str, Any]]
SHOP = "forged-shop"
CHANGED = with_field(250, "number", "INV-999999")


@pytest.fixture(scope="module")
def taken(mongo_client: Client, s3: S3Server, _blocks: None) -> Iterator[Forger]:
    """A backup of what can be forged, in a store of the same name."""
    database = mongo_client[SHOP]
    database["invoices"].insert_many([{"_id": i, "number": f"INV-{i:06d}"} for i in range(500)])
    database["invoices"].create_index("number", unique=True, name="number_unique")
    database.create_collection("rules", validator={"amount": {"$gt": 0}})
    database["notes"].insert_one({"_id": 1})
    store_of_a_module(s3, SHOP)
    manifest = Repository(BackupStore.load(SHOP).open(), "default").manifest(back_up(store=SHOP, databases=[SHOP]))
    yield Forger(s3.folder / s3.bucket / SHOP, manifest)
    mongo_client.drop_database(SHOP)


@pytest.fixture
def forger(taken: Forger) -> Iterator[Forger]:
    """After the test the backup is as it was."""
    files = [taken.folder / taken.manifest.key, taken.folder / taken.manifest.segment_key(taken.manifest.segments[0])]
    before = [file.read_bytes() for file in files]
    yield taken
    for file, data in zip(files, before, strict=True):
        file.write_bytes(data)


def found_by_a_drill(**parameters: Any) -> Finding:
    _, (found,) = failed_drill(BackupStore.load(SHOP).open(), store=SHOP, **parameters)
    return found


def without_validator(entry: PreludeEntry) -> PreludeEntry:
    return dataclasses.replace(entry, metadata=entry.metadata.replace('"validator":{', '"validatorGone":{'))


def without_unique(entry: PreludeEntry) -> PreludeEntry:
    return dataclasses.replace(entry, metadata=entry.metadata.replace('"unique":true', '"sparse":true'))


FORGERIES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a document, and no content digest": (
        {"document": CHANGED, "recomputed": "neither digest"},
        "a segment does not hold what the manifest says",
        "invoices",
    ),
    "a document, and the digest of the segment alone": (
        {"document": CHANGED, "recomputed": "digest of the segment"},
        "the segments do not add up to the namespace",
        "invoices",
    ),
    "an option of an index, in the archive": (
        {"entry": without_unique},
        "a segment has other options or indexes for a collection than the manifest",
        "invoices",
    ),
    "a validator, in the archive": (
        {"entry": without_validator},
        "a segment has other options or indexes for a collection than the manifest",
        "rules",
    ),
    "a collection, left out of the archive": (
        {"left_out": (f"{SHOP}.notes",)},
        "a segment does not hold what the manifest says",
        "notes",
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forgery_is_found(forger: Forger, forgery: str) -> None:
    parameters, what, collection = FORGERIES[forgery]
    forger.forge(**parameters)
    found = found_by_a_drill()
    assert (found.what, found.namespace) == (what, f"{SHOP}.{collection}")
    assert found.expected != found.got


def test_what_everything_was_recomputed_for_is_found_by_a_signature_alone(forger: Forger) -> None:
    key, honest = SigningKey.generate(), forger.manifest
    BackupIdentities(trusted_signers=[key.public]).save("forged", overwrite=True)

    forger.forge(document=CHANGED)
    run = run_flow(drill, store=SHOP)
    assert run.value.passed  # it is as whoever wrote the manifest says; and who that is nobody knows
    assert "* **Signature**: not signed: whoever may write to the bucket can change it" in page(run.id)
    assert found_by_a_drill(identities="forged").what == (
        "the manifest is not signed, and only signed backups are to be trusted"
    )

    # The segment is changed already; now the manifest, which keeps the signature of the honest one.
    Forger(forger.folder, honest.signed(key)).forge(document=with_field(251, "number", "INV-999998"))
    assert "signature" in found_by_a_drill(identities="forged").what
