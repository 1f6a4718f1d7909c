"""Blocks: what operators see and type, what is kept secret, and that a check tells why something does not work."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect_aws import AwsCredentials, MinIOCredentials
from prefect_aws.client_parameters import AwsClientParameters
from pydantic import ValidationError

import blocks
from blocks import BackupStore, MongoDBSource, MongoDBTarget
from deployments.embedded import Mongod, Parts, S3Server
from flows.core.errors import ConfigurationError
from flows.storage.options import StoreOptions
from flows.tasks.blocks import load_block
from tests.flows.conftest import CANARY, Repo
from tests.support.fault_proxy import FaultProxy

EVERY: list[type[Block]] = [getattr(blocks, name) for name in blocks.__all__]


@pytest.mark.parametrize("kind", EVERY)
def test_every_field_is_described_for_the_form(kind: type[Block]) -> None:
    assert kind.get_description()
    assert re.search(r'load\("BLOCK_NAME"\)', kind.get_code_example() or "")
    for name, field in kind.model_fields.items():
        assert field.description, name
        assert field.description.endswith((".", "[s].")), name
    for name, schema in kind.model_json_schema()["properties"].items():
        assert schema["title"], name
        assert "$ref" not in schema, name  # the form would show the description of what it refers to


@pytest.mark.parametrize("kind", EVERY)
def test_a_misspelt_field_is_refused(kind: type[Block]) -> None:
    with pytest.raises(ValidationError, match="passwort"):
        kind(passwort="x")


def test_secrets_are_known_to_prefect_as_secrets() -> None:
    assert sorted(MongoDBSource.model_json_schema()["secret_fields"]) == [
        "connection_string",
        "password",
        "tls_certificate_key_password",
    ]


def test_a_secret_is_neither_in_repr_nor_in_the_saved_schema() -> None:
    source = MongoDBSource(connection_string="mongodb://u:s3cr3t@h/", tls_certificate_key_password="k3y")
    assert "s3cr3t" not in repr(source) + str(source)
    assert "s3cr3t" not in repr(source.options())
    assert "k3y" not in repr(source.options())


def test_parts_make_a_connection_string_and_odd_characters_are_quoted() -> None:
    source = MongoDBSource(host="a,b:27018", port=27017, username="ü/@", password="p:?#", replica_set="rs0", tls=True)
    options = source.options()
    assert options.uri == "mongodb://%C3%BC%2F%40:p%3A%3F%23@a:27017,b:27018/"
    assert options.settings["replicaSet"] == "rs0"
    assert options.settings["authSource"] == "admin"
    assert options.settings["tls"] is True
    assert options.settings["appname"] == "mongo-backup-flows"
    assert options.settings["readPreference"] == "primary"
    assert "readPreference" not in MongoDBTarget().options().settings


def test_a_user_without_a_password_is_refused() -> None:
    with pytest.raises(ValidationError, match="username and password go together"):
        MongoDBSource(username="u")


@pytest.mark.parametrize(
    "credentials",
    [
        MinIOCredentials(minio_root_user="user-1", minio_root_password="s3cr3t"),
        AwsCredentials(aws_access_key_id="user-1", aws_secret_access_key="s3cr3t"),
    ],
    ids=["minio", "aws"],
)
@pytest.mark.parametrize("by_reference", [True, False], ids=["by reference", "inline"])
def test_nested_credentials_come_back_as_what_they_were(credentials: Any, by_reference: bool) -> None:
    if by_reference:
        credentials.save("nested", overwrite=True)
        credentials = type(credentials).load("nested")
    BackupStore(credentials=credentials, bucket="bucket").save("nested-store", overwrite=True)
    found = BackupStore.load("nested-store").credentials
    assert type(found) is type(credentials)
    password = "minio_root_password" if isinstance(found, MinIOCredentials) else "aws_secret_access_key"
    assert getattr(found, password).get_secret_value() == "s3cr3t"


def test_client_parameters_of_the_credentials_reach_the_client() -> None:
    credentials = AwsCredentials(
        aws_access_key_id="user-1",
        aws_secret_access_key="x",
        region_name="eu-central-1",
        aws_client_parameters=AwsClientParameters(
            endpoint_url="http://127.0.0.1:5123", config={"read_timeout": 7, "s3": {"addressing_style": "path"}}
        ),
    )
    client: Any = BackupStore(credentials=credentials, bucket="bucket").open()._client
    assert client.meta.endpoint_url == "http://127.0.0.1:5123"
    assert client.meta.region_name == "eu-central-1"
    assert client.meta.config.read_timeout == 7
    assert client.meta.config.retries["total_max_attempts"] == 2


@pytest.mark.parametrize(
    ("provider", "endpoint", "given", "url", "region"),
    [
        ("aws", None, "eu-central-1", "https://mpg-backups.s3.eu-central-1.amazonaws.com/a", "eu-central-1"),
        (
            "r2",
            "https://1a2b.r2.cloudflarestorage.com",
            None,
            "https://1a2b.r2.cloudflarestorage.com/mpg-backups/a",
            "auto",
        ),
        (
            "b2",
            "https://s3.eu-central-003.backblazeb2.com",
            "eu-central-003",
            "https://s3.eu-central-003.backblazeb2.com/mpg-backups/a",
            "eu-central-003",
        ),
        (
            "spaces",
            "https://fra1.digitaloceanspaces.com",
            "fra1",
            "https://mpg-backups.fra1.digitaloceanspaces.com/a",
            "fra1",
        ),
        ("minio", "https://minio.example.com", None, "https://minio.example.com/mpg-backups/a", "us-east-1"),
        ("other", "https://s3.example.com", None, "https://s3.example.com/mpg-backups/a", "us-east-1"),
    ],
)
def test_a_bucket_is_addressed_and_requests_are_signed_as_the_provider_wants_it(
    provider: str, endpoint: str | None, given: str | None, url: str, region: str
) -> None:
    class Sent(Exception):
        pass

    def stop(request: Any, **_: Any) -> None:
        raise Sent(request.url, request.headers["Authorization"].decode())

    keys = MinIOCredentials(minio_root_user="user", minio_root_password="key-1")
    block = BackupStore(credentials=keys, bucket="mpg-backups", endpoint=endpoint, region=given, provider=provider)
    store = block.open()
    block._client.meta.events.register("before-send.s3", stop)
    with pytest.raises(Sent) as caught:
        store.head("a")
    sent, signature = caught.value.args
    assert sent == url
    assert f"/{region}/s3/aws4_request" in signature


def test_a_role_is_assumed_by_the_session_that_renews_it(moto_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = AwsCredentials(
        aws_access_key_id="user",
        aws_secret_access_key="key-1",
        assume_role_arn="arn:aws:iam::123456789012:role/backups",
    )
    with FaultProxy("127.0.0.1", moto_port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", proxy.url)
        block = BackupStore(credentials=credentials, bucket="role-bucket", endpoint=proxy.url)
        block.open()
        assert proxy.requests == []
        block._client.create_bucket(Bucket="role-bucket")
        block.open().put("a", b"1")
        assert [path for _, path in proxy.requests] == ["/", "/role-bucket", "/role-bucket/a"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lock_days": 7}, "lock_days without lock does nothing"),
        ({"lock": "governance", "lock_days": 0}, "greater than or equal to 1"),
        ({"lock": "compliance", "lock_days": 7, "provider": "r2"}, "this provider has no Object Lock. Set `lock`"),
        ({"storage_class": "DEEP_ARCHIVE"}, "objects of this storage class cannot be read at once. A backup is read"),
        ({"storage_class": "STANDARD_IA", "provider": "b2"}, "this provider has no such storage class. Use one of"),
        ({"encryption": "sse-c"}, "the encryption `sse-c` and a customer key go together"),
        ({"encryption": "sse-c", "customer_key": f"not base64: {CANARY}"}, "the customer key is not base64"),
        ({"encryption": "sse-c", "customer_key": "c2hvcnQ="}, "the customer key has a wrong length"),
        ({"encryption": "sse-s3", "provider": "spaces"}, "this provider does not encrypt in this way"),
    ],
)
def test_a_store_that_cannot_do_what_is_asked_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BackupStore(
            credentials=MinIOCredentials(minio_root_user="u", minio_root_password=CANARY), bucket="b-1", **fields
        )
    assert message in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_store_reaches_its_options() -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    block = BackupStore(
        credentials=AwsCredentials(region_name="eu-central-1"),
        bucket="bucket",
        provider="aws",
        lock="compliance",
        lock_days=30,
        encryption="sse-c",
        customer_key=key,
        storage_class="GLACIER_IR",
    )
    assert block.open().options == StoreOptions(
        encryption="sse-c", customer_key=bytes(range(32)), storage_class="GLACIER_IR", lock="compliance"
    )
    assert key not in repr(block)
    assert "customer_key" in BackupStore.model_json_schema()["secret_fields"]
    assert block.lock_until(datetime(2026, 3, 6, tzinfo=UTC)) == datetime(2026, 4, 5, tzinfo=UTC)
    assert block.lock_until(datetime(2026, 3, 6, tzinfo=UTC), 60) == datetime(2026, 4, 5, tzinfo=UTC)
    assert BackupStore(credentials=block.credentials, bucket="bucket").lock_until(datetime.now(UTC), 60) is None


@pytest.mark.parametrize(("kept", "days"), [(60, 60), (0, 7), (None, 7)])
def test_a_lock_is_as_long_as_retention_where_the_block_does_not_say(kept: int | None, days: int) -> None:
    block = BackupStore(credentials=AwsCredentials(), bucket="bucket", lock="governance")
    assert block.days_of_lock(kept) == days


def test_a_source_that_works_says_so(mongod: Mongod, invoices: str) -> None:
    lines = MongoDBSource(connection_string=mongod.uri).check()
    assert [(line.name, line.ok) for line in lines] == [("connect", True), ("read", True)]


def test_a_standalone_is_told_what_it_cannot_do(parts: Parts) -> None:
    alone = parts.mongod(replica_set=None)
    try:
        lines = {line.name: line for line in MongoDBSource(connection_string=alone.uri).check()}
    finally:
        alone.stop()
    assert not lines["consistency"].ok
    assert lines["consistency"].hint == "Turn it into a replica set of one member: then backups are consistent."


@pytest.mark.parametrize("kind", [MongoDBSource, MongoDBTarget])
def test_a_server_that_is_not_there_is_told(kind: Any) -> None:
    (line,) = kind(host="127.0.0.1", port=1, timeout_seconds=0.3).check()
    assert not line.ok
    assert "cannot be reached" in line.detail
    assert line.hint


def test_a_target_that_works_says_so(mongod: Mongod) -> None:
    (line,) = MongoDBTarget(connection_string=mongod.uri).check()
    assert line.ok
    assert line.detail.endswith("can be written to")


def test_a_store_that_works_says_so_and_is_left_clean(repo: Repo) -> None:
    lines = repo.block.check()
    assert all(line.ok for line in lines), lines
    assert repo.files == []


def test_a_store_with_a_wrong_secret_key_says_so_and_does_not_show_it(s3: S3Server) -> None:
    credentials = MinIOCredentials(minio_root_user=s3.access_key, minio_root_password="wr0ng-secret")
    lines = BackupStore(credentials=credentials, bucket=s3.bucket, endpoint=s3.endpoint).check()
    assert not lines[-1].ok
    assert lines[-1].detail.startswith("the store refuses the signature")
    assert "wr0ng" not in str(lines)


def test_a_block_that_is_not_there_is_told_by_name() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_block(MongoDBSource, "nowhere")
    assert str(caught.value) == (
        "there is no block 'nowhere' of the type MongoDB Backup Source\n"
        "HINT: Make it in the Prefect UI under Blocks, or give the name of one that is there."
    )


def test_a_block_with_a_wrong_value_names_the_field_and_not_the_value() -> None:
    from prefect.client.orchestration import get_client

    MongoDBSource(username="u", password="s3cr3t").save("typed-wrong", overwrite=True)
    with get_client(sync_client=True) as client:
        found = client.read_block_document_by_name("typed-wrong", "mongodb-backup-source", include_secrets=True)
        # As the UI does it: the server checks no value.
        client._client.patch(
            f"/block_documents/{found.id}", json={"data": {**found.data, "port": 99999, "password": "s3cr3t"}}
        ).raise_for_status()
    with pytest.raises(ConfigurationError) as caught:
        load_block(MongoDBSource, "typed-wrong")
    assert "holds values that cannot be used" in str(caught.value)
    assert "port: Input should be less than or equal to 65535" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
