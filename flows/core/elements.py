"""The top-level elements of a BSON document, as the bytes that they are.

Decoding would lose what counts when two documents are compared: Python takes `1`, `1.0` and `True` for equal.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from flows.core.errors import FormatError

_LENGTH = struct.Struct("<i")
FIXED_SIZES = {  # [bytes] of values, by type
    0x01: 8,  # double
    0x06: 0,  # undefined
    0x07: 12,  # ObjectId
    0x08: 1,  # boolean
    0x09: 8,  # date
    0x0A: 0,  # null
    0x10: 4,  # int32
    0x11: 8,  # timestamp
    0x12: 8,  # int64
    0x13: 16,  # decimal128
    0x7F: 0,  # MaxKey
    0xFF: 0,  # MinKey
}
# Behind a length of the rest: string, binary, DBPointer, code, symbol. And how many bytes come on top of that length.
_COUNTED = {0x02: 4, 0x05: 5, 0x0C: 16, 0x0D: 4, 0x0E: 4}
_WHOLE = (0x03, 0x04, 0x0F)  # document, array, code with scope: the length counts itself
_REGEX = 0x0B


def elements(document: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and value of every top-level element, in order; the value begins with its byte of type.

    Raises:
        FormatError: It is not BSON.
    """
    try:
        position, end = _LENGTH.size, len(document) - 1
        while position < end:
            kind = document[position]
            name_end = document.index(0, position + 1)
            stop = name_end + 1 + _size(document, kind, name_end + 1)
            if stop > end:
                raise FormatError("not a BSON document", offset=position)
            yield document[position + 1 : name_end], document[position : position + 1] + document[name_end + 1 : stop]
            position = stop
    except (struct.error, ValueError) as error:
        raise FormatError("not a BSON document", offset=position) from error


def id_of(document: bytes) -> bytes:
    """The value of `_id`, with its byte of type.

    Raises:
        FormatError: There is none.
    """
    for name, value in elements(document):
        if name == b"_id":
            return value
    raise FormatError("a document has no _id")


def document_of(name: bytes, value: bytes) -> bytes:
    """The document that has this one element."""
    return _framed(_element(name, value))


def array_of(values: Sequence[bytes]) -> bytes:
    """The array of these values, as a value with its byte of type."""
    return b"\x04" + _framed(*(_element(str(i).encode(), value) for i, value in enumerate(values)))


def nested(document: bytes) -> bytes:
    """A document as a value with its byte of type."""
    return b"\x03" + document


def _element(name: bytes, value: bytes) -> bytes:
    return value[:1] + name + b"\0" + value[1:]


def _framed(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return _LENGTH.pack(_LENGTH.size + len(body) + 1) + body + b"\0"


def _size(document: bytes, kind: int, position: int) -> int:
    if kind in FIXED_SIZES:
        return FIXED_SIZES[kind]
    if kind == _REGEX:
        options = document.index(0, position) + 1
        return document.index(0, options) + 1 - position
    length: int = _LENGTH.unpack_from(document, position)[0]
    if length < 0 or (kind not in _WHOLE and kind not in _COUNTED):
        raise FormatError("not a BSON document", offset=position)
    return length + _COUNTED.get(kind, 0)
