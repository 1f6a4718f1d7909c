"""Repositories in a store in memory, and stores whose user dies, that count, or that take turns."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import bson

from flows.core.manifest import Manifest
from flows.core.retention import RetentionPolicy
from flows.storage.memory import MemoryStore
from flows.storage.pruning import PruneReport, prune_repository
from flows.storage.repository import Repository
from flows.storage.store import Leftover, Lock, ObjectStore, StoredObject
from flows.storage.transfer import confirm_stored, fetch_segment
from tests.support.samples import STARTED, collection, entry, manifest, segment

INVOICES = collection("mpg.invoices")
ONE = bson.encode({"_id": 1})
DATA = b"stored"
SHA256 = hashlib.sha256(DATA).hexdigest()
NOW = STARTED + timedelta(days=30)


class Crash(BaseException):
    """Not an Exception, so that no handler can pretend to have survived it."""


class CrashingStore(MemoryStore):
    """A store whose user dies at the write of this number, before or after it took effect."""

    def __init__(self, inner: MemoryStore, crash_at: int, *, after: bool) -> None:
        super().__init__()
        vars(self).update(vars(inner))  # the same objects
        self._left = crash_at
        self._after = after

    def _write(self, act: Callable[[], object]) -> None:
        dies = self._left == 0
        self._left -= 1
        if dies and not self._after:
            raise Crash
        act()
        if dies:
            raise Crash

    def put(  # also what uploads a file
        self, key: str, data: bytes, *, if_absent: bool = False, lock_until: datetime | None = None
    ) -> None:
        self._write(lambda: super(CrashingStore, self).put(key, data, if_absent=if_absent, lock_until=lock_until))

    def delete(self, keys: Iterable[str]) -> tuple[Leftover, ...]:
        left: list[Leftover] = []
        for key in keys:  # a store deletes one after the other, and may stop anywhere
            self._write(lambda key=key: left.extend(super(CrashingStore, self).delete([key])))  # type: ignore[misc]
        return tuple(left)


def backup_at(started: datetime, segments: int = 2) -> Manifest:
    parts = [segment(i, entry(INVOICES, ONE), data=DATA, sha256=SHA256) for i in range(segments)]
    return manifest([INVOICES], parts, started=started)


def take(store: MemoryStore, made: Manifest, folder: Path) -> None:
    """The writes of a backup, in their order."""
    repository = Repository(store, made.plan)
    repository.prepare(made.backup)
    path = folder / "segment"
    path.write_bytes(DATA)
    for part in made.segments:
        key = made.segment_key(part)
        store.put_file(key, path)
        confirm_stored(store, key, path, sha256=SHA256, size=len(DATA), progress=lambda _: None)
    repository.commit(made)


def plant(store: ObjectStore, *made: Manifest) -> None:
    """Put backups into a store, as if they had been taken."""
    for one in made:
        for part in one.segments:
            store.put(one.segment_key(part), DATA)
        store.put(one.key, one.to_json())


def assert_every_listed_backup_is_whole(store: MemoryStore, folder: Path) -> list[str]:
    repository = Repository(store, "mpg")
    for backup in repository.backup_ids():
        found = repository.whole(backup)
        for part in found.segments:
            key = found.segment_key(part)
            fetch_segment(store, key, folder / "got", sha256=part.sha256, size=part.bytes, progress=lambda _: None)
    return repository.backup_ids()


def prune(
    store: ObjectStore,
    *,
    now: datetime = NOW,
    dry_run: bool = False,
    grace_hours: float = 0,
    signers: tuple[str, ...] = (),
    **rules: int,
) -> PruneReport:
    policy = RetentionPolicy(**{"days": 7, "at_least": 1, **rules})  # type: ignore[arg-type]
    repository = Repository(store, "mpg")
    return prune_repository(
        repository, policy, now=now, grace=timedelta(hours=grace_hours), dry_run=dry_run, signers=signers
    )


class CountingStore(MemoryStore):
    """Counts the requests of each kind; a listing is one for each thousand objects."""

    def __init__(self, inner: MemoryStore | None = None) -> None:
        super().__init__()
        if inner is not None:
            vars(self).update(vars(inner))
        self.requests: Counter[str] = Counter()
        self._counting = threading.Lock()

    def _count(self, kind: str, number: int = 1) -> None:
        with self._counting:
            self.requests[kind] += number

    def get(self, key: str, *, limit: int) -> bytes:
        self._count("get")
        return super().get(key, limit=limit)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, lock_until: datetime | None = None) -> None:
        self._count("put")
        super().put(key, data, if_absent=if_absent, lock_until=lock_until)

    def delete(self, keys: Iterable[str]) -> tuple[Leftover, ...]:
        self._count("delete")
        return super().delete(keys)

    def lock(self, key: str) -> Lock | None:
        self._count("lock")
        return super().lock(key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        found = list(super().list(prefix))
        self._count("list", max(1, -(-len(found) // 1000)))
        return iter(found)


class HookedStore(MemoryStore):
    """A store that calls something before each request, with its kind and its key."""

    def __init__(self, inner: MemoryStore, before: Callable[[str, str], None]) -> None:
        super().__init__()
        vars(self).update(vars(inner))
        self._before = before

    def get(self, key: str, *, limit: int) -> bytes:
        self._before("get", key)
        return super().get(key, limit=limit)

    def head(self, key: str) -> StoredObject:
        self._before("head", key)
        return super().head(key)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, lock_until: datetime | None = None) -> None:
        self._before("put", key)
        super().put(key, data, if_absent=if_absent, lock_until=lock_until)

    def delete(self, keys: Iterable[str]) -> tuple[Leftover, ...]:
        gone = list(keys)
        self._before("delete", " ".join(gone))
        return super().delete(gone)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        self._before("list", prefix)
        return iter(tuple(super().list(prefix)))


class Actor:
    """Something that works on a store in a thread of its own, one request at a time."""

    def __init__(self, store: MemoryStore, work: Callable[[MemoryStore], object]) -> None:
        self.result: object = None
        self.error: Exception | None = None
        self.done = False
        self._work = work
        self._store = HookedStore(store, self._wait)
        self._turn, self._rest = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._rest.acquire()

    def step(self) -> None:
        """Let it make one request, and go on to the next."""
        if not self.done:
            self._turn.release()
            self._rest.acquire()

    def finish(self) -> int:
        """Let it work to its end; gives the number of requests that took."""
        steps = 0
        while not self.done:
            self.step()
            steps += 1
        self._thread.join()
        return steps

    def _wait(self, *_: str) -> None:
        self._rest.release()
        self._turn.acquire()

    def _run(self) -> None:
        try:
            self.result = self._work(self._store)
        except Exception as error:  # noqa: BLE001 - whoever looks at the actor decides
            self.error = error
        finally:
            self.done = True
            self._rest.release()
