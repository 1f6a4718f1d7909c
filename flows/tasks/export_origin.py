"""Where an export reads: a stored backup, or a live MongoDB. Both come as archives in the spool, one for each unit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from blocks import BackupStore, MongoDBSource
from flows.core.access import Access
from flows.core.compress import Readable
from flows.core.encryption import Identities
from flows.core.keys import backup_time
from flows.core.manifest import Manifest
from flows.core.names import Namespace
from flows.core.parquet.choice import choose, units_of
from flows.core.report import format_time
from flows.core.segments import DEFAULT_SEGMENT_MIB, MIB, SegmentPlan
from flows.core.selection import Selection
from flows.core.source import ClusterTime, Consistency, Kind
from flows.core.stored import open_segment
from flows.core.tally import Totals
from flows.mongo.dump import dump_segment
from flows.mongo.planning import SourcePlan, plan_source
from flows.storage.transfer import fetch_segment
from flows.tasks.find import check_access, find_backup

Check = Callable[..., None]  # called between batches; raises to stop


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the data before it is read."""

    plan: str  # empty for a live MongoDB
    backup: str  # id; empty for a live MongoDB
    cluster_time: ClusterTime | None
    consistency: Consistency
    data_time: datetime  # when its reading began, aware
    kinds: Mapping[Namespace, Kind]
    documents: Mapping[Namespace, int]  # of those that are known before they are read
    warnings: tuple[str, ...]

    @property
    def is_still(self) -> bool:
        """Whether it is the same however often it is read."""
        return bool(self.backup) or self.consistency is Consistency.SNAPSHOT

    @property
    def what(self) -> str:
        """For pages and logs."""
        if self.backup:
            return f"backup {self.backup} of plan {self.plan}"
        return f"a live MongoDB, read from {format_time(self.data_time)} on"


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of work: what one segment holds of the namespaces that are exported."""

    index: int
    name: str
    room: int  # [bytes] that it takes in the spool, its files of Parquet counted in
    work: int  # [bytes] of BSON, about


@dataclass(frozen=True, slots=True)
class OpenedUnit:
    """An archive, unpacked, and what its manifest or its dump says of it."""

    stream: Readable
    expected: Mapping[Namespace, Totals]


class Origin(Protocol):
    """Where an export reads."""

    @property
    def facts(self) -> Facts:
        """What is known of it."""

    def units(self, wanted: frozenset[Namespace]) -> tuple[Unit, ...]:
        """The work for some namespaces."""

    def open(self, unit: Unit, folder: Path, check: Check) -> AbstractContextManager[OpenedUnit]:
        """The archive of a unit; until the block ends it lies in a folder of the spool."""


@dataclass(frozen=True)
class StoredOrigin:
    """A backup in a store."""

    store: BackupStore
    manifest: Manifest
    access: Access

    @property
    def facts(self) -> Facts:
        """See `Origin`."""
        manifest = self.manifest
        return Facts(
            manifest.plan,
            manifest.backup,
            manifest.cluster_time,
            manifest.consistency,
            backup_time(manifest.backup),
            {record.namespace: record.kind for record in manifest.namespaces},
            {record.namespace: record.content.documents for record in manifest.namespaces},
            manifest.warnings,
        )

    def units(self, wanted: frozenset[Namespace]) -> tuple[Unit, ...]:
        """See `Origin`."""
        numbers = {segment.name: number for number, segment in enumerate(self.manifest.segments)}
        return tuple(
            Unit(numbers[segment.name], segment.name, segment.bytes + segment.archive_bytes, segment.archive_bytes)
            for segment in units_of(self.manifest, wanted)
        )

    @contextmanager
    def open(self, unit: Unit, folder: Path, check: Check) -> Iterator[OpenedUnit]:
        """See `Origin`.

        Raises:
            IntegrityError: The object is not the one that the manifest names.
        """
        segment = self.manifest.segments[unit.index]
        path, key = folder / segment.name, self.manifest.segment_key(segment)
        fetch_segment(self.store.open(), key, path, sha256=segment.sha256, size=segment.bytes, progress=check)
        try:
            with open_segment(path, segment, key=key, identity=self.access.identity) as stream:
                yield OpenedUnit(stream, {entry.namespace: entry.totals for entry in segment.entries})
        finally:
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class LiveOrigin:
    """A MongoDB, read at one point in time."""

    source: MongoDBSource
    planned: SourcePlan
    started: datetime  # aware

    @property
    def facts(self) -> Facts:
        """See `Origin`."""
        planned = self.planned
        together = planned.at is not None and not any(info.capped for info in planned.collections)
        return Facts(
            "",
            "",
            planned.at,
            Consistency.SNAPSHOT if together else Consistency.NONE,
            self.started,
            {info.namespace: info.kind for info in planned.collections},
            {},  # the server only estimates them
            planned.warnings,
        )

    def units(self, wanted: frozenset[Namespace]) -> tuple[Unit, ...]:
        """See `Origin`."""
        return tuple(
            Unit(segment.index, f"segment {segment.index}", 2 * segment.estimated_bytes, segment.estimated_bytes)
            for segment in self.planned.segments
            if any(part.collection.namespace in wanted for part in segment.parts)
        )

    @contextmanager
    def open(self, unit: Unit, folder: Path, check: Check) -> Iterator[OpenedUnit]:
        """See `Origin`.

        Raises:
            SourceUnavailable: The source goes away; the unit can be read again.
            DumpFailed: It no longer has that point in time, or a collection was dropped.
        """
        path = folder / f"segment-{unit.index:05d}.dump"
        with self.source.open() as source:
            dumped = dump_segment(
                source,
                self.planned.segments[unit.index],
                path,
                server_version=self.planned.identity.server_version,
                at=self.planned.at,
                progress=check,
            )
        try:
            with path.open("rb") as stream:
                yield OpenedUnit(stream, {entry.namespace: entry.totals for entry in dumped.entries})
        finally:
            path.unlink(missing_ok=True)


def stored_origin(
    store: BackupStore, plan: str, backup: str, before: datetime | None, identities: Identities
) -> StoredOrigin:
    """Find a backup, and see that it may be read."""
    manifest = find_backup(store, plan, backup, before)
    access = check_access(store, manifest, identities)
    return StoredOrigin(store, access.opened(manifest), access)


def live_origin(source: MongoDBSource, selection: Selection, *, started: datetime) -> LiveOrigin:
    """Plan how a MongoDB is read: what is not exported is not read either."""
    with source.open() as opened:
        planned = plan_source(opened, selection, users=False, segment_bytes=DEFAULT_SEGMENT_MIB * MIB)
    chosen, _ = choose({info.namespace: info.kind for info in planned.collections}, selection)
    segments: list[SegmentPlan] = []
    for segment in planned.segments:
        parts = tuple(part for part in segment.parts if part.collection.namespace in chosen)
        if parts:
            segments.append(SegmentPlan(len(segments), parts))
    return LiveOrigin(source, dataclasses.replace(planned, segments=tuple(segments)), started)
