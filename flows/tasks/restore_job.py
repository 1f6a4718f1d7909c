"""What the tasks of one restore have in common: small values and the blocks to open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blocks import BackupStore, MongoDBTarget
from flows.core.manifest import Manifest, SegmentRecord
from flows.tasks.run import current


@dataclass(frozen=True)
class RestoreJob:
    """One restore."""

    run: str  # id of the flow run, under which the spool folder and the stop signal are found
    target: MongoDBTarget
    store: BackupStore
    manifest: Manifest

    def path(self, segment: SegmentRecord) -> Path:
        """Where a segment rests between its download and its load."""
        return current(self.run).spool.folder / segment.name
