"""What is counted while documents pass by: number, size, CRC, and a digest of the content.

The content digest of a set of documents is the sum, modulo 2**128, of the XXH3-128 of each document's BSON, as 32 hex
digits (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md). So it does not depend on the order of the
documents, can be computed again from a live collection, and the digest of a collection is the sum of those of its
segments. It finds every accident. It is no protection from a forger, and a sum of cryptographic hashes would be none
either (Wagner, "A Generalized Birthday Problem", 2002), at five times the cost; against him stands the SHA-256 of the
stored objects.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from operator import sub
from typing import Any

from fastcrc.crc64 import xz
from xxhash import xxh3_128_intdigest

from flows.core.errors import FormatError, Truncated

MIN_DOCUMENT = 5  # [bytes] an empty document: int32 length and the final NUL
MAX_DOCUMENT = 16 * 1024 * 1024  # [bytes] inclusive; more can't be read back from an archive by the official tools
DIGEST_MODULUS = 1 << 128

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Content:
    """What a set of documents is, whatever their order: equal for a collection and for a true copy of it."""

    documents: int
    bytes: int
    digest: str  # 32 hex digits, or "" where none was computed

    @classmethod
    def empty(cls) -> Content:
        """Of no documents at all."""
        return cls(0, 0, _hexadecimal(0))

    def merge(self, other: Content) -> Content:
        """The content of both sets together.

        Raises:
            FormatError: Where only one of the two has a digest: the sum would prove nothing.
        """
        if bool(self.digest) != bool(other.digest):
            raise FormatError("content with a digest and content without cannot be added")
        digest = ""
        if self.digest:
            digest = _hexadecimal(int(self.digest, 16) + int(other.digest, 16))
        return Content(self.documents + other.documents, self.bytes + other.bytes, digest)


@dataclass(frozen=True, slots=True)
class Totals:
    """A finished tally of one namespace in one archive.

    `crc` belongs to this sequence of bytes alone: it says nothing of several segments together. What can be added
    over segments is the `content`.
    """

    documents: int
    bytes: int
    crc: int  # CRC-64/XZ of all documents in their order, unsigned
    digest: str  # 32 hex digits, or "" where none was computed

    @property
    def content(self) -> Content:
        """The part that doesn't depend on the order of documents."""
        return Content(self.documents, self.bytes, self.digest)


def combine(parts: Iterable[Totals]) -> Content:
    """The content of a namespace from those of its segments, in any order."""
    contents = [part.content for part in parts]
    return reduce(Content.merge, contents) if contents else Content.empty()


class Tally:
    """A running count of documents, which are never decoded.

    Args:
        digest: Whether to compute the content digest, which costs nearly half of the time.
    """

    __slots__ = ("_digest", "bytes", "crc", "documents", "largest")

    def __init__(self, *, digest: bool = True) -> None:
        self.documents = 0
        self.bytes = 0
        self.largest = 0  # [bytes] of a single document
        self.crc = 0
        self._digest = 0 if digest else None

    def add(self, buffer: bytes | memoryview) -> int:
        """Count a buffer of whole documents, one after the other, and return how many they are.

        A buffer that is refused changes nothing.

        Raises:
            FormatError: A document's length is impossible or its last byte isn't NUL.
            Truncated: The buffer ends inside a document.
        """
        ends: list[int] = []
        stop = walk(buffer, 0, ends)
        if stop != len(buffer):
            raise misfit(buffer, stop)
        self.count(buffer, ends)
        return len(ends)

    def count(self, buffer: bytes | memoryview, ends: list[int]) -> None:
        """Count a buffer that `walk` has been over: `ends` are the ends of all its documents, the last is its own."""
        if not ends:
            return
        self.crc = xz(buffer, self.crc)
        self.documents += len(ends)
        self.bytes += len(buffer)
        self.largest = max(chain((self.largest,), map(sub, ends, chain((0,), ends))))
        if self._digest is None:
            return
        total = self._digest
        start = 0
        for end in ends:
            total += xxh3_128_intdigest(buffer[start:end])
            start = end
        self._digest = total

    @property
    def digest(self) -> str:
        """The content digest as 32 hex digits; "" for a tally that doesn't compute it."""
        return "" if self._digest is None else _hexadecimal(self._digest)

    def totals(self) -> Totals:
        """A snapshot."""
        return Totals(self.documents, self.bytes, self.crc, self.digest)


def walk(buffer: bytes | memoryview, position: int, ends: list[int]) -> int:
    """Go over whole documents by their length prefixes, from `position` on.

    The end of each is appended to `ends`. Stops, without an error, at the first place that isn't a whole and well
    framed document, which may be the end of the buffer, and returns it; `misfit` says what is wrong there.
    """
    # The hottest loop of all: nothing is checked twice, and running off the buffer is an exception, not a comparison.
    length_at = _LENGTH.unpack_from
    append = ends.append
    try:
        while True:
            (length,) = length_at(buffer, position)
            end = position + length
            if buffer[end - 1] or not MIN_DOCUMENT <= length <= MAX_DOCUMENT:
                break
            append(end)
            position = end
    except (struct.error, IndexError):
        pass
    return position


def misfit(buffer: bytes | memoryview, position: int, *, base: int = 0, namespace: str = "") -> FormatError:
    """Why no whole document starts at `position` of a buffer, as the error to raise.

    Args:
        buffer: Bytes that end where no more follow.
        position: Where `walk` stopped, before the end of the buffer.
        base: What to add to a position to get an offset that means something to the reader of the error [bytes].
        namespace: Whose documents they are, where that is known.
    """
    facts: dict[str, Any] = {"namespace": namespace} if namespace else {}
    facts["offset"] = base + position
    left = len(buffer) - position
    if left < _LENGTH.size:
        return Truncated("data ends inside a document's length", **facts, expected=_LENGTH.size, got=left)
    length: int = _LENGTH.unpack_from(buffer, position)[0]
    if not MIN_DOCUMENT <= length <= MAX_DOCUMENT:
        return FormatError(
            "impossible document length", **facts, expected=f"{MIN_DOCUMENT}..{MAX_DOCUMENT}", got=length
        )
    if left < length:
        return Truncated("data ends inside a document", **facts, expected=length, got=left)
    return FormatError("document does not end with a NUL byte", **facts, expected=0, got=buffer[position + length - 1])


def _hexadecimal(total: int) -> str:
    return f"{total % DIGEST_MODULUS:032x}"
