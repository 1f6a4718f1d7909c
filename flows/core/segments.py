"""Cutting the work of one backup into segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from flows.core.errors import ConfigurationError
from flows.core.names import Namespace
from flows.core.source import CollectionInfo

MIB = 1024 * 1024
# Large enough that requests and tasks cost little beside the bytes, small enough that the stages of several segments
# overlap in a database of 1 GB and that a failed upload is cheap to repeat. Measured there, 64 and 256 are slower.
DEFAULT_SEGMENT_MIB = 128
# A document is at most 16 MiB and is never cut.
MIN_SEGMENT_BYTES = 16 * MIB


@dataclass(frozen=True, slots=True)
class SegmentPart:
    """One namespace in a segment, or the range of it between two `_id` values.

    The bounds are BSON documents `{_id: value}`, as the server gave them: the order of values of different types is the
    server's and is never worked out here.
    """

    collection: CollectionInfo
    lower: bytes | None = None  # inclusive; None: from the start
    upper: bytes | None = None  # exclusive; None: to the end
    estimated_bytes: int = 0


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """What one stored object will hold."""

    index: int
    parts: tuple[SegmentPart, ...] = field(default=())

    @property
    def estimated_bytes(self) -> int:
        """BSON bytes, as far as the server could tell."""
        return sum(part.estimated_bytes for part in self.parts)


def check_segment_bytes(size: int) -> int:
    """Give the segment size back if it can work.

    Raises:
        ConfigurationError: Where a single document might not fit.
    """
    if size < MIN_SEGMENT_BYTES:
        raise ConfigurationError(
            "the segment size is too small",
            hint=f"Use at least 16 MiB; {DEFAULT_SEGMENT_MIB} MiB is the default.",
            got=size,
        )
    return size


def pieces(collection: CollectionInfo, segment_bytes: int) -> int:
    """How many `_id` ranges a collection should be cut into.

    A capped collection stays whole: its order is the order of insertion, which a read by `_id` would lose.
    """
    if collection.capped or not collection.has_documents:
        return 1
    return max(1, -(-collection.bytes // segment_bytes))


def cut(
    collections: Sequence[CollectionInfo], bounds: Mapping[Namespace, Sequence[bytes]], segment_bytes: int
) -> list[SegmentPlan]:
    """Share the collections out among segments.

    Small collections share a segment, in the order given, until it is full; a collection with `bounds` gets one segment
    for each range. A database below the segment size gives exactly one segment.

    Args:
        collections: Everything that was selected; users and roles first, because an archive has to begin with them.
        bounds: For each collection to be split, ascending documents `{_id: value}` between its ranges.
        segment_bytes: How much BSON a segment should hold [bytes].
    """
    segments: list[list[SegmentPart]] = []
    shared: list[SegmentPart] = []
    for collection in collections:
        inner = bounds.get(collection.namespace, ())
        if inner:
            edges = [None, *inner, None]
            size = collection.bytes // (len(inner) + 1)
            segments += [[SegmentPart(collection, lower, upper, size)] for lower, upper in pairwise(edges)]
            continue
        part = SegmentPart(collection, estimated_bytes=collection.bytes)
        if shared and sum(p.estimated_bytes for p in shared) + part.estimated_bytes > segment_bytes:
            segments.append(shared)
            shared = []
        shared.append(part)
    if shared:
        # The shared one goes first where it holds users and roles, so that a person who restores the segments by hand,
        # in order, creates them before the data.
        segments.append(shared)
    segments.sort(key=lambda parts: not parts[0].collection.namespace.collection.startswith(("system.", "$admin.")))
    return [SegmentPlan(index, tuple(parts)) for index, parts in enumerate(segments)]
