"""From a clean machine to the first scheduled backup: the set-up, a Prefect server, and a worker."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_SSL_CERT_FILE, PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Failed, Scheduled
from pymongo import MongoClient

from blocks import BackupStore, MongoDBSource, MongoDBTarget
from deployments import embedded
from deployments.setup.__main__ import main
from deployments.setup.server import save_pool
from flows.core.errors import ConfigurationError
from flows.storage.repository import Repository
from tests.support.quick_prefect import one_authority, schemas_made_once

ROOT = Path(__file__).parents[2]
DATABASE = "setup_mpg"
USER, PASSWORD = "root", 'p@ss$w0rd "#'


class Webhook:
    """A server that keeps what is posted to it."""

    def __init__(self) -> None:
        self.got: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Machine:
    """A Prefect server that knows nothing yet, and what an operator of mgob has: an env file."""

    client: SyncPrefectClient
    environment: dict[str, str]
    env_file: Path
    capsys: Any = field(default=None)

    def api(self) -> AbstractContextManager[Any]:
        """For blocks: they go to this server."""
        return temporary_settings({PREFECT_API_URL: str(self.client.api_url)})

    def set_up(self, *arguments: str, **variables: str) -> str:
        """Run the command with more variables in its environment; what it prints."""
        with pytest.MonkeyPatch.context() as patch:
            for name, text in variables.items():
                patch.setenv(name, text)
            with self.api():
                self.capsys.readouterr()
                status = main(["--env-file", str(self.env_file), *arguments])
        shown = self.capsys.readouterr()
        assert status == 0, shown.err
        return str(shown.out)

    def runs(self, deployment: str) -> list[FlowRun]:
        found = self.client.read_deployment_by_name(deployment)
        return self.client.read_flow_runs(
            flow_run_filter=FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[found.id]))
        )


def until(look: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(1)  # each look is work for the server
    return seen


@pytest.fixture(scope="module")
def guarded(parts: embedded.Parts) -> Iterator[embedded.Mongod]:
    """A MongoDB with access control, TLS and a small database."""
    mongod = parts.mongod(auth=(USER, PASSWORD), tls=True)
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongod.uri, tlsCAFile=str(mongod.ca_file)) as client:
        client[DATABASE]["invoices"].insert_many([{"_id": number} for number in range(100)])
    yield mongod
    mongod.kill()


@pytest.fixture(scope="module")
def s3_of_module(parts: embedded.Parts) -> Iterator[embedded.S3Server]:
    server = parts.s3()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def clean_machine(
    parts: embedded.Parts,
    prefect_database: Path,
    guarded: embedded.Mongod,
    s3_of_module: embedded.S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("setup")
    server = parts.prefect_server(database=prefect_database)
    with schemas_made_once(), one_authority(folder):
        yield from _machine(parts, server, guarded, s3_of_module, folder)
    server.kill()


def _machine(
    parts: embedded.Parts,
    server: embedded.PrefectServer,
    guarded: embedded.Mongod,
    s3_of_module: embedded.S3Server,
    folder: Path,
) -> Iterator[Machine]:
    password, env_file = folder / "password", folder / ".env"
    password.write_text(PASSWORD + "\n")
    # The table of the guide, with the addresses of this machine, and a minute in place of a night.
    env_file.write_text(
        f"""\
MGOB_CRON=* * * * *
MGOB_RETENTION=7
MGOB_TARGET_DATABASE={DATABASE}
MGOB_TARGET_USERNAME={USER}
MGOB_TARGET_PASSWORD_FILE={password}
MGOB_TARGET_HOST={guarded.host}
MGOB_TARGET_PORT={guarded.port}
MGOB_S3_URL={s3_of_module.endpoint}
MGOB_S3_BUCKET={s3_of_module.bucket}
MGOB_S3_API=S3v4
MGOB_S3_ACCESS_KEY={s3_of_module.access_key}
MGOB_S3_SECRET_KEY="{s3_of_module.secret_key}"
MONGO_TLS_ENABLED=true
MONGO_TLS_CA_FILE={guarded.ca_file}
PREFECT_API_URL={server.api_url}
"""
    )
    environment = {name: text for name, text in parts.environment(server).items() if name != "PREFECT_API_URL"}
    environment |= {"PREFECT_WORKER_QUERY_SECONDS": "3", "MONGO_BACKUP_SPOOL": str(folder / "spool")}
    environment |= {"PREFECT_API_SSL_CERT_FILE": PREFECT_API_SSL_CERT_FILE.value() or ""}
    with SyncPrefectClient(server.api_url) as client:
        yield Machine(client, environment, env_file)


@pytest.fixture
def machine(clean_machine: Machine, capsys: pytest.CaptureFixture[str]) -> Machine:
    clean_machine.capsys = capsys
    return clean_machine


@pytest.fixture(scope="module")
def worker(parts: embedded.Parts, clean_machine: Machine) -> Iterator[embedded.Process]:
    """A worker of the pool that the set-up made, started in no folder in particular."""
    start = ["/bin/sh", "-c", 'cd / && exec "$@"', "sh", sys.executable, "-m", "deployments.worker"]
    environment = clean_machine.environment | {"PREFECT_API_URL": str(clean_machine.client.api_url)}
    process = embedded.Process(parts, "worker", [*start, "--pool", "mongo-backup"], environment)
    process.start()
    yield process
    process.stop()


def test_a_dry_run_shows_what_would_be_made_and_makes_nothing(machine: Machine) -> None:
    shown = machine.set_up("--dry-run")
    for line in (
        "+ create block mongodb-backup-source/source: 127.0.0.1:",
        "+ create block mongodb-restore-target/target: 127.0.0.1:",
        "+ create block mongodb-backup-store/backups: http://127.0.0.1:",
        "+ create block aws-credentials/backups-keys: access key of the store",
        "+ create work pool mongo-backup: process",
        "+ create deployment backup/nightly: * * * * * UTC",
        "+ create deployment restore/restore: by hand",
    ):
        assert f"\n{line}" in shown
    assert shown.endswith("Nothing was changed: this was a dry run.\n")
    assert PASSWORD not in shown
    assert machine.client.read_work_pools() == []
    assert machine.client.read_deployments() == []
    assert machine.client.read_block_documents() == []


def test_the_command_sets_up_a_clean_machine(machine: Machine) -> None:
    # From another folder, with nothing of Prefect in its environment: all is in the file.
    done = subprocess.run(
        [sys.executable, "-m", "deployments.setup", "--env-file", str(machine.env_file)],
        cwd=ROOT,
        env=machine.environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "prefect deployment run backup/nightly --watch" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    with machine.api():
        for block in (MongoDBSource.load("source"), MongoDBTarget.load("target"), BackupStore.load("backups")):
            lines = block.check()
            assert all(line.ok for line in lines), lines


def test_the_second_time_nothing_is_changed(machine: Machine) -> None:
    before = machine.client.read_deployment_by_name("backup/nightly").updated
    shown = machine.set_up()
    assert "\n0 to create, 0 to change, " in shown
    assert shown.endswith("Nothing to change.\n")
    assert machine.client.read_deployment_by_name("backup/nightly").updated == before
    # A worker that starts while the set-up runs has made the pool first.
    with machine.api():
        save_pool(machine.client, "mongo-backup", "process")
        with pytest.raises(ConfigurationError, match="the work pool has another type"):
            save_pool(machine.client, "mongo-backup", "docker")


def test_alarms_reach_the_block_that_the_operator_named(machine: Machine, worker: embedded.Process) -> None:
    # The worker is waiting for its first minute meanwhile.
    webhook = Webhook()
    with machine.api():
        CustomWebhookNotificationBlock(
            name="ops", url=webhook.url, json_data={"subject": "{{subject}}", "body": "{{body}}"}
        ).save("ops")
    shown = machine.set_up(MONGO_BACKUP_ALERT_BLOCK="custom-webhook/ops")
    assert "\n+ create automation MongoDB backup: the backup of default is late\n" in shown
    made = {automation.name: automation for automation in machine.client.read_automations()}
    assert len(made) == 7
    turned_off = made["MongoDB backup: a verification failed"]
    off = AutomationCore.model_validate(turned_off.model_dump(exclude={"id", "owner_resource"}) | {"enabled": False})

    machine.client.update_automation(turned_off.id, off)
    shown = machine.set_up(MONGO_BACKUP_ALERT_BLOCK="ops")
    assert shown.endswith("Nothing to change.\n")
    # However wide the terminal is.
    note = "! The automation 'MongoDB backup: a verification failed' is turned off in the UI, and stays so."
    assert note in " ".join(shown.split())

    # With seconds for hours, the late one can be waited for.
    late = made["MongoDB backup: the backup of default is late"].model_dump(exclude={"id", "owner_resource"})
    late["trigger"]["within"] = 10
    hurried = machine.client.create_automation(AutomationCore.model_validate(late | {"name": "hurried"}))
    nightly = machine.client.read_deployment_by_name("backup/nightly").id
    for state in (Failed(message="the disk is full\nHINT: Free some space."), Completed()):
        # Not for the worker: it is due tomorrow.
        tomorrow = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(days=1))
        run = machine.client.create_flow_run_from_deployment(nightly, name="backup by hand", state=tomorrow)
        machine.client.set_flow_run_state(run.id, state, force=True)

    def bodies(subject: str) -> list[str]:
        return [message["body"] for message in webhook.got if message["subject"] == f"MongoDB backup: {subject}"]

    (failed,) = until(lambda: bodies("a backup failed"), "the alarm of a failed backup")
    assert "backup by hand: Failed\nthe disk is full\nHINT: Free some space." in failed
    until(lambda: bodies("the backup of default is late"), "the alarm of a late backup")
    assert PASSWORD not in str(webhook.got)
    machine.client.delete_automation(hurried)
    webhook.close()


def test_the_schedule_takes_the_first_backup(
    machine: Machine, worker: embedded.Process, s3_of_module: embedded.S3Server
) -> None:
    def first() -> FlowRun | None:
        runs = [run for run in machine.runs("backup/nightly") if run.auto_scheduled]
        return next((run for run in runs if run.state and run.state.is_final()), None)

    run = until(first, f"a scheduled backup\n{worker.tail(40)}", seconds=240)
    assert run.state.is_completed(), f"{run.state.message}\n{worker.tail(60)}"
    assert run.parameters["databases"] == [DATABASE]
    with machine.api():
        assert Repository(BackupStore.load("backups").open(), "default").backup_ids()


def test_what_changed_is_shown_field_by_field_and_what_was_set_in_the_ui_stays(machine: Machine) -> None:
    with machine.api():
        source = MongoDBSource.load("source")
        source.timeout_seconds = 5.0  # no variable has it
        source.save("source", overwrite=True)
    nightly = machine.client.read_deployment_by_name("backup/nightly")
    machine.client.update_deployment_schedule(nightly.id, nightly.schedules[0].id, active=False)
    with pytest.raises(AssertionError, match="no notification block of this name"):
        machine.set_up(MONGO_BACKUP_ALERT_BLOCK="slack-webhook/ops")
    with pytest.raises(AssertionError, match="the work pool has another type"):
        machine.set_up(MONGO_BACKUP_WORK_POOL_TYPE="docker")

    changed = {"MGOB_CRON": "30 3 * * *", "MGOB_RETENTION": "9", "MONGO_BACKUP_SOURCE_REPLICA_SET": "rs0"}
    shown = machine.set_up(**changed)
    for lines in (
        '~ change block mongodb-backup-source/source\n      replica_set: (none) → "rs0"\n',
        '~ change deployment backup/nightly\n      schedules.nightly.cron: "* * * * *" → "30 3 * * *"\n'
        "      parameters.retention.days: 7 → 9\n",
    ):
        assert lines in shown
    assert "! backup/nightly is paused in the UI, and stays so" in shown
    nightly = machine.client.read_deployment_by_name("backup/nightly")
    ((schedule),) = nightly.schedules
    assert (schedule.schedule.cron, schedule.active) == ("30 3 * * *", False)
    with machine.api():
        source = MongoDBSource.load("source")
    assert (source.timeout_seconds, source.replica_set, source.password.get_secret_value()) == (5.0, "rs0", PASSWORD)
    assert machine.set_up(**changed).endswith("Nothing to change.\n")


def test_a_restore_by_hand_takes_parameters(
    machine: Machine, guarded: embedded.Mongod, worker: embedded.Process
) -> None:
    restore = machine.client.read_deployment_by_name("restore/restore")
    parameters = {"rename": {DATABASE: "setup_restored"}, "into_source": True, "dry_run": False}
    run = machine.client.create_flow_run_from_deployment(restore.id, parameters=parameters)

    def ended() -> FlowRun | None:
        found = machine.client.read_flow_run(run.id)
        return found if found.state is not None and found.state.is_final() else None

    state = until(ended, "the end of a restore").state
    assert state.is_completed(), f"{state.message}\n{worker.tail(60)}"
    client: MongoClient[dict[str, Any]]
    with MongoClient(guarded.uri, tlsCAFile=str(guarded.ca_file)) as client:
        assert client["setup_restored"]["invoices"].count_documents({}) == 100
