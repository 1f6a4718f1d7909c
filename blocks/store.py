"""Block for a place that holds backups: a bucket of S3 or of what speaks its protocol."""

from __future__ import annotations

import base64
import binascii
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

from boto3 import Session
from prefect.blocks.core import Block
from prefect_aws import AwsCredentials, MinIOCredentials
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from blocks.form import choice
from flows.core.checks import CheckLine
from flows.core.errors import ConfigurationError
from flows.core.retention import RetentionPolicy
from flows.storage.assumed_role import assume_role
from flows.storage.options import StoreOptions
from flows.storage.preflight import Settings
from flows.storage.probe import check_store, probe_store
from flows.storage.profiles import profile
from flows.storage.s3 import S3Store, client_config, without_credentials
from flows.storage.s3_errors import store_errors

_making = threading.Lock()


class Provider(StrEnum):
    """Who runs the store; they differ in what they can do."""

    AWS = "aws"
    R2 = "r2"
    B2 = "b2"
    SPACES = "spaces"
    MINIO = "minio"
    OTHER = "other"


class Encryption(StrEnum):
    """How the store itself encrypts what is written."""

    NONE = "none"
    SSE_S3 = "sse-s3"
    SSE_KMS = "sse-kms"
    SSE_C = "sse-c"


class ObjectLock(StrEnum):
    """Who can delete a locked object: in governance mode those with a special right, in compliance mode nobody."""

    NONE = "none"
    GOVERNANCE = "governance"
    COMPLIANCE = "compliance"


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

    # Errors would quote what was typed, and that may be a key.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

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
    provider: Annotated[Provider, choice(Provider)] = Field(
        default=Provider.OTHER,
        title="Provider",
        description="Who runs the store. `other` is slower than needed and never wrong.",
    )
    lock: Annotated[ObjectLock, choice(ObjectLock)] = Field(
        default=ObjectLock.NONE,
        title="Object Lock",
        description="Nobody deletes a new backup for some days, not even with these credentials. "
        "In governance mode people with a special right still can. The bucket needs Object Lock.",
    )
    lock_days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        title="Days of the lock",
        description="For how many days a backup is locked. Empty: as many as the `days` of its retention, or 7 where "
        "that has none. Pruning renews it for backups that stay, and never removes one that is locked: choose no more "
        "than the days of retention.",
    )
    encryption: Annotated[Encryption, choice(Encryption)] = Field(
        default=Encryption.NONE,
        title="Encryption by the store",
        description="How the store encrypts what is written: `sse-s3` with its own key, `sse-kms` with one of its key "
        "service, `sse-c` with yours. `none` leaves that to the settings of the bucket. Who may read the bucket with "
        "these credentials reads the data: what keeps it from them is a MongoDB Backup Encryption block.",
    )
    kms_key: str | None = Field(
        default=None, title="KMS key", description="For `sse-kms`: id or ARN of the key. Empty for the provider's own."
    )
    customer_key: SecretStr | None = Field(
        default=None,
        title="Customer key",
        description="For `sse-c`: 32 random bytes in base64, as made with `openssl rand -base64 32`. "
        "Keep a copy: without it nobody can read the backups.",
    )
    storage_class: str | None = Field(
        default=None,
        title="Storage class",
        description="Storage class of the segments, such as STANDARD_IA. Empty for the usual one of the bucket.",
    )

    _client: Any = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.lock is ObjectLock.NONE and self.lock_days is not None:
            raise ValueError("lock_days without lock does nothing: leave it out, or set lock too")
        try:
            self._options().check(profile(self.provider.value))
        except ConfigurationError as error:
            raise ValueError(f"{error.message}. {error.hint}") from error
        return self

    def _options(self) -> StoreOptions:
        try:
            key = base64.b64decode(self.customer_key.get_secret_value() if self.customer_key else "", validate=True)
        except binascii.Error:
            raise ConfigurationError(
                "the customer key is not base64", hint="Make one with: openssl rand -base64 32"
            ) from None
        return StoreOptions(
            encryption=self.encryption.value,
            kms_key=self.kms_key or "",
            customer_key=key,
            storage_class=self.storage_class or "",
            lock=self.lock.value,
        )

    def __getstate__(self) -> dict[Any, Any]:
        # A task in another process gets the block, and makes a client of its own.
        state = super().__getstate__()
        return {**state, "__pydantic_private__": {**(state["__pydantic_private__"] or {}), "_client": None}}

    @property
    def location(self) -> str:
        """Where this is, for people."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def days_of_lock(self, kept: int | None) -> int | None:
        """For how many days a backup is locked; None where nothing is.

        Args:
            kept: `days` of its retention; None or 0 where there is no such rule.
        """
        if self.lock is ObjectLock.NONE:
            return None
        return self.lock_days or kept or RetentionPolicy().days

    def lock_until(self, moment: datetime, kept: int | None = None) -> datetime | None:
        """Until when what was made at a moment (aware) is to be locked; None where nothing is. `kept`: as above."""
        days = self.days_of_lock(kept)
        return moment + timedelta(days=days) if days is not None else None

    def open(self) -> S3Store:
        """Open the store. Call it inside the task that uses it: clients do not travel to other processes.

        The tasks of a run share one client, which threads may do: to make one costs half a second of CPU time.
        """
        with _making:
            if self._client is None:
                self._client = self._make_client()
            # Within the lock: the first store of a client gives it handlers.
            return S3Store(self._client, self.bucket, self.prefix, profile(self.provider.value), self._options())

    def open_as_stranger(self) -> S3Store:
        """Open the same place as somebody without credentials, to see whether the store lets them in."""
        with _making:
            client = self._make_client(signs=False)
            # Nor does a stranger have the key that the store may encrypt with.
            return S3Store(client, self.bucket, self.prefix, profile(self.provider.value))

    def survey_settings(self, kept: int) -> Settings:
        """What a preflight wants to know of this block; `kept` is the `days` of its retention."""
        given = self.credentials.aws_client_parameters.get_params_override()
        return Settings(self._keys_from(), given.get("verify", True) is not False, self.days_of_lock(kept))

    def _keys_from(self) -> str:
        if isinstance(self.credentials, MinIOCredentials) or self.credentials.aws_secret_access_key is not None:
            return "block"
        # Not `get_boto3_session`, which assumes a role with the keys whose origin is asked for.
        with store_errors(self.location):
            found = Session(profile_name=self.credentials.profile_name).get_credentials()
        return found.method if found is not None else ""

    def _make_client(self, *, signs: bool = True) -> Any:
        chosen = profile(self.provider.value)
        # `get_boto3_session` leaves `aws_client_parameters` out, so they are put in here.
        given: dict[str, Any] = self.credentials.aws_client_parameters.get_params_override()
        config = client_config(chosen)
        if given.get("config") is not None:
            config = config.merge(given["config"])
        if not signs:
            config = without_credentials(config)
        region = self.region or self.credentials.region_name or chosen.region
        arguments = {**given, "config": config, "region_name": region}
        if self.endpoint:
            arguments["endpoint_url"] = self.endpoint
        with store_errors(self.location):  # a profile that is not there, a role that may not be taken on
            return self._session(region).client("s3", **arguments)

    def _session(self, region: str) -> Any:
        credentials = self.credentials
        if not isinstance(credentials, AwsCredentials) or not credentials.assume_role_arn:
            return credentials.get_boto3_session()
        # The session that this would give has credentials that end after an hour, and a backup may take longer.
        base = credentials.model_copy(update={"assume_role_arn": None}).get_boto3_session()
        more = credentials.assume_role_kwargs.get_params_override()
        return assume_role(base, credentials.assume_role_arn, more, region=region)

    def check(self) -> list[CheckLine]:
        """Say whether backups could be kept here, and why not: lists, writes, reads and deletes one small object."""
        return check_store(self.open(), uuid.uuid4().hex)

    def probe(self) -> list[CheckLine]:
        """Say what the store can do, and where its profile is wrong; takes seconds, and leaves nothing behind."""
        return probe_store(self.open(), uuid.uuid4().hex, now=datetime.now(UTC), sleep=time.sleep)
