"""S3 servers: rclone over a folder, which keeps no checksums, and moto, which does what AWS does."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from flows.storage.options import StoreOptions
from flows.storage.profiles import PROFILES, ProviderProfile
from flows.storage.s3 import S3Store, client_config
from tests.support.fault_proxy import Action, FaultProxy, Match
from tests.support.providers import behave_like

MIB = 1024 * 1024
ACCESS_KEY, SECRET_KEY = "test-access-key", "test-secret-key"


@dataclass(frozen=True)
class Server:
    """An S3 server on this machine, and a new bucket in it."""

    host: str
    port: int
    profile: ProviderProfile
    bucket: str
    folder: Path | None  # where its objects are files

    def client(
        self,
        endpoint: str | None = None,
        *,
        secret: str = SECRET_KEY,
        profile: str | None = None,
        more: Config | None = None,
    ):
        config = client_config(PROFILES[profile] if profile else self.profile, connect_timeout=5, read_timeout=20)
        return boto3.client(
            "s3",
            endpoint_url=endpoint or f"http://{self.host}:{self.port}",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=secret,
            region_name=self.profile.region,
            config=config.merge(more) if more else config,
        )

    def store(
        self,
        prefix: str = "backups",
        endpoint: str | None = None,
        *,
        profile: str | None = None,
        more: Config | None = None,
        **options,
    ) -> S3Store:
        client, chosen = self.client(endpoint, profile=profile, more=more), PROFILES.get(profile or "", self.profile)
        return S3Store(client, self.bucket, prefix, chosen, StoreOptions(**options), part_bytes=5 * MIB)


@pytest.fixture(scope="session")
def rclone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    folder = tmp_path_factory.mktemp("rclone")
    binary = Path(sys.executable).parent / "rclone"
    command = [binary, "serve", "s3", folder, "--addr", "127.0.0.1:0", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
    command += ["--config", "/dev/null"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    port = next(
        int(found[1]) for line in process.stderr if (found := re.search(r"server on \[http://[^:]*:(\d+)/", line))
    )
    # It logs every folder that it cannot remove, and would stop when nobody empties the pipe.
    drain = threading.Thread(target=sys.stderr.writelines, args=(process.stderr,))
    drain.start()
    yield port, folder
    process.terminate()
    process.wait(timeout=20)
    drain.join()
    process.stderr.close()


@pytest.fixture
def rclone(rclone_server: tuple[int, Path]) -> Server:
    port, folder = rclone_server
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    server = Server("127.0.0.1", port, PROFILES["other"], bucket, folder / bucket)
    server.client().create_bucket(Bucket=bucket)  # it would not see a new folder for minutes
    return server


@pytest.fixture
def moto(moto_port: int) -> Server:
    server = Server("127.0.0.1", moto_port, PROFILES["aws"], f"bucket-{uuid.uuid4().hex[:8]}", None)
    server.client().create_bucket(Bucket=server.bucket)
    return server


@pytest.fixture
def locking(moto: Server) -> Server:
    """A bucket with Object Lock."""
    server = dataclasses.replace(moto, bucket=f"{moto.bucket}-locked")
    server.client().create_bucket(Bucket=server.bucket, ObjectLockEnabledForBucket=True)
    return server


@dataclass(frozen=True)
class Emulated:
    """The store of a provider, as far as a proxy in front of another server can be one."""

    server: Server
    proxy: FaultProxy

    @property
    def name(self) -> str:
        return self.server.profile.name

    def store(self, *, profile: str | None = None, **options) -> S3Store:
        return self.server.store(endpoint=self.proxy.url, profile=profile, **options)

    def first(self, match: Match, *, times: int | None = 1, action: Action) -> None:
        """A fault that comes before the rules of the provider."""
        self.proxy.fail(match, times=times, action=action, first=True)


@pytest.fixture
def emulated(request: pytest.FixtureRequest) -> Iterator[Emulated]:
    """The store of the provider whose name is the parameter of a test."""
    name: str = request.param
    server: Server = request.getfixturevalue({"other": "rclone", "minio": "locking"}.get(name, "moto"))
    if name == "b2":
        server.client().put_bucket_versioning(Bucket=server.bucket, VersioningConfiguration={"Status": "Enabled"})
    with FaultProxy(server.host, server.port) as proxy:
        behave_like(name, proxy)
        yield Emulated(dataclasses.replace(server, profile=PROFILES[name]), proxy)
