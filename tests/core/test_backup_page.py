"""The page of a backup says how it is protected, and above all where it is not."""

from __future__ import annotations

import dataclasses

import bson
import pytest

from flows.core.backup_page import backup_page
from flows.core.encryption import Identity
from flows.core.manifest import Manifest
from flows.core.signing import SigningKey
from tests.support.samples import collection, entry, manifest, segment

ALICE, BOB = Identity.generate(), Identity.generate()
KEY = SigningKey.generate()
LATER = "; that it can be opened is shown by `verify` with identities"


def backup(*recipients: str, **changes: str) -> Manifest:
    part = segment(0, entry(collection("mpg.log"), bson.encode({"_id": 1})))
    if recipients:
        part = dataclasses.replace(part, name=f"{part.name}.age", recipients=recipients)
    return manifest([collection("mpg.log")], [dataclasses.replace(part, **changes)])


@pytest.mark.parametrize(
    ("made", "lines"),
    [
        (
            backup(),
            ["**Encrypted by us**: no", "**Encrypted by the store**: it does not say"],
        ),
        (
            backup(ALICE.public, BOB.public, store_encryption="sse-kms", store_key="arn:k-1"),
            [
                f"**Encrypted by us**: to `{ALICE.public}`, `{BOB.public}`{LATER}",
                "**Encrypted by the store**: sse-kms with the key `arn:k-1`",
            ],
        ),
        (
            dataclasses.replace(backup(ALICE.public, store_encryption="sse-s3"), identity="locked"),
            [f"**Encrypted by us**: with a passphrase{LATER}", "**Encrypted by the store**: sse-s3"],
        ),
    ],
    ids=["open", "recipients", "passphrase"],
)
def test_a_page_says_how_a_backup_is_protected(made: Manifest, lines: list[str]) -> None:
    unsigned, signed = (
        backup_page(one).splitlines() for one in (dataclasses.replace(made, signature=None), made.signed(KEY))
    )
    for line in lines:
        assert f"* {line}" in unsigned
        assert f"* {line}" in signed
    assert "* **Signed**: no: whoever may write to the bucket can change it" in unsigned
    assert f"* **Signed**: by `{KEY.public}`" in signed
