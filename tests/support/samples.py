"""Values that several tests start from."""

from __future__ import annotations

from datetime import UTC, datetime

from flows.core.archive import ArchiveHeader, ArchiveWriter, PreludeEntry
from flows.core.assemble import assemble_manifest
from flows.core.extjson import dumps_metadata
from flows.core.keys import backup_id
from flows.core.manifest import Manifest, SegmentEntry, SegmentRecord
from flows.core.names import Namespace
from flows.core.source import ClusterTime, CollectionInfo, Kind, SourceIdentity
from flows.core.tally import Tally

STARTED = datetime(2026, 3, 6, 4, 0, 0, tzinfo=UTC)
SOURCE = SourceIdentity("6.0.5", "replica set", "rs0", "65e7f0000000000000000001")


def collection(name: str, kind: Kind = Kind.COLLECTION, *, capped: bool = False) -> CollectionInfo:
    """A namespace as a source would list it."""
    namespace = Namespace.parse(name)
    metadata = dumps_metadata(
        options=None, indexes=[], uuid="ab" * 16, collection_name=namespace.collection, type=kind.value
    )
    return CollectionInfo(namespace, kind, metadata, kind.value, uuid="ab" * 16, capped=capped)


def entry(info: CollectionInfo, documents: bytes) -> SegmentEntry:
    """What a segment would say of these documents."""
    tally = Tally()
    tally.add(documents)
    return SegmentEntry(info.data_namespace, tally.totals())


def segment(index: int, *entries: SegmentEntry, data: bytes = b"stored", sha256: str = "0" * 64) -> SegmentRecord:
    """A stored object."""
    return SegmentRecord(
        name=f"segment-{index:05d}.archive.gz",
        bytes=len(data),
        sha256=sha256,
        archive_bytes=100,
        compression="gzip",
        recipients=(),
        confirmed="read back",
        entries=entries,
    )


def manifest(
    infos: list[CollectionInfo],
    segments: list[SegmentRecord],
    *,
    started: datetime = STARTED,
    plan: str = "mpg",
    at: ClusterTime | None = ClusterTime(1772769600, 7),
    identity: str | None = None,
) -> Manifest:
    """A manifest of these parts."""
    return assemble_manifest(
        plan=plan,
        backup=backup_id(started),
        source=SOURCE,
        at=at,
        collections=infos,
        segments=segments,
        users=False,
        warnings=(),
        versions={"mongo-backup-flows": "0.1.0"},
        started=started,
        finished=started,
        identity=identity,
    )


class Sink:
    """Collects what is written."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | memoryview) -> int:
        self.data += data
        return len(data)


def archive(contents: dict[CollectionInfo, bytes]) -> bytes:
    """A complete archive."""
    sink = Sink()
    entries = [PreludeEntry(info.namespace, info.metadata, info.archive_type) for info in contents]
    writer = ArchiveWriter(sink, ArchiveHeader("6.0.5", "test"), entries)
    for info, documents in contents.items():
        writer.begin(info.data_namespace)
        writer.write(documents)
        writer.end()
    writer.finish()
    return bytes(sink.data)
