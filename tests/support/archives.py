"""Archives of mongodump: those in `golden`, and those that are made by hand, block by block."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bson

from flows.core.archive import ArchiveHeader, ArchiveReader, Batch, PreludeEntry
from flows.core.archive.format import MAGIC, TERMINATOR, BlockHeader, encode_block_header, encode_entry, encode_header
from flows.core.names import Namespace
from flows.core.tally import Tally

GOLDEN = Path(__file__).parent.parent / "golden"
MINIMAL = (GOLDEN / "minimal.archive").read_bytes()
HEADER = ArchiveHeader("7.0.14", "100.18.0")
A, B = Namespace("d", "a"), Namespace("d", "b")
ONE, TWO = bson.encode({"_id": 1}), bson.encode({"_id": 2})
BODY = {"db": "d", "collection": "a", "EOF": False, "CRC": bson.Int64(0)}  # a header of a block of `A`


def golden(name: str) -> bytes:
    return gzip.decompress((GOLDEN / name).read_bytes())


def read(data: bytes) -> dict[Namespace, list[bytes]]:
    """All documents of an archive that is whole."""
    found: dict[Namespace, list[bytes]] = {}
    ended = set()
    for event in ArchiveReader(io.BytesIO(data)):
        if isinstance(event, Batch):
            found.setdefault(event.namespace, []).extend(event.documents())
        else:
            found.setdefault(event.namespace, [])
            ended.add(event.namespace)
    assert ended == found.keys()
    return found


def prelude(*namespaces: Namespace, header: bytes | None = None, entries: Iterable[bytes] | None = None) -> bytes:
    documents = entries or [encode_entry(PreludeEntry(namespace, "", "collection")) for namespace in namespaces]
    return MAGIC + (header or encode_header(HEADER)) + b"".join(documents) + TERMINATOR


def data(namespace: Namespace, *documents: bytes) -> bytes:
    return encode_block_header(BlockHeader(namespace)) + b"".join(documents) + TERMINATOR


def end(namespace: Namespace, *documents: bytes) -> bytes:
    tally = Tally()
    tally.add(b"".join(documents))
    return encode_block_header(BlockHeader(namespace, eof=True, crc=tally.crc)) + TERMINATOR


def block(fields: dict[str, Any]) -> bytes:
    return bson.encode(fields) + TERMINATOR
