"""Whose backup this is, what its pages say of that, and for whom what a restore overwrites is kept."""

from __future__ import annotations

import dataclasses

import bson
import pytest

from flows.core.access import Access, check_signer
from flows.core.encryption import Identities, Identity, Protection
from flows.core.errors import IntegrityError
from flows.core.manifest import Manifest
from flows.core.signing import SigningKey
from tests.support.samples import collection, entry, manifest, segment

INVOICES = collection("mpg.invoices")
ALICE, BOB, EVE = Identity.generate(), Identity.generate(), Identity.generate()
KEY, STRANGER = SigningKey.generate(), SigningKey.generate()
OPEN = manifest([INVOICES], [segment(0, entry(INVOICES, bson.encode({"_id": 1})))])


def sealed(*recipients: str, identity: str | None = None) -> Manifest:
    (part,) = OPEN.segments
    part = dataclasses.replace(part, name=f"{part.name}.age", recipients=recipients)
    return dataclasses.replace(OPEN, segments=(part,), identity=identity)


def lines(backup: Manifest, access: Access) -> str:
    return "\n".join(access.lines(backup))


def test_where_nobody_is_trusted_by_name_any_manifest_will_do() -> None:
    for backup in (OPEN, OPEN.signed(KEY)):
        check_signer(backup, Identities((ALICE,)))


def test_a_trusted_signature_is_accepted() -> None:
    check_signer(OPEN.signed(KEY), Identities(signers=(STRANGER.public, KEY.public)))


def test_an_unsigned_manifest_is_refused_with_what_to_do() -> None:
    with pytest.raises(IntegrityError) as caught:
        check_signer(OPEN, Identities(signers=(KEY.public,)))
    assert str(caught.value) == (
        "the manifest is not signed, and only signed backups are to be trusted "
        f"(key='mpg/backups/2026-03-06T04-00-00Z/manifest.json', expected=('{KEY.public}',))\n"
        "HINT: Whoever may write to the bucket may have made it. Take a signed backup; to restore this one all the "
        "same, give identities without trusted signers."
    )


def test_the_signature_of_a_stranger_is_refused_with_what_to_do() -> None:
    with pytest.raises(IntegrityError) as caught:
        check_signer(OPEN.signed(STRANGER), Identities(signers=(KEY.public,)))
    assert str(caught.value) == (
        "the manifest is signed by somebody who is not trusted "
        f"(key='mpg/backups/2026-03-06T04-00-00Z/manifest.json', expected=('{KEY.public}',), "
        f"got='{STRANGER.public}')\n"
        "HINT: If you know that signer, add the key to the trusted signers of the MongoDB Backup Identities block. "
        "If not, find out who writes to the bucket, and take another backup."
    )


def test_pages_say_who_signed_and_whether_that_was_checked() -> None:
    assert "not signed: whoever may write to the bucket can change it" in lines(OPEN, Access())
    signed = OPEN.signed(KEY)
    assert f"signed by `{KEY.public}`, not checked: no trusted signers were given" in lines(signed, Access())
    trusting = Access(Identities(signers=(KEY.public,)))
    assert f"signed by `{KEY.public}`, a trusted signer" in lines(signed, trusting)


def test_pages_say_what_opened_it_and_never_the_secret() -> None:
    assert "**Encryption**: not encrypted" in lines(OPEN, Access())
    shown = lines(sealed(ALICE.public), Access(Identities((ALICE,)), ALICE))
    assert f"**Encryption**: opened by `{ALICE.public}`" in shown
    assert ALICE.secret not in shown
    by_passphrase = dataclasses.replace(ALICE, of_passphrase=True)
    assert "opened by a passphrase" in lines(sealed(ALICE.public), Access(Identities(), by_passphrase))


def test_what_is_overwritten_is_kept_for_the_recipients_that_a_trusted_signer_names() -> None:
    backup = sealed(ALICE.public, BOB.public).signed(KEY)
    access = Access(Identities((ALICE,), signers=(KEY.public,)), ALICE)
    assert access.protection(backup) == Protection((ALICE.public, BOB.public))


def test_a_manifest_that_nobody_vouches_for_adds_no_reader() -> None:
    """Else an intruder in the bucket names a key there, and reads what the restore keeps of production."""
    backup = sealed(ALICE.public, EVE.public, BOB.public)
    assert Access(Identities((BOB, ALICE)), ALICE).protection(backup) == Protection((ALICE.public, BOB.public))
    # Nor does a signature that was not asked for.
    assert Access(Identities((ALICE,)), ALICE).protection(backup.signed(STRANGER)) == Protection((ALICE.public,))


def test_what_a_passphrase_opened_is_kept_for_the_same_passphrase() -> None:
    backup = sealed(ALICE.public, identity="locked")
    access = Access(Identities((), ("passphrase",)), dataclasses.replace(ALICE, of_passphrase=True))
    assert access.protection(backup) == Protection((ALICE.public,), "locked")


def test_what_an_open_backup_overwrites_is_kept_for_the_identities_if_there_are_any() -> None:
    assert Access(Identities((ALICE, BOB))).protection(OPEN) == Protection((ALICE.public,))
    assert Access().protection(OPEN) == Protection()
