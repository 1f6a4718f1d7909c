"""Secrets are planted, flows run and fail, and then the secrets are looked for everywhere."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings
from pymongo import MongoClient

from blocks import BackupEncryption, BackupIdentities, BackupStore, MongoDBSource, MongoDBTarget
from deployments import embedded
from flows.backup import backup
from flows.core.encryption import Identities, Identity
from flows.core.signing import SigningKey
from flows.restore import restore
from flows.storage.repository import Repository
from flows.verify import verify
from tests.flows.conftest import BACKUP_USER, CANARY, PASSWORD, Repo
from tests.support.fault_proxy import FaultProxy, Request, call, conceal
from tests.support.flow_runs import FlowRunRecord, flow_run_record, logged, run_flow, task_runs

Client = MongoClient[dict[str, Any]]

WRONG = "canary-wrong-51c8"
CUSTOMER_KEY = b"canary-customer-key-4a1b".ljust(32, b"x")
PASSPHRASE = "canary horse battery staple"


def test_no_secret_is_found_anywhere(
    parts: embedded.Parts,
    s3: embedded.S3Server,
    guarded: embedded.Mongod,
    guarded_blocks: None,
    admin: Client,
    repo: Repo,
    proxy: FaultProxy,
    spool: Path,
) -> None:
    host = {"host": guarded.host, "port": guarded.port, "replica_set": "rs0", "username": BACKUP_USER}
    MongoDBSource(**host, password=WRONG).save("mistyped", overwrite=True)
    uri = f"mongodb://{BACKUP_USER}:{WRONG}@{guarded.host}:{guarded.port}/?authSource=admin"
    MongoDBSource(connection_string=uri).save("mistyped-string", overwrite=True)
    MongoDBSource(connection_string=f"{uri}&tls=perhaps").save("broken-string", overwrite=True)
    MongoDBTarget(**host, password=WRONG).save("mistyped", overwrite=True)
    admin["till"].command("createUser", "cashier", pwd=PASSWORD, roles=["read"])
    admin["till"]["orders"].insert_many([{"_id": i, "marker": "found in data"} for i in range(100)])
    keys = save_keys()
    seen: dict[str, str] = {}

    def look(_: Request) -> None:
        """While the backup is under way."""
        seen["command lines"] = "\n".join(_command_lines())
        seen["spool"] = "\n".join(_texts(spool))

    proxy.fail(lambda request: request.method == "PUT" and "/segment-" in request.path, action=call(before=look))
    worked = [
        run_flow(backup, source="guarded-source", databases=["till"], include_users=True),
        run_flow(restore, into_source=True, target="guarded-target", rename={"till": "till2"}, include_users=True),
        *(
            run_flow(flow, plan=name, **parameters)
            for name in ("canary-keys", "canary-passphrase")
            for flow, parameters in (
                (backup, {"source": "guarded-source", "databases": ["till"], "encryption": name}),
                (verify, {"identities": name, "share": "all"}),
                (restore, {"target": "guarded-target", "dry_run": True, "identities": name}),
                (
                    restore,
                    {"target": "guarded-target", "rename": {"till": name}, "identities": name, "into_source": True},
                ),
            )
        ),
    ]
    for run in worked:
        assert run.state.is_completed(), run.error
    failed = [
        run_flow(backup, source="mistyped"),
        run_flow(backup, source="mistyped-string"),
        run_flow(backup, source="broken-string"),
        run_flow(restore, target="mistyped"),
        run_flow(restore, plan="canary-passphrase", target="guarded-target", identities="canary-keys"),
        run_flow(restore, plan="canary-keys", target="guarded-target", identities="canary-passphrase"),
        run_flow(verify, plan="canary-passphrase", identities="canary-keys"),
    ]
    sealed = base64.b64encode(CUSTOMER_KEY).decode()
    same = {name: getattr(repo.block, name) for name in ("credentials", "bucket", "prefix", "endpoint")}
    BackupStore(**same, encryption="sse-c", customer_key=sealed).save("sealed", overwrite=True)
    proxy.fail("HEAD /segment-", times=None, action=conceal("x-amz-server-side-encryption-customer-algorithm"))
    failed.append(run_flow(backup, source="guarded-source", databases=["till"], store="sealed"))
    _break_credentials(repo)
    failed.append(run_flow(backup, source="guarded-source", databases=["till"]))
    for run in worked + failed:
        seen[f"log of {run.id}"] = "\n".join(logged(run.id))
        seen[f"record of {run.id}"] = _record(run.id)
    seen["errors"] = "\n".join(_everything_said(run) for run in failed)
    seen["artifacts"] = _artifacts()
    seen["stored objects"] = "\n".join(_texts(repo.folder))
    seen["logs of servers"] = "\n".join(_texts(*parts.folder.glob("*.log")))
    seen["database of Prefect"] = "\n".join(_texts(_prefect_folder()))
    for name in ("till", "till2", "canary-keys", "canary-passphrase"):
        admin.drop_database(name)
    admin["till"].command("dropUser", "cashier")

    locked = Repository(repo.block.open(), "canary-passphrase").manifest("latest").identity
    (unlocked,) = Identities((), (PASSPHRASE,)).candidates(locked)
    secrets = {CANARY, quote_plus(PASSWORD), WRONG, s3.secret_key, "not-the-secret-key", unlocked.secret, *keys}
    secrets |= {sealed, CUSTOMER_KEY.decode()}
    found = {place: secret for place, text in seen.items() for secret in secrets if secret in text}
    assert found == {}
    # And it was looked at the right places: each holds what it should hold.
    assert "mongod" in seen["command lines"]
    assert "marker" in seen["spool"]
    assert "found in data" in seen["stored objects"]
    assert '"plan":"default"' in seen["stored objects"].replace('": "', '":"')
    assert "Authentication failed" in seen["errors"]
    assert "SignatureDoesNotMatch" in seen["errors"]
    assert "did not encrypt the object as it was asked to" in seen["errors"]
    assert "till.orders" in seen["artifacts"]
    assert "guarded-source" in seen[f"record of {worked[0].id}"]
    assert "dumped segment 0" in seen[f"log of {worked[0].id}"]
    assert BACKUP_USER in seen["logs of servers"]
    assert "dumped segment 0" in seen["database of Prefect"]


def save_keys() -> set[str]:
    """Blocks of keys and of a passphrase; returns what is secret in them."""
    key, signing = Identity.generate(), SigningKey.generate()
    BackupEncryption(recipients=[key.public], signing_key=signing.secret).save("canary-keys", overwrite=True)
    BackupIdentities(identities=[key.secret], trusted_signers=[signing.public]).save("canary-keys", overwrite=True)
    BackupEncryption(passphrase=PASSPHRASE).save("canary-passphrase", overwrite=True)
    BackupIdentities(passphrases=[PASSPHRASE]).save("canary-passphrase", overwrite=True)
    return {key.secret, signing.secret, PASSPHRASE}


def _break_credentials(repo: Repo) -> None:
    credentials = type(repo.block.credentials)(
        minio_root_user=repo.block.credentials.minio_root_user, minio_root_password="not-the-secret-key"
    )
    repo.block.model_copy(update={"credentials": credentials}).save("backups", overwrite=True)


def _command_lines() -> Iterator[str]:
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield found.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended since


def _texts(*places: Path) -> Iterator[str]:
    """Every file, unpacked where it is packed."""
    for place in places:
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                yield path.name + (gzip.decompress(data) if path.suffix == ".gz" else data).decode(errors="replace")


def _record(run: UUID) -> str:
    """The flow run with its parameters and state, and its task runs with their names, inputs and states."""
    tasks = [task.model_dump(mode="json") for task in _task_runs(run)]
    return json.dumps([flow_run_record(run).model_dump(mode="json"), tasks])


def _task_runs(run: UUID) -> list[Any]:
    # A run may have failed before its first task.
    return task_runs(run) if any("Task" in line or "Finished" in line for line in logged(run)[:-1]) else []


def _artifacts() -> str:
    """All of this server: it gives two hundred at a time."""
    texts: list[str] = []
    with get_client(sync_client=True) as client:
        while page := client.read_artifacts(limit=200, offset=len(texts)):
            texts += [artifact.model_dump_json() for artifact in page]
    return "\n".join(texts)


def _everything_said(run: FlowRunRecord) -> str:
    """The error with all that it was raised from, and the state that the UI shows."""
    said, error = [str(run.state.message)], run.error
    while error is not None:
        said += [str(error), repr(error)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(said)


def _prefect_folder() -> Path:
    """The folder in which the test server keeps its database."""
    url = get_current_settings().server.database.connection_url
    assert url is not None
    folder = Path(url.get_secret_value().partition("///")[2]).parent
    assert list(folder.glob("*.db*"))
    return folder
