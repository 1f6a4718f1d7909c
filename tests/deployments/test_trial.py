"""What the profile `trial` of compose makes, on a MongoDB as its image leaves it, and on a real store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from deployments import embedded, trial
from flows.mongo.mongod import mongod_binary

SECRETS = {
    "trial-mongo-password": "root-password",
    "source-password": "source-password",
    "target-password": "target-password",
}


@pytest.fixture(scope="module")
def mongodb(parts: embedded.Parts) -> Iterator[str]:
    """A replica set that nobody has initiated, with access control and a user `root`."""
    alone = parts.mongod(replica_set=None, auth=("root", SECRETS["trial-mongo-password"]))
    alone.stop()
    key = parts.folder / "trial.key"
    key.touch(mode=0o600)
    key.write_text("k" * 40)
    argv = [str(mongod_binary(parts.folder / "mongod")), "--dbpath", str(parts.folder / alone.name)]
    argv += ["--bind_ip", "127.0.0.1", "--port", str(alone.port), "--replSet", "rs0", "--keyFile", str(key)]
    member = parts.process("trial-mongod", argv)
    yield f"127.0.0.1:{alone.port}"
    member.kill()


@pytest.fixture
def arguments(tmp_path: Path, mongodb: str, s3: embedded.S3Server) -> Iterator[list[str]]:
    for name, text in {**SECRETS, "s3-access-key": s3.access_key, "s3-secret-key": s3.secret_key}.items():
        (tmp_path / name).write_text(f"{text}\n")
    where = ["--mongodb", mongodb, "--s3", s3.endpoint, "--bucket", "of-trial", "--secrets", str(tmp_path)]
    yield [*where, "--megabytes", "1"]
    shutil.rmtree(s3.folder / "of-trial", ignore_errors=True)


def counts(address: str, user: str) -> dict[str, int]:
    """The documents of each collection, as a user sees them."""
    client: MongoClient[dict[str, Any]]
    password = SECRETS["source-password" if user == "backup" else "target-password"]
    with MongoClient(host=address, username=user, password=password, replicaSet="rs0") as client:
        database = client[trial.DATABASE]
        return {name: database[name].count_documents({}) for name in ("customers", "invoices", "transactions")}


def test_it_makes_what_the_example_speaks_of_and_leaves_it_the_second_time(
    arguments: list[str], mongodb: str, s3: embedded.S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trial.main(arguments) == 0, capsys.readouterr().err
    made = counts(mongodb, "backup")
    assert made["invoices"] > 100
    assert (s3.folder / "of-trial").is_dir()

    assert trial.main(arguments) == 0, capsys.readouterr().err
    assert counts(mongodb, "restore") == made


def test_a_password_that_changed_is_that_of_the_user(arguments: list[str], mongodb: str, tmp_path: Path) -> None:
    assert trial.main(arguments) == 0
    (tmp_path / "source-password").write_text("another")
    assert trial.main(arguments) == 0
    client: MongoClient[dict[str, Any]]
    with MongoClient(host=mongodb, username="backup", password="another", replicaSet="rs0") as client:
        assert trial.DATABASE in client.list_database_names()
    (tmp_path / "source-password").write_text(SECRETS["source-password"])
    assert trial.main(arguments) == 0


@pytest.mark.parametrize(
    ("secret", "content", "words"),
    [
        ("trial-mongo-password", "wrong-one", "MongoDB cannot be prepared"),
        ("s3-secret-key", "wrong-one", "the bucket cannot be made"),
        ("source-password", "", "a secret is empty"),
        ("target-password", None, "a secret cannot be read"),
    ],
)
def test_what_cannot_be_done_is_told_without_secrets(
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    secret: str,
    content: str | None,
    words: str,
) -> None:
    path = tmp_path / secret
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    assert trial.main(arguments) == 1
    told = capsys.readouterr().err
    assert told.startswith(words)
    assert "HINT: " in told
    assert "wrong-one" not in told
