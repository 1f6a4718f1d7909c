"""One backup-shaped use of a store, at each provider as its documentation and its users describe it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.core.errors import ObjectExists, StoredWrongly, StoreError
from flows.storage.profiles import PROFILES
from flows.storage.s3 import S3Store
from flows.storage.transfer import confirm_stored, fetch_segment
from tests.storage.conftest import MIB, Emulated
from tests.storage.contract import file_with, sha
from tests.storage.test_probe import left
from tests.support.fault_proxy import DROP_ANSWER, answer, cut_answer, status

EACH = pytest.mark.parametrize("emulated", PROFILES, indirect=True)
REFUSED = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>a fault made by a test</Message></Error>"
SIZES = {"segment-00000": 100, "segment-00001": 5 * MIB, "segment-00002": 10 * MIB + 7}


def store_and_confirm(store: S3Store, folder: Path, key: str, data: bytes) -> str:
    path = file_with(folder, data, Path(key).name)
    stored = store.put_file(key, path)
    assert stored.size == len(data)
    return confirm_stored(store, key, path, sha256=sha(data), size=len(data), progress=lambda _: None)


@EACH
def test_a_backup_is_stored_listed_read_and_removed(emulated: Emulated, tmp_path: Path) -> None:
    store = emulated.store()
    store.put("plan/backups/.probe", b"probe")
    assert store.get("plan/backups/.probe", limit=10) == b"probe"
    assert store.delete(["plan/backups/.probe"]) == ()

    parts = {f"plan/backups/b1/{name}": os.urandom(size) for name, size in SIZES.items()}
    how = {key: store_and_confirm(store, tmp_path, key, data) for key, data in parts.items()}
    manifest = "plan/backups/b1/manifest.json"
    store.put(manifest, b"{}", if_absent=True)
    with pytest.raises(ObjectExists):
        store.put(manifest, b"other", if_absent=True)

    assert {item.key: item.size for item in store.list("plan")} == {
        **{key: len(data) for key, data in parts.items()},
        manifest: 2,
    }
    assert store.get(manifest, limit=100) == b"{}"
    for key, data in parts.items():
        fetch_segment(store, key, tmp_path / "back", sha256=sha(data), size=len(data), progress=lambda _: None)
        assert (tmp_path / "back").read_bytes() == data
    expected = {"aws": ["store checksum"] * 3, "r2": ["store checksum", "store checksum", "read back"]}
    assert list(how.values()) == expected.get(emulated.name, ["read back"] * 3)

    store_and_confirm(store, tmp_path, "plan/backups/b1/segment-00002", b"sent again")  # as a repeated stage does
    assert store.delete([manifest]) == ()
    assert store.delete([item.key for item in store.list("plan/backups/b1")]) == ()
    assert left(emulated.server) == []


@EACH
def test_an_upload_that_a_crash_left_is_found_and_aborted(emulated: Emulated) -> None:
    store, where = emulated.store(), emulated.store().folder.at("plan/backups/b1/segment-00000")
    upload = store.folder.client.create_multipart_upload(**where)["UploadId"]
    found = list(store.uploads("plan/backups"))
    if emulated.name == "minio":  # which aborts them itself, after a day
        assert found == []
        store.folder.client.abort_multipart_upload(**where, UploadId=upload)
    else:
        assert [(item.key, item.upload_id) for item in found] == [("plan/backups/b1/segment-00000", upload)]
        store.abort(found[0])
        store.abort(found[0])
    assert left(emulated.server) == []


@EACH
def test_an_upload_that_fails_leaves_nothing_and_goes_the_second_time(emulated: Emulated, tmp_path: Path) -> None:
    store, data = emulated.store(), os.urandom(6 * MIB)
    path = file_with(tmp_path, data)
    # Before the rules of the provider, which are asked one after the other.
    emulated.first("PUT partNumber=2", times=2, action=status(503, "SlowDown", retry_after="1"))
    with pytest.raises(StoreError) as caught:
        store.put_file("plan/segment", path)
    assert caught.value.retryable
    assert caught.value.facts["retry_after"] == "1"
    assert left(emulated.server) == []
    # And one that is refused at its end, in the body of an answer whose status says that all is well.
    emulated.first("POST uploadId=", times=2, action=answer(200, REFUSED))
    with pytest.raises(StoreError) as caught:
        store.put_file("plan/segment", path)
    assert caught.value.retryable
    assert left(emulated.server) == []
    store.put_file("plan/segment", path)
    store.confirm("plan/segment", path=path, sha256=sha(data), size=len(data))


@EACH
def test_answers_that_are_lost_or_cut_do_no_harm(emulated: Emulated, tmp_path: Path) -> None:
    store, data = emulated.store(), os.urandom(6 * MIB)
    emulated.first("PUT partNumber=1", action=DROP_ANSWER)
    store_and_confirm(store, tmp_path, "plan/segment", data)
    emulated.first("GET plan/segment", action=cut_answer(MIB + 1))
    assert store.download("plan/segment", tmp_path / "out", size=len(data)) == sha(data)
    emulated.first("POST ?delete", action=DROP_ANSWER)
    assert store.delete(["plan/segment"]) == ()
    assert left(emulated.server) == []


@pytest.mark.parametrize("emulated", ["r2", "b2", "spaces", "minio"], indirect=True)
def test_a_provider_that_refuses_the_checksums_of_the_sdk_says_so_to_the_profile_of_aws(
    emulated: Emulated, tmp_path: Path
) -> None:
    store = emulated.store(profile="aws")
    for write in (lambda: store.put("a", b"1"), lambda: store.put_file("a", file_with(tmp_path, bytes(6 * MIB)))):
        with pytest.raises((StoreError, StoredWrongly)) as caught:
            write()
        assert "Set `provider` in the store's block to who runs it, or to `other`" in caught.value.hint
    assert left(emulated.server) == []


@pytest.mark.parametrize("emulated", ["r2"], indirect=True)
def test_parts_of_unequal_size_are_what_a_provider_refuses(emulated: Emulated) -> None:
    """That the emulation would notice."""
    store = emulated.store()
    where = store.folder.at("plan/segment")
    upload = store.folder.client.create_multipart_upload(**where)["UploadId"]
    client = store.folder.client
    parts = []
    for number, body in enumerate((bytes(5 * MIB), bytes(6 * MIB), b"end"), start=1):
        sent = client.upload_part(**where, UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    with pytest.raises(client.exceptions.ClientError, match="InvalidPart"):
        client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
