"""A role is assumed again before its credentials end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from flows.core.errors import ConfigurationError, StoreDenied
from flows.storage.assumed_role import assume_role
from flows.storage.s3 import S3Store, client_config
from tests.storage.conftest import ACCESS_KEY, SECRET_KEY, Server
from tests.support.fault_proxy import FaultProxy, status

ROLE = "arn:aws:iam::123456789012:role/backups"


@pytest.fixture
def sts(moto: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(moto.host, moto.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", proxy.url)
        yield proxy


def store_of(moto: Server, keys: list[str], **arguments: Any) -> S3Store:
    base = boto3.Session(ACCESS_KEY, SECRET_KEY)
    session = assume_role(base, ROLE, arguments, region="us-east-1")
    endpoint = f"http://{moto.host}:{moto.port}"
    client = session.client("s3", endpoint_url=endpoint, config=client_config(moto.profile))

    def note(request: Any, **_: Any) -> None:
        keys.append(re.search(rb"Credential=([^/]+)/", request.headers["Authorization"])[1].decode())  # type: ignore[index]

    client.meta.events.register("before-send.s3", note)
    return S3Store(client, moto.bucket, "", moto.profile)


@pytest.mark.parametrize(("seconds", "assumed"), [(900, 3), (3600, 1)])
def test_a_role_is_assumed_again_before_its_credentials_end(
    moto: Server, sts: FaultProxy, seconds: int, assumed: int
) -> None:
    """The SDK begins to renew them a quarter of an hour before."""
    keys: list[str] = []
    store = store_of(moto, keys, DurationSeconds=seconds, ExternalId="ours")
    assert sts.requests == []
    for number in range(3):
        store.put(f"object-{number}", b"1")
    assert len(keys) == 3
    assert len(set(keys)) == len(sts.requests) == assumed
    assert ACCESS_KEY not in keys


def test_a_role_that_may_not_be_assumed_is_told(moto: Server, sts: FaultProxy) -> None:
    sts.fail(times=None, action=status(403, "AccessDenied"))
    with pytest.raises(StoreDenied) as caught:
        store_of(moto, []).put("object", b"1")
    assert caught.value.message == "the role of the store's credentials cannot be assumed"
    assert "trust policy" in caught.value.hint


def test_a_role_without_credentials_to_assume_it_is_told(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    session = assume_role(boto3.Session(), ROLE, {}, region="us-east-1")
    client = session.client("s3", config=client_config(moto.profile))
    with pytest.raises(StoreDenied, match="no credentials for the store"):
        S3Store(client, moto.bucket, "", moto.profile).put("object", b"1")


@pytest.mark.parametrize("name", ["SerialNumber", "TokenCode"])
def test_a_role_that_wants_a_code_of_a_person_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be assumed by a run"):
        assume_role(boto3.Session(), ROLE, {name: "1"}, region="us-east-1")
