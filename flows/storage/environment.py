"""The store from environment variables, for commands that must work without a Prefect server."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

from flows.core.errors import ConfigurationError
from flows.storage.options import NONE, StoreOptions
from flows.storage.profiles import SSE_C, profile
from flows.storage.store import ReadableStore

PREFIX = "MONGO_BACKUP_S3_"
BUCKET = f"{PREFIX}BUCKET"


def setting(name: str, environment: Mapping[str, str]) -> str:
    """The value of a variable, or what is in the file that the variable with `_FILE` behind its name says.

    Returns:
        Without blanks and line breaks around it; empty where neither is set.

    Raises:
        ConfigurationError: Both are set, or the file cannot be read. Never quotes the value.
    """
    value, file = environment.get(name, ""), environment.get(f"{name}_FILE", "")
    if value and file:
        raise ConfigurationError(
            f"{name} and {name}_FILE are both set", hint="Set one of them: the value, or a file that holds it."
        )
    if not file:
        return value.strip()
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the file that {name}_FILE names cannot be read",
            hint="Give the path of a text file that the user who runs this can read.",
            file=file,
            reason=type(error).__name__,
        ) from None


def is_set(environment: Mapping[str, str]) -> bool:
    """Whether the environment names a store."""
    return bool(environment.get(BUCKET) or environment.get(f"{BUCKET}_FILE"))


def store_from(environment: Mapping[str, str]) -> ReadableStore:
    """Open the store that the environment names: the README lists the variables.

    Without an access key it is that of the machine, as the SDK finds it.

    Raises:
        ConfigurationError: What it says cannot be used.
    """
    # The SDK takes half a second to import, and most commands need none of it.
    import boto3  # noqa: PLC0415

    from flows.storage.s3 import S3Store, client_config  # noqa: PLC0415

    def given(name: str) -> str:
        return setting(PREFIX + name, environment)

    if not given("BUCKET"):
        raise ConfigurationError("no bucket is named", hint=f"Set {BUCKET}, or the file that {BUCKET}_FILE names.")
    if bool(given("ACCESS_KEY")) != bool(given("SECRET_KEY")):
        raise ConfigurationError(
            "access key and secret key go together",
            hint=f"Set {PREFIX}ACCESS_KEY and {PREFIX}SECRET_KEY, or neither for the role of the machine.",
        )
    chosen = profile(given("PROVIDER") or "other")
    client = boto3.client(
        "s3",
        endpoint_url=_endpoint(given("URL")),
        region_name=given("REGION") or chosen.region,
        aws_access_key_id=given("ACCESS_KEY") or None,
        aws_secret_access_key=given("SECRET_KEY") or None,
        config=client_config(chosen),
    )
    key = _customer_key(given("CUSTOMER_KEY"))
    options = StoreOptions(encryption=SSE_C if key else NONE, customer_key=key)
    return S3Store(client, given("BUCKET"), given("PREFIX"), chosen, options)


def _endpoint(text: str) -> str | None:
    if text and not text.startswith(("http://", "https://")):
        raise ConfigurationError(
            "not the address of a store",
            hint="Begin it with https://, such as https://s3.eu-central-003.backblazeb2.com.",
            variable=f"{PREFIX}URL",
        )
    return text or None


def _customer_key(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ConfigurationError(
            "the customer key is not base64", hint=f"Check {PREFIX}CUSTOMER_KEY: it is that of the store's block."
        ) from None
