"""What every object store does. A test class derives from `StoreContract` and has the fixtures `store` and `other`."""

from __future__ import annotations

import hashlib
import os
import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.core.errors import (
    ConfigurationError,
    FormatError,
    IntegrityError,
    ObjectExists,
    ObjectMissing,
    SpoolError,
    StoredWrongly,
    Truncated,
)
from flows.storage.store import ObjectStore

MIB = 1024 * 1024


class Cancelled(BaseException):
    """What a cancelled run raises; not an `Exception`, so that nothing handles it by accident."""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_with(folder: Path, data: bytes, name: str = "segment") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


class StoreContract:
    MANY = 1003  # more than a page of a listing, more than a batch of a deletion

    @pytest.fixture
    def store(self) -> ObjectStore:
        raise NotImplementedError

    @pytest.fixture
    def neighbour(self) -> ObjectStore:
        """A store in the same bucket whose prefix is that of `store` and more letters."""
        raise NotImplementedError

    def test_what_was_put_is_got(self, store: ObjectStore) -> None:
        store.put("plan/manifest.json", b"{}")
        assert store.get("plan/manifest.json", limit=2) == b"{}"

    def test_an_empty_object_is_an_object(self, store: ObjectStore, tmp_path: Path) -> None:
        store.put("plan/empty", b"")
        assert store.get("plan/empty", limit=0) == b""
        assert store.put_file("plan/empty-file", file_with(tmp_path, b"")).size == 0
        store.confirm("plan/empty-file", path=None, sha256=sha(b""), size=0)
        assert store.download("plan/empty-file", tmp_path / "out", size=0) == sha(b"")
        assert list(store.read("plan/empty")) == []

    def test_a_second_put_overwrites(self, store: ObjectStore) -> None:
        store.put("key", b"first")
        store.put("key", b"second")
        assert store.get("key", limit=100) == b"second"

    def test_if_absent_writes_once(self, store: ObjectStore) -> None:
        store.put("plan/manifest.json", b"first", if_absent=True)
        with pytest.raises(ObjectExists) as caught:
            store.put("plan/manifest.json", b"second", if_absent=True)
        assert caught.value.message == "an object is at this key already"
        assert caught.value.facts["key"] == "plan/manifest.json"
        assert store.get("plan/manifest.json", limit=100) == b"first"

    def test_a_large_object_is_refused_and_not_read(self, store: ObjectStore) -> None:
        store.put("plan/manifest.json", b"x" * 11)
        with pytest.raises(FormatError) as caught:
            store.get("plan/manifest.json", limit=10)
        assert str(caught.value) == (
            f"object is too large for its kind (store={store.location!r}, key='plan/manifest.json', limit=10, got=11)"
        )

    def test_the_start_of_an_object_is_got(self, store: ObjectStore) -> None:
        store.put("plan/segment", b"12345")
        for size, start in ((1, b"1"), (4, b"1234"), (5, b"12345"), (6, b"12345")):
            assert store.get_start("plan/segment", size=size) == start

    def test_an_empty_object_has_an_empty_start(self, store: ObjectStore) -> None:
        store.put("plan/empty", b"")
        assert store.get_start("plan/empty", size=10) == b""

    def test_a_missing_object_is_named(self, store: ObjectStore, tmp_path: Path) -> None:
        for read in (
            lambda: store.get("plan/none", limit=1),
            lambda: store.get_start("plan/none", size=1),
            lambda: store.head("plan/none"),
            lambda: list(store.read("plan/none")),
            lambda: store.download("plan/none", tmp_path / "out", size=1),
        ):
            with pytest.raises(ObjectMissing) as caught:
                read()
            assert str(caught.value).startswith(f"no object at this key (store={store.location!r}, key='plan/none'")
            assert not caught.value.retryable
            assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("size", [1, 5 * MIB, 5 * MIB + 1, 10 * MIB + 7])
    def test_a_file_comes_back_as_it_went(self, store: ObjectStore, tmp_path: Path, size: int) -> None:
        data = os.urandom(size)
        path = file_with(tmp_path, data)
        sent: list[int] = []
        received: list[int] = []
        stored = store.put_file("plan/segment", path, progress=sent.append)
        assert (stored.key, stored.size, sum(sent)) == ("plan/segment", size, size)
        assert store.confirm("plan/segment", path=path, sha256=sha(data), size=size) in {"store checksum", "read back"}
        read: list[int] = []
        how = store.confirm("plan/segment", path=None, sha256=sha(data), size=size, progress=read.append)
        assert (how, sum(read)) in {("store checksum", 0), ("read back", size)}
        back = tmp_path / "back"
        assert store.download("plan/segment", back, size=size, progress=received.append) == sha(data)
        assert back.read_bytes() == data
        assert sum(received) == size
        assert back.stat().st_mode & 0o777 == 0o600

    def test_head_gives_size_and_an_aware_time(self, store: ObjectStore) -> None:
        store.put("plan/a", b"12345")
        stored = store.head("plan/a")
        assert (stored.key, stored.size, stored.modified.tzinfo) == ("plan/a", 5, UTC)
        assert abs(datetime.now(UTC) - stored.modified) < timedelta(minutes=5)

    def test_progress_that_raises_cancels_an_upload_and_leaves_nothing(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        def cancel(count: int) -> None:
            raise Cancelled

        with pytest.raises(Cancelled):
            store.put_file("plan/segment", file_with(tmp_path, bytes(11 * MIB)), progress=cancel)
        assert list(store.list("")) == []
        assert list(store.uploads("")) == []

    def test_progress_that_raises_cancels_a_download_and_leaves_no_file(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        def cancel(count: int) -> None:
            raise Cancelled

        store.put("plan/a", b"12345")
        with pytest.raises(Cancelled):
            store.download("plan/a", tmp_path / "out", size=5, progress=cancel)
        assert not (tmp_path / "out").exists()

    def test_confirm_refuses_other_bytes_of_the_same_size(self, store: ObjectStore, tmp_path: Path) -> None:
        store.put_file("plan/segment", file_with(tmp_path, b"stored"))
        with pytest.raises(StoredWrongly) as caught:
            store.confirm("plan/segment", path=None, sha256=sha(b"wanted"), size=6)
        assert str(caught.value) == (
            "the object in the store has another SHA-256 than what was sent "
            f"(store={store.location!r}, key='plan/segment', expected={sha(b'wanted')!r}, got={sha(b'stored')!r})\n"
            "HINT: The upload is repeated; if it happens again, check the store and the disk of this machine."
        )
        assert caught.value.retryable

    @pytest.mark.parametrize("wanted", [5, 7])
    def test_confirm_refuses_another_size(self, store: ObjectStore, wanted: int) -> None:
        store.put("plan/segment", b"stored")
        with pytest.raises(StoredWrongly) as caught:
            store.confirm("plan/segment", path=None, sha256=sha(b"stored"), size=wanted)
        assert (caught.value.facts["expected"], caught.value.facts["got"]) == (wanted, 6)

    def test_confirm_refuses_an_object_that_is_not_there(self, store: ObjectStore) -> None:
        with pytest.raises(StoredWrongly) as caught:
            store.confirm("plan/segment", path=None, sha256=sha(b"x"), size=1)
        assert str(caught.value) == (
            "the store took the upload and kept nothing "
            f"(store={store.location!r}, key='plan/segment', expected=1, got='no object')\n"
            "HINT: The upload is repeated; if it happens again, check the store."
        )

    @pytest.mark.parametrize(("recorded", "kind", "word"), [(7, Truncated, "shorter"), (5, IntegrityError, "longer")])
    def test_a_download_of_another_length_is_refused(
        self, store: ObjectStore, tmp_path: Path, recorded: int, kind: type[Exception], word: str
    ) -> None:
        store.put("plan/segment", b"stored")
        with pytest.raises(kind) as caught:
            store.download("plan/segment", tmp_path / "out", size=recorded)
        assert str(caught.value) == (
            f"the object in the store is {word} than recorded "
            f"(store={store.location!r}, key='plan/segment', expected={recorded}, got=6)\n"
            "HINT: Verify the backup, and use an older one if it is damaged."
        )
        assert not (tmp_path / "out").exists()

    def test_a_download_never_overwrites_a_file(self, store: ObjectStore, tmp_path: Path) -> None:
        store.put("plan/segment", b"stored")
        out = file_with(tmp_path, b"mine", "out")
        with pytest.raises(SpoolError) as caught:
            store.download("plan/segment", out, size=6)
        assert str(caught.value) == (
            f"the spool folder cannot be used (path={str(out)!r}, got='File exists')\n"
            "HINT: Set MONGO_BACKUP_SPOOL to a folder that this user may write."
        )
        assert out.read_bytes() == b"mine"

    def test_a_file_that_is_not_there_cannot_be_put(self, store: ObjectStore, tmp_path: Path) -> None:
        with pytest.raises(SpoolError):
            store.put_file("plan/segment", tmp_path / "none")

    def test_a_listing_has_its_folder_and_nothing_beside_it(self, store: ObjectStore, neighbour: ObjectStore) -> None:
        for key in ["a/1", "a/b/2", "ab/3", "a.txt", "c"]:
            store.put(key, key.encode())
        neighbour.put("a/9", b"not ours")
        assert {stored.key for stored in store.list("a")} == {"a/1", "a/b/2"}
        assert {stored.key for stored in store.list("a/")} == {"a/1", "a/b/2"}
        assert {(stored.key, stored.size) for stored in store.list("")} == {
            (key, len(key)) for key in ["a/1", "a/b/2", "ab/3", "a.txt", "c"]
        }
        assert all(stored.modified.tzinfo is UTC for stored in store.list(""))
        assert list(store.list("none")) == []

    def test_deleting_stays_inside_the_prefix(self, store: ObjectStore, neighbour: ObjectStore) -> None:
        store.put("a/1", b"")
        neighbour.put("a/1", b"not ours")
        assert store.delete(["a/1"]) == ()
        assert neighbour.get("a/1", limit=100) == b"not ours"

    def test_deleting_twice_is_fine(self, store: ObjectStore) -> None:
        store.put("a/1", b"")
        assert store.delete(["a/1", "a/none"]) == ()
        assert store.delete(["a/1"]) == ()
        assert store.delete([]) == ()
        assert list(store.list("")) == []

    def test_more_than_a_page_is_listed_and_deleted(self, store: ObjectStore) -> None:
        keys = {f"many/{number:04}" for number in range(self.MANY)}
        for key in keys:
            store.put(key, b"")
        assert {stored.key for stored in store.list("many")} == keys
        assert store.delete(key for key in keys) == ()
        assert list(store.list("")) == []

    def test_a_key_may_have_any_letters(self, store: ObjectStore) -> None:
        names = ["Zürich/été.gz", "数据/備份", "a b+c&d%20=e", "plan/2026-03-06T04-00-00Z"]
        for name in names:
            store.put(name, b"1")
            assert store.get(name, limit=1) == b"1"
            assert store.head(name).size == 1
        assert {stored.key for stored in store.list("")} == set(names)
        for name in names:
            if "/" in name:
                assert [stored.key for stored in store.list(name.split("/", maxsplit=1)[0])] == [name]
        store.delete([stored.key for stored in store.list("")])
        assert list(store.list("")) == []

    def test_a_key_that_some_store_would_change_is_refused(self, store: ObjectStore) -> None:
        for key in ("", "/a", "a/", "a//b", "../evil", "a/../b", "./a", "a\nb", "a\x7f"):
            with pytest.raises(ConfigurationError) as caught:
                store.put(key, b"")
            assert str(caught.value) == (
                f"not a key for an object (key={key!r})\n"
                "HINT: Use names separated by single slashes, for example plan/backups."
            )
            with pytest.raises(ConfigurationError):
                store.delete([key])

    def test_a_store_without_unfinished_uploads_lists_none(self, store: ObjectStore) -> None:
        assert list(store.uploads("")) == []
        assert list(store.uploads("plan")) == []

    def test_a_full_disk_is_said_and_leaves_no_file(self, store: ObjectStore, tmp_path: Path) -> None:
        store.put("plan/segment", bytes(3 * MIB))
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, before[1]))
        try:
            with pytest.raises(SpoolError) as caught:
                store.download("plan/segment", tmp_path / "out", size=3 * MIB)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert caught.value.message == "the spool disk is full"
        assert caught.value.facts == {"path": str(tmp_path / "out")}
        assert not (tmp_path / "out").exists()
