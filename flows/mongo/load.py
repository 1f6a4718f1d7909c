"""Reading a stored segment and writing its documents into a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.core.archive import ArchiveReader, Batch
from flows.core.compress import Compression, open_compressed
from flows.core.errors import IntegrityError
from flows.core.manifest import SegmentRecord
from flows.core.names import Namespace
from flows.core.tally import Totals
from flows.mongo.target import BATCH_BYTES, BATCH_DOCUMENTS, MongoTarget

Progress = Callable[[int, int], None]  # documents, bytes since the last call; raises to stop


@dataclass(frozen=True, slots=True)
class LoadedSegment:
    """What a segment brought into the target."""

    name: str
    documents: int
    bytes: int
    present: int  # of the documents: were there from an earlier try of the same segment


def load_segment(
    target: MongoTarget,
    path: Path,
    record: SegmentRecord,
    *,
    names: Mapping[Namespace, Namespace],
    users: frozenset[Namespace],
    again: bool,
    progress: Progress,
) -> LoadedSegment:
    """Write the documents of one segment, and hold what was read against the manifest.

    Args:
        target: Where to write. The collections exist already.
        path: The stored bytes, whose SHA-256 was checked.
        record: What the manifest says of them.
        names: Namespaces of the archive that are wanted, and where each goes; others are read and left out.
        users: Those of the archive's namespaces whose users or roles are to be merged.
        again: An earlier try may have written a part.
        progress: Called after each batch.

    Raises:
        IntegrityError: Where the archive is not what the manifest says, in documents, bytes, CRC or content.
        FormatError: Where it is not an archive.
        TargetError: Where the target refuses something.
    """
    documents = size = present = 0
    held: dict[Namespace, list[tuple[bytes, int]]] = {}
    totals: dict[Namespace, Totals] = {}
    with path.open("rb") as file, open_compressed(file, Compression(record.compression), name=record.name) as stream:
        for event in ArchiveReader(stream):
            if not isinstance(event, Batch):
                totals[event.namespace] = event.totals
                continue
            if event.namespace in users:
                held.setdefault(event.namespace, []).extend(_chunks(event))
            if event.namespace not in names:
                continue
            for chunk, count in _chunks(event):
                present += target.insert(names[event.namespace], chunk, count, again=again).present
                documents += count
                size += len(chunk)
                progress(count, len(chunk))
    _compare(record, totals)
    _merge_users(target, held)
    return LoadedSegment(record.name, documents, size, present)


def _chunks(batch: Batch) -> list[tuple[bytes, int]]:
    """Cut a batch where the server's limits want it; nearly always it is sent whole."""
    count = len(batch.starts)
    if count <= BATCH_DOCUMENTS and len(batch.buffer) <= BATCH_BYTES:
        return [(batch.buffer, count)]
    edges = [*batch.starts, len(batch.buffer)]
    chunks: list[tuple[bytes, int]] = []
    first = 0
    for i in range(1, count + 1):
        full = i - first >= BATCH_DOCUMENTS or (i < count and edges[i + 1] - edges[first] > BATCH_BYTES)
        if full or i == count:
            chunks.append((batch.buffer[edges[first] : edges[i]], i - first))
            first = i
    return chunks


def _compare(record: SegmentRecord, totals: Mapping[Namespace, Totals]) -> None:
    expected = {entry.namespace: entry.totals for entry in record.entries}
    if totals == expected:
        return
    for namespace in sorted(expected.keys() | totals.keys()):
        if expected.get(namespace) != totals.get(namespace):
            raise IntegrityError(
                "a segment does not hold what the manifest says",
                hint="Restore an older backup, and look into who can write to the bucket.",
                segment=record.name,
                namespace=str(namespace),
                expected=expected.get(namespace),
                got=totals.get(namespace),
            )


def _merge_users(target: MongoTarget, held: Mapping[Namespace, list[tuple[bytes, int]]]) -> None:
    """Users of all databases come from `admin.system.users`, those of one database from `<db>.$admin.system.users`."""
    grouped: dict[str | None, dict[str, list[tuple[bytes, int]]]] = {}
    for namespace, batches in held.items():
        whole = not namespace.collection.startswith("$admin.")
        name = namespace.collection.removeprefix("$admin.")
        if name != "system.version":
            grouped.setdefault(None if whole else namespace.database, {})[name] = batches
    for database, collections in grouped.items():
        target.merge_users(collections, database=database)
