"""A restore within a maintenance window: real programs and a real service around it."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from bson import Binary
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from pydantic import ValidationError
from pymongo import MongoClient

from blocks import MaintenanceWindow
from flows.core.errors import ConfigurationError, MaintenanceFailed, RestoreIncomplete
from flows.restore import restore
from tests.flows.conftest import Repo, back_up
from tests.support.fault_proxy import FaultProxy, Request, call, flip_answer, status
from tests.support.flow_runs import FlowRunRecord, eventually, flow_run_record, logged, run_flow, task_runs

Client = MongoClient[dict[str, Any]]
SECRET = "canary-9e41c6d0"


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    """Where the steps of a test write a line each."""
    path = tmp_path / "diary"
    path.touch()
    return path


@pytest.fixture
def stored(invoices: str, repo: Repo, mongo_client: Client) -> Iterator[dict[str, Any]]:
    """The parameters of a restore of a backup that was just made; what is restored is dropped again."""
    back_up(databases=[invoices])
    yield {"rename": {invoices: f"{invoices}_r"}}
    mongo_client.drop_database(f"{invoices}_r")


class Service(BaseHTTPRequestHandler):
    """Answers with what it was told, and is well from the third question on."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200 if self.asked >= 3 else 503)
        self.end_headers()
        self.wfile.write(f"you are {self.headers.get('Authorization')}".encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    """The URL of a service that takes a while to be well."""
    Service.asked = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/health"
        server.shutdown()
        thread.join()


def note(diary: Path, line: str, then: str = "true") -> dict[str, Any]:
    """A step that writes into the diary."""
    return {"name": line, "command": ["/bin/sh", "-c", f"echo {line} >> {diary}; {then}"]}


def window(**fields: Any) -> None:
    MaintenanceWindow(**fields).save("window", overwrite=True)


def note_fetches(proxy: FaultProxy, diary: Path) -> None:
    def look(_: Request) -> None:
        with diary.open("a") as file:
            file.write("restore\n")

    proxy.fail("GET", action=call(before=look), times=None)


def page(run: UUID) -> str:
    """The newest report of a run."""
    with get_client(sync_client=True) as client:
        only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        found = [artifact for artifact in client.read_artifacts(artifact_filter=only) if artifact.type == "markdown"]
    return str(max(found, key=lambda artifact: artifact.created or 0).data)  # type: ignore[arg-type, return-value]


def states(run: UUID, task: str) -> list[str | None]:
    """In which states the task runs of a name ended."""
    return [found.state_name for found in task_runs(run) if found.name == task]


def everything_of(run: FlowRunRecord) -> str:
    """All that Prefect keeps of a run: log, state, tasks, artifacts."""
    with get_client(sync_client=True) as client:
        only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        kept = [*client.read_artifacts(artifact_filter=only), flow_run_record(run.id), *task_runs(run.id)]
    return "\n".join([*logged(run.id), *(json.dumps(one.model_dump(mode="json")) for one in kept)])


def test_steps_run_in_order_around_the_restore_and_are_reported(
    stored: dict[str, Any], proxy: FaultProxy, diary: Path, service: str
) -> None:
    note_fetches(proxy, diary)
    window(
        before=[note(diary, "stop-backend"), note(diary, "stop-worker")],
        after=[
            note(diary, "start-worker"),
            note(diary, "start-backend"),
            {"name": "healthy", "url": service, "attempts": 5, "pause_seconds": 0.1},
        ],
    )
    run = run_flow(restore, into_source=True, maintenance="window", **stored)
    assert run.state.is_completed(), run.error
    lines = diary.read_text().split()
    first, last = lines.index("stop-worker"), lines.index("start-worker")
    assert lines[: first + 1][-2:] == ["stop-backend", "stop-worker"]
    assert set(lines[first + 1 : last]) == {"restore"}
    assert lines[last:] == ["start-worker", "start-backend"]
    assert Service.asked == 3
    tasks = {"before: stop-backend", "before: stop-worker", "after: start-worker", "after: healthy"}
    eventually(lambda: tasks <= {task.name for task in task_runs(run.id)}, "a task for every step")
    shown = page(run.id)
    assert "Complete: what was compared is as in the manifest" in shown
    assert shown.count("| ok |") == 5
    assert "after: healthy: done in" in "\n".join(logged(run.id))


def test_a_dry_run_lists_the_steps_and_runs_none(stored: dict[str, Any], diary: Path) -> None:
    window(before=[note(diary, "stop")], after=[note(diary, "start")])
    run = run_flow(restore, into_source=True, maintenance="window", dry_run=True, **stored)
    assert run.state.is_completed(), run.error
    assert diary.read_text() == ""
    shown = page(run.id)
    assert "Plan: nothing has been written" in shown
    assert shown.count("| not run |") == 2


def test_a_step_before_that_fails_means_that_nothing_is_restored_and_the_steps_after_run(
    stored: dict[str, Any], diary: Path, mongo_client: Client
) -> None:
    window(
        before=[note(diary, "stop"), note(diary, "ask", "echo said no; exit 4"), note(diary, "never")],
        after=[note(diary, "start")],
    )
    run = run_flow(restore, into_source=True, maintenance="window", **stored)
    assert isinstance(run.error, MaintenanceFailed)
    assert run.error.message == (
        "nothing was restored, because the step 'ask' before it failed: it ended with the exit status 4"
    )
    assert diary.read_text().split() == ["stop", "ask", "start"]
    assert not set(stored["rename"].values()) & set(mongo_client.list_database_names())
    shown = page(run.id)
    assert "**Failed: nothing was restored" in shown
    assert "    said no" in shown
    assert "Services may be down" not in shown
    eventually(lambda: "Failed" in states(run.id, "before: ask"), "a step that is shown as failed")


def test_a_step_after_that_fails_fails_the_run_and_the_others_still_run(
    stored: dict[str, Any], diary: Path, mongo_client: Client
) -> None:
    window(after=[note(diary, "start-backend", "exit 1"), note(diary, "start-worker")])
    run = run_flow(restore, into_source=True, maintenance="window", **stored)
    assert isinstance(run.error, MaintenanceFailed)
    assert "the restore is complete, but 1 of the steps after it failed" in str(run.error)
    assert "Services may be down: 'start-backend' failed." in str(run.error)
    assert diary.read_text().split() == ["start-backend", "start-worker"]
    assert mongo_client[next(iter(stored["rename"].values()))]["invoices"].count_documents({}) == 500
    assert "**Services may be down: 'start-backend' failed. Do by hand what it does.**" in page(run.id)


def test_a_restore_that_fails_runs_the_steps_after_and_says_what_may_be_down(
    stored: dict[str, Any], proxy: FaultProxy, diary: Path
) -> None:
    proxy.fail(lambda request: request.method == "GET" and "/segment-" in request.path, action=status(403), times=None)
    window(before=[note(diary, "stop")], after=[note(diary, "start", "exit 1"), note(diary, "check")])
    run = run_flow(restore, into_source=True, maintenance="window", **stored)
    assert isinstance(run.error, RestoreIncomplete)
    assert "the target has 0 of 1 segments" in str(run.error)
    assert "Services may be down: 'start' failed." in str(run.error)
    assert diary.read_text().split() == ["stop", "start", "check"]
    assert "**Failed: the restore stopped" in page(run.id)


def test_no_service_is_started_while_a_part_of_a_failed_restore_is_still_at_work(
    repo: Repo, proxy: FaultProxy, diary: Path, mongo_client: Client, database: str
) -> None:
    mongo_client[database]["large"].insert_many([{"_id": i, "pad": Binary(bytes(1_000_000))} for i in range(20)])
    assert len(repo.verify(back_up(databases=[database], segment_mib=16)).segments) == 2
    begun = threading.Event()

    def slowly(_: Request) -> None:
        begun.set()
        time.sleep(3)
        with diary.open("a") as file:
            file.write("answered\n")

    def wait_for_the_other(_: Request) -> None:
        assert begun.wait(10)

    wrong = replace(flip_answer(100), before=wait_for_the_other)  # found out at once, and not asked for again
    proxy.fail(lambda r: r.method == "GET" and "/segment-00000" in r.path, action=wrong, times=None)
    proxy.fail(lambda r: r.method == "GET" and "/segment-00001" in r.path, action=call(before=slowly), times=None)
    window(after=[note(diary, "start")])
    run = run_flow(restore, into_source=True, maintenance="window", rename={database: f"{database}_r"})
    mongo_client.drop_database(f"{database}_r")
    assert isinstance(run.error, RestoreIncomplete)
    assert diary.read_text().split() == ["answered", "start"]


@pytest.mark.parametrize("phase", ["before", "after"])
def test_an_interruption_is_heard_and_the_steps_after_run_to_their_end(
    stored: dict[str, Any], diary: Path, phase: str
) -> None:
    interrupt = {"name": "interrupt", "command": ["/bin/sh", "-c", f"kill -INT $PPID; sleep 1; echo slept >> {diary}"]}
    steps = {"before": [note(diary, "stop")], "after": [note(diary, "start")]}
    steps[phase].insert(0, interrupt)
    window(**steps)
    # What a shell starts in the background is deaf to it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_flow(restore, into_source=True, maintenance="window", **stored)
    finally:
        signal.signal(signal.SIGINT, before)
    assert diary.read_text().split() == (["start"] if phase == "before" else ["stop", "slept", "start"])


def test_a_restore_that_is_refused_stops_no_service(
    stored: dict[str, Any], diary: Path, mongo_client: Client, invoices: str
) -> None:
    window(before=[note(diary, "stop")], after=[note(diary, "start")])
    run = run_flow(restore, into_source=True, maintenance="window", mode="replace", confirm="")
    assert "was not confirmed" in str(run.error)
    assert diary.read_text() == ""


def test_no_secret_of_a_step_is_found_in_log_page_or_state(stored: dict[str, Any], diary: Path, service: str) -> None:
    tell = f'printf "%6000s" | tr " " x; echo "key=$KEY" | tee -a {diary}; exit 5'
    window(
        before=[
            {"name": "works", "command": ["sh", "-c", "echo $KEY; echo $KEY >&2"], "environment": {"KEY": "{{ key }}"}}
        ],
        after=[
            {"name": "fails", "command": ["sh", "-c", tell], "environment": {"KEY": "a{{ key }}b"}},
            {"name": "hangs", "command": ["sh", "-c", "echo $KEY; sleep 60"], "environment": {"KEY": "{{ key }}"}}
            | {"timeout_seconds": 0.5},
            {"name": "refused", "url": service, "headers": {"Authorization": "Bearer {{ key }}"}},
            {"name": "broken", "url": service, "headers": {"Authorization": "Bearer {{ key }}\n"}},
        ],
        secrets={"key": SECRET},
    )
    run = run_flow(restore, into_source=True, maintenance="window", **stored)
    assert isinstance(run.error, MaintenanceFailed)
    seen = everything_of(run) + str(run.error) + repr(run.error)
    assert SECRET not in seen
    # And it was there to be found: the steps had it, and what they said was looked at.
    assert f"key=a{SECRET}b" in diary.read_text()
    assert "key=a********b" in page(run.id)
    assert "you are Bearer ********" in page(run.id)
    assert "output of works:\n********\n********" in logged(run.id)


def test_secrets_come_back_from_the_server_and_are_hidden_there() -> None:
    window(
        before=[{"name": "a", "command": "docker compose stop 'main backend'", "environment": {"A": "{{ key }}"}}],
        after=[{"name": "b", "url": "https://h/x", "method": "POST", "body": '{"k": {"v": "{{ key }}"}}'}],
        secrets={"key": SECRET},
    )
    loaded = MaintenanceWindow.load("window")
    procedure = loaded.open()
    (stop,), (start,) = procedure.before, procedure.after
    assert (stop.argv, stop.environment) == (("docker", "compose", "stop", "main backend"), {"A": SECRET})  # type: ignore[union-attr]
    assert (start.method, start.body) == ("POST", f'{{"k": {{"v": "{SECRET}"}}}}')  # type: ignore[union-attr]
    assert SECRET not in repr(loaded) + str(loaded) + loaded.model_dump_json()
    with get_client(sync_client=True) as client:
        found = client.read_block_document_by_name("window", "mongodb-backup-maintenance-window", include_secrets=False)
    assert SECRET not in json.dumps(found.model_dump(mode="json"))
    assert found.data["secrets"] == {"key": "********"}


def test_the_form_shows_both_kinds_of_steps_with_every_field_described() -> None:
    schema = MaintenanceWindow.model_json_schema()
    kinds = [
        schema["definitions"][option["$ref"].rpartition("/")[2]]
        for option in schema["properties"]["before"]["items"]["oneOf"]
    ]
    assert [kind["title"] for kind in kinds] == ["Command", "HTTP call"]
    assert schema["secret_fields"] == ["secrets.*"]
    for kind in kinds:
        for name, field in kind["properties"].items():
            assert field.get("title") or field["$ref"] == "#/definitions/Method", name
            assert field["description"].endswith((".", "[s].")), name


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"name": "a", "command": ""}, "before.0.command.command: Value error, there is no program in it"),
        ({"name": "a", "command": "sh -c 'x"}, "No closing quotation"),
        ({"name": "a", "url": "ftp://h/"}, "has to begin with http:// or https://"),
        ({"name": "a", "url": f"http://u:{SECRET}@h/"}, "user and password do not belong here"),
        ({"name": "a", "url": "http://h/", "timeout": 3}, "Extra inputs are not permitted"),
        ({"name": "a", "url": "http://h/", "body": "{{ other }}"}, "the secret 'other', which is not in `secrets`"),
        ({"command": "x"}, "Field required"),
    ],
)
def test_a_step_that_cannot_work_is_refused_without_its_secrets(step: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        MaintenanceWindow(before=[step], secrets={"key": SECRET})
    assert said.replace("before.0.command.command: ", "") in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("secrets", [{"a b": SECRET}, {"key": ""}, {"key": 5}])
def test_a_secret_that_cannot_be_used_is_refused(secrets: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="the secret") as caught:
        MaintenanceWindow(secrets=secrets)
    assert SECRET not in str(caught.value)


def test_a_window_that_is_not_there_is_told_before_anything_is_read() -> None:
    with pytest.raises(ConfigurationError, match="MongoDB Backup Maintenance Window"):
        restore(maintenance="nowhere")
