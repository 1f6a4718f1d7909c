"""The private folder on the local disk where segments rest between two stages.

One folder for each run, named after it, mode 0700. The run holds a lock on a file in its folder for as long as it
lives; the kernel lets go of the lock when the process ends in whatever way, so the next run can tell a dead folder from
a living one and remove it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from flows.core.errors import SpoolError

_LOCK_NAME, _NOTE_NAME = ".lock", ".note"
# EFBIG: a file size limit of the process; EDQUOT: a quota of the user. To the operator all three are a full disk.
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


class Spool:
    """The folder of one run. Use it as a context manager; it is emptied on the way out, whatever happened."""

    def __init__(self, root: Path, run: str) -> None:
        self.root = root
        self.folder = root / run
        self._lock: int | None = None
        self._spares: dict[str, list[Path]] = {}  # by suffix, because the kinds of files differ in size

    def __enter__(self) -> Spool:
        with spool_errors(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(self.folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise SpoolError(
                "another process uses the spool folder of this run",
                hint="A run must not be executed twice at the same time; wait for the other one to end.",
                folder=str(self.folder),
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)

    def note(self, text: str) -> None:
        """Write down for whoever sweeps this folder, should the run be killed, what it was about to write elsewhere."""
        with spool_errors(self.folder):
            (self.folder / _NOTE_NAME).write_text(text, encoding="utf-8")

    def sweep(self) -> dict[str, str]:
        """Remove the folders of runs that no longer live, such as those that were killed.

        Returns:
            The note of each run whose folder was removed, empty where it had none, by its name.
        """
        removed = {}
        for folder in sorted(self.root.iterdir()):
            if folder != self.folder and folder.is_dir() and _is_dead(folder):
                note = folder / _NOTE_NAME
                removed[folder.name] = note.read_text(encoding="utf-8") if note.exists() else ""
                shutil.rmtree(folder, ignore_errors=True)
        return removed

    def require(self, needed: int) -> None:
        """Refuse to start what cannot fit.

        Args:
            needed: Space that the run may need at one time [bytes].

        Raises:
            SpoolError: Where the disk has less.
        """
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise SpoolError(
                "the spool disk has too little free space",
                hint="Free some space, set MONGO_BACKUP_SPOOL to a folder on a larger disk, "
                "or choose smaller segments or fewer in flight.",
                folder=str(self.root),
                expected=needed,
                got=free,
            )

    def release(self, path: Path) -> None:
        """Take a file that nobody needs any more, for the next one that is claimed."""
        self._spares.setdefault(path.suffix, []).append(path)

    def claim(self, path: Path) -> None:
        """Let a file that is about to be written begin as a released one of its kind, where there is one.

        To write over pages that the system holds already costs an eighth of the CPU time of new ones: measured 0.2 s
        and 1.8 s per GB. What is written has to be cut off at its end, as `written_anew` does.
        """
        with contextlib.suppress(KeyError, IndexError):
            self._spares[path.suffix].pop().replace(path)


def _is_dead(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        # Killed between making the folder and the lock, or being made right now: an empty folder harms nobody.
        return any(folder.iterdir())
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


@contextlib.contextmanager
def written_anew(path: Path) -> Iterator[FileIO]:
    """A file to be written from its start, over what it may hold; only its owner may read it.

    At the end of the block it is cut off behind the last byte written. If the block raises, it is removed.

    Raises:
        SpoolError: Also for what the operating system says of it within the block.
    """
    try:
        with spool_errors(path), FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "w") as file:
            yield file
            file.truncate()
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


@contextlib.contextmanager
def spool_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about the spool into our error."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise SpoolError(
                "the spool disk is full",
                hint="Free some space or set MONGO_BACKUP_SPOOL to a folder on a larger disk, then run again.",
                path=str(path),
            ) from error
        raise SpoolError(
            "the spool folder cannot be used",
            hint="Set MONGO_BACKUP_SPOOL to a folder that this user may write.",
            path=str(path),
            got=error.strerror,
        ) from error
