"""Writing one segment of a source as an archive into a file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from flows.core.archive import ArchiveHeader, ArchiveWriter, PreludeEntry
from flows.core.assemble import achieved
from flows.core.manifest import SegmentEntry
from flows.core.segments import SegmentPart, SegmentPlan
from flows.core.source import ClusterTime, Consistency
from flows.core.spool import written_anew
from flows.core.tally import Totals
from flows.core.version import TOOL_VERSION
from flows.mongo.source import MongoSource

Progress = Callable[[int, int], None]  # documents, bytes since the last call; raises to stop


@dataclass(frozen=True, slots=True)
class DumpedSegment:
    """An archive in the spool, and what is in it."""

    index: int
    path: Path
    bytes: int  # [bytes] of the archive
    entries: tuple[SegmentEntry, ...]


def dump_segment(
    source: MongoSource,
    segment: SegmentPlan,
    path: Path,
    *,
    server_version: str,
    at: ClusterTime | None,
    progress: Progress,
) -> DumpedSegment:
    """Read the parts of a segment and write them to `path` as one complete archive.

    Documents go from the server to the file as they are. Where anything fails the file is removed: an archive cut
    off between two namespaces would look whole to every tool.

    Args:
        source: Where to read.
        segment: What to read.
        path: The file to write; anything that is there is overwritten.
        server_version: Of the source, for the archive's header.
        at: The point in time to read at; None reads what is there.
        progress: Called after each batch.

    Raises:
        SourceUnavailable: Where the source goes away; the segment can be read again.
        DumpFailed: Where reading again would not help.
        SpoolError: Where the disk is full.
    """
    header = ArchiveHeader(server_version=server_version, tool_version=TOOL_VERSION)
    prelude = [
        PreludeEntry(p.collection.namespace, p.collection.metadata, p.collection.archive_type) for p in segment.parts
    ]
    entries: list[SegmentEntry] = []
    with written_anew(path) as file:
        writer = ArchiveWriter(file, header, prelude)
        for part in segment.parts:
            together = achieved(part.collection, at) is Consistency.SNAPSHOT
            totals = _dump_part(source, part, writer, at if together else None, progress)
            entries.append(SegmentEntry(part.collection.data_namespace, totals))
        writer.finish()
        size = file.tell()
    return DumpedSegment(segment.index, path, size, tuple(entries))


def _dump_part(
    source: MongoSource, part: SegmentPart, writer: ArchiveWriter, at: ClusterTime | None, progress: Progress
) -> Totals:
    namespace = part.collection.data_namespace
    writer.begin(namespace)
    # Closed at once where anything fails: the server would go on sending.
    with contextlib.closing(_batches(source, part, at)) as batches:
        for batch in batches:
            documents = writer.write(batch)
            progress(documents, len(batch))
    source.require_same(part.collection)
    return writer.end()


def _batches(source: MongoSource, part: SegmentPart, at: ClusterTime | None) -> Generator[bytes, None, None]:
    info = part.collection
    if info.has_documents:
        yield from source.read(
            info.data_namespace,
            at=at,
            lower=part.lower,
            upper=part.upper,
            document_bytes=info.bytes // max(info.documents, 1),
        )
