"""Block for a place that holds backups: a bucket of S3 or of what speaks its protocol."""

from __future__ import annotations

import threading
from enum import StrEnum
from typing import Any

from prefect.blocks.core import Block
from prefect_aws import AwsCredentials, MinIOCredentials
from pydantic import ConfigDict, Field, PrivateAttr

from flows.core.checks import CheckLine
from flows.core.errors import BackupError
from flows.storage.profiles import profile
from flows.storage.s3 import S3Store, client_config

_making = threading.Lock()


class Provider(StrEnum):
    """Who runs the store; they differ in what they can do."""

    AWS = "aws"
    R2 = "r2"
    B2 = "b2"
    SPACES = "spaces"
    MINIO = "minio"
    OTHER = "other"


class BackupStore(Block):
    """
    A bucket that holds backups.

    Example:
        ```python
        from blocks import BackupStore

        store = BackupStore.load("BLOCK_NAME")
        print(store.check())
        ```
    """

    _block_type_name = "MongoDB Backup Store"
    _block_type_slug = "mongodb-backup-store"
    _description = "A bucket that holds backups, at any provider of S3-compatible storage."

    model_config = ConfigDict(extra="forbid")

    # The order matters: every field of AwsCredentials is optional, so as the first it would take a MinIO block for
    # its own, drop the keys, and go on with whatever credentials the machine has.
    credentials: MinIOCredentials | AwsCredentials = Field(
        description="Access key and secret key, a block of prefect-aws. An empty AWS block uses the machine's own role."
    )
    bucket: str = Field(min_length=3, max_length=63, description="Name of the bucket. It must exist.")
    prefix: str = Field(
        default="", description="Folder within the bucket, so that backups can share it with other things."
    )
    endpoint: str | None = Field(
        default=None,
        description="Address of the provider, such as https://s3.eu-central-003.backblazeb2.com. Empty for AWS.",
    )
    region: str | None = Field(
        default=None, description="Region of the bucket, where it is not that of the credentials."
    )
    provider: Provider = Field(
        default=Provider.OTHER, description="Who runs the store. `other` is slower than needed and never wrong."
    )

    _client: Any = PrivateAttr(default=None)

    def open(self) -> S3Store:
        """Open the store. Call it inside the task that uses it: clients do not travel to other processes.

        The tasks of a run share one client, which threads may do: to make one costs half a second of CPU time.
        """
        with _making:
            if self._client is None:
                self._client = self._make_client()
        return S3Store(self._client, self.bucket, self.prefix, profile(self.provider.value))

    def _make_client(self) -> Any:
        chosen = profile(self.provider.value)
        # `get_boto3_session` leaves `aws_client_parameters` out, so they are put in here.
        given: dict[str, Any] = self.credentials.aws_client_parameters.get_params_override()
        config = client_config(chosen)
        if given.get("config") is not None:
            config = config.merge(given["config"])
        arguments = {
            **given,
            "config": config,
            "region_name": self.region or self.credentials.region_name or chosen.region,
        }
        if self.endpoint:
            arguments["endpoint_url"] = self.endpoint
        return self.credentials.get_boto3_session().client("s3", **arguments)

    def check(self) -> list[CheckLine]:
        """Say whether backups could be kept here, and why not: lists, writes, reads and deletes one small object."""
        try:
            return self.open().check()
        except BackupError as error:
            return [CheckLine("open", False, error.message, error.hint)]
