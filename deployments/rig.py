"""What the demo and the benchmark have in common: the parts, the blocks that lead to them, and child processes.

Flows run in child processes. A process that has run one sends its log to the Prefect server until its own end, so it
has to end before the server does; and what it takes in time and memory is that of the flow alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from deployments.embedded import Mongod, Parts, PrefectServer, S3Server
from flows.core.errors import BackupError
from flows.core.report import format_duration
from flows.mongo.children import MARK

DATABASE = "payments"
_LOG_LINES = 40  # of a child that failed
_WIDTH = 80  # of a line with a time at its right


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the parts are, with the secrets of these throw-away ones."""

    mongodb: str
    endpoint: str
    bucket: str
    access_key: str
    secret_key: str

    @classmethod
    def of(cls, mongod: Mongod, s3: S3Server) -> Addresses:
        """Those of running parts."""
        return cls(mongod.uri, s3.endpoint, s3.bucket, s3.access_key, s3.secret_key)


@dataclass(frozen=True, slots=True)
class Rig:
    """The running parts, for child processes that work with them.

    Args:
        log_path: Takes what children write to standard error, which is Prefect's log lines for the most part.
    """

    parts: Parts
    server: PrefectServer
    addresses: Addresses
    log_path: Path

    def run(self, arguments: Sequence[str], told: Mapping[str, Any], *, output: int | None = None) -> str:
        """Run a Python module in a process of its own, and wait for its end.

        Args:
            arguments: Name of the module and its arguments.
            told: What the child finds with `told_by_parent`.
            output: `subprocess.PIPE` to have its standard output returned; None leaves it on the terminal.

        Raises:
            BackupError: It failed. The hint has the end of its log.
        """
        with self.log_path.open("ab") as log:
            child = subprocess.run(
                [sys.executable, "-m", *arguments],
                # By standard input: every user of the machine reads arguments.
                input=json.dumps({"addresses": asdict(self.addresses), **told}),
                stdout=output,
                stderr=log,
                text=True,
                check=False,
                env={**self.parts.environment(self.server), MARK: str(self.parts.folder)},
                cwd=Path(__file__).parents[1],
            )
        if child.returncode:
            lines = self.log_path.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            hint = "The end of its log says why:\n" + "\n".join(lines)
            raise BackupError("a child process failed", hint=hint, child=" ".join(arguments), status=child.returncode)
        return child.stdout or ""


def told_by_parent() -> tuple[Addresses, dict[str, Any]]:
    """In a child: the addresses, and what else its parent said."""
    told = json.load(sys.stdin)
    return Addresses(**told.pop("addresses")), told


def save_blocks(addresses: Addresses) -> None:
    """Save the five blocks that the flows use by default. Needs `PREFECT_API_URL` in the environment."""
    from prefect_aws import MinIOCredentials  # noqa: PLC0415 - Prefect takes its settings when it is imported

    from blocks import BackupStore, MongoDBSource, MongoDBTarget  # noqa: PLC0415

    keys = MinIOCredentials(minio_root_user=addresses.access_key, minio_root_password=addresses.secret_key)
    keys.save("backups-keys", overwrite=True)
    # Loaded again, so that the store refers to the block instead of holding a copy of its secrets.
    keys = cast(MinIOCredentials, MinIOCredentials.load("backups-keys"))
    place = {"credentials": keys, "bucket": addresses.bucket, "endpoint": addresses.endpoint}
    BackupStore(**place).save("backups", overwrite=True)
    BackupStore(**place, prefix="exports").save("exports", overwrite=True)
    MongoDBSource(connection_string=addresses.mongodb).save("source", overwrite=True)
    MongoDBTarget(connection_string=addresses.mongodb).save("target", overwrite=True)


@contextmanager
def timed(headline: str = "") -> Iterator[list[str]]:
    """Print the line that the block has appended, with how long the block took at its right."""
    if headline:
        print(headline, flush=True)
    line: list[str] = []
    begun = time.monotonic()
    yield line
    took = format_duration(timedelta(seconds=time.monotonic() - begun))
    print(f"  {line[0]}".ljust(_WIDTH - len(took)) + took, flush=True)
