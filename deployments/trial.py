"""Something to try the containers on: `python -m deployments.trial`, which is what `--profile trial` of compose runs.

It makes of an empty MongoDB a replica set with two users and a small payment database, and a bucket in the store. What
is there stays, so it may run again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from deployments import payments
from flows.core.errors import BackupError, ConfigurationError, StoreUnavailable

DATABASE = "mpg"
_SECONDS = 60.0  # for a new replica set to choose its primary
_NOT_INITIATED, _USER_EXISTS = 94, 51003  # codes of MongoDB
# `restore` also backs up what it overwrites, and reads back what it has written.
_ROLES = {"backup": ["backup"], "restore": ["restore", "backup", "readWriteAnyDatabase"]}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 1 failed.

    Args:
        arguments: Those after the program's name; by default those of the process.
    """
    given = _parser().parse_args(arguments)
    try:
        names = ("trial-mongo-password", "source-password", "target-password", "s3-access-key", "s3-secret-key")
        root, source, target, access, secret = (_secret(given.secrets / name) for name in names)
        users = {"backup": source, "restore": target}
        prepare_mongodb(given.mongodb, root, users, bson_bytes=given.megabytes * 1_000_000)
        prepare_bucket(given.s3, given.bucket, access, secret)
    except BackupError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Ready: database {DATABASE} in {given.mongodb}, bucket {given.bucket} in {given.s3}.")
    return 0


def prepare_mongodb(address: str, root: str, users: dict[str, str], *, bson_bytes: int) -> None:
    """Make the replica set, the users and the database, as far as they are not there.

    Args:
        address: Host and port, by the name that others reach it by: it becomes the member's.
        root: Password of the user `root`.
        users: Passwords of the users; one that is there gets it anew.
        bson_bytes: How large the database shall be, about [bytes].

    Raises:
        BackupError: MongoDB refused something, or cannot be reached.
    """
    client: MongoClient[dict[str, Any]]
    with _mongodb_errors(address), MongoClient(
        host=address, username="root", password=root, directConnection=True, serverSelectionTimeoutMS=30_000
    ) as client:  # fmt: skip
        _initiate(client, address)
        for user, password in users.items():
            _save_user(client, user, password)
        if DATABASE not in client.list_database_names():
            payments.fill(client, DATABASE, bson_bytes=bson_bytes)


def _initiate(client: MongoClient[dict[str, Any]], address: str) -> None:
    try:
        client.admin.command("replSetGetStatus")
    except OperationFailure as error:
        if error.code != _NOT_INITIATED:
            raise
        members = [{"_id": 0, "host": address}]
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
    deadline = time.monotonic() + _SECONDS
    while not client.admin.command("hello")["isWritablePrimary"]:
        if time.monotonic() > deadline:
            raise BackupError(
                "the replica set has no primary",
                hint="Its log says why. A container that was given another name is no member any more: remove the "
                "volumes of the trial, and begin again.",
                member=address,
            )
        time.sleep(0.2)


def _save_user(client: MongoClient[dict[str, Any]], user: str, password: str) -> None:
    try:
        client.admin.command("createUser", user, pwd=password, roles=_ROLES[user])
    except OperationFailure as error:
        if error.code != _USER_EXISTS:
            raise
        client.admin.command("updateUser", user, pwd=password, roles=_ROLES[user])


def prepare_bucket(endpoint: str, bucket: str, access_key: str, secret_key: str) -> None:
    """Make a bucket, if there is none of this name.

    Raises:
        StoreUnavailable: The store refused it, or cannot be reached.
    """
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
    )
    try:
        if bucket not in (there["Name"] for there in client.list_buckets()["Buckets"]):
            client.create_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError) as error:
        raise StoreUnavailable(
            "the bucket cannot be made", hint="See the log of the store.", store=endpoint, bucket=bucket, got=str(error)
        ) from error


@contextmanager
def _mongodb_errors(address: str) -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise BackupError(
            "MongoDB cannot be prepared",
            hint="See its log. Where its volume is older than the secret, remove the volumes of the trial.",
            server=address,
            got=str(error),
        ) from error


def _secret(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(
            "a secret cannot be read",
            hint="`sh make-secrets.sh --trial` makes it.",
            file=str(path),
            got=error.strerror,
        ) from error
    if not text:
        raise ConfigurationError(
            "a secret is empty", hint="Remove it; `sh make-secrets.sh --trial` makes it.", file=str(path)
        )
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deployments.trial",
        description="Make a replica set, two users, a small database and a bucket, to try backups on.",
    )
    parser.add_argument("--mongodb", required=True, metavar="HOST:PORT", help="a MongoDB with a user `root`")
    parser.add_argument("--s3", required=True, metavar="URL", help="address of the store")
    parser.add_argument("--bucket", required=True, metavar="NAME", help="name of the bucket")
    parser.add_argument(
        "--secrets", required=True, type=Path, metavar="FOLDER", help="where the files with secrets are"
    )
    parser.add_argument("--megabytes", type=int, default=20, metavar="MB", help="size of the database [%(default)s]")
    return parser


if __name__ == "__main__":
    sys.exit(main())
