"""The three commands of the README on a clean checkout, and what a worker then makes of the deployments."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import expect
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling
from prefect_aws import MinIOCredentials
from pymongo import MongoClient

from blocks import BackupStore, MaintenanceWindow, MongoDBSource, MongoDBTarget
from deployments import embedded
from deployments.setup.act import Setup
from deployments.setup.changes import compare
from deployments.setup.server_deployments import existing_deployments
from deployments.setup.stanzas import FILE, read_yaml
from deployments.worker import main as worker_main
from flows.storage.repository import Repository
from tests.support.browser import chromium, visit
from tests.support.checkout import copy_checkout
from tests.support.fault_proxy import FaultProxy, Request, call
from tests.support.operation import Operation, nothing_is_left, sending, until
from tests.support.setups import UNEDITED, read

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = (
    "backup/nightly",
    "drill/monthly",
    "erase/erase",
    "evidence-report/evidence-report",
    "evidence-verify/evidence-verify",
    "hold/hold",
    "copy/copy",
    "export/export",
    "compact-exports/compact-exports",
    "inventory/inventory",
    "preflight/weekly",
    "probe/probe",
    "prune/prune",
    "prune-exports/prune-exports",
    "restore/restore",
    "restore-archive/restore-archive",
    "restore-documents/restore-documents",
    "verify/verify",
    "watch/hourly",
)


def second_plan(text: str) -> str:
    """What an operator does in an editor: a copy of the first stanza, with another name and another plan."""
    first = re.search(r"^  - name: nightly\n.*?(?=^  - name: )", text, re.MULTILINE | re.DOTALL)
    assert first is not None
    return "\n" + first[0].replace("name: nightly", "name: second").replace("plan: default", "plan: second")


@pytest.fixture(scope="module")
def operation(
    parts: embedded.Parts,
    prefect_database: Path,
    mongod: embedded.Mongod,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Operation]:
    folder = tmp_path_factory.mktemp("worker")
    checkout = copy_checkout(folder / "checkout")
    file = checkout / "deployments" / "prefect.yaml"
    file.write_text(file.read_text() + second_plan(file.read_text()))

    s3, server = parts.s3(), parts.prefect_server(database=prefect_database)
    keys = MinIOCredentials(minio_root_user=s3.access_key, minio_root_password=s3.secret_key)
    store = BackupStore(credentials=keys, bucket=s3.bucket, endpoint=s3.endpoint)
    # Logs must reach the UI without settings that operators may not know.
    environment = {k: v for k, v in parts.environment(server).items() if not k.startswith("PREFECT_LOGGING_")}
    environment |= {"PREFECT_WORKER_QUERY_SECONDS": "1", "MONGO_BACKUP_SPOOL": str(folder / "spool")}
    # From anywhere but the checkout: a run has to find its code by what the deployment says.
    start_worker = ["/bin/sh", "-c", 'cd / && exec "$@"', "sh", sys.executable, "-m", "deployments.worker"]
    start_worker += ["--pool", "mongo-backup", "--with-healthcheck"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        health = {"HOST": "127.0.0.1", "PORT": str(probe.getsockname()[1])}
    environment |= {f"PREFECT_WORKER_WEBSERVER_{name}": value for name, value in health.items()}
    with FaultProxy(s3.host, s3.port) as proxy, SyncPrefectClient(server.api_url) as client:
        with temporary_settings({PREFECT_API_URL: server.api_url}):
            store.save("backups")
            BackupStore(credentials=keys, bucket=s3.bucket, endpoint=proxy.url).save("slow")
            MongoDBSource(connection_string=mongod.uri).save("source")
            MongoDBTarget(connection_string=mongod.uri).save("target")
        worker = embedded.Process(parts, "worker", [str(word) for word in start_worker], environment)
        held = Operation(server.ui_url, client, environment, checkout, folder / "spool", store.open(), proxy, worker)
        for command in (
            "work-pool create mongo-backup --type process",
            "--no-prompt deploy --prefect-file deployments/prefect.yaml --all",
        ):
            done = held.command(*command.split())
            assert done.returncode == 0, done.stdout + done.stderr
        worker.start()
        yield held
    # The worker first: it would wait a minute for a server that is gone.
    worker.stop()
    server.kill()
    s3.kill()


@pytest.fixture(scope="module")
def invoices(mongo_client: MongoClient[dict[str, Any]]) -> Iterator[str]:
    """A database of five segments of the smallest size: its name. What is restored of it is gone afterwards too."""
    names = "worker_invoices", "worker_restored"
    documents = [{"_id": i, "text": "0123456789" * 10_000} for i in range(720)]
    mongo_client[names[0]]["invoices"].insert_many(documents)
    yield names[0]
    for name in names:
        mongo_client.drop_database(name)


def test_all_deployments_are_there_for_the_pool(operation: Operation) -> None:
    for name in DEPLOYMENTS:
        deployment = operation.client.read_deployment_by_name(name)
        assert deployment.work_pool_name == "mongo-backup"
        assert deployment.description
        assert deployment.tags == ["mongo-backup"]


def test_the_worker_answers_the_health_check_of_its_image(operation: Operation) -> None:
    dockerfile = (ROOT / "deployments" / "Dockerfile").read_text()
    python, *check = json.loads(dockerfile.partition("HEALTHCHECK ")[2].partition("CMD ")[2].partition("\n")[0])
    assert python == "python"
    port = operation.environment["PREFECT_WORKER_WEBSERVER_PORT"]
    ask = [sys.executable, *(port if word == "8080" else word for word in check)]

    def well() -> bool:
        done = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=False)
        return (done.returncode, done.stdout) == (0, '200 {"message":"OK"}\n')

    until(well, "the health check of the worker", worker=operation.worker)


def test_the_schedule_creates_runs(operation: Operation) -> None:
    # With some versions of a library below Prefect everything works but this.
    only = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])))
    times = {
        operation.client.read_deployment_by_name(name).id: time
        for name, time in (
            ("backup/nightly", "04:00"),
            ("backup/second", "04:00"),
            ("verify/verify", "12:00"),
            ("drill/monthly", "06:00"),
            ("preflight/weekly", "08:00"),
        )
    }

    def of_all() -> list[FlowRun]:
        runs = operation.client.read_flow_runs(flow_run_filter=only)
        return runs if times.keys() <= {run.deployment_id for run in runs} else []

    hourly = operation.client.read_deployment_by_name("watch/hourly").id
    times[hourly] = "every :30"
    runs = until(of_all, "scheduled runs", seconds=30)
    assert {run.expected_start_time.minute for run in runs if run.deployment_id == hourly} == {30}
    del times[hourly]
    runs = [run for run in runs if run.deployment_id != hourly]
    assert {(run.deployment_id, f"{run.expected_start_time:%H:%M %Z}") for run in runs} == {
        (deployment, f"{time} UTC") for deployment, time in times.items()
    }
    monthly = operation.client.read_deployment_by_name("drill/monthly").id
    assert {run.expected_start_time.day for run in runs if run.deployment_id == monthly} == {1}
    weekly = operation.client.read_deployment_by_name("preflight/weekly").id
    assert {run.expected_start_time.weekday() for run in runs if run.deployment_id == weekly} == {0}


def test_a_second_plan_is_a_copy_of_a_stanza(operation: Operation, invoices: str) -> None:
    operation.complete(operation.start("backup/second", databases=[invoices]))
    assert len(Repository(operation.store, "second").backup_ids()) == 1
    assert Repository(operation.store, "default").backup_ids() == []


def test_the_set_up_would_deploy_the_same(operation: Operation) -> None:
    (plan,), common, _, problems = read(UNEDITED)
    setup = Setup.of([plan], common, read_yaml(FILE), problems)
    assert problems == []
    # Up to the folder: this is not the checkout.
    wanted = [deployment.thing() for deployment in setup.deployments]
    existing = existing_deployments(operation.client, wanted, [])
    differences = {difference for change in compare(wanted, existing) for difference in change.differences}
    assert {difference.partition(":")[0] for difference in differences} == {
        "folder.0.prefect.deployments.steps.set_working_directory.directory"
    }
    assert len(existing) == len(DEPLOYMENTS)


def test_a_cancelled_backup_leaves_nothing_behind(operation: Operation, invoices: str) -> None:
    with sending(operation, invoices) as (run, passing):
        operation.client.set_flow_run_state(run, Cancelling())
        passing.set()
        nothing_is_left(operation, run)
        assert "Flow run was cancelled." in operation.logs(run)


def test_a_backup_that_is_cancelled_in_the_ui_leaves_nothing_behind(
    chromium_path: str, operation: Operation, invoices: str, tmp_path: Path
) -> None:
    with sending(operation, invoices) as (run, passing):
        with chromium(chromium_path) as browser, visit(browser, operation.pages) as seen:
            screen = seen.page
            screen.goto(f"{operation.pages}/v2/runs/flow-run/{run}")
            expect(screen.get_by_text("compressed segment 0").first).to_be_visible()
            screen.screenshot(path=tmp_path / "running.png")
            screen.get_by_role("button", name="Open menu").first.click()
            screen.get_by_role("menuitem", name="Cancel").click()
            screen.get_by_role("alertdialog").get_by_role("button", name="Cancel Flow Run").click()
            passing.set()
            expect(screen.get_by_text("Cancelled", exact=True).first).to_be_visible()
        nothing_is_left(operation, run)


def test_a_worker_that_is_ended_lets_its_runs_tidy_up(operation: Operation, invoices: str) -> None:
    with sending(operation, invoices) as (run, passing):
        os.kill(operation.worker.pid, signal.SIGTERM)
        passing.set()
        assert operation.worker.wait(60) == 0
        operation.worker.kill()
        nothing_is_left(operation, run, "Crashed")
    operation.worker.start()


def test_a_worker_that_is_told_twice_ends_at_once_and_leaves_nothing_that_is_listed(
    operation: Operation, invoices: str
) -> None:
    # Prefect's worker kills its runs. What they left is for the next run, which follows.
    with sending(operation, invoices):
        os.kill(operation.worker.pid, signal.SIGTERM)
        until(lambda: "to tidy up" in operation.worker.tail(5), "a run that is asked to end", seconds=10)
        os.kill(operation.worker.pid, signal.SIGTERM)
        assert operation.worker.wait(15) == 0
        assert "Killing what still runs: 1" in operation.worker.tail(20)
        operation.worker.kill()
    operation.proxy.reset()
    assert Repository(operation.store, "default").backup_ids() == []
    assert len(list(operation.store.uploads(""))) > 0
    # For whoever does not want to wait two minutes until a killed run lets go of its plan.
    operation.client.delete_global_concurrency_limit_by_name("mongo-backup-default")
    operation.worker.start()


def test_a_time_to_tidy_up_that_is_no_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in ("soon", "nan", "-1"):
        monkeypatch.setenv("MONGO_BACKUP_STOP_SECONDS", wrong)
        assert worker_main(["--help"]) == 2
        assert f"MONGO_BACKUP_STOP_SECONDS is no time in seconds: '{wrong}'" in capsys.readouterr().err


def test_runs_by_hand_complete_as_deployed(
    operation: Operation, mongo_client: MongoClient[dict[str, Any]], invoices: str
) -> None:
    # After the tests before: neither the deployment nor the plan is held by the runs that were cancelled and killed.
    done = operation.command("deployment", "run", "backup/nightly", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    backups = Repository(operation.store, "default").backup_ids()
    assert len(backups) == 1

    only = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run) for run in done.stdout.split() if is_uuid(run)]))
    (backup,) = operation.client.read_flow_runs(flow_run_filter=only)
    assert backup.name == f"backup default {backups[0]}"
    assert {"backup-default", "retention-default-backups"} <= operation.artifacts(backup.id).keys()
    committed = f"committed {backups[0]}: the backup is listed in backups from now on"
    logs = until(lambda: (seen := operation.logs(backup.id)).keys() & {committed} and seen, "the log of the backup")
    assert logs[committed] == "flows.tasks.commit"
    assert any(line.startswith("removed the spool folder of run") for line in logs)
    assert any(re.fullmatch(r"aborted \d uploads of runs that were killed", line) for line in logs)
    assert list(operation.store.uploads("")) == []

    shown = operation.start("restore/restore", databases=[invoices], rename={invoices: "worker_shown"})
    written = operation.start(
        "restore/restore", databases=[invoices], rename={invoices: "worker_restored"}, dry_run=False, into_source=True
    )
    for run, words in (
        (shown, "Plan: nothing has been written"),
        (written, "Complete: what was compared is as in the manifest"),
    ):
        operation.complete(run)
        assert words in operation.artifacts(run)["restore-default"]
    assert "worker_shown" not in mongo_client.list_database_names()
    hashes = [mongo_client[name].command("dbHash")["collections"] for name in (invoices, "worker_restored")]
    assert hashes[0] == hashes[1]
    assert list(operation.spool.iterdir()) == []


def test_documents_are_shown_then_written_and_a_cancelled_run_drops_its_scratch(
    operation: Operation, mongo_client: MongoClient[dict[str, Any]], invoices: str
) -> None:
    live = mongo_client[invoices]["invoices"]
    live.delete_one({"_id": 42})
    wanted = {"namespace": f"{invoices}.invoices", "filter": {"_id": {"$in": [42, 43]}}}

    def slowly(_: Request) -> None:
        time.sleep(5)

    operation.proxy.reset()
    operation.proxy.fail(lambda r: r.method == "GET" and "/segment-" in r.path, times=None, action=call(before=slowly))
    cancelled = operation.start("restore-documents/restore-documents", store="slow", dry_run=False, **wanted)
    scratch = f"mongo_backup_scratch_{cancelled.hex}"
    names = mongo_client[invoices].list_collection_names
    until(lambda: scratch in names(), "the scratch", worker=operation.worker)
    operation.client.set_flow_run_state(cancelled, Cancelling())
    until(lambda: scratch not in names(), "the end of the scratch", seconds=35)
    assert operation.end(cancelled).state_name == "Cancelled"
    assert names() == ["invoices"]
    assert live.count_documents({"_id": 42}) == 0

    shown = operation.start("restore-documents/restore-documents", **wanted)
    operation.complete(shown)
    assert "| missing | 1 |" in operation.artifacts(shown)["restore-documents-default"]
    assert live.count_documents({"_id": 42}) == 0
    operation.complete(operation.start("restore-documents/restore-documents", dry_run=False, **wanted))
    assert live.count_documents({"_id": 42}) == 1
    assert names() == ["invoices"]


def test_a_cancelled_restore_starts_the_services_again(
    operation: Operation, mongo_client: MongoClient[dict[str, Any]], invoices: str, tmp_path: Path
) -> None:
    # After the test before, which made a backup.
    diary, begun = tmp_path / "diary", threading.Event()

    def slowly(_: Request) -> None:
        begun.set()
        time.sleep(2)  # stands for a slow network

    def step(line: str) -> dict[str, Any]:
        return {"name": line, "command": ["/bin/sh", "-c", f"sleep 0.5; echo {line} >> {diary}"]}

    with temporary_settings({PREFECT_API_URL: str(operation.client.api_url)}):
        MaintenanceWindow(before=[step("stop")], after=[step("start"), step("check")]).save("window")
    operation.proxy.reset()
    operation.proxy.fail(lambda r: r.method == "GET" and "/segment-" in r.path, times=None, action=call(before=slowly))
    run = operation.start(
        "restore/restore",
        store="slow",
        databases=[invoices],
        rename={invoices: "worker_cancelled"},
        into_source=True,
        maintenance="window",
        dry_run=False,
    )
    until(begun.is_set, "a download", worker=operation.worker)
    assert diary.read_text().split() == ["stop"]

    operation.client.set_flow_run_state(run, Cancelling())
    until(lambda: diary.read_text().split() == ["stop", "start", "check"], "the steps after the restore", seconds=35)
    until(lambda: not list(operation.spool.iterdir()), "an empty spool", seconds=35)
    assert operation.end(run).state_name == "Cancelled"
    assert "Failed: the run was cancelled" in operation.artifacts(run)["restore-default"]
    mongo_client.drop_database("worker_cancelled")


def is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
