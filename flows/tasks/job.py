"""What the tasks of one backup have in common: small values and the blocks to open."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from blocks import BackupStore, MongoDBSource
from flows.core.compress import Compression
from flows.core.encryption import Protection
from flows.core.keys import backup_prefix, backup_time, segment_name
from flows.core.spool import Spool
from flows.tasks.run import current


@dataclass(frozen=True)
class Destination:
    """One of the stores that a backup goes to."""

    name: str  # as the operator knows it: of its block
    store: BackupStore
    kept: int | None = None  # `days` of the retention there

    def lock_until(self, backup: str) -> datetime | None:
        """Until when nobody can delete what is stored of a backup; None where the store does not lock."""
        return self.store.lock_until(backup_time(backup), self.kept)


@dataclass(frozen=True)
class BackupJob:
    """One backup."""

    run: str  # id of the flow run, under which the spool folder and the stop signal are found
    plan: str
    backup: str
    source: MongoDBSource
    destinations: tuple[Destination, ...]
    compression: Compression
    protection: Protection = field(default_factory=Protection)

    @property
    def spool(self) -> Spool:
        """Where segments rest."""
        return current(self.run).spool

    def archive_path(self, index: int) -> Path:
        """Where the archive of a segment rests before it is compressed."""
        return self.spool.folder / f"segment-{index:05d}.dump"

    def packed_path(self, index: int) -> Path:
        """Where a segment rests as it will be stored."""
        return self.spool.folder / self._name(index)

    def key(self, index: int) -> str:
        """Where a segment is stored."""
        return backup_prefix(self.plan, self.backup) + self._name(index)

    def _name(self, index: int) -> str:
        return segment_name(index, self.compression.value, encrypted=bool(self.protection.recipients))
