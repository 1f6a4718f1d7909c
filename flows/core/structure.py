"""Whether a BSON document is well formed to its innermost element, without decoding it.

What is looked at: every element has a type that BSON knows and a name that ends; every length fits into the document
around it, which it fills to its last byte; strings and documents end in NUL. Values are not looked at: text may be in
any encoding, keys may be there twice, and years may be any. MongoDB takes such documents, so a backup of them is sound.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from flows.core.elements import FIXED_SIZES
from flows.core.tally import MIN_DOCUMENT

_LENGTH = struct.Struct("<i")
_STRINGS = (0x02, 0x0D, 0x0E)  # string, code, symbol
_DOCUMENTS = (0x03, 0x04)  # document, array
_BINARY, _REGEX, _DB_POINTER, _SCOPED = 0x05, 0x0B, 0x0C, 0x0F
_OBJECT_ID_BYTES = 12
_MEASURED = frozenset({*_STRINGS, *_DOCUMENTS, _BINARY, _DB_POINTER, _SCOPED})  # their values begin with a length


@dataclass(frozen=True, slots=True)
class Misfit:
    """The first place at which a document is not BSON."""

    offset: int  # [bytes] in the document
    what: str  # a lower-case fact
    expected: str
    got: str


def find_misfit(document: bytes) -> Misfit | None:
    """Walk over all elements of a document, also those of documents in it; None where it is well formed.

    Args:
        document: Of the length that its prefix says, with a NUL at its end: `flows.core.tally.walk` has seen to both.
    """
    try:
        _walk(document)
    except _Found as found:
        return found.misfit
    return None


class _Found(Exception):
    def __init__(self, offset: int, what: str, expected: object, got: object) -> None:
        super().__init__()
        self.misfit = Misfit(offset, what, str(expected), str(got))


def _walk(document: bytes) -> None:
    around: list[int] = []  # ends of the documents around the one that is walked
    position, end = _LENGTH.size, len(document) - 1
    while True:
        if position == end:
            if document[end]:
                raise _Found(end, "a document does not end with a NUL byte", 0, document[end])
            if not around:
                return
            position, end = end + 1, around.pop()
            continue
        kind = document[position]
        begin = document.find(0, position + 1, end) + 1
        if not begin:
            raise _Found(position, "the name of an element does not end", "a NUL byte", "none")
        size, nested = FIXED_SIZES.get(kind), 0
        if size is None:
            size, nested = _inner(document, kind, begin, end)
        if size > end - begin:
            raise _Found(begin, "an element is longer than the document around it", f"at most {end - begin}", size)
        if nested:
            around.append(end)
            position, end = nested + _LENGTH.size, begin + size - 1
        else:
            position = begin + size


def _inner(document: bytes, kind: int, begin: int, end: int) -> tuple[int, int]:
    """Size of the value at `begin` [bytes], and where the document in it begins; 0: it has none."""
    if kind == _REGEX:
        options = document.find(0, begin, end) + 1
        stop = document.find(0, options, end) + 1 if options else 0
        _require(stop > 0, begin, "a regular expression does not end", "two NUL bytes", "fewer")
        return stop - begin, 0
    if kind not in _MEASURED:
        raise _Found(begin, "a type of element that BSON does not know", "0x01..0x13, 0x7f, 0xff", hex(kind))
    _require(end - begin >= _LENGTH.size, begin, "a length is cut off", _LENGTH.size, end - begin)
    length: int = _LENGTH.unpack_from(document, begin)[0]
    if kind in _DOCUMENTS:
        _require(length >= MIN_DOCUMENT, begin, "impossible length of a document", MIN_DOCUMENT, length)
        return length, begin
    if kind == _BINARY:
        _require(length >= 0, begin, "impossible length of binary data", 0, length)
        return _LENGTH.size + 1 + length, 0
    if kind in _STRINGS or kind == _DB_POINTER:
        _check_string(document, begin, length, end)
        return _LENGTH.size + length + (_OBJECT_ID_BYTES if kind == _DB_POINTER else 0), 0
    code = begin + _LENGTH.size
    room = f"{2 * _LENGTH.size + 1 + MIN_DOCUMENT}..{end - begin}"
    _require(2 * _LENGTH.size < length <= end - begin, begin, "impossible length of code with a scope", room, length)
    size: int = _LENGTH.unpack_from(document, code)[0]
    _check_string(document, code, size, begin + length)
    scope = code + _LENGTH.size + size
    left = begin + length - scope
    got: int = _LENGTH.unpack_from(document, scope)[0] if left >= MIN_DOCUMENT else left
    _require(MIN_DOCUMENT <= got == left, scope, "impossible length of a scope", max(left, MIN_DOCUMENT), got)
    return length, scope


def _check_string(document: bytes, begin: int, length: int, end: int) -> None:
    room = end - begin - _LENGTH.size
    if not 1 <= length <= room:
        raise _Found(begin, "impossible length of a string", f"1..{room}", length)
    last = document[begin + _LENGTH.size + length - 1]
    if last:
        raise _Found(begin, "a string does not end with a NUL byte", 0, last)


def _require(holds: bool, offset: int, what: str, expected: object, got: object) -> None:
    if not holds:
        raise _Found(offset, what, expected, got)
