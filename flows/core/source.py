"""What the source says of itself: values that travel from the planning to the manifest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from flows.core.errors import UnsupportedVersion
from flows.core.names import Namespace
from flows.core.ttl import Ages

_SERVER_VERSION = re.compile(r"([0-9]+)\.([0-9]+)\.([0-9]+)([-+].*)?", re.DOTALL)


class Consistency(StrEnum):
    """What a backup, or one namespace of it, shows: one point in time, or whatever was there when it was read."""

    SNAPSHOT = "snapshot"
    NONE = "none"


class Kind(StrEnum):
    """The type that listCollections reports."""

    COLLECTION = "collection"
    VIEW = "view"
    TIMESERIES = "timeseries"


@dataclass(frozen=True, slots=True)
class SourceIdentity:
    """Who the source is. Never holds an address or a credential."""

    server_version: str
    topology: str  # "replica set" or "standalone"
    replica_set: str | None
    replica_set_id: str | None  # hexadecimal ObjectId of the set: stays when names and addresses change


@dataclass(frozen=True, slots=True)
class ClusterTime:
    """A point in the oplog: seconds since 1970 and a counter within the second."""

    seconds: int
    increment: int

    def __str__(self) -> str:
        return f"{self.seconds}:{self.increment}"


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """One namespace of the source, as it was listed.

    `metadata` is the string that mongodump keeps: options, indexes, uuid and name as canonical Extended JSON.
    """

    namespace: Namespace  # the name that users know; a time-series collection's, not its buckets'
    kind: Kind
    metadata: str
    archive_type: str  # what the archive's prelude says; empty for users and roles of one database
    uuid: str | None = None  # 32 hex digits; views and time-series collections have none
    capped: bool = False
    bytes: int = 0  # [bytes] BSON, as far as the server can tell without reading
    documents: int = 0
    ages: tuple[Ages, ...] = ()  # of documents that a TTL rule may delete

    @property
    def data_namespace(self) -> Namespace:
        """Where the documents are read from and what the archive calls them."""
        return self.namespace.buckets if self.kind is Kind.TIMESERIES else self.namespace

    @property
    def has_documents(self) -> bool:
        """Views have a definition and no documents of their own."""
        return self.kind is not Kind.VIEW


def parse_release(server_version: str) -> tuple[int, int, int]:
    """The three numbers of a server version, without what follows a `-` or `+`.

    Raises:
        UnsupportedVersion: There are not three.
    """
    match = _SERVER_VERSION.fullmatch(server_version)
    if match is None:
        raise UnsupportedVersion(
            "the server version is not three numbers",
            expected="N.N.N, N.N.N-x or N.N.N+x",
            got=server_version,
        )
    return int(match[1]), int(match[2]), int(match[3])
