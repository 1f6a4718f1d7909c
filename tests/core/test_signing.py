"""Signatures: only the very message, of the very kind, by the very key; and keys that were mixed up are told apart."""

from __future__ import annotations

import dataclasses

import pytest

from flows.core.errors import ConfigurationError, IntegrityError, UnsupportedVersion
from flows.core.signing import Signature, SigningKey, signing_key, trusted_signer

KEY, OTHER = SigningKey.generate(), SigningKey.generate()
MESSAGE = b'{"plan":"mpg"}\n'
SIGNATURE = KEY.sign(MESSAGE, domain="manifest")


def test_what_was_signed_is_accepted() -> None:
    SIGNATURE.check(MESSAGE, domain="manifest")
    assert SIGNATURE.signer == KEY.public


@pytest.mark.parametrize(
    ("signature", "message", "domain"),
    [
        pytest.param(SIGNATURE, MESSAGE + b" ", "manifest", id="another message"),
        pytest.param(SIGNATURE, MESSAGE, "evidence", id="another kind of record"),
        pytest.param(
            dataclasses.replace(SIGNATURE, public_key=OTHER.public.partition(":")[2]),
            MESSAGE,
            "manifest",
            id="another key",
        ),
        pytest.param(dataclasses.replace(SIGNATURE, public_key="ff" * 32), MESSAGE, "manifest", id="no key at all"),
        pytest.param(dataclasses.replace(SIGNATURE, value="00" * 64), MESSAGE, "manifest", id="another signature"),
    ],
)
def test_anything_else_is_refused(signature: Signature, message: bytes, domain: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        signature.check(message, domain=domain)
    assert caught.value.message == f"the signature of the {domain} is wrong: it was changed after it was signed"
    assert caught.value.facts == {"signer": signature.signer}


def test_an_unknown_algorithm_is_not_taken_for_a_wrong_signature() -> None:
    with pytest.raises(UnsupportedVersion, match="algorithm that is not known here"):
        dataclasses.replace(SIGNATURE, algorithm="ml-dsa").check(MESSAGE, domain="manifest")


def test_a_signature_is_the_same_each_time() -> None:
    """So that a repeated commit writes the same bytes."""
    assert KEY.sign(MESSAGE, domain="manifest") == SIGNATURE


def test_a_key_reads_back_from_its_text() -> None:
    assert signing_key(f" {KEY.secret}\n") == KEY
    assert trusted_signer(f" {KEY.public}\n") == KEY.public


def test_a_secret_is_not_in_repr() -> None:
    assert KEY.secret not in repr(KEY)


@pytest.mark.parametrize(
    "text", ["", "ed25519", KEY.secret[:-1], KEY.secret.upper(), "AGE-SECRET-KEY-1ABC"], ids=range(5)
)
def test_what_is_no_signing_key_is_told_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not a signing key") as caught:
        signing_key(text)
    assert len(text) < 10 or text not in str(caught.value)


@pytest.mark.parametrize("text", ["", KEY.public[:-1], KEY.public.upper(), "age1abc"], ids=range(4))
def test_what_is_no_signer_is_told(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not the public key of a signer"):
        trusted_signer(text)


def test_the_two_keys_of_a_pair_are_not_mixed_up() -> None:
    with pytest.raises(ConfigurationError, match="this is a public key, and signing needs the secret one"):
        signing_key(KEY.public)
    with pytest.raises(ConfigurationError, match="this is a secret signing key, and trusting needs only") as caught:
        trusted_signer(KEY.secret)
    assert KEY.secret not in str(caught.value)
