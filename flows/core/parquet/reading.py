"""BSON to Python values, with nothing lost and nothing guessed.

The driver decodes fast, and quietly: of two fields with one name it keeps the last, and it takes deprecated types for
others. So what it has decoded is encoded again. Where that gives the same bytes, nothing was lost; every other document
is read by `decode`, which knows all types and refuses what it cannot tell.
"""

from __future__ import annotations

import gc
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import bson
from bson.binary import Binary
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS

from flows.core.errors import Truncated
from flows.core.parquet.values import Expression, Pointer, Scoped, Symbol, Undefined

Document = dict[str, Any]
BATCH = 4 << 20  # [bytes] of BSON that are Python values at a time: they take ten times that
MAX_NESTING = 200  # levels of documents and arrays, as MongoDB has them by default
UNREADABLE: Final = object()
_SMALLEST = 5  # [bytes]: a length and a NUL

_OPTIONS: CodecOptions[Document] = CodecOptions(
    document_class=dict, datetime_conversion=DatetimeConversion.DATETIME_AUTO, tz_aware=False
)
_INT32, _INT64, _DOUBLE = struct.Struct("<i"), struct.Struct("<q"), struct.Struct("<d")
_TIMESTAMP = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Reject:
    """A document that no row can hold, because its bytes are not clearly one.

    Args:
        document: Its bytes.
        why: A fact, for people; it has no value of the document in it.
    """

    document: bytes
    why: str


class Undecodable(ValueError):
    """Why a document is not clearly one."""


def split(documents: bytes) -> list[bytes]:
    """Cut bytes into the documents that follow each other in them.

    Raises:
        Truncated: A length leads beyond the end, or is too small for a document.
    """
    found = []
    position, end = 0, len(documents)
    while position < end:
        length = int.from_bytes(documents[position : position + 4], "little", signed=True)
        if length < _SMALLEST or position + length > end:
            raise Truncated(
                "the documents of a namespace do not follow each other without a gap",
                hint="Verify the backup; if it is whole, export it from the start again.",
                offset=position,
                length=length,
                left=end - position,
            )
        found.append(documents[position : position + length])
        position += length
    return found


def batches(documents: bytes, first: int = BATCH) -> Iterator[list[bytes]]:
    """The same documents, in lists of about `BATCH` bytes.

    Args:
        documents: Whole ones, one after the other.
        first: [bytes] of the first list.

    Raises:
        Truncated: As for `split`.
    """
    batch: list[bytes] = []
    size = 0
    for document in split(documents):
        batch.append(document)
        size += len(document)
        if size >= first:
            yield batch
            batch, size, first = [], 0, BATCH
    if batch:
        yield batch


def decoded(raw: Sequence[bytes]) -> tuple[list[Document], list[Reject]]:
    """Decode documents; those that are not clearly one are told apart, with the reason."""
    found: list[Document] = []
    rejects: list[Reject] = []
    for document in raw:
        try:
            value = _decode(document)
        except Undecodable as error:
            rejects.append(Reject(document, str(error)))
        else:
            found.append(value)
    return found, rejects


def _decode(document: bytes, room: int = MAX_NESTING) -> Document:
    try:
        value: Document = bson.decode(document, _OPTIONS)
        # Wrapped: the driver moves a top-level `_id` to the front. A length, a type and an empty name go before it.
        if bson.encode({"": value}, codec_options=_OPTIONS)[6:-1] != document:
            value = decode(document)
    except (bson.errors.BSONError, ValueError, TypeError, OverflowError, RecursionError):
        value = decode(document)
    # A level has one of these types, and few documents have so many bytes of that value.
    if document.count(3) + document.count(4) >= room and _nesting(value) > room:
        raise Undecodable("documents within documents, too many levels of them")
    return value


def _nesting(value: Any) -> int:
    levels = 0
    level = [value]
    while level:
        levels += 1
        level = [inner for holder in level for inner in _inside(holder) if type(inner) in _HOLDERS]
    return levels


def _inside(holder: Any) -> Iterable[Any]:
    if isinstance(holder, bson.DBRef):
        return holder.as_doc().values()
    if isinstance(holder, (bson.Code, Scoped)):
        return (holder.scope,)
    return holder if isinstance(holder, list) else holder.values()


_HOLDERS = (dict, list, bson.DBRef, bson.Code, Scoped)


def decode(document: bytes) -> Document:
    """Decode a document of any types.

    Deprecated types, regular expressions with odd options and code with a scope come as the types of `values`.

    Raises:
        Undecodable: It is not BSON, has text that is not UTF-8, or a name twice.
    """
    try:
        value, end = _document(document, 0, len(document))
    except UnicodeDecodeError as error:
        raise Undecodable("text that is not UTF-8") from error
    except RecursionError as error:
        raise Undecodable("documents within documents, too many levels of them") from error
    except (struct.error, IndexError, OverflowError, bson.errors.BSONError) as error:
        raise Undecodable("not BSON") from error
    if end != len(document):
        raise Undecodable("a document ends before its length")
    return value


def element(kind: int, value: bytes, room: int) -> Any:
    """Decode the value of one element; `UNREADABLE` if it cannot be or has more levels than there is room for."""
    try:
        return _decode(_INT32.pack(len(value) + 7) + bytes((kind,)) + b"\0" + value + b"\0", room)[""]
    except Undecodable:
        return UNREADABLE


def _document(data: bytes, start: int, limit: int) -> tuple[Document, int]:
    end = _frame(data, start, limit)
    found: Document = {}
    for name, value in _elements(data, start, end):
        if name in found:
            raise Undecodable("a name appears twice in one document")
        found[name] = value
    return found, end


def _array(data: bytes, start: int, limit: int) -> tuple[list[Any], int]:
    end = _frame(data, start, limit)
    return [value for _name, value in _elements(data, start, end)], end


def _frame(data: bytes, start: int, limit: int) -> int:
    end = start + _length(data, start, _SMALLEST, limit)
    if data[end - 1]:
        raise Undecodable("a document does not end with a NUL")
    return end


def _elements(data: bytes, start: int, end: int) -> Iterator[tuple[str, Any]]:
    position = start + 4
    while position < end - 1:
        kind = data[position]
        name, position = _name(data, position + 1, end - 1)
        value, position = _value(data, kind, position, end - 1)
        yield name, value


def _length(data: bytes, position: int, least: int, limit: int) -> int:
    length: int = _INT32.unpack_from(data, position)[0]
    if length < least or position + length > limit:
        raise Undecodable("a length that cannot be")
    return length


def _name(data: bytes, position: int, limit: int) -> tuple[str, int]:
    end = data.find(0, position, limit)
    if end < 0:
        raise Undecodable("a name without an end")
    return data[position:end].decode(), end + 1


def _string(data: bytes, position: int, limit: int) -> tuple[str, int]:
    end = position + 4 + _length(data, position, 1, limit - 4)
    if data[end - 1]:
        raise Undecodable("text does not end with a NUL")
    return data[position + 4 : end - 1].decode(), end


def _value(data: bytes, kind: int, position: int, limit: int) -> tuple[Any, int]:
    read = _READERS.get(kind)
    if read is None:
        raise Undecodable("a type that BSON does not have")
    result: tuple[Any, int] = read(data, position, limit)
    return result


def _fixed(size: int, make: Any) -> Any:
    def read(data: bytes, position: int, limit: int) -> tuple[Any, int]:
        if position + size > limit:
            raise Undecodable("a value goes beyond its document")
        return make(data[position : position + size]), position + size

    return read


def _boolean(value: bytes) -> bool:
    if value > b"\1":
        raise Undecodable("a boolean that is neither true nor false")
    return value == b"\1"


def _binary(data: bytes, position: int, limit: int) -> tuple[Any, int]:
    start = position + 5
    end = start + _length(data, position, 0, limit - 5)
    subtype = data[position + 4]
    if subtype == 2:  # the old one: its length again, inside
        if end - start < 4 or _INT32.unpack_from(data, start)[0] != end - start - 4:
            raise Undecodable("a length that cannot be")
        start += 4
    content = data[start:end]
    return (Binary(content, subtype) if subtype else content), end


def _regex(data: bytes, position: int, limit: int) -> tuple[Expression, int]:
    pattern, position = _name(data, position, limit)
    options, position = _name(data, position, limit)
    return Expression(pattern, options), position


def _pointer(data: bytes, position: int, limit: int) -> tuple[Pointer, int]:
    namespace, position = _string(data, position, limit)
    if position + 12 > limit:
        raise Undecodable("a value goes beyond its document")
    return Pointer(namespace, bson.ObjectId(data[position : position + 12])), position + 12


def _scoped(data: bytes, position: int, limit: int) -> tuple[Scoped, int]:
    end = position + _length(data, position, 14, limit)
    code, inner = _string(data, position + 4, end)
    scope, inner = _document(data, inner, end)
    if inner != end:
        raise Undecodable("a length that cannot be")
    return Scoped(code, scope), end


def _code(data: bytes, position: int, limit: int) -> tuple[bson.Code, int]:
    text, position = _string(data, position, limit)
    return bson.Code(text), position


def _symbol(data: bytes, position: int, limit: int) -> tuple[Symbol, int]:
    text, position = _string(data, position, limit)
    return Symbol(text), position


_READERS: dict[int, Any] = {
    0x01: _fixed(8, lambda value: _DOUBLE.unpack(value)[0]),
    0x02: _string,
    0x03: _document,
    0x04: _array,
    0x05: _binary,
    0x06: _fixed(0, lambda _value: Undefined()),
    0x07: _fixed(12, bson.ObjectId),
    0x08: _fixed(1, _boolean),
    0x09: _fixed(8, lambda value: DatetimeMS(_INT64.unpack(value)[0])),
    0x0A: _fixed(0, lambda _value: None),
    0x0B: _regex,
    0x0C: _pointer,
    0x0D: _code,
    0x0E: _symbol,
    0x0F: _scoped,
    0x10: _fixed(4, lambda value: _INT32.unpack(value)[0]),
    0x11: _fixed(8, lambda value: bson.Timestamp(*reversed(_TIMESTAMP.unpack(value)))),
    0x12: _fixed(8, lambda value: bson.Int64(_INT64.unpack(value)[0])),
    0x13: _fixed(16, bson.Decimal128.from_bid),
    0x7F: _fixed(0, lambda _value: bson.MaxKey()),
    0xFF: _fixed(0, lambda _value: bson.MinKey()),
}

_pauses = threading.Lock()
_paused = 0
_was_enabled = False


@contextmanager
def no_collector() -> Iterator[None]:
    """Keep the garbage collector from looking at millions of values that hold no cycles: it costs half of the speed.

    Threads share it, so it comes back with the last of them.
    """
    global _paused, _was_enabled  # noqa: PLW0603 - there is one collector for the process
    with _pauses:
        if not _paused:
            _was_enabled = gc.isenabled()
            gc.disable()
        _paused += 1
    try:
        yield
    finally:
        with _pauses:
            _paused -= 1
            if not _paused and _was_enabled:
                gc.enable()
