"""Putting the manifest together from what the stages of a backup returned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from flows.core.errors import DumpFailed
from flows.core.manifest import Manifest, NamespaceRecord, SegmentRecord
from flows.core.names import Namespace
from flows.core.selection import Selection
from flows.core.source import ClusterTime, CollectionInfo, Consistency, SourceIdentity
from flows.core.tally import Totals, combine


def assemble_manifest(
    *,
    plan: str,
    backup: str,
    source: SourceIdentity,
    at: ClusterTime | None,
    collections: Sequence[CollectionInfo],
    segments: Iterable[SegmentRecord],
    users: bool,
    warnings: Sequence[str],
    versions: Mapping[str, str],
    started: datetime,
    finished: datetime,
    identity: str | None = None,
    selection: Selection | None = None,
) -> Manifest:
    """Add up what the segments hold, say what consistency was achieved, and seal it where they are encrypted.

    Raises:
        DumpFailed: Where a namespace that was planned is in no segment.
    """
    ordered = tuple(sorted(segments, key=lambda segment: segment.name))
    held: dict[Namespace, list[Totals]] = {}
    for segment in ordered:
        for entry in segment.entries:
            held.setdefault(entry.namespace, []).append(entry.totals)
    records = []
    for info in collections:
        if info.data_namespace not in held:
            raise DumpFailed("a namespace that was planned is in no segment", namespace=str(info.namespace))
        records.append(
            NamespaceRecord(
                namespace=info.namespace,
                kind=info.kind,
                metadata=info.metadata,
                content=combine(held[info.data_namespace]),
                consistency=achieved(info, at),
                ages=info.ages,
            )
        )
    loose = [record.namespace for record in records if record.consistency is Consistency.NONE]
    return Manifest(
        plan=plan,
        backup=backup,
        source=source,
        consistency=Consistency.NONE if at is None else Consistency.SNAPSHOT,
        cluster_time=at,
        started=started,
        finished=finished,
        namespaces=tuple(records),
        segments=ordered,
        users=users,
        warnings=(*warnings, *_consistency_warnings(at, loose)),
        versions=dict(versions),
        identity=identity,
        selection=selection,
    ).seal()


def achieved(info: CollectionInfo, at: ClusterTime | None) -> Consistency:
    """What one namespace shows. Servers before 8.0 cannot read a capped collection at a point in time."""
    if at is None or info.capped:
        return Consistency.NONE
    return Consistency.SNAPSHOT


def _consistency_warnings(at: ClusterTime | None, loose: Sequence[Namespace]) -> list[str]:
    if at is None:
        return [
            "the source is not a replica set: collections were read one after the other, while writes went on; "
            "turn it into a replica set of one member to get consistent backups"
        ]
    if loose:
        names = ", ".join(map(str, loose[:5])) + (", …" if len(loose) > 5 else "")
        return [f"capped collections were read as they were, not at the cluster time of this backup: {names}"]
    return []
