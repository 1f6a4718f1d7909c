"""Connecting to MongoDB, and the one place where PyMongo's errors become ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bson.errors import InvalidBSON
from pymongo import MongoClient
from pymongo.errors import (
    AutoReconnect,
    InvalidName,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
)
from pymongo.errors import (
    ConfigurationError as DriverConfigurationError,
)

from flows.core.errors import (
    BackupError,
    ConfigurationError,
    DumpFailed,
    SourceError,
    SourceUnavailable,
    TargetError,
    TargetUnavailable,
)

Client = MongoClient[dict[str, Any]]

_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = (11, 18)
_SNAPSHOT_TOO_OLD = 239
_SNAPSHOT_UNAVAILABLE = 246
# A cursor that the server forgot: it restarted, or another member is primary now. Reading the segment again helps.
_CURSOR_LOST = (43, 50, 237)


@dataclass(frozen=True, slots=True)
class MongoOptions:
    """How to reach one MongoDB.

    Attributes:
        uri: Connection string; holds the password.
        settings: Keyword arguments for `MongoClient` that go beyond the string. May hold secrets too.
    """

    uri: str = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Side:
    """Which of the two ends an error comes from: a source that fails is another problem than a target that fails."""

    name: str
    general: type[BackupError]
    unavailable: type[BackupError]


SOURCE = Side("source", SourceError, SourceUnavailable)
TARGET = Side("target", TargetError, TargetUnavailable)


def holds_password(uri: str) -> bool:
    """Whether a connection string has a password in it: that of the user, or of a key."""
    login, at, _ = uri.partition("://")[2].partition("/")[0].rpartition("@")
    return (bool(at) and bool(login.partition(":")[2])) or "keyfilepassword=" in uri.lower()


@contextmanager
def connect(options: MongoOptions, side: Side) -> Iterator[Client]:
    """Open a client for the length of the block; nothing is sent before the first command.

    Raises:
        ConfigurationError: Where the connection string or a file that it names cannot be used.
    """
    with mongo_errors(side):
        client: Client = MongoClient(options.uri, **options.settings)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def mongo_errors(side: Side, **where: Any) -> Iterator[None]:
    """Turn what PyMongo raises within the block into our errors.

    Args:
        side: Source or target.
        where: Facts for the message, such as the namespace.
    """
    try:
        yield
    except ServerSelectionTimeoutError as error:
        raise _no_server(error, side, where) from error
    except (AutoReconnect, WriteConcernError) as error:
        raise side.unavailable(
            f"the connection to the {side.name} broke", hint=_UNREACHED_HINT, **where, got=_short(str(error))
        ) from error
    except OperationFailure as error:
        raise _refused(error, side, where) from error
    except (DriverConfigurationError, InvalidURI, InvalidName, ValueError, OSError) as error:
        # PyMongo opens certificate files itself: a missing one is an OSError.
        raise ConfigurationError(
            f"the settings of the {side.name} cannot be used",
            hint=f"Correct the block of the {side.name}: connection string, read preference, certificate files.",
            **where,
            got=_short(str(error)),
        ) from error
    except InvalidBSON as error:
        raise DumpFailed("the server sent bytes that are not BSON", **where, got=_short(str(error))) from error
    except PyMongoError as error:
        raise side.general(f"the {side.name} failed", **where, got=_short(str(error))) from error


# It is said of the last try too, so it promises no other one.
_UNREACHED_HINT = "Check that mongod runs and can be reached; its log may say more."


def _no_server(error: ServerSelectionTimeoutError, side: Side, where: dict[str, Any]) -> BackupError:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text:
        return side.general(
            f"the TLS certificate of the {side.name} does not verify",
            hint="Set `tls_ca_file` in the block to the CA that signed it, and use a host name that it names.",
            **where,
            got=_short(text),
        )
    if "SSL handshake failed" in text or "TLSV1_ALERT" in text:
        return side.general(
            f"the TLS handshake with the {side.name} failed",
            hint="Check `tls` in the block: both sides must agree, and the server may want a client certificate.",
            **where,
            got=_short(text),
        )
    return side.unavailable(
        f"the {side.name} cannot be reached",
        hint="Check host, port, replica set name and firewall; a server that wants TLS closes other connections.",
        **where,
        got=_short(text),
    )


def _refused(error: OperationFailure, side: Side, where: dict[str, Any]) -> BackupError:
    got = _short(error_text(error))
    if error.code in _AUTHENTICATION_FAILED:
        return side.general(
            f"the {side.name} does not accept the user or the password",
            hint="Check user, password and authentication database in the block.",
            **where,
            got=got,
        )
    if error.code == _UNAUTHORIZED:
        role = "backup" if side is SOURCE else "restore"
        return side.general(
            f"the user may not do this on the {side.name}",
            hint=f"Grant the built-in role `{role}` on the database admin.",
            **where,
            got=got,
        )
    if error.code in (_SNAPSHOT_TOO_OLD, _SNAPSHOT_UNAVAILABLE):
        return DumpFailed(
            "the server no longer keeps the point in time that this backup reads",
            hint="Raise minSnapshotHistoryWindowInSeconds (300 by default) above the length of a backup: "
            "db.adminCommand({setParameter: 1, minSnapshotHistoryWindowInSeconds: 3600}).",
            **where,
            got=got,
        )
    if error.code in _CURSOR_LOST or error.has_error_label("RetryableWriteError"):
        return side.unavailable(f"the {side.name} lost track of the operation", hint=_UNREACHED_HINT, **where, got=got)
    return side.general(
        f"the {side.name} refused a command",
        hint=f"Look up the code, and what the log of the {side.name} says at this time.",
        **where,
        code=error.code,
        got=got,
    )


def error_text(error: OperationFailure) -> str:
    """The server's own sentence, without the reply that PyMongo adds and without values from documents."""
    details = error.details or {}
    text = str(details.get("errmsg", error))
    # A duplicate key error quotes the key, and a refusal the whole command with its documents: they may hold a person's
    # name or number, and logs are no place for it.
    text = re.sub(r" to execute command \{ (\w+):.*", r" to execute command \1", text, flags=re.DOTALL)
    return text.split(" dup key:", maxsplit=1)[0]


def _short(text: str, most: int = 300) -> str:
    # PyMongo's texts go on with time-outs and topologies; and a connection string must never get through.
    text = re.sub(r"mongodb(\+srv)?://\S+", "mongodb://…", text)
    text = text.split(", Timeout: ")[0].split(", full error: ")[0]
    return text if len(text) <= most else text[:most] + "…"
