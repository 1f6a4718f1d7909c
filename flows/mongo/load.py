"""Reading a stored segment and writing its documents into a target."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from flows.core.archive import ArchiveReader, Batch, PreludeEntry
from flows.core.encryption import Identity
from flows.core.errors import DefinitionsDiffer, IntegrityError
from flows.core.manifest import SegmentRecord
from flows.core.merge import Duplicates
from flows.core.names import Namespace
from flows.core.proof import Merged
from flows.core.restore_plan import Action, RestorePlan
from flows.core.stored import open_segment
from flows.core.tally import Totals
from flows.mongo.merging import chunks, merge_chunk
from flows.mongo.target import BATCH_BYTES, BATCH_DOCUMENTS, MongoTarget

Progress = Callable[[int, int], None]  # documents, bytes since the last call; raises to stop

# Of one segment, beside the thread that unpacks it. A server takes several inserts into one collection at a time.
_WRITERS = 2
_SHOWN = 2000  # [characters] of metadata in a message


@dataclass(frozen=True, slots=True)
class Place:
    """Where the documents of one namespace go, and in which way."""

    namespace: Namespace
    duplicates: Duplicates | None = None  # None: the collection was made empty, and is the restore's own
    read_back: bool = False  # whether each batch is read again; only where there are `duplicates`
    in_order: bool = False  # the order of documents means something, as in a capped collection


@dataclass(frozen=True, slots=True)
class LoadedSegment:
    """What a segment brought into the target."""

    name: str
    documents: int
    bytes: int
    present: int  # of the documents: were there from an earlier try of the same segment
    merged: Mapping[Namespace, Merged]  # by the name in the target, where collections had documents before


def places(plan: RestorePlan, *, read_back: bool) -> dict[Namespace, Place]:
    """Where a restore puts the documents of each of the archive's namespaces.

    Args:
        plan: The restore.
        read_back: Whether what is added to a collection is read again; not where its own rule may delete it meanwhile.
    """
    return {
        item.record.data_namespace: Place(
            item.data_target,
            plan.duplicates if item.action is Action.MERGE else None,
            read_back and not item.expires,
            in_order=bool(item.metadata().options.get("capped")),
        )
        for item in plan.items
    }


def load_segment(
    target: MongoTarget,
    path: Path,
    record: SegmentRecord,
    *,
    key: str,
    identity: Identity | None,
    places: Mapping[Namespace, Place],
    described: Mapping[Namespace, str],
    users: frozenset[Namespace],
    again: bool,
    progress: Progress,
    majority: bool = True,
) -> LoadedSegment:
    """Write the documents of one segment, and hold what was read against the manifest.

    While batches are on their way to the server, the next are unpacked. No more than `_WRITERS` are held at a time.

    Args:
        target: Where to write. The collections exist already.
        path: The stored bytes, whose SHA-256 was checked.
        record: What the manifest says of them.
        key: Where they are stored, for messages.
        identity: What opens them; None where they are not encrypted.
        places: Namespaces of the archive that are wanted, and where each goes; others are read and left out.
        described: What the manifest says of options and indexes, by namespace; the archive has to say the same. What
            else is in the archive comes with it, as an oplog does.
        users: Those of the archive's namespaces whose users or roles are to be merged.
        again: An earlier try may have written a part.
        progress: Called after each batch.
        majority: Whether each batch waits for a majority of the replica set; else for the primary alone.

    Raises:
        IntegrityError: Where the archive is not what the manifest says, in options, indexes, documents, bytes, CRC or
            content, or its ciphertext was changed.
        FormatError: Where it is not an archive.
        TargetError: Where the target refuses something.
    """

    def write(place: Place, chunk: bytes, count: int) -> _Written:
        if place.duplicates is None:
            inserted = target.insert(place.namespace, chunk, count, again=again, majority=majority)
            return _Written(place, count, len(chunk), inserted.present, Merged())
        merged = Merged()
        for documents in chunks([chunk]):
            merged += merge_chunk(target, place.namespace, documents, place.duplicates, read_back=place.read_back)
        return _Written(place, count, len(chunk), 0, merged)

    documents = size = present = 0
    merged: dict[Namespace, Merged] = {}
    held: dict[Namespace, list[tuple[bytes, int]]] = {}
    totals: dict[Namespace, Totals] = {}

    def account(done: _Written) -> None:
        nonlocal documents, size, present
        documents += done.documents
        size += done.bytes
        present += done.present
        if done.place.duplicates is not None:
            merged[done.place.namespace] = merged.get(done.place.namespace, Merged()) + done.merged
        progress(done.documents, done.bytes)

    with (
        open_segment(path, record, key=key, identity=identity) as stream,
        ThreadPoolExecutor(_WRITERS, thread_name_prefix="writer") as pool,
    ):
        writing: deque[Future[_Written]] = deque()
        reader = ArchiveReader(stream)
        _compare_metadata(record, described, reader.entries)
        for event in reader:
            if not isinstance(event, Batch):
                totals[event.namespace] = event.totals
                continue
            if event.namespace in users:
                held.setdefault(event.namespace, []).extend(_chunks(event))
            if event.namespace not in places:
                continue
            place = places[event.namespace]
            for chunk, count in _chunks(event):
                while len(writing) >= (1 if place.in_order else _WRITERS):
                    account(writing.popleft().result())
                writing.append(pool.submit(write, place, chunk, count))
        while writing:
            account(writing.popleft().result())
    _compare(record, totals)
    _merge_users(target, held)
    return LoadedSegment(record.name, documents, size, present, merged)


@dataclass(frozen=True, slots=True)
class _Written:
    place: Place
    documents: int
    bytes: int
    present: int
    merged: Merged


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


def _compare_metadata(
    record: SegmentRecord, described: Mapping[Namespace, str], entries: Iterable[PreludeEntry]
) -> None:
    """A restore goes by the manifest; the official tools, years from now, by the archive."""
    for entry in entries:
        if described.get(entry.namespace, entry.metadata) != entry.metadata:
            raise DefinitionsDiffer(
                "a segment has other options or indexes for a collection than the manifest",
                hint="Restore an older backup, and look into who can write to the bucket.",
                segment=record.name,
                namespace=str(entry.namespace),
                expected=described[entry.namespace][:_SHOWN],
                got=entry.metadata[:_SHOWN],
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
