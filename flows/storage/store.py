"""The object store: bytes at keys.

Every key is relative to the prefix of the store. `flows.storage.s3` and `flows.storage.memory` obey this contract, and
one suite of tests asks both for all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from flows.core.errors import BackupError, ConfigurationError, IntegrityError, StoredWrongly, Truncated

Progress = Callable[[int], None]  # told of bytes as they pass; what it raises ends the transfer and reaches the caller

BY_STORE = "store checksum"
BY_READING = "read back"

READ_BYTES = 1024 * 1024  # [bytes] held in memory at a time while an object or a file is read


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in the store: its key, its size [bytes] and when it was written (aware UTC, the store's clock)."""

    key: str
    size: int
    modified: datetime
    encryption: str = ""  # by the store: `sse-s3`, `sse-kms` or `sse-c`; empty where it was not asked or does not say
    encryption_key: str = ""  # with which: for `sse-kms` its ARN, for `sse-c` its MD5 in base64; else empty


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """A multipart upload that was neither completed nor aborted: its parts cost money and no listing shows them."""

    key: str
    upload_id: str
    started: datetime


class Obstacle(StrEnum):
    """Why the data of a deleted object is still there."""

    LOCKED = "locked"  # Object Lock forbids it: nothing of the object is gone
    HIDDEN = "hidden"  # no listing shows it any more, and its versions are kept


@dataclass(frozen=True, slots=True)
class Leftover:
    """An object that was to be deleted and whose data still lives.

    Attributes:
        key: Of the object.
        why: What kept it.
        until: When the lock ends, or when a rule of the bucket removes hidden versions, aware; None where it is not
            known, or where nothing ever ends it.
    """

    key: str
    why: Obstacle
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Lock:
    """What Object Lock says of one object; it may be over."""

    mode: str  # `governance`, `compliance` or `legal hold`
    until: datetime | None  # aware; None for a legal hold, which somebody has to take off

    def holds(self, now: datetime) -> bool:
        """Whether it forbids to delete the object at a time, aware."""
        return self.until is None or self.until > now


class ReadableStore(Protocol):
    """What a look at backups needs of a store. It raises as an `ObjectStore` does."""

    @property
    def location(self) -> str:
        """Where this is, for messages: `s3://bucket/prefix`."""
        ...

    def get(self, key: str, *, limit: int) -> bytes:
        """Read a small object.

        Raises:
            ObjectMissing: No object at this key.
            FormatError: It is larger than `limit` [bytes]; nothing of it was read.
        """
        ...

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects below a folder, in no promised order. `a` and `a/` are the same folder; it never holds `ab/x`."""
        ...


class ObjectStore(ReadableStore, Protocol):
    """Bytes at keys.

    Every method raises `StoreUnavailable` where the store may answer in a minute, `StoreDenied` where the credentials
    may not, and `StoreError` for what else the store refuses. A method is safe to repeat after each of them.
    """

    def put(self, key: str, data: bytes, *, if_absent: bool = False, lock_until: datetime | None = None) -> None:
        """Write a small object.

        With `if_absent` the store itself refuses a key that is taken, where it can. Where it cannot, the key is looked
        up before the write: that is weaker, since two writers may both find it free and the later one wins.

        With `lock_until` (aware) nobody can delete it before that time.

        Raises:
            ObjectExists: With `if_absent`, when the key is taken, whatever bytes are there.
            StoreError: With `lock_until`, where the store does not lock.
        """
        ...

    def put_file(
        self, key: str, path: Path, *, progress: Progress | None = None, lock_until: datetime | None = None
    ) -> StoredObject:
        """Write a file, in parts of one size where it is large. A failed upload leaves no parts behind.

        `progress` hears of bytes from several threads, never from two at once. What is sent again is taken back
        first, so a number may be negative and the sum is right. Raising from it cancels the upload. `lock_until` is as
        for `put`.

        Raises:
            StoredWrongly: The store took the upload and does not have an object of this size and encryption afterwards.
            StoreError: With `lock_until`, where the store does not lock.
        """
        ...

    def confirm(self, key: str, *, path: Path | None, sha256: str, size: int, progress: Progress | None = None) -> str:
        """Prove that the object in the store is the bytes of this SHA-256 (hex) and size [bytes].

        Args:
            key: The object.
            path: The local file, if it is still there. Without it a checksum over the parts of an upload cannot be
                computed again, and the object is read back.
            sha256: Of all bytes, in lower-case hex.
            size: Of all bytes.
            progress: Hears of the bytes that are read back from the store.

        Returns:
            How it was proved: `store checksum` or `read back`.

        Raises:
            StoredWrongly: Something else is in the store, or nothing, or it is not encrypted as the store is asked to.
            IntegrityError: The local file itself is not these bytes.
        """
        ...

    def get_start(self, key: str, *, size: int) -> bytes:
        """Read the first bytes of an object, at most `size` [bytes], with one request.

        Raises:
            ObjectMissing: No object at this key.
        """
        ...

    def read(self, key: str) -> Generator[bytes, None, None]:
        """The bytes of an object of any size, a bounded number at a time; goes on where a broken transfer stopped.

        Nothing says that they are the right ones, or as many as there should be: the caller looks.

        Raises:
            ObjectMissing: While reading: no object at this key.
            IntegrityError: While reading: it was replaced meanwhile.
        """
        ...

    def download(self, key: str, path: Path, *, size: int, progress: Progress | None = None) -> str:
        """Read an object into a new file of mode 0600, and go on where a broken transfer stopped.

        A failed download leaves no file.

        Returns:
            The SHA-256 of what was written, in lower-case hex. The caller compares it.

        Raises:
            ObjectMissing: No object at this key.
            Truncated: The object is shorter than `size` [bytes].
            IntegrityError: It is longer, or was replaced while it was read.
            SpoolError: The file exists, or cannot be written.
        """
        ...

    def head(self, key: str) -> StoredObject:
        """Look up one object.

        Raises:
            ObjectMissing: No object at this key.
        """
        ...

    def encryption_gap(self, key: str) -> str:
        """How an object is not encrypted as this store is asked to; empty where it is, or where nothing is asked.

        Raises:
            ObjectMissing: No object at this key.
        """
        ...

    def delete(self, keys: Iterable[str]) -> tuple[Leftover, ...]:
        """Remove objects with all their versions. A key without an object is fine.

        Returns:
            The objects whose data still lives, because a lock forbids to delete it or because the credentials may hide
            objects and not delete versions. Empty where all is gone.

        Raises:
            StoreError: The store kept an object for another reason. The others of its batch are gone.
        """
        ...

    def lock(self, key: str) -> Lock | None:
        """What Object Lock says of an object; None where it has no lock, or none that the credentials may see.

        Raises:
            ObjectMissing: No object at this key.
        """
        ...

    def extend_lock(self, keys: Iterable[str], until: datetime) -> int:
        """Lock objects at least until a time (aware). No lock is ever shortened.

        Returns:
            How many locks were set or became longer.

        Raises:
            ObjectMissing: No object at one of these keys.
            StoreError: The store does not lock.
        """
        ...

    def uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """Multipart uploads below a folder that nobody finished. Nothing where the store cannot list them."""
        ...

    def abort(self, upload: PendingUpload) -> None:
        """Discard the parts of an unfinished upload. One that is gone already is fine."""
        ...


def checked_key(key: str) -> str:
    """The key itself, if every store takes it.

    Raises:
        ConfigurationError: It is empty or absolute, has an empty part or one of dots (stores over folders resolve
            those, outside of the prefix), or a control character (those do not survive the XML of a listing).
    """
    parts = key.split("/")
    if any(part in {"", ".", ".."} for part in parts) or any(ord(letter) < 32 or ord(letter) == 127 for letter in key):
        raise ConfigurationError(
            "not a key for an object", hint="Use names separated by single slashes, for example plan/backups.", key=key
        )
    return key


def checked_prefix(prefix: str) -> str:
    """A folder ending in one slash, or the empty string for the top.

    Without the slash a listing of `prod` would give the objects of `production` as well.
    """
    prefix = prefix.strip("/")
    return f"{checked_key(prefix)}/" if prefix else ""


def sha256_of(chunks: Iterable[bytes], progress: Progress | None = None) -> tuple[str, int]:
    """SHA-256 in hex and length [bytes] of what passes."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        if progress is not None:
            progress(len(chunk))
    return digest.hexdigest(), size


def compare(location: str, key: str, *, what: str, expected: str | int, got: str | int) -> None:
    """Do nothing if the store has what was sent.

    Raises:
        StoredWrongly: It does not.
    """
    if expected != got:
        raise StoredWrongly(
            f"the object in the store has another {what} than what was sent",
            hint="The upload is repeated; if it happens again, check the store and the disk of this machine.",
            store=location,
            key=key,
            expected=expected,
            got=got,
        )


def kept_nothing(location: str, key: str, size: int) -> StoredWrongly:
    """The error for an object of `size` [bytes] that was sent and is not there."""
    return StoredWrongly(
        "the store took the upload and kept nothing",
        hint="The upload is repeated; if it happens again, check the store.",
        store=location,
        key=key,
        expected=size,
        got="no object",
    )


def wrong_length(location: str, key: str, *, expected: int, got: int) -> BackupError:
    """The error for an object that is not as long [bytes] as it should be."""
    kind = Truncated if got < expected else IntegrityError
    return kind(
        f"the object in the store is {'shorter' if got < expected else 'longer'} than recorded",
        hint="Verify the backup, and use an older one if it is damaged.",
        store=location,
        key=key,
        expected=expected,
        got=got,
    )
