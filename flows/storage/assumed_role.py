"""A role of AWS that is assumed again before its credentials end: a backup may take longer than they live."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import boto3
import botocore.session
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import NoCredentialsError

from flows.core.errors import ConfigurationError

_SESSION_NAME = "mongo-backup-flows"  # what logs of AWS show


def assume_role(base: boto3.Session, role: str, arguments: Mapping[str, Any], *, region: str) -> boto3.Session:
    """A session with the rights of a role. Nothing is asked for before its first request.

    Args:
        base: Whose credentials may assume it.
        role: Its ARN.
        arguments: More for AssumeRole, such as `ExternalId` and `DurationSeconds`.
        region: Where to ask.

    Raises:
        ConfigurationError: The role wants a code of a person, which is good for half a minute.
    """
    if {"SerialNumber", "TokenCode"} & arguments.keys():
        raise ConfigurationError(
            "a role that asks for a code (MFA) cannot be assumed by a run",
            hint="Take a role whose trust policy asks for none, and leave SerialNumber and TokenCode empty.",
            role=role,
        )

    def fetch() -> dict[str, Any]:
        source = base.get_credentials()
        if source is None:
            raise NoCredentialsError
        fetcher = AssumeRoleCredentialFetcher(
            partial(base.client, region_name=region),
            source,
            role,
            extra_args={"RoleSessionName": _SESSION_NAME, **arguments},
        )
        found: dict[str, Any] = fetcher.fetch_credentials()
        return found

    session = botocore.session.get_session()
    session.register_component("credential_provider", CredentialResolver([_Assumed(fetch)]))
    return boto3.Session(botocore_session=session, region_name=region)


class _Assumed(CredentialProvider):
    METHOD = "assume-role"

    def __init__(self, fetch: Any) -> None:
        super().__init__()
        self._fetch = fetch

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(self._fetch, self.METHOD)
