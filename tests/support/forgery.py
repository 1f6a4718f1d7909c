"""Changing a stored backup the way somebody would who can write to the bucket, and knows every checksum."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson

from flows.core.archive import ArchiveReader, ArchiveWriter, Batch, PreludeEntry
from flows.core.manifest import Manifest, SegmentEntry
from flows.core.names import Namespace
from flows.core.tally import Content, Tally, Totals, combine
from tests.support.samples import Sink

Change = Callable[[Namespace, bytes], bytes]  # a document to another one
ChangeEntry = Callable[[PreludeEntry], PreludeEntry | None]  # what the prelude says of a collection; None: nothing
RECOMPUTED = ("neither digest", "digest of the segment", "both digests")


@dataclasses.dataclass
class Forger:
    """One backup of a single segment, not encrypted, as files below a folder.

    Args:
        folder: Of the plan's store.
        manifest: As it was stored.
    """

    folder: Path
    manifest: Manifest

    def forge(
        self,
        *,
        document: Change = lambda _, document: document,
        entry: ChangeEntry = lambda entry: entry,
        recomputed: str = "both digests",
        left_out: tuple[str, ...] = (),
    ) -> None:
        """Write archive and manifest anew. Length, SHA-256, CRC and counts are always those of the new archive.

        Args:
            document: Changes documents.
            entry: Changes what the archive says of a collection, and not what the manifest says.
            recomputed: Which content digests of the manifest are those of the new archive: one of `RECOMPUTED`.
            left_out: Namespaces of which the archive has nothing any more.
        """
        (segment,) = self.manifest.segments
        path = self.folder / self.manifest.segment_key(segment)
        archive, totals = self._archive(gzip.decompress(path.read_bytes()), document, entry, left_out)
        stored = gzip.compress(archive, mtime=0)
        path.write_bytes(stored)
        before = {item.namespace: item.totals for item in segment.entries}
        if recomputed == "neither digest":
            totals = {name: dataclasses.replace(new, digest=before[name].digest) for name, new in totals.items()}
        segment = dataclasses.replace(
            segment,
            bytes=len(stored),
            archive_bytes=len(archive),
            sha256=hashlib.sha256(stored).hexdigest(),
            entries=tuple(
                SegmentEntry(item.namespace, totals.get(item.namespace, item.totals)) for item in segment.entries
            ),
        )
        records = self.manifest.namespaces
        if recomputed == "both digests":
            contents: dict[Namespace, Content] = {name: combine([new]) for name, new in totals.items()}
            records = tuple(
                dataclasses.replace(record, content=contents.get(record.data_namespace, record.content))
                for record in records
            )
        self.write(dataclasses.replace(self.manifest, segments=(segment,), namespaces=records))

    def write(self, manifest: Manifest) -> None:
        """Put a manifest in the place of the one that is there."""
        (self.folder / manifest.key).write_bytes(manifest.to_json())

    def _archive(
        self, data: bytes, document: Change, entry: ChangeEntry, left_out: tuple[str, ...]
    ) -> tuple[bytes, dict[Namespace, Totals]]:
        reader = ArchiveReader(io.BytesIO(data))
        kept = [item for item in reader.entries if str(item.namespace) not in left_out]
        entries = [changed for item in kept if (changed := entry(item)) is not None]
        documents: dict[Namespace, list[bytes]] = {}
        for event in reader:
            found = documents.setdefault(event.namespace, [])
            if isinstance(event, Batch):
                found += [document(event.namespace, one) for one in event.documents()]
        sink, totals = Sink(), {}
        writer = ArchiveWriter(sink, reader.header, entries)
        for name, every in documents.items():
            if str(name) in left_out:
                continue
            writer.begin(name)
            writer.write(b"".join(every))
            writer.end()
            tally = Tally()
            tally.add(b"".join(every))
            totals[name] = tally.totals()
        writer.finish()
        return bytes(sink.data), totals


def with_field(identifier: Any, name: str, value: Any) -> Change:
    """Set a field of the document with this `_id`, so that its length stays: the value is of the same type and size."""

    def change(_: Namespace, document: bytes) -> bytes:
        fields = bson.decode(document)
        if fields["_id"] != identifier or name not in fields:
            return document
        changed = bson.encode({**fields, name: value})
        assert len(changed) == len(document)
        return changed

    return change
