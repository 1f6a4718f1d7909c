"""The blocks for keys: what was mixed up or mistyped is told when it is saved, and no secret is shown."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.client.orchestration import get_client
from pydantic import ValidationError

from blocks import BackupEncryption, BackupIdentities
from flows.core.encryption import MOST_RECIPIENTS, Identities, Identity, Protection
from flows.core.errors import ConfigurationError
from flows.core.signing import SigningKey
from flows.tasks.blocks import load_block, load_identities

ALICE, BOB = Identity.generate(), Identity.generate()
KEY, OTHER = SigningKey.generate(), SigningKey.generate()
PASSPHRASE = "correct horse battery staple"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({}, "nothing to encrypt with: give recipients", id="nothing"),
        pytest.param({"signing_key": KEY.secret}, "nothing to encrypt with", id="only a signing key"),
        pytest.param(
            {"recipients": [ALICE.public], "passphrase": PASSPHRASE},
            "recipients and a passphrase do not go together: age takes either",
            id="both",
        ),
        pytest.param(
            {"recipients": [ALICE.secret]},
            "this is an identity, a secret key, and encrypting needs only the public one. Give its recipient",
            id="secret key as recipient",
        ),
        pytest.param({"recipients": [ALICE.public[:-1]]}, "not a recipient of age. Give the whole line", id="cut off"),
        pytest.param(
            {"recipients": [ALICE.public, BOB.public.replace("age1", "age1b")]}, "A letter may be missing", id="typo"
        ),
        pytest.param({"recipients": [ALICE.public] * (MOST_RECIPIENTS + 1)}, "more than 100 recipients", id="too many"),
        pytest.param({"passphrase": "too short"}, "too short: take at least 12 characters", id="short passphrase"),
        pytest.param({"passphrase": f"{PASSPHRASE} "}, "begins or ends with a space", id="space"),
        pytest.param(
            {"recipients": [ALICE.public], "signing_key": KEY.public},
            "this is a public key, and signing needs the secret one",
            id="public signing key",
        ),
        pytest.param(
            {"recipients": [ALICE.public], "signing_key": ALICE.secret}, "not a signing key", id="another secret"
        ),
    ],
)
def test_what_cannot_protect_is_refused_with_what_to_do(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BackupEncryption(**fields)
    assert message in str(caught.value)
    assert not any(secret in str(caught.value) for secret in (ALICE.secret, KEY.secret, PASSPHRASE))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({}, "the block is empty", id="nothing"),
        pytest.param({"identities": [ALICE.public]}, "this is a recipient, a public key", id="recipient"),
        pytest.param({"identities": [ALICE.secret[:-1]]}, "not an identity of age", id="cut off"),
        pytest.param({"identities": f"# key {ALICE.secret}\n"}, "the block is empty", id="only a comment"),
        pytest.param({"identities": ALICE.secret * 2}, "each key in a line of its own", id="glued together"),
        pytest.param({"identities": "********"}, "not an identity of age", id="asterisks"),
        pytest.param({"passphrases": " \n"}, "the block is empty", id="empty passphrase"),
        pytest.param({"trusted_signers": [KEY.secret]}, "this is a secret signing key", id="secret signing key"),
        pytest.param({"trusted_signers": [ALICE.public]}, "not the public key of a signer", id="recipient as signer"),
    ],
)
def test_what_opens_nothing_is_refused_with_what_to_do(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BackupIdentities(**fields)
    assert message in str(caught.value)
    assert not any(secret in str(caught.value) for secret in (ALICE.secret, KEY.secret))


def test_keys_come_back_from_the_server_as_they_were() -> None:
    BackupEncryption(recipients=[f" {ALICE.public}\n", BOB.public], signing_key=KEY.secret).save("k", overwrite=True)
    assert load_block(BackupEncryption, "k").open() == Protection((ALICE.public, BOB.public), signing_key=KEY)
    BackupIdentities(
        identities=[f" {ALICE.secret}\n", BOB.secret], passphrases=[PASSPHRASE], trusted_signers=[KEY.public]
    ).save("k", overwrite=True)
    assert load_identities("k") == Identities((ALICE, BOB), (PASSPHRASE,), (KEY.public,))
    assert load_identities(None) == Identities()


def test_secrets_are_hidden_by_the_server() -> None:
    BackupEncryption(recipients=[ALICE.public], signing_key=KEY.secret).save("h", overwrite=True)
    BackupIdentities(identities=[ALICE.secret], passphrases=[PASSPHRASE]).save("h", overwrite=True)
    with get_client(sync_client=True) as client:
        shown = [
            client.read_block_document_by_name("h", slug, include_secrets=False).model_dump_json()
            for slug in ("mongodb-backup-encryption", "mongodb-backup-identities")
        ]
    for secret in (ALICE.secret, KEY.secret, PASSPHRASE):
        assert secret not in "".join(shown)
    assert ALICE.public in shown[0]


def test_several_keys_are_lines_of_one_field_as_in_the_files_of_age() -> None:
    made = BackupIdentities(
        identities=f"# created: 2026\r\n# public key: {BOB.public}\r\n{BOB.secret}\r\n\n  {ALICE.secret}  # old\n",
        passphrases=f" {PASSPHRASE}\n\nan older one, with spaces\n",
        trusted_signers=f"{KEY.public}\n{OTHER.public} ",
    )
    assert made.open() == Identities(
        (BOB, ALICE), (PASSPHRASE, "an older one, with spaces"), (KEY.public, OTHER.public)
    )
    assert BackupEncryption(recipients=f"{BOB.public}\n {ALICE.public}").open() == Protection(
        (BOB.public, ALICE.public)
    )


def test_the_form_has_a_field_of_text_for_each_kind_of_key_and_the_server_knows_which_are_secret() -> None:
    encryption, identities = BackupEncryption.model_json_schema(), BackupIdentities.model_json_schema()
    for schema in (encryption, identities):
        assert {field["type"] for field in schema["properties"].values()} == {"string"}
    assert sorted(encryption["secret_fields"]) == ["passphrase", "signing_key"]
    assert sorted(identities["secret_fields"]) == ["identities", "passphrases"]


def test_keys_stay_when_a_client_posts_back_what_it_was_shown() -> None:
    BackupIdentities(identities=[ALICE.secret, BOB.secret], passphrases=[PASSPHRASE]).save("edited", overwrite=True)
    with get_client(sync_client=True) as client:
        shown = client.read_block_document_by_name("edited", "mongodb-backup-identities", include_secrets=False)
        data = {**shown.data, "trusted_signers": [KEY.public]}
        client._client.patch(f"/block_documents/{shown.id}", json={"data": data}).raise_for_status()
    assert load_identities("edited") == Identities((ALICE, BOB), (PASSPHRASE,), (KEY.public,))


def test_no_secret_is_in_repr() -> None:
    blocks = [
        BackupEncryption(recipients=[ALICE.public], signing_key=KEY.secret),
        BackupEncryption(passphrase=PASSPHRASE),
        BackupIdentities(identities=[ALICE.secret], passphrases=[PASSPHRASE]),
    ]
    shown = repr(blocks) + repr([block.open() for block in blocks])
    assert not any(secret in shown for secret in (ALICE.secret, KEY.secret, PASSPHRASE))


def test_an_empty_field_of_a_form_is_none() -> None:
    made = BackupEncryption(recipients=[ALICE.public], passphrase="", signing_key="")
    assert made.open() == Protection((ALICE.public,))


def test_a_passphrase_makes_keys_of_its_own_for_each_backup() -> None:
    block = BackupEncryption(passphrase=PASSPHRASE, signing_key=KEY.secret)
    first, second = block.open(), block.open()
    assert first.recipients != second.recipients
    assert first.signing_key == KEY
    _, found = Identities((BOB,), (PASSPHRASE,)).candidates(first.identity)
    assert (found.public,) == first.recipients


def test_a_secret_that_was_typed_into_the_form_is_not_in_the_error_of_a_run() -> None:
    """The form of the UI saves what it is given; only loading the block notices."""
    BackupEncryption(recipients=[ALICE.public]).save("typed", overwrite=True)
    with get_client(sync_client=True) as client:
        found = client.read_block_document_by_name("typed", "mongodb-backup-encryption", include_secrets=True)
        client._client.patch(
            f"/block_documents/{found.id}", json={"data": {**found.data, "recipients": ALICE.secret}}
        ).raise_for_status()
    with pytest.raises(ConfigurationError) as caught:
        load_block(BackupEncryption, "typed")
    assert "this is an identity, a secret key, and encrypting needs only the public one" in str(caught.value)
    assert ALICE.secret not in str(caught.value)
