"""A store as a folder on this machine, to be looked at: a copy of a bucket, or the folder that a server serves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from flows.core.errors import FormatError, ObjectMissing, StoreDenied, StoreError
from flows.storage.store import StoredObject, checked_key, checked_prefix


class FolderStore:
    """Files below a folder as objects, see `ReadableStore`.

    The time of a file stands for that of its object, so a copy has to keep times: results of verifications that are
    older than what they are about do not count.

    Args:
        folder: What the prefix of the store is in the bucket: the folder that holds those of the plans.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def location(self) -> str:
        """See `ReadableStore.location`."""
        return str(self._folder)

    def get(self, key: str, *, limit: int) -> bytes:
        """See `ReadableStore.get`."""
        path = self._folder / checked_key(key)
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise ObjectMissing("no object at this key", store=self.location, key=key) from error
        except OSError as error:
            raise _denied(error, self.location) from error
        if len(data) > limit:
            raise FormatError("object is too large for its kind", store=self.location, key=key, limit=limit)
        return data

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """See `ReadableStore.list`."""
        if not self._folder.is_dir():
            raise StoreError(
                "there is no such folder, or it may not be read",
                hint="Give the folder that holds the folder of the plan, as it is below the prefix of the store.",
                store=self.location,
            )
        try:
            yield from self._walk(self._folder / checked_prefix(prefix))
        except OSError as error:
            raise _denied(error, self.location) from error

    def _walk(self, folder: Path) -> Iterator[StoredObject]:
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return  # also one that is removed just now
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                found = entry.stat(follow_symlinks=False)
                key = Path(entry.path).relative_to(self._folder).as_posix()
                yield StoredObject(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _denied(error: OSError, location: str) -> StoreDenied:
    return StoreDenied(
        "the folder cannot be read",
        hint="Let the user that runs this read the folder and all that is in it.",
        store=location,
        reason=error.strerror,
    )
