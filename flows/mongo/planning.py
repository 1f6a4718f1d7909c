"""What a backup of a source will consist of, decided before anything is read in earnest."""

from __future__ import annotations

from dataclasses import dataclass

from flows.core.names import Namespace
from flows.core.segments import SegmentPlan, check_segment_bytes, cut, pieces
from flows.core.selection import Selection
from flows.core.source import ClusterTime, CollectionInfo, SourceIdentity
from flows.mongo.source import MongoSource


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """Who is read, at which point in time, and in which segments."""

    identity: SourceIdentity
    at: ClusterTime | None
    collections: tuple[CollectionInfo, ...]
    segments: tuple[SegmentPlan, ...]
    warnings: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """BSON to be read, as far as the server can tell [bytes]."""
        return sum(segment.estimated_bytes for segment in self.segments)

    def largest(self, count: int) -> int:
        """Bytes of the largest segments together, so many of them, as far as the server can tell [bytes]."""
        return sum(sorted(segment.estimated_bytes for segment in self.segments)[-count:])

    def room(self, in_flight: int) -> int:
        """Space that a backup takes on the spool disk at one time, with so many segments in flight [bytes]."""
        return 2 * self.largest(in_flight)  # each with its compressed form beside it


def plan_source(source: MongoSource, selection: Selection, *, users: bool, segment_bytes: int) -> SourcePlan:
    """List what is selected, cut it into segments, and choose the point in time that all of them show.

    Args:
        source: The MongoDB to back up.
        selection: What to take.
        users: Whether to take users and roles too.
        segment_bytes: How much BSON a segment should hold [bytes].

    Raises:
        ConfigurationError: For a selection that cannot work.
        SourceError: Where the source cannot be read, or may not be by this user.
    """
    check_segment_bytes(segment_bytes)
    identity = source.identity()
    listing = source.listing(selection, users=users)
    bounds: dict[Namespace, list[bytes]] = {}
    for info in listing.collections:
        count = pieces(info, segment_bytes)
        if count > 1:
            bounds[info.namespace] = source.split(info, count)
    segments = cut(listing.collections, bounds, segment_bytes)
    # Last, so that the server has to keep as little history as possible.
    at = source.majority_time()
    return SourcePlan(identity, at, listing.collections, tuple(segments), listing.warnings)
