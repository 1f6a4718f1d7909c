"""An object store in memory, for tests and examples."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from flows.core.errors import FormatError, ObjectExists, ObjectMissing
from flows.storage.files import new_file, read_chunks
from flows.storage.store import (
    BY_READING,
    READ_BYTES,
    Leftover,
    Lock,
    Obstacle,
    PendingUpload,
    Progress,
    StoredObject,
    checked_key,
    checked_prefix,
    compare,
    kept_nothing,
    wrong_length,
)


class MemoryStore:
    """Objects in a dictionary. Threads may share it.

    Args:
        prefix: As that of a bucket; two stores do not see each other's objects anyway.
        clock: Gives the time of a write, aware UTC.
    """

    def __init__(self, prefix: str = "", *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._prefix = checked_prefix(prefix)
        self._clock = clock
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._locks: dict[str, datetime] = {}
        self._mutex = threading.Lock()

    @property
    def location(self) -> str:
        """See `ObjectStore.location`."""
        return f"memory://{self._prefix}".rstrip("/")

    def put(self, key: str, data: bytes, *, if_absent: bool = False, lock_until: datetime | None = None) -> None:
        """See `ObjectStore.put`."""
        checked_key(key)
        with self._mutex:
            if if_absent and key in self._objects:
                raise ObjectExists("an object is at this key already", store=self.location, key=key)
            self._objects[key] = (bytes(data), self._clock())
        if lock_until is not None:
            self.extend_lock([key], lock_until)

    def put_file(
        self, key: str, path: Path, *, progress: Progress | None = None, lock_until: datetime | None = None
    ) -> StoredObject:
        """See `ObjectStore.put_file`."""
        checked_key(key)
        sent = bytearray()
        for chunk in read_chunks(path):
            if progress is not None:
                progress(len(chunk))
            sent += chunk
        self.put(key, bytes(sent), lock_until=lock_until)
        return self.head(key)

    def confirm(self, key: str, *, path: Path | None, sha256: str, size: int, progress: Progress | None = None) -> str:
        """See `ObjectStore.confirm`. Always by reading the stored bytes, so that the file is not needed."""
        del path
        with self._mutex:
            data = self._objects[key][0] if key in self._objects else None
        if data is None:
            raise kept_nothing(self.location, key, size)
        compare(self.location, key, what="size", expected=size, got=len(data))
        compare(self.location, key, what="SHA-256", expected=sha256, got=hashlib.sha256(data).hexdigest())
        if progress is not None:
            progress(size)
        return BY_READING

    def get(self, key: str, *, limit: int) -> bytes:
        """See `ObjectStore.get`."""
        data, _ = self._at(key)
        if len(data) > limit:
            raise FormatError(
                "object is too large for its kind", store=self.location, key=key, limit=limit, got=len(data)
            )
        return data

    def get_start(self, key: str, *, size: int) -> bytes:
        """See `ObjectStore.get_start`."""
        return self._at(key)[0][:size]

    def read(self, key: str) -> Generator[bytes, None, None]:
        """See `ObjectStore.read`."""
        data, _ = self._at(key)
        yield from (data[start : start + READ_BYTES] for start in range(0, len(data), READ_BYTES))

    def download(self, key: str, path: Path, *, size: int, progress: Progress | None = None) -> str:
        """See `ObjectStore.download`."""
        data, _ = self._at(key)
        if len(data) != size:
            raise wrong_length(self.location, key, expected=size, got=len(data))
        with new_file(path) as write:
            write(data)
            if progress is not None:
                progress(len(data))
        return hashlib.sha256(data).hexdigest()

    def head(self, key: str) -> StoredObject:
        """See `ObjectStore.head`."""
        data, modified = self._at(key)
        return StoredObject(key, len(data), modified)

    def encryption_gap(self, key: str) -> str:
        """See `ObjectStore.encryption_gap`: nothing can be asked of this store."""
        self.head(key)
        return ""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """See `ObjectStore.list`."""
        folder = checked_prefix(prefix)
        with self._mutex:
            found = [StoredObject(key, len(data), at) for key, (data, at) in self._objects.items()]
        yield from (stored for stored in sorted(found, key=lambda stored: stored.key) if stored.key.startswith(folder))

    def delete(self, keys: Iterable[str]) -> tuple[Leftover, ...]:
        """See `ObjectStore.delete`."""
        kept = []
        for key in keys:
            with self._mutex:
                until = self._locks.get(checked_key(key))
                if until is not None and until > self._clock():
                    kept.append(Leftover(key, Obstacle.LOCKED, until))
                    continue
                self._objects.pop(key, None)
                self._locks.pop(key, None)
        return tuple(kept)

    def lock(self, key: str) -> Lock | None:
        """See `ObjectStore.lock`."""
        self._at(key)
        until = self._locks.get(key)
        return Lock("governance", until) if until is not None else None

    def extend_lock(self, keys: Iterable[str], until: datetime) -> int:
        """See `ObjectStore.extend_lock`."""
        longer = 0
        for key in keys:
            self._at(key)
            with self._mutex:
                if key not in self._locks or self._locks[key] < until:
                    self._locks[key] = until
                    longer += 1
        return longer

    def uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """See `ObjectStore.uploads`. There are never any."""
        checked_prefix(prefix)
        return iter(())

    def abort(self, upload: PendingUpload) -> None:
        """See `ObjectStore.abort`."""

    def _at(self, key: str) -> tuple[bytes, datetime]:
        with self._mutex:
            if key not in self._objects:
                raise ObjectMissing("no object at this key", store=self.location, key=key)
            return self._objects[key]
