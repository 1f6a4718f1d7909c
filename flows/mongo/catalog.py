"""Listing collections of either end: kind, options, indexes and uuid, with nothing lost on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bson import CodecOptions
from bson.codec_options import DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from flows.core.errors import BackupError
from flows.core.extjson import dumps_metadata
from flows.core.names import Namespace
from flows.core.selection import is_system
from flows.core.source import CollectionInfo, Kind
from flows.mongo.client import Client, Side, mongo_errors

# Values pass through untouched: no dates that Python cannot hold, no UUID objects, order kept.
RAW: CodecOptions[Any] = CodecOptions(
    document_class=RawBSONDocument, datetime_conversion=DatetimeConversion.DATETIME_MS
)
# As RAW, with documents as dictionaries.
DATES: CodecOptions[Any] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
_NAMESPACE_NOT_FOUND = 26


class Catalog:
    """What the server at one end says of its collections."""

    def __init__(self, client: Client, side: Side) -> None:
        self._client = client
        self._side = side

    def collections(self, database: str) -> Iterator[CollectionInfo]:
        """All of a database but MongoDB's own, and ours."""
        for item in self.command(database, {"listCollections": 1, "cursor": {}}):
            namespace = Namespace(database, item["name"])
            if not (is_system(namespace) or namespace.is_scratch):
                yield self.describe(namespace, Kind(item["type"]), item)

    def listed(self, namespace: Namespace) -> RawBSONDocument | None:
        """What listCollections says of one namespace; None where there is none."""
        command = {"listCollections": 1, "cursor": {}, "filter": {"name": namespace.collection}}
        return next(iter(self.command(namespace.database, command)), None)

    def describe(self, namespace: Namespace, kind: Kind, item: RawBSONDocument) -> CollectionInfo:
        """Options, indexes and uuid of what was listed, as the metadata that an archive holds."""
        options: RawBSONDocument = item["options"]
        uuid = uuid_of(item)
        metadata = dumps_metadata(
            options=bytes(options.raw),
            indexes=[] if kind is Kind.VIEW else [bytes(index.raw) for index in self._indexes(namespace)],
            uuid=uuid,
            collection_name=namespace.collection,
            type=kind.value,
        )
        return CollectionInfo(
            namespace=namespace,
            kind=kind,
            metadata=metadata,
            archive_type=kind.value,
            uuid=uuid,
            capped=bool(options.get("capped")),
        )

    def command(self, database: str, command: dict[str, Any]) -> list[RawBSONDocument]:
        """Run a command that answers with a cursor, and keep what it lists as raw BSON.

        The driver's own `list_collections` and `list_indexes` decode, and lose types on the way.
        """
        with mongo_errors(self._side, database=database):
            db: Database[Any] = self._client.get_database(database, codec_options=RAW)
            preference = self._client.read_preference
            return list(db.cursor_command(command, codec_options=RAW, read_preference=preference))

    def _indexes(self, namespace: Namespace) -> list[RawBSONDocument]:
        try:
            return self.command(namespace.database, {"listIndexes": namespace.collection, "cursor": {}})
        except BackupError as error:
            if error.facts.get("code") == _NAMESPACE_NOT_FOUND:
                return []  # dropped since it was listed
            raise


def uuid_of(listed: Mapping[str, Any]) -> str | None:
    """The uuid of a collection that was listed, as 32 hex digits; views have none."""
    info = listed.get("info") or {}
    return bytes(info["uuid"]).hex() if "uuid" in info else None
