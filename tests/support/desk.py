"""The machine of an operator who follows a document: a shell in a checkout, and real parts around it.

Programs of this project and of Prefect are called in this process where the shell is, because each costs seconds to
import; everything else is for the shell.
"""

from __future__ import annotations

import gzip
import io
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import bson
from prefect.cli import app as prefect_app
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from pymongo import MongoClient

from deployments import embedded
from flows.core.archive import ArchiveHeader
from flows.core.archive.format import encode_header
from flows.core.names import Namespace
from tests.support.archives import data, end, prelude
from tests.support.checkout import copy_checkout
from tests.support.documents import Shell
from tests.support.quick_prefect import LEAN, flows_report_to, one_authority, schemas_made_once

ROOT = Path(__file__).parents[2]
USER, PASSWORD = "root", "p@ss w0rd"
BUCKETS = ("mongo-backups", "mongo-backups-offsite", "invoices", "backups", "mongo-exports")
# Nobody waits for the next run of a schedule.
_UNSEEN = {"PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false"}
OLD_ARCHIVE = "mpg-1772769600.gz"  # as mgob names it, and as the documents do


@dataclass
class Desk:
    """What an operator has.

    Attributes:
        checkout: A clean one, with the virtual environment of this one.
        shell: The open terminal.
        bucket: Where backups go.
        passwords: Those that the administrator of MongoDB types next.
        signer: The public key that is trusted, where no env file has one.
        ran: What was run since settings were changed last, and what it printed.
    """

    mongod: embedded.Mongod
    s3: embedded.S3Server
    server: embedded.PrefectServer
    client: SyncPrefectClient
    checkout: Path
    environment: dict[str, str]
    shell: Shell
    bucket: str = "mongo-backups"
    passwords: list[str] = field(default_factory=list)
    signer: str = ""
    ran: dict[str, str] = field(default_factory=dict)

    @property
    def stored(self) -> Path:
        """The bucket, as a folder."""
        return self.s3.folder / self.bucket

    @property
    def newest(self) -> str:
        """The newest backup."""
        found = sorted(path.parent.name for path in self.stored.glob("default/backups/*/manifest.json"))
        return found[-1] if found else "none"

    def new_terminal(self, bucket: str) -> None:
        """Begin a document, with another bucket, and without what was set up before."""
        self.ran, self.bucket = {}, bucket
        for block in self.client.read_block_documents():
            self.client.delete_block_document(block.id)
        self.shell = Shell(self.checkout, self.environment, self.checkout.parent / "state")

    def mongo(self) -> MongoClient[dict[str, Any]]:
        """As the administrator."""
        return MongoClient(self.mongod.uri, tlsCAFile=str(self.mongod.ca_file))

    @property
    def invoices(self) -> int:
        """How many the live database has."""
        with self.mongo() as client:
            return client["mpg"]["invoices"].count_documents({})

    def tidy(self) -> None:
        """Drop what was restored beside the live database, as one does who has looked at it."""
        with self.mongo() as client:
            for name in set(client.list_database_names()) - {"admin", "config", "local", "mpg"}:
                client.drop_database(name)

    def filled(self, text: str) -> str:
        """Text with what is written for a reader to replace, replaced."""
        env_file = self.checkout / "backup.env"
        signers = re.findall(r"ed25519:[A-Za-z0-9+/=_-]+", env_file.read_text()) if env_file.exists() else []
        runs = self.client.read_flow_runs(limit=1) if "00000000-0000" in text else []
        for placeholder, value in {
            "/srv/mongo-backup-flows": self.checkout,
            "http://127.0.0.1:4200/api": self.server.api_url,
            "mongo.example.com": self.mongod.host,
            "MGOB_TARGET_HOST=mongo\n": f"MGOB_TARGET_HOST={self.mongod.host}\nMGOB_TARGET_PORT={self.mongod.port}\n",
            "=27017": f"={self.mongod.port}",
            "S3_BUCKET=mongo-backups": f"S3_BUCKET={self.bucket}",
            "/etc/ssl/mongodb/ca-cert.pem": self.mongod.ca_file,
            "https://s3.example.com": self.s3.endpoint,
            "https://s3.eu-central-003.backblazeb2.com": self.s3.endpoint,
            'provider="b2"': 'provider="other"',
            'aws_access_key_id="…"': f'aws_access_key_id="{self.s3.access_key}"',
            'aws_secret_access_key="…"': f'aws_secret_access_key="{self.s3.secret_key}"',
            "MGOB_S3_ACCESS_KEY=…": f"MGOB_S3_ACCESS_KEY={self.s3.access_key}",
            "MGOB_S3_SECRET_KEY=…": f"MGOB_S3_SECRET_KEY={self.s3.secret_key}",
            "MGOB_TARGET_PASSWORD=…": "MGOB_TARGET_PASSWORD=new password of the user backup",
            "'access key of the bucket'": self.s3.access_key,
            "'secret key of the bucket'": self.s3.secret_key,
            "=slack-webhook/ops": "=custom-webhook/ops",
            "/run/secrets": self.checkout / "run-secrets",
            "/a/copy/of/the/bucket": self.stored,
            "ed25519:…": signers[0] if signers else self.signer,
            "2026-03-06T04-00-00Z": self.newest,
            "2027-01-31T00:00:00Z": f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%dT%H:%M:%SZ}",
            "2026-12-31T00:00:00+01:00": f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%dT%H:%M:%SZ}",
            "00000000-0000-0000-0000-000000000000": runs[0].id if runs else "none",
            "/srv/payment-gateway-deploy/docker-compose": self.checkout,
            "https://gateway.example.com/health": f"{self.server.api_url}/health",
            '"contains": "UP"': '"contains": "true"',
        }.items():
            text = text.replace(placeholder, str(value))
        return text

    def program(self, main: Callable[[], int | None]) -> tuple[int, str]:
        """Call a program in this process, where the shell is: its status, and all that it prints."""
        told = io.StringIO()
        with self.shell.here(), redirect_stdout(told), redirect_stderr(told):
            try:
                status = main() or 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
        return status, told.getvalue()

    def prefect(self, *words: str) -> str:
        """A command of Prefect: what it prints."""
        with patch.object(sys, "argv", ["prefect", *words]):
            status, told = self.program(prefect_app)
        assert status == 0, f"status {status}\n{told}"
        return told


@contextmanager
def desk(parts: embedded.Parts, database: Path, folder: Path) -> Iterator[Desk]:
    """Hold a desk, with a small payment database, and empty buckets but for an archive of mgob.

    Args:
        parts: To start them with.
        database: Of a Prefect server that knows nothing.
        folder: For all the rest.
    """
    checkout = copy_checkout(folder / "checkout")
    (checkout / ".venv").symlink_to(Path(sys.prefix))
    mongod, s3 = parts.mongod(auth=(USER, PASSWORD), tls=True), parts.s3()
    server = parts.prefect_server(database=database, settings={**LEAN, **_UNSEEN})
    home = folder / "home"
    _used_before(database, home)
    for bucket in BUCKETS:
        (s3.folder / bucket).mkdir(exist_ok=True)
    now = datetime.now(UTC)
    invoices = [
        {
            "_id": n,
            "number": f"INV-{n:06}",
            "customer": {"id": f"C-{n % 20}"},
            "status": "paid",
            "at": now,
            "issuedAt": now,
        }
        for n in range(1000)
    ]
    customers = [{"_id": f"C-{n}", "name": f"customer {n}"} for n in range(20)]
    for bucket in BUCKETS[0], BUCKETS[3]:
        (s3.folder / bucket / OLD_ARCHIVE).write_bytes(_old_archive())
    environment = parts.environment(server) | {
        "PATH": f"{_programs(folder / 'bin')}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "PREFECT_HOME": str(home),
        "MONGO_BACKUP_SPOOL": str(folder / "spool"),
    }
    with (
        schemas_made_once(),
        one_authority(folder),
        flows_report_to(server),
        # Nor does anybody look at the logs and task runs of what is called here.
        temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}),
        patch("prefect.events.utilities.should_emit_events", return_value=False),
        SyncPrefectClient(server.api_url) as prefect,
    ):
        shell = Shell(checkout, environment, folder / "state")
        held = Desk(mongod, s3, server, prefect, checkout, environment, shell)
        with held.mongo() as client:
            client["mpg"]["customers"].insert_many(customers)
            client["mpg"]["invoices"].insert_many(invoices)
        yield held
    for part in (server, s3, mongod):
        part.kill()


def _old_archive() -> bytes:
    """Of a collection that the live database has no longer."""
    namespace, document = Namespace("mpg", "old_invoices"), bson.encode({"_id": 1, "number": "INV-000001"})
    header = encode_header(ArchiveHeader("6.0.5", "100.7.0"))
    return gzip.compress(prelude(namespace, header=header) + data(namespace, document) + end(namespace, document))


def _used_before(database: Path, home: Path) -> None:
    """Give the operator's own folder of Prefect a database, which takes Prefect ten seconds to make, and a profile."""
    home.mkdir()
    profile = "active = 'work'\n[profiles.work]\nPREFECT_API_URL = 'http://127.0.0.1:9/api'\n"
    (home / "profiles.toml").write_text(profile)
    shutil.copy(database, home / "prefect.db")


def _programs(folder: Path) -> Path:
    """A folder with a `docker`, which stops and starts the application during a restore: it keeps a diary."""
    folder.mkdir()
    docker = folder / "docker"
    docker.write_text('#!/bin/sh\necho "$@" >> "$(dirname "$0")/diary"\n')
    docker.chmod(0o755)
    return folder
