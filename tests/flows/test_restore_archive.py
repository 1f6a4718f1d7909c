"""Archives that mongodump wrote come back: whole, in part, and never when they are damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from pymongo import MongoClient

from blocks import BackupIdentities
from flows.core.archive import ArchiveReader, PreludeEntry
from flows.core.compress import Compression, open_compressed
from flows.core.encryption import Identity
from flows.core.errors import (
    BackupError,
    ConfigurationError,
    FormatError,
    ObjectMissing,
    Refused,
    RestoreIncomplete,
    TargetNotEmpty,
)
from flows.core.extjson import loads_metadata
from flows.core.restore_plan import RestoreMode
from flows.core.signing import SigningKey
from flows.restore_archive import restore_archive
from flows.storage.repository import Repository
from tests.flows.conftest import Repo
from tests.support.contents import contents, uuids
from tests.support.flow_runs import run_flow

Client = MongoClient[dict[str, Any]]

GOLDEN = Path(__file__).parent.parent / "golden"
KEY = "mpg-1772769600.gz"


@pytest.fixture
def copy(mongo_client: Client, database: str) -> Iterator[str]:
    """The name of a database to restore into."""
    yield f"{database}-copy"
    mongo_client.drop_database(f"{database}-copy")


def put(repo: Repo, name: str, *, key: str = KEY) -> None:
    """Store a file of the official tools the way mgob does."""
    repo.block.open().put_file(key, GOLDEN / name)


def put_minimal(repo: Repo, *, key: str = KEY) -> None:
    """The archive that was written of MongoDB 7, as if of this server's release."""
    put_bytes(repo, (GOLDEN / "minimal.archive").read_bytes().replace(b"7.0.14", b"6.0.14"), key=key)


def put_bytes(repo: Repo, data: bytes, *, key: str = KEY) -> None:
    repo.block.open().put(key, data)


def page() -> str:
    with get_client(sync_client=True) as client:
        found = client.read_latest_artifacts()
    return str(next(artifact for artifact in found if artifact.key == "archive-restore").data)


def prelude(name: str) -> tuple[PreludeEntry, ...]:
    with (GOLDEN / name).open("rb") as file, open_compressed(file, Compression.GZIP, name=name) as stream:
        return ArchiveReader(stream).entries


def test_the_zoo_of_the_official_mongodump_comes_back(mongo_client: Client, repo: Repo, copy: str, spool: Path) -> None:
    put(repo, "zoo.archive.gz")
    expected = json.loads((GOLDEN / "zoo.expected.json").read_text())["collections"]

    report = restore_archive(KEY, rename={"zoo": copy})

    restored = contents(mongo_client, copy)
    expected.pop("system.views")  # the definitions are stored under names that hold that of the database
    hashes = {name: value for name, value in restored.hashes.items() if name != "system.views"}
    assert hashes == {name: found["md5"] for name, found in expected.items()}
    counts = {name: mongo_client[copy][name].count_documents({}) for name in expected}
    assert counts == {name: found["count"] for name, found in expected.items()}
    assert report.documents == sum(found["count"] for found in expected.values())
    metadata = {entry.namespace.collection: loads_metadata(entry.metadata) for entry in prelude("zoo.archive.gz")}
    for name, (_, options) in restored.options.items():
        if name in metadata:
            assert options == metadata[name].options, name
    for name, found in metadata.items():
        listed = {index["name"]: index["key"] for index in restored.indexes.get(name, [])}
        assert {name: dict(key) for name, key in listed.items()} == {i["name"]: i["key"] for i in found.indexes}, name
    assert len(mongo_client[copy]["view_of_view"].find().to_list()) == 3
    assert mongo_client[copy]["metrics"].count_documents({}) == 400
    assert report.namespaces == len(metadata)
    assert "Complete: what was compared is as in the manifest" in page()
    assert list(spool.iterdir()) == []


# The second names a plan of another tool that could be none of this one.
@pytest.mark.parametrize("key", ["old/before the move.dump", "MPG_prod-1772769600.archive"])
def test_a_plain_archive_under_any_key_comes_back_and_the_plan_is_shown_first(
    mongo_client: Client, repo: Repo, copy: str, key: str
) -> None:
    put_minimal(repo, key=key)

    planned = restore_archive(key, rename={"d": copy}, dry_run=True)
    assert planned.dry_run
    assert (planned.namespaces, planned.documents, planned.indexes) == (2, 2, 0)
    shown = page()
    for text in (
        f"# Restore of {key}",
        "Plan: nothing has been written",
        f"| d.c → {copy}.c | create | collection | 2 |",
        "**Warning**: collections were dumped one after the other",
        "**Warning**: mongodump keeps no counts",
    ):
        assert text in shown
    assert copy not in mongo_client.list_database_names()

    restore_archive(key, rename={"d": copy})
    assert mongo_client[copy]["c"].find().to_list() == [{"_id": 1, "x": "é"}, {"_id": 2}]
    assert sorted(mongo_client[copy].list_collection_names()) == ["c", "e"]


def test_an_oplog_is_reported_and_not_applied_and_users_stay_out(mongo_client: Client, repo: Repo, copy: str) -> None:
    put(repo, "full-oplog.archive.gz")
    users = mongo_client.admin.command("usersInfo", {"forAllDBs": True})["users"]

    report = restore_archive(KEY, databases=["shop"], rename={"shop": copy})

    assert (report.oplog_entries, report.users, report.roles) == (37, 2, 1)
    told = (
        "the archive holds an oplog of 37 entries, which is NOT applied",
        "the archive holds 2 users and 1 roles, which are NOT restored without `include_users`",
    )
    shown = page()
    for text in told:
        assert any(warning.startswith(text) for warning in report.warnings)
        assert f"* **Warning**: {text}" in shown
    assert mongo_client[copy]["orders"].count_documents({}) == 20060  # with the oplog it would be others
    assert mongo_client[copy].list_collection_names() == ["orders"]
    assert mongo_client.admin.command("usersInfo", {"forAllDBs": True})["users"] == users


@pytest.mark.parametrize(
    ("name", "users", "roles"),
    [
        ("full-oplog.archive.gz", {"admin.backup", "shop.shopper"}, {"admin.auditor"}),
        ("db-users.archive.gz", {"shop.shopper"}, set()),
    ],
)
def test_users_and_roles_come_back_when_asked_for(
    guarded_blocks: None, admin: Client, repo: Repo, name: str, users: set[str], roles: set[str]
) -> None:
    put(repo, name)
    before = _accounts(admin)

    restore_archive(KEY, target="guarded-target", include_users=True)

    after = _accounts(admin)
    assert (after[0] - before[0], after[1] - before[1]) == (users, roles)
    assert before[0] <= after[0]
    assert "those that the target lacks are added" in page()
    for database in ("shop", "audit"):
        admin.drop_database(database)
    for user in users:
        admin[user.split(".")[0]].command("dropUser", user.split(".")[1])
    for role in roles:
        admin[role.split(".")[0]].command("dropRole", role.split(".")[1])


def test_a_collection_keeps_its_uuid_when_asked_for(mongo_client: Client, repo: Repo, copy: str) -> None:
    put(repo, "db-users.archive.gz")

    restore_archive(KEY, rename={"shop": copy}, preserve_uuid=True)

    assert uuids(mongo_client, copy) == {"orders": "465718bb251742d8a331c300b66e6022"}


def test_an_archive_of_a_newer_server_is_refused(mongo_client: Client, repo: Repo, copy: str) -> None:
    put(repo, "minimal.archive")
    with pytest.raises(Refused, match="an older MongoDB than the one that was backed up"):
        restore_archive(KEY, rename={"d": copy})
    assert copy not in mongo_client.list_database_names()


def test_what_is_there_is_only_replaced_when_its_name_was_typed(mongo_client: Client, repo: Repo, copy: str) -> None:
    put_minimal(repo)
    mongo_client[copy]["c"].insert_one({"_id": "mine"})
    mongo_client[copy]["other"].insert_one({"_id": "mine too"})

    with pytest.raises(TargetNotEmpty):
        restore_archive(KEY, rename={"d": copy})
    with pytest.raises(Refused, match="was not confirmed"):
        restore_archive(KEY, rename={"d": copy}, mode=RestoreMode.REPLACE)
    assert mongo_client[copy]["c"].find().to_list() == [{"_id": "mine"}]

    restore_archive(KEY, rename={"d": copy}, mode=RestoreMode.REPLACE, confirm=copy)
    assert mongo_client[copy]["c"].count_documents({}) == 2
    assert mongo_client[copy]["other"].count_documents({}) == 1
    restore_archive(KEY, rename={"d": copy}, mode=RestoreMode.REPLACE, dry_run=True)
    assert "* **Warning**: what is overwritten is backed up first, not encrypted" in page()


def test_what_an_archive_overwrites_is_kept_encrypted_for_the_identities(
    mongo_client: Client, repo: Repo, copy: str
) -> None:
    alice = Identity.generate()
    BackupIdentities(identities=[alice.secret], trusted_signers=[SigningKey.generate().public]).save(
        "alice", overwrite=True
    )
    put_minimal(repo)
    mongo_client[copy]["c"].insert_one({"_id": "mine"})

    restore_archive(KEY, rename={"d": copy}, mode=RestoreMode.REPLACE, confirm=copy, identities="alice")

    kept = Repository(repo.block.open(), "archive-before-restore").manifest("latest")
    assert [part.recipients for part in kept.segments] == [(alice.public,)]
    restore_archive(KEY, rename={"d": copy}, mode=RestoreMode.REPLACE, dry_run=True, identities="alice")
    assert "what is overwritten is backed up first" not in page()


def _cut(data: bytes) -> bytes:
    return data[:-9]


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flipped(data: bytes) -> bytes:
    place = len(data) * 3 // 4
    return data[:place] + bytes([data[place] ^ 0x04]) + data[place + 1 :]


def _nothing(data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [_cut, _half, _flipped, _nothing])
@pytest.mark.parametrize("name", ["zoo.archive.gz", "minimal.archive"])
def test_a_damaged_archive_is_refused_and_the_target_is_not_touched(
    mongo_client: Client, repo: Repo, copy: str, spool: Path, name: str, damage: Any
) -> None:
    put_bytes(repo, damage((GOLDEN / name).read_bytes()))
    for collection in ("invoices", "c"):
        mongo_client[copy][collection].insert_one({"_id": "mine"})
    before = contents(mongo_client, copy), uuids(mongo_client, copy)

    source = name.partition(".")[0].replace("minimal", "d")
    run = run_flow(restore_archive, key=KEY, rename={source: copy}, mode=RestoreMode.REPLACE.value, confirm=copy)

    assert isinstance(run.error, BackupError)
    assert not isinstance(run.error, RestoreIncomplete)
    assert run.error.facts["key"] == KEY
    assert run.error.hint.endswith("Nothing was written.")
    assert (contents(mongo_client, copy), uuids(mongo_client, copy)) == before
    assert list(spool.iterdir()) == []


def test_an_archive_in_a_file_comes_back_and_the_file_stays(
    mongo_client: Client, repo: Repo, copy: str, tmp_path: Path
) -> None:
    file = tmp_path / "shop-1772769600.gz"
    shutil.copy(GOLDEN / "zoo.archive.gz", file)
    report = restore_archive(file=str(file), rename={"zoo": copy})
    assert file.read_bytes() == (GOLDEN / "zoo.archive.gz").read_bytes()
    restored = contents(mongo_client, copy)
    # As if it lay in a store.
    put(repo, "zoo.archive.gz", key=file.name)
    mongo_client.drop_database(copy)
    assert restore_archive(file.name, rename={"zoo": copy}) == report
    assert contents(mongo_client, copy) == restored


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "an archive to restore is one object or one file"),
        ({"key": KEY, "file": "/tmp/x.gz"}, "an archive to restore is one object or one file"),
        ({"file": "/no/such/file.gz"}, "the file cannot be read"),
        ({"file": "/"}, "the file cannot be read"),
    ],
)
def test_what_is_no_archive_at_all_is_refused(repo: Repo, parameters: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        restore_archive(**parameters)
    assert repo.proxy.requests == []


def test_what_is_not_an_archive_is_refused(repo: Repo) -> None:
    put_bytes(repo, b"%PDF-1.7 an invoice")
    with pytest.raises(FormatError, match="not a mongodump archive"):
        restore_archive(KEY)


def test_a_key_without_an_object_is_refused_with_a_hint(repo: Repo) -> None:
    with pytest.raises(ObjectMissing) as caught:
        restore_archive("mpg-1.gz")
    assert caught.value.hint == (
        "Give the key below the folder of the store; the inventory flow lists archives in its root."
    )


def test_a_name_that_no_database_can_have_is_refused_before_the_store_is_asked(repo: Repo) -> None:
    with pytest.raises(ConfigurationError, match="not a name for the database to restore into"):
        restore_archive(KEY, rename={"shop": "a b"})
    assert repo.proxy.requests == []


def test_a_database_that_the_archive_does_not_hold_is_refused(repo: Repo) -> None:
    put_minimal(repo)
    with pytest.raises(ConfigurationError) as caught:
        restore_archive(KEY, databases=["mpg"])
    assert caught.value.hint == "It holds: d."


def _accounts(client: Client) -> tuple[set[str], set[str]]:
    users = client.admin.command("usersInfo", {"forAllDBs": True})["users"]
    roles = [
        role["_id"] for name in ("admin", "shop", "audit") for role in client[name].command("rolesInfo", 1)["roles"]
    ]
    return {user["_id"] for user in users}, set(roles)
