"""Local files that objects come from and go to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from flows.core.errors import ConfigurationError
from flows.core.spool import spool_errors
from flows.storage.store import READ_BYTES, Progress, StoredObject


@contextmanager
def new_file(path: Path) -> Iterator[Callable[[bytes], None]]:
    """A file that only its owner may read, as the function that appends to it. It is removed if the block raises.

    Raises:
        SpoolError: The file exists, or cannot be created or written.
    """
    with spool_errors(path):
        # O_EXCL: a file left by someone else could be readable by them, or be a link to somewhere else.
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        yield lambda data: _write_all(file, data, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)


def read_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, a bounded number at a time.

    Raises:
        SpoolError: The file cannot be read.
    """
    with spool_errors(path):
        file = path.open("rb")
    with file:
        while True:
            with spool_errors(path):
                chunk = file.read(READ_BYTES)
            if not chunk:
                return
            yield chunk


def file_size(path: Path) -> int:
    """Size [bytes].

    Raises:
        SpoolError: There is no such file.
    """
    with spool_errors(path):
        return path.stat().st_size


def file_as_object(path: Path) -> StoredObject:
    """What a store would say of a file, if it lay in its root under its name.

    Raises:
        ConfigurationError: There is no such file, or it may not be read.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
    except OSError as error:
        raise ConfigurationError(
            "the file cannot be read",
            hint="Give the path of a file on the machine that runs this, readable for its user.",
            file=str(path),
            got=error.strerror,
        ) from error
    return StoredObject(path.name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def copy_file(source: Path, path: Path, *, progress: Progress) -> str:
    """Copy a file; gives its SHA-256 as lower-case hex.

    Raises:
        SpoolError: One of the two cannot be read or written.
    """
    digest = hashlib.sha256()
    path.unlink(missing_ok=True)  # of an earlier try
    with new_file(path) as write:
        for chunk in read_chunks(source):
            write(chunk)
            digest.update(chunk)
            progress(len(chunk))
    return digest.hexdigest()


def _write_all(file: int, data: bytes, path: Path) -> None:
    view = memoryview(data)
    with spool_errors(path):
        while view:
            view = view[os.write(file, view) :]
