"""What the tasks of one restore have in common: small values and the blocks to open."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from blocks import BackupStore, MongoDBTarget
from flows.core.access import Access
from flows.core.foreign import ARCHIVE_NAME
from flows.core.manifest import Manifest, SegmentRecord
from flows.tasks.run import current


@dataclass(frozen=True)
class RestoreJob:
    """One restore."""

    run: str  # id of the flow run, under which the spool folder and the stop signal are found
    target: MongoDBTarget
    store: BackupStore
    manifest: Manifest
    access: Access = field(default_factory=Access)

    def path(self, segment: SegmentRecord) -> Path:
        """Where a segment rests between its download and its load."""
        return current(self.run).spool.folder / segment.name

    def key(self, segment: SegmentRecord) -> str:
        """Where a segment is stored. That of an archive of another tool is what stands for the id of its backup."""
        return self.manifest.backup if segment.name == ARCHIVE_NAME else self.manifest.segment_key(segment)
