"""The spool folder: private, emptied, swept after a kill, and honest about a full disk."""

from __future__ import annotations

import multiprocessing
import signal
import stat
from pathlib import Path

import pytest

from flows.core.errors import SpoolError
from flows.core.spool import Spool, spool_errors, written_anew


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    with Spool(tmp_path / "root", "run") as spool:
        assert stat.S_IMODE(spool.root.stat().st_mode) == 0o700
        assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700


def test_it_is_emptied_on_success_and_on_failure(tmp_path: Path) -> None:
    with Spool(tmp_path, "run") as spool:
        (spool.folder / "segment").write_bytes(b"plain")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), Spool(tmp_path, "run") as spool:
        (spool.folder / "segment").write_bytes(b"plain")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def _fill_and_wait(root: Path, ready: object) -> None:
    with Spool(root, "killed") as spool:
        (spool.folder / "segment").write_bytes(b"plain")
        spool.note("what it wrote")
        ready.set()  # type: ignore[attr-defined]
        signal.pause()


def test_the_next_run_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    child = context.Process(target=_fill_and_wait, args=(tmp_path, ready))
    child.start()
    assert ready.wait(30)
    with Spool(tmp_path, "next") as spool:
        assert spool.sweep() == {}
        assert (tmp_path / "killed" / "segment").exists()
        child.kill()
        child.join()
        assert spool.sweep() == {"killed": "what it wrote"}
        assert sorted(tmp_path.iterdir()) == [spool.folder]


def test_one_folder_is_not_used_twice_at_once(tmp_path: Path) -> None:
    with Spool(tmp_path, "run"), pytest.raises(SpoolError, match="another process uses the spool folder"):
        Spool(tmp_path, "run").__enter__()


def test_what_cannot_fit_is_refused_before_it_begins(tmp_path: Path) -> None:
    with Spool(tmp_path, "run") as spool:
        spool.require(1)
        with pytest.raises(SpoolError) as caught:
            spool.require(1 << 60)
    assert caught.value.message == "the spool disk has too little free space"
    assert caught.value.facts["expected"] == 1 << 60


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    with pytest.raises(SpoolError) as caught, spool_errors(full), full.open("wb", buffering=0) as file:
        file.write(b"x")
    assert str(caught.value) == (
        f"the spool disk is full (path='{full}')\n"
        "HINT: Free some space or set MONGO_BACKUP_SPOOL to a folder on a larger disk, then run again."
    )


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SpoolError, match="the spool folder cannot be used"):
        Spool(file / "below", "run").__enter__()


def test_a_half_made_folder_without_a_lock_is_swept_only_with_content(tmp_path: Path) -> None:
    (tmp_path / "fresh").mkdir()
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "segment").touch()
    with Spool(tmp_path, "run") as spool:
        assert spool.sweep() == {"left": ""}
    assert [path.name for path in tmp_path.iterdir()] == ["fresh"]


def test_a_released_file_lends_its_space_and_none_of_its_bytes(tmp_path: Path) -> None:
    with Spool(tmp_path, "run") as spool:
        first, second, other = (spool.folder / name for name in ("0.dump", "1.dump", "1.gz"))
        first.write_bytes(b"x" * 100_000)
        used = first.stat().st_ino
        spool.release(first)
        spool.claim(other)
        assert not other.exists()
        spool.claim(second)
        with written_anew(second) as file:
            file.write(b"short")
        assert not first.exists()
        assert (second.read_bytes(), second.stat().st_ino) == (b"short", used)


def test_a_file_that_could_not_be_written_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), written_anew(path) as file:
        file.write(b"n")
        raise ZeroDivisionError
    assert not path.exists()


def test_a_spool_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    with written_anew(tmp_path / "segment"):
        pass
    assert stat.S_IMODE((tmp_path / "segment").stat().st_mode) == 0o600
