"""With this project gone, `mongorestore --archive` brings back what it stored."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from blocks import BackupEncryption
from deployments import embedded
from flows.core.compress import Compression
from flows.core.encryption import Identity
from tests.flows.conftest import Repo, back_up
from tests.support import zoo
from tests.support.contents import Contents, contents

Client = MongoClient[dict[str, Any]]


@pytest.fixture(scope="module")
def empty(parts: embedded.Parts) -> Iterator[embedded.Mongod]:
    """A MongoDB of its own, that this project never wrote to."""
    mongod = parts.mongod()
    yield mongod
    mongod.stop()


@pytest.fixture
def empty_client(empty: embedded.Mongod) -> Iterator[Client]:
    client: Client
    with MongoClient(empty.uri) as client:
        yield client


@pytest.mark.parametrize(
    ("compression", "arguments"), [(Compression.GZIP, ["--gzip"]), (Compression.NONE, [])], ids=["gzip", "none"]
)
def test_mongorestore_brings_a_stored_segment_back(
    mongorestore: Path,
    empty: embedded.Mongod,
    empty_client: Client,
    zoo_database: tuple[str, Contents],
    repo: Repo,
    compression: Compression,
    arguments: list[str],
) -> None:
    # Over one document of 16 MiB the tool sits for half a minute, also with an archive of its own.
    taken = back_up(databases=["zoo"], exclude=["zoo.big"], compression=compression)

    # Without the bypass it leaves out the document that the validator of its collection would refuse, and exits 0.
    said = _mongorestore(mongorestore, empty, repo.path(taken), *arguments, "--bypassDocumentValidation")

    assert f"{zoo.DOCUMENTS - 1} document(s) restored successfully. 0 document(s) failed to restore." in said
    assert contents(empty_client, "zoo") == _without(zoo_database[1], "big")
    empty_client.drop_database("zoo")


def test_age_and_mongorestore_bring_an_encrypted_segment_back(
    age: Path,
    mongorestore: Path,
    empty: embedded.Mongod,
    empty_client: Client,
    zoo_database: tuple[str, Contents],
    repo: Repo,
    tmp_path: Path,
) -> None:
    """As FORMAT.md says: `age -d -i key.txt segment | gunzip -c | mongorestore --archive`."""
    key = Identity.generate()
    (tmp_path / "key.txt").write_text(f"{key.secret}\n")
    BackupEncryption(recipients=[Identity.generate().public, key.public]).save("no-lock-in", overwrite=True)
    taken = back_up(databases=["zoo"], exclude=["zoo.big"], encryption="no-lock-in")
    segment = repo.path(taken)
    assert segment.name == "segment-00000.archive.gz.age"

    restore = f"{mongorestore} --uri={empty.uri} --archive --bypassDocumentValidation"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{age} -d -i {tmp_path}/key.txt {segment} | gunzip -c | {restore}"],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert f"{zoo.DOCUMENTS - 1} document(s) restored successfully. 0 document(s) failed to restore." in done.stderr
    assert contents(empty_client, "zoo") == _without(zoo_database[1], "big")
    empty_client.drop_database("zoo")


def test_mongorestore_puts_a_cut_collection_together_from_its_segments(
    mongorestore: Path, empty: embedded.Mongod, empty_client: Client, mongo_client: Client, database: str, repo: Repo
) -> None:
    kinds = [lambda i: i, lambda i: f"key {i}", lambda i: ObjectId(f"{i:024x}")]
    large = mongo_client[database]["large"]
    large.insert_many([{"_id": kind(i), "padding": bytes(400_000)} for kind in kinds for i in range(30)])
    large.create_index("n")
    mongo_client[database]["small"].insert_one({"_id": 1})
    taken = back_up(databases=[database], segment_mib=16)
    segments = repo.verify(taken).segments
    assert len(segments) >= 3

    for index in range(len(segments)):
        _mongorestore(mongorestore, empty, repo.path(taken, index), "--gzip")

    assert contents(empty_client, database) == contents(mongo_client, database)


def _without(found: Contents, name: str) -> Contents:
    fields = {field: dict(getattr(found, field)) for field in ("hashes", "options", "indexes")}
    for values in fields.values():
        del values[name]
    return Contents(**fields)


def _mongorestore(tool: Path, mongod: embedded.Mongod, archive: Path, *arguments: str) -> str:
    done = subprocess.run(
        [tool, f"--uri={mongod.uri}", f"--archive={archive}", *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stderr
