"""Blocks for the two ends: the MongoDB that is backed up, and the one that is restored into."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote_plus

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr, model_validator

from blocks.form import choice
from flows.core.checks import CheckLine
from flows.core.errors import BackupError
from flows.core.selection import Selection
from flows.mongo.client import SOURCE, TARGET, MongoOptions, connect, holds_password
from flows.mongo.source import MongoSource
from flows.mongo.target import MongoTarget


class ReadFrom(StrEnum):
    """Which member of a replica set is read."""

    PRIMARY = "primary"
    PRIMARY_PREFERRED = "primaryPreferred"
    SECONDARY = "secondary"
    SECONDARY_PREFERRED = "secondaryPreferred"
    NEAREST = "nearest"


class _MongoDB(Block):
    """What both ends have in common."""

    model_config = ConfigDict(extra="forbid")

    connection_string: SecretStr | None = Field(
        default=None,
        title="Connection string",
        description="Full connection string, mongodb:// or mongodb+srv://, in place of host, port, user and password.",
    )
    host: str = Field(default="localhost", description="Host name, or several as host:port separated by commas.")
    port: int = Field(default=27017, ge=1, le=65535, description="Port, where the host does not name one.")
    replica_set: str | None = Field(
        default=None, title="Replica set", description="Name of the replica set; empty for a standalone server."
    )
    username: str | None = Field(default=None, description="User to log in as (SCRAM). Empty: no login.")
    password: SecretStr | None = Field(default=None, description="Password of the user.")
    auth_database: str = Field(
        default="admin", title="Authentication database", description="Database in which the user is defined."
    )
    tls: bool = Field(default=False, title="TLS", description="Encrypt the connection and verify the server.")
    tls_ca_file: str | None = Field(
        default=None,
        title="TLS CA file",
        description="Path on the worker of the CA certificates (PEM) behind the server's; empty: those of the system.",
    )
    tls_certificate_key_file: str | None = Field(
        default=None,
        title="TLS client certificate",
        description="Path on the worker of a client certificate with its key (PEM), where the server asks for one.",
    )
    tls_certificate_key_password: SecretStr | None = Field(
        default=None, title="TLS key password", description="Password of the key of the client certificate."
    )
    app_name: str = Field(
        default="mongo-backup-flows",
        title="Application name",
        description="Name under which the server's logs and currentOp show this connection.",
    )
    timeout_seconds: float = Field(
        default=15, gt=0, title="Timeout", description="How long to look for a server before giving up [s]."
    )

    @model_validator(mode="after")
    def _login_is_whole(self) -> _MongoDB:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together: set both or neither")
        return self

    @property
    def password_in_uri(self) -> bool:
        """Whether a password is part of the connection string."""
        return self.connection_string is not None and holds_password(self.connection_string.get_secret_value())

    def options(self) -> MongoOptions:
        """How to reach the server, for the layer below. The result holds the secrets."""
        settings: dict[str, Any] = {
            "appname": self.app_name,
            "serverSelectionTimeoutMS": int(self.timeout_seconds * 1000),
            "connectTimeoutMS": int(self.timeout_seconds * 1000),
        }
        if self.tls:
            settings["tls"] = True
        if self.tls_ca_file:
            settings["tlsCAFile"] = self.tls_ca_file
        if self.tls_certificate_key_file:
            settings["tlsCertificateKeyFile"] = self.tls_certificate_key_file
        if self.tls_certificate_key_password:
            settings["tlsCertificateKeyFilePassword"] = self.tls_certificate_key_password.get_secret_value()
        if self.connection_string:
            return MongoOptions(self.connection_string.get_secret_value(), settings)
        login = ""
        if self.username is not None and self.password is not None:
            login = f"{quote_plus(self.username)}:{quote_plus(self.password.get_secret_value())}@"
            settings["authSource"] = self.auth_database
        if self.replica_set:
            settings["replicaSet"] = self.replica_set
        hosts = ",".join(host if ":" in host else f"{host}:{self.port}" for host in self.host.split(","))
        return MongoOptions(f"mongodb://{login}{hosts}/", settings)


class MongoDBSource(_MongoDB):
    """
    A MongoDB that is backed up. It is only ever read.

    The user needs the built-in role `backup`.

    Example:
        ```python
        from blocks import MongoDBSource

        source = MongoDBSource.load("BLOCK_NAME")
        print(source.check())
        ```
    """

    _block_type_name = "MongoDB Backup Source"
    _block_type_slug = "mongodb-backup-source"
    _description = "A MongoDB that is backed up. It is only ever read."

    read_preference: Annotated[ReadFrom, choice(ReadFrom)] = Field(
        default=ReadFrom.PRIMARY,
        title="Read preference",
        description="Which member of the replica set is read: a secondary spares the primary.",
    )

    def options(self) -> MongoOptions:
        """How to reach the server, with the read preference."""
        options = super().options()
        return MongoOptions(options.uri, {**options.settings, "readPreference": self.read_preference.value})

    @contextmanager
    def open(self) -> Iterator[MongoSource]:
        """Open the source for the length of the block. Call it inside the task that uses it: clients do not travel."""
        with connect(self.options(), SOURCE) as client:
            yield MongoSource(client)

    def check(self) -> list[CheckLine]:
        """Say whether a backup could read this server, and why not."""
        lines: list[CheckLine] = []
        try:
            with self.open() as source:
                identity = source.identity()
                name = f"{identity.topology} {identity.replica_set or ''}".strip()
                lines.append(CheckLine("connect", True, f"MongoDB {identity.server_version}, {name}"))
                if identity.replica_set is None:
                    lines.append(
                        CheckLine(
                            "consistency",
                            False,
                            "a standalone server cannot be read at one point in time",
                            "Turn it into a replica set of one member: then backups are consistent.",
                        )
                    )
                listing = source.listing(Selection(), users=False)
                lines.append(CheckLine("read", True, f"{len(listing.collections)} namespaces can be read"))
        except BackupError as error:
            lines.append(CheckLine("read" if lines else "connect", False, error.message, error.hint))
        return lines


class MongoDBTarget(_MongoDB):
    """
    A MongoDB that is restored into.

    The user needs the built-in role `restore`.

    Example:
        ```python
        from blocks import MongoDBTarget

        target = MongoDBTarget.load("BLOCK_NAME")
        print(target.check())
        ```
    """

    _block_type_name = "MongoDB Restore Target"
    _block_type_slug = "mongodb-restore-target"
    _description = "A MongoDB that is restored into."

    @contextmanager
    def open(self) -> Iterator[MongoTarget]:
        """Open the target for the length of the block. Call it inside the task that uses it: clients do not travel."""
        with connect(self.options(), TARGET) as client:
            yield MongoTarget(client)

    def as_source(self) -> MongoDBSource:
        """The same server, read instead of written: for a backup of what a restore is about to overwrite."""
        return MongoDBSource(**{name: getattr(self, name) for name in _MongoDB.model_fields})

    def check(self) -> list[CheckLine]:
        """Say whether a restore could write to this server, and why not. Writes nothing."""
        try:
            with self.open() as target:
                identity = target.identity()
        except BackupError as error:
            return [CheckLine("connect", False, error.message, error.hint)]
        return [CheckLine("connect", True, f"MongoDB {identity.server_version}, can be written to")]
