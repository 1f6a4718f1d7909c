"""The bytes of a mongodump archive, from the source of the MongoDB Database Tools 100.18 (`common/archive`).

    archive := MAGIC block*             the first block is the prelude
    block   := document document* TERMINATOR
    prelude := header, then one document of metadata for each namespace
    others  := namespace header, then documents of that namespace; with `EOF: true` none, and the CRC of them all

There is no trailer: an archive ends after any block. An archive is complete when each namespace of the prelude had
its EOF block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import bson

from flows.core.errors import FormatError
from flows.core.extjson import decode_exactly
from flows.core.names import Namespace
from flows.core.source import parse_release

MAGIC = bytes.fromhex("6de29981")
TERMINATOR = b"\xff\xff\xff\xff"  # where a document's length would be
TERMINATOR_LENGTH = 0xFFFFFFFF
FORMAT_VERSION = "0.1"  # the only one there ever was

OPLOG = Namespace("", "oplog")
TIMESERIES = "timeseries"
# From this server version on, a time-series collection has its documents under its own name.
_VIEWLESS_TIMESERIES = (8, 3, 0)
# Of a whole cluster, and of one database (`mongodump --db X --dumpDbUsersAndRoles`).
_USERS = ("system.users", "system.roles", "system.version")


@dataclass(frozen=True, slots=True)
class ArchiveHeader:
    """The first document of an archive.

    Raises:
        UnsupportedVersion: The server version is not three numbers; mongorestore refuses it too.
    """

    server_version: str  # `buildInfo.version`, verbatim
    tool_version: str
    concurrent_collections: int = 1  # a restore deadlocks if more namespaces than this are ever open at once
    version: str = FORMAT_VERSION

    def __post_init__(self) -> None:
        parse_release(self.server_version)

    @property
    def release(self) -> tuple[int, int, int]:
        """The server version as numbers, which decides how time-series data is named."""
        return parse_release(self.server_version)

    def data_namespace(self, entry: PreludeEntry) -> Namespace:
        """The name that the blocks of an entry carry: buckets for time-series of servers before 8.3."""
        buckets = entry.type == TIMESERIES and self.release < _VIEWLESS_TIMESERIES
        return entry.namespace.buckets if buckets else entry.namespace


@dataclass(frozen=True, slots=True)
class PreludeEntry:
    """What the prelude says of one namespace."""

    namespace: Namespace  # of a time-series collection the logical name
    metadata: str  # see `flows.core.extjson`; "" for the oplog and `$admin.*`
    type: str  # collection, view, timeseries; "" for the oplog, `$admin.*` and in dumps of tools before 100.4.0


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """The first document of each block after the prelude."""

    namespace: Namespace
    eof: bool = False
    crc: int = 0  # unsigned; means nothing without `eof`


def data_namespaces(header: ArchiveHeader, entries: Iterable[PreludeEntry]) -> dict[Namespace, PreludeEntry]:
    """The entries by the name that their blocks carry.

    Raises:
        FormatError: Two entries have the same one.
    """
    found: dict[Namespace, PreludeEntry] = {}
    for entry in entries:
        namespace = header.data_namespace(entry)
        if namespace in found:
            raise FormatError("namespace is twice in the prelude", namespace=str(namespace))
        found[namespace] = entry
    return found


def is_users(namespace: Namespace) -> bool:
    """Whether it holds users, roles or their version, which a restore wants to see before all collections."""
    if namespace.database == "admin" and namespace.collection in _USERS:
        return True
    return namespace.collection.startswith("$admin.") and namespace.collection.removeprefix("$admin.") in _USERS


def encode_header(header: ArchiveHeader) -> bytes:
    """The header as BSON, with the fields in mongodump's order."""
    return _encode(
        {
            "concurrent_collections": header.concurrent_collections,
            "version": header.version,
            "server_version": header.server_version,
            "tool_version": header.tool_version,
        }
    )


def encode_entry(entry: PreludeEntry) -> bytes:
    """An entry of the prelude as BSON. Its size is always 0: mongodump has never filled it in."""
    return _encode(
        {
            "db": entry.namespace.database,
            "collection": entry.namespace.collection,
            "metadata": entry.metadata,
            "size": 0,
            "type": entry.type,
        }
    )


def encode_block_header(block: BlockHeader) -> bytes:
    """A namespace header as BSON. The CRC is stored as a signed int64 of the same bits."""
    signed = block.crc - (1 << 64) if block.crc >> 63 else block.crc
    return _encode(
        {
            "db": block.namespace.database,
            "collection": block.namespace.collection,
            "EOF": block.eof,
            "CRC": bson.Int64(signed),
        }
    )


def decode_header(document: bytes, offset: int) -> ArchiveHeader:
    """Read a header leniently: unknown fields are ignored, and all but the server version may be missing.

    Args:
        document: BSON.
        offset: Of the document in the archive, for errors [bytes].

    Raises:
        FormatError: A field has another type than mongorestore takes.
        UnsupportedVersion: The server version is not three numbers.
    """
    fields = _decode(document, offset)
    workers = fields.get("concurrent_collections", 0)
    if isinstance(workers, float) and workers.is_integer():
        workers = int(workers)
    if isinstance(workers, bool) or not isinstance(workers, int):
        raise _wrong_type("concurrent_collections", int, workers, offset)
    return ArchiveHeader(
        server_version=_text(fields, "server_version", offset),
        tool_version=_text(fields, "tool_version", offset),
        concurrent_collections=int(workers),
        version=_text(fields, "version", offset),
    )


def decode_entry(document: bytes, offset: int) -> PreludeEntry:
    """Read an entry of the prelude leniently: old tools wrote no `type`, and `size` never meant anything.

    Raises:
        FormatError: A field has the wrong type, or there is no collection name.
    """
    fields = _decode(document, offset)
    namespace = Namespace(_text(fields, "db", offset), _text(fields, "collection", offset))
    if not namespace.collection:
        raise FormatError("entry of the prelude has no collection", offset=offset, got=sorted(fields))
    size = fields.get("size", 0)
    if isinstance(size, bool) or not isinstance(size, int | float):
        raise _wrong_type("size", int, size, offset)
    return PreludeEntry(namespace, _text(fields, "metadata", offset), _text(fields, "type", offset))


def decode_block_header(document: bytes, offset: int) -> BlockHeader:
    """Read a namespace header strictly, as mongorestore does since 100.14.0: no unknown field, exact types.

    Raises:
        FormatError: For anything else than the four fields.
    """
    fields = _decode(document, offset)
    if unknown := fields.keys() - {"db", "collection", "EOF", "CRC"}:
        raise FormatError(
            "unknown field in a namespace header",
            offset=offset,
            expected="db, collection, EOF, CRC",
            got=", ".join(sorted(unknown)),
        )
    namespace = Namespace(_text(fields, "db", offset), _text(fields, "collection", offset))
    if not namespace.collection:
        raise FormatError("namespace header has no collection", offset=offset)
    eof = fields.get("EOF", False)
    if not isinstance(eof, bool):
        raise _wrong_type("EOF", bool, eof, offset)
    crc = fields.get("CRC", bson.Int64(0))
    if not isinstance(crc, bson.Int64):
        raise _wrong_type("CRC", bson.Int64, crc, offset)
    return BlockHeader(namespace, eof, int(crc) % (1 << 64))


def _encode(fields: dict[str, Any]) -> bytes:
    try:
        return bson.encode(fields)
    except (bson.errors.BSONError, ValueError, TypeError, OverflowError) as error:
        raise FormatError("header of an archive cannot be encoded", got=fields, because=str(error)) from error


def _decode(document: bytes, offset: int) -> dict[str, Any]:
    try:
        return decode_exactly(document)
    except FormatError as error:
        raise FormatError("header in an archive is not BSON", offset=offset, got=error.facts["got"]) from error


def _text(fields: dict[str, Any], key: str, offset: int) -> str:
    value = fields.get(key, "")
    # `Code` is a kind of `str` too.
    if type(value) is not str:
        raise _wrong_type(key, str, value, offset)
    return value


def _wrong_type(key: str, expected: type, got: object, offset: int) -> FormatError:
    return FormatError(
        "field in an archive has the wrong type",
        offset=offset,
        field=key,
        expected=expected.__name__,
        got=type(got).__name__,
    )
