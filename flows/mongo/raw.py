"""Reading raw batches without making a Python object for each document.

The driver's own `find_raw_batches` unpacks every document of a batch and throws the objects away before it joins the
bytes (pymongo 4.20, `bson._decode_selective`): two thirds of its time for documents of 400 bytes. Here the documents go
straight from the receive buffer into one piece of bytes, and only the small rest of the reply is decoded. What is
overridden is private to the driver: `pyproject.toml` bounds its version, and a test holds these batches against the
driver's own.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any

import bson
from pymongo import CursorType
from pymongo.collection import Collection
from pymongo.cursor import RawBatchCursor

# How a reply with documents begins behind its own length: `{cursor: {firstBatch: [`, where the length of the inner
# document is skipped. Servers put the batch first; a reply in another order is left to the driver.
_BEGINNING = re.compile(rb"\x03cursor\x00(?s:....)\x04(firstBatch|nextBatch)\x00")
_CURSOR = b"\x03cursor\x00"
_LENGTH = struct.Struct("<i")
# The server's own batches of 16 MiB cost twice the CPU time here: fresh pages from the kernel for each of them, and
# none of it in the processor's cache when it is looked at. Measured for 957 MiB: 3.6 s with 4 MiB, 2.2 s with 1 MiB.
_BATCH_BYTES = 1024 * 1024


class RawBatches(RawBatchCursor[Any]):
    """A cursor over batches of concatenated BSON documents; takes the arguments of `Collection.find_raw_batches`."""

    def _unpack_response(
        self,
        response: Any,
        cursor_id: int | None,
        codec_options: Any,
        user_fields: Mapping[str, Any] | None = None,
        legacy_response: bool = False,
    ) -> list[Any]:
        payload = response.payload_document
        found = _BEGINNING.match(payload, _LENGTH.size)
        if found is None:  # an error, or an order that no server is known to send
            return super()._unpack_response(response, cursor_id, codec_options, user_fields, legacy_response)
        cursor = found.start() + len(_CURSOR)
        cursor_end = cursor + _LENGTH.unpack_from(payload, cursor)[0]
        batch_end = found.end() + _LENGTH.unpack_from(payload, found.end())[0]
        documents = bson._array_of_documents_to_buffer(payload[found.end() : batch_end])
        reply: dict[str, Any] = bson.decode(
            _document(_CURSOR, _document(payload[batch_end:cursor_end]), payload[cursor_end:])
        )
        reply["cursor"][found[1].decode()] = [documents] if documents else []
        return [reply]


def raw_batches(
    collection: Collection[Any], criteria: Mapping[str, Any], *, document_bytes: int = 0, **arguments: Any
) -> RawBatches:
    """Read raw batches the fast way.

    Args:
        collection: What to read.
        criteria: A filter.
        document_bytes: Size of an average document, where it is known [bytes]: batches are then of about 1 MiB, else
            of up to 16 MiB.
        arguments: More for `Collection.find_raw_batches`.
    """
    if document_bytes:
        arguments["batch_size"] = max(1, _BATCH_BYTES // document_bytes)
    # Exhaust: the server sends batch after batch without being asked, and reads one while the last one travels.
    return RawBatches(collection, criteria, cursor_type=CursorType.EXHAUST, **arguments)


def _document(*elements: bytes | memoryview) -> bytes:
    body = b"".join(elements)
    return _LENGTH.pack(_LENGTH.size + len(body)) + body
