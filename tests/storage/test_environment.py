"""The store from environment variables, and a folder as a store."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.core.errors import ConfigurationError, FormatError, ObjectMissing, StoreError
from flows.storage.environment import is_set, setting, store_from
from flows.storage.folder import FolderStore
from flows.storage.s3 import S3Store
from tests.storage.conftest import ACCESS_KEY, SECRET_KEY, Server


@pytest.fixture
def environment(rclone: Server, tmp_path: Path) -> dict[str, str]:
    """What names the bucket of a test, with its secrets in files."""
    (tmp_path / "access").write_text(f"{ACCESS_KEY}\n")
    (tmp_path / "secret").write_text(f"{SECRET_KEY}\n")
    return {
        "MONGO_BACKUP_S3_BUCKET": rclone.bucket,
        "MONGO_BACKUP_S3_PREFIX": "backups",
        "MONGO_BACKUP_S3_URL": f"http://{rclone.host}:{rclone.port}",
        "MONGO_BACKUP_S3_ACCESS_KEY_FILE": str(tmp_path / "access"),
        "MONGO_BACKUP_S3_SECRET_KEY_FILE": str(tmp_path / "secret"),
    }


def test_the_environment_opens_the_same_store_as_a_block(rclone: Server, environment: dict[str, str]) -> None:
    rclone.store().put("mpg/backups/x", b"there")
    store = store_from(environment)
    assert store.get("mpg/backups/x", limit=100) == b"there"
    assert [item.key for item in store.list("mpg")] == ["mpg/backups/x"]
    assert is_set(environment)
    assert not is_set({"MONGO_BACKUP_S3_PREFIX": "x"})


def test_a_customer_key_and_a_provider_are_taken(environment: dict[str, str]) -> None:
    key = base64.b64encode(b"k" * 32).decode()
    store = store_from({**environment, "MONGO_BACKUP_S3_PROVIDER": "b2", "MONGO_BACKUP_S3_CUSTOMER_KEY": key})
    assert isinstance(store, S3Store)
    assert (store.profile.name, store.options.customer_key) == ("b2", b"k" * 32)


@pytest.mark.parametrize(
    "wrong",
    [
        {"MONGO_BACKUP_S3_BUCKET": " "},
        {"MONGO_BACKUP_S3_SECRET_KEY_FILE": ""},
        {"MONGO_BACKUP_S3_SECRET_KEY": "both"},
        {"MONGO_BACKUP_S3_SECRET_KEY_FILE": "/nowhere"},
        {"MONGO_BACKUP_S3_URL": "s3.example"},
        {"MONGO_BACKUP_S3_PROVIDER": "acme"},
        {"MONGO_BACKUP_S3_CUSTOMER_KEY": "s3cret"},
        {"MONGO_BACKUP_S3_CUSTOMER_KEY": base64.b64encode(b"s3cret").decode()},
        {"MONGO_BACKUP_S3_PREFIX": "../up"},
    ],
)
def test_what_cannot_be_used_is_refused_and_no_secret_quoted(
    environment: dict[str, str], wrong: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        store_from({**environment, **wrong})
    assert SECRET_KEY not in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_a_setting_is_trimmed_and_may_be_missing(tmp_path: Path) -> None:
    assert setting("X", {"X": " a \n"}) == "a"
    assert setting("X", {}) == ""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="the file that X_FILE names cannot be read"):
        setting("X", {"X_FILE": str(tmp_path / "binary")})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "store"
    (place / "mpg" / "backups").mkdir(parents=True)
    (place / "mpg" / "backups" / "a.json").write_bytes(b"abc")
    (place / "mpg-other").mkdir()
    (place / "mpg-other" / "b").write_bytes(b"")
    return place


def test_a_folder_lists_and_gives_what_is_in_it(folder: Path) -> None:
    store = FolderStore(folder)
    assert [(item.key, item.size) for item in store.list("mpg/")] == [("mpg/backups/a.json", 3)]
    assert {item.key for item in store.list("")} == {"mpg/backups/a.json", "mpg-other/b"}
    assert list(store.list("nothing/there")) == []
    written = (folder / "mpg/backups/a.json").stat().st_mtime
    assert next(store.list("mpg")).modified == datetime.fromtimestamp(written, UTC)
    assert store.get("mpg/backups/a.json", limit=3) == b"abc"
    assert store.location == str(folder)


def test_a_folder_says_what_is_missing_too_large_or_outside(folder: Path) -> None:
    store = FolderStore(folder)
    for missing in ("mpg/none", "mpg", "mpg/backups/a.json/more"):
        with pytest.raises(ObjectMissing):
            store.get(missing, limit=100)
    with pytest.raises(FormatError):
        store.get("mpg/backups/a.json", limit=2)
    for outside in ("../store/mpg", "/etc/passwd"):
        with pytest.raises(ConfigurationError):
            store.get(outside, limit=100)
    with pytest.raises(StoreError, match="there is no such folder"):
        list(FolderStore(folder / "none").list(""))
