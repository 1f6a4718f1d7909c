"""The watch on real parts: a store, a webhook, a dead-man's switch and a push gateway; with Prefect, and without."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock, MattermostWebhook
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks import BackupAlarms
from deployments import embedded
from flows.cli.app import main
from flows.cli.status import Status
from flows.core.errors import AlarmRaised, BackupDamaged, ConfigurationError, DrillFailed
from flows.core.evidence import EvidenceKind
from flows.drill import drill
from flows.storage.evidence import append
from flows.verify import verify
from flows.watch import watch
from tests.flows.conftest import Repo, back_up
from tests.support.evidence import record
from tests.support.fault_proxy import status
from tests.support.flow_runs import FlowRunRecord, flow_run_record, logged, page, run_flow
from tests.support.webhook import Service, service

ROOT = Path(__file__).parents[2]
TOKEN, SWITCH, GATEWAY = "canary-token-51c8", "canary-switch-7f3e", "canary-gateway-9b2d"
HOOK = f"POST /hook/{TOKEN}"


@pytest.fixture(scope="module")
def listening(_prefect: None) -> Iterator[Service]:
    """What is told, as the block `alarms`."""
    with service() as server:
        CustomWebhookNotificationBlock(
            name="pager",
            url=f"{server.url}/hook/{{{{token}}}}",
            json_data={"subject": "{{subject}}", "body": "{{body}}"},
            secrets={"token": TOKEN},
        ).save("pager", overwrite=True)
        BackupAlarms(
            notify=["custom-webhook/pager"],
            ping_url=f"{server.url}/{SWITCH}",
            push_url=f"{server.url}/{GATEWAY}",
        ).save("alarms", overwrite=True)
        yield server


@pytest.fixture
def outside(listening: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The same, before anybody has been told anything."""
    monkeypatch.setattr("flows.steps.signals._PAUSE_SECONDS", 0.01)
    listening.called.clear()
    listening.status = 200
    with get_client(sync_client=True) as client:
        for variable in client.read_variables():
            client.delete_variable_by_name(variable.name)
    return listening


def messages(outside: Service) -> list[dict[str, str]]:
    return [json.loads(body) for body in outside.bodies(HOOK)]


def subjects(outside: Service) -> list[str]:
    return [one["subject"] for one in messages(outside)]


def pings(outside: Service) -> list[str]:
    return [line.removeprefix(f"POST /{SWITCH}") for line in outside.lines if line.startswith(f"POST /{SWITCH}")]


def drilled(repo: Repo) -> None:
    """The evidence of a drill that passed just now."""
    now = datetime.now(UTC)
    append(repo.block.open(), "default", record(EvidenceKind.DRILL, at=now, plan="default"), None, now=now)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 4
    path.write_bytes(data)


def alarmed(**parameters: Any) -> FlowRunRecord:
    run = run_flow(watch, alarms="alarms", **parameters)
    assert isinstance(run.error, AlarmRaised), run.error
    return run


def closed_port() -> str:
    """Where nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


def command(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m flows watch` in a process of its own, for which there is no Prefect."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_"))}
    return subprocess.run(
        [sys.executable, "-m", "flows", "watch", *argv],
        cwd=ROOT,
        env={**clean, "PREFECT_API_URL": f"{closed_port()}/api", **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


def bucket(s3: embedded.S3Server, prefix: str) -> dict[str, str]:
    """The store of a test in the environment."""
    return {
        "MONGO_BACKUP_S3_BUCKET": s3.bucket,
        "MONGO_BACKUP_S3_PREFIX": prefix,
        "MONGO_BACKUP_S3_URL": s3.endpoint,
        "MONGO_BACKUP_S3_ACCESS_KEY": s3.access_key,
        "MONGO_BACKUP_S3_SECRET_KEY": s3.secret_key,
    }


def test_no_backup_ever_ran_and_people_are_told_once(repo: Repo, outside: Service) -> None:
    first, second = alarmed(), alarmed()
    assert messages(outside) == [
        {
            "subject": "ALARM: no backup (MongoDB backup plan default, store backups)",
            "body": messages(outside)[0]["body"],
        }
    ]
    body = messages(outside)[0]["body"]
    assert body.startswith("No backup of this plan is in the store.\n\nWhat to do: Check the names of plan and store")
    assert pings(outside) == ["/start", "/fail"] * 2
    assert outside.bodies(f"POST /{SWITCH}/fail")[0] == (
        "ALARM plan default, store backups: no backup of this plan is in the store"
    )
    assert "* **1 alarm**" in page(first.id)
    assert "* **Told**: 1 message about backups: no backup" in page(first.id)
    assert "* **Told**: 1 fact about backups told before, and not again" in page(second.id)
    error = first.error
    assert isinstance(error, AlarmRaised)
    assert error.message == "1 alarm: no backup of this plan is in the store"
    assert repo.files == []  # it needs no more than to read


def test_all_is_well_and_then_the_newest_backup_is_damaged(
    invoices: str,
    repo: Repo,
    s3: embedded.S3Server,
    store_prefix: str,
    outside: Service,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    back_up(databases=[invoices])
    newest = back_up(databases=[invoices])
    verify(share="all")
    drilled(repo)
    metrics = tmp_path / "backup.prom"
    read_only = set(repo.files)

    run = run_flow(watch, alarms="alarms", metrics_file=str(metrics))

    assert run.state.is_completed(), run.error
    assert run.value.well
    assert run.value.stores[0].newest == newest
    assert messages(outside) == []
    assert pings(outside) == ["/start", ""]
    assert "* **All is well**" in page(run.id)
    pushed = outside.bodies(f"PUT /{GATEWAY}/metrics/job/mongo_backup/plan/default/store/backups")
    assert pushed == [metrics.read_text()]
    assert 'mongo_backup_good_backups{plan="default",store="backups"} 2.0\n' in pushed[0]
    assert set(repo.files) == read_only
    capsys.readouterr()
    assert main(["watch"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("default/backups ok: backup 0 min ago, verified 0 min ago, drilled 0 min ago")
    assert (said.out.count("\n"), said.err) == (1, "")
    assert main(["watch", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")

    flip(repo.path(newest))
    assert isinstance(run_flow(verify, alarms="alarms").error, BackupDamaged)
    (told,) = messages(outside)
    assert told["subject"] == "ALARM: backup damaged (MongoDB backup plan default, store backups)"
    assert f"Backup {newest} is no good copy: the verification of 20" in told["body"]
    assert "found it damaged: the bytes are not what the compression writes" in told["body"]
    assert f"(default/backups/{newest}/segment-00000.archive.gz)" in told["body"]
    assert "What to do: Take a new backup now. Bring back what was changed" in told["body"]

    # The watch sees the same fact, in the store alone, and tells it nobody twice.
    run = alarmed()
    assert f"the newest backup {newest} is no good copy" in page(run.id)
    assert len(messages(outside)) == 1
    assert pings(outside)[-1] == "/fail"
    alone = command(**bucket(s3, store_prefix), MONGO_BACKUP_PING_URL=f"{outside.url}/{SWITCH}")
    assert alone.returncode == Status.FINDINGS, alone.stderr
    assert f"ALARM  the newest backup {newest} is no good copy:" in alone.stdout
    assert max(map(len, alone.stdout.splitlines())) <= 80
    assert alone.stderr == ""
    assert pings(outside)[-2:] == ["/start", "/fail"]


def test_a_backup_that_is_late_is_told_by_the_flow_and_where_prefect_is_down(
    invoices: str,
    repo: Repo,
    s3: embedded.S3Server,
    store_prefix: str,
    outside: Service,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    back_up(databases=[invoices])
    verify()
    drilled(repo)
    run = alarmed(backup_hours=0.0001)
    assert subjects(outside) == ["ALARM: backup late (MongoDB backup plan default, store backups)"]
    assert "s old, at most 0.0001 h" in page(run.id)
    secret = tmp_path / "secret"
    secret.write_text(s3.secret_key + "\n")
    given = bucket(s3, store_prefix)
    given["MONGO_BACKUP_S3_SECRET_KEY_FILE"], given["MONGO_BACKUP_S3_SECRET_KEY"] = str(secret), ""
    metrics = tmp_path / "backup.prom"
    late = command("--backup-hours", "0.0001", "--json", "--metrics-file", str(metrics), **given)
    assert late.returncode == Status.FINDINGS, late.stderr
    assert [fact["kind"] for fact in json.loads(late.stdout)["facts"]] == ["backup_late"]
    assert 'mongo_backup_watch_facts{plan="default",severity="alarm",store="backups"} 1.0\n' in metrics.read_text()
    # From a folder with a copy, or here: the one that the server serves.
    assert main(["watch", "--folder", str(repo.folder), "--quiet"]) == 0
    assert main(["watch", "--folder", str(repo.folder), "--drill-days", "0.000001", "--quiet"]) == Status.FINDINGS
    assert "ALARM  the last drill that passed was" in capsys.readouterr().err


def test_a_drill_that_fails_is_told_and_a_watch_tells_it_nobody_twice(
    invoices: str, repo: Repo, outside: Service
) -> None:
    back_up(databases=[invoices])
    verify()
    failed = run_flow(drill, alarms="alarms", rto_limit_minutes=0.0001)
    assert isinstance(failed.error, DrillFailed)
    assert subjects(outside) == ["ALARM: drill failed (MongoDB backup plan default, store backups)"]
    assert "failed: the time to recover (RTO) is above its limit" in messages(outside)[0]["body"]
    run = alarmed()
    assert "the drill of 20" in page(run.id)
    assert len(messages(outside)) == 1


def test_a_store_that_does_not_answer_is_told_once_and_has_its_own_status(
    repo: Repo,
    s3: embedded.S3Server,
    store_prefix: str,
    outside: Service,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    repo.proxy.fail(lambda _: True, times=None, action=status(503))
    first = alarmed()
    alarmed()
    assert subjects(outside) == ["ALARM: store cannot be read (MongoDB backup plan default, store backups)"]
    assert "the store cannot be read: the store does not answer (s3://" in page(first.id)
    assert "| good backups | not known |" in page(first.id)
    assert any('mongo_backup_store_readable{plan="default",store="backups"} 0.0' in one.body for one in outside.called)
    capsys.readouterr()
    # Without variables the command needs the block, and says what to do where Prefect does not answer.
    with temporary_settings({PREFECT_API_URL: f"{closed_port()}/api"}):
        assert main(["watch"]) == Status.UNREACHABLE
    said = " ".join(capsys.readouterr().out.split())
    assert "default/backups UNKNOWN ALARM the store cannot be read: its block cannot be loaded, because Prefect" in said
    assert "Set MONGO_BACKUP_S3_BUCKET and its like" in said
    for name, value in (bucket(s3, store_prefix) | {"MONGO_BACKUP_S3_URL": repo.proxy.url}).items():
        monkeypatch.setenv(name, value)
    assert main(["watch"]) == Status.UNREACHABLE
    assert "the store cannot be read: the store does not answer" in capsys.readouterr().out


def test_what_cannot_be_delivered_is_said_hides_nothing_and_is_sent_the_next_time(
    repo: Repo, outside: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    MattermostWebhook(hostname="127.0.0.1", secure=False, port=outside.server_port, token=TOKEN).save(
        "team", overwrite=True
    )
    BackupAlarms(
        notify=["custom-webhook/pager", "mattermost-webhook/team", "slack-webhook/none"],
        ping_url=f"{outside.url}/{SWITCH}",
    ).save("several", overwrite=True)
    outside.status = 500
    run = run_flow(watch, alarms="several")
    assert isinstance(run.error, AlarmRaised)
    told = [line for line in page(run.id).splitlines() if "NOT DELIVERED" in line]
    assert told == [
        "* **Told**: NOT DELIVERED: ping: start: the answer has the status 500, expected 200 to 299",
        "* **Told**: NOT DELIVERED: message to custom-webhook/pager: the answer has the status 500",
        "* **Told**: NOT DELIVERED: message to mattermost-webhook/team: the service did not take it",
        "* **Told**: NOT DELIVERED: message to slack-webhook/none: there is no such block",
        "* **Told**: NOT DELIVERED: ping: fail: the answer has the status 500, expected 200 to 299",
    ]
    outside.status = 200
    outside.called.clear()
    capsys.readouterr()
    assert main(["watch", "--alarms", "several"]) == Status.FINDINGS
    said = capsys.readouterr()
    assert said.err == "not delivered: message to slack-webhook/none: there is no such block\n"
    assert "ALARM  no backup of this plan is in the store." in said.out
    assert [line for line in outside.lines if TOKEN in line] == [HOOK, f"POST /hooks/{TOKEN}"]
    assert main(["watch", "--alarms", "several", "--quiet"]) == Status.FINDINGS
    assert len(messages(outside)) == 1


def test_no_secret_is_said_anywhere(repo: Repo, outside: Service) -> None:
    seen = []
    for outside.status in (200, 500):
        run = alarmed(plan=f"canary-{outside.status}")
        seen += [*logged(run.id), page(run.id), str(run.error), flow_run_record(run.id).model_dump_json()]
    seen += [one.body for one in outside.called]
    text = "\n".join(seen)
    assert {
        secret for secret in (TOKEN, SWITCH, GATEWAY, repo.block.credentials.minio_root_user) if secret in text
    } == set()
    assert "not delivered: message to custom-webhook/pager: the answer has the status 500" in text
    assert TOKEN not in repr(BackupAlarms.load("alarms")) + repr(BackupAlarms.load("alarms").open())
    assert SWITCH not in repr(BackupAlarms.load("alarms")) + repr(BackupAlarms.load("alarms").open())


def test_bad_input_is_refused_before_anything_is_read_or_told(
    repo: Repo, outside: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in (
        {"plan": "../x"},
        {"backup_hours": -1},
        {"ignore": [""]},
        {"store": "nobody"},
        {"stores": ["backups"]},
        {"identities": "nobody"},
        {"alarms": "nobody"},
        {"metrics_file": str(tmp_path / "metrics.txt")},
    ):
        with pytest.raises(ConfigurationError):
            watch.fn(**{"alarms": "alarms", **wrong})
    for argv in (
        ["--store", "a", "--store", "b", "--folder", str(tmp_path)],
        ["--trust", "eve", "--folder", str(tmp_path)],
        ["--fewer-percent", "101"],
        ["--alarms", "nobody", "--folder", str(tmp_path)],
    ):
        assert main(["watch", *argv]) == Status.WRONG_USE
        assert "HINT: " in capsys.readouterr().err
    assert main(["watch", "--backup-hours", "soon"]) == Status.WRONG_USE
    assert repo.proxy.requests == []
    assert outside.called == []


@pytest.mark.parametrize("wrong", [{"notify": "slack"}, {"ping_url": "hc.example/s3cret"}, {"remind_hours": -1}])
def test_alarms_that_could_reach_nobody_are_refused_and_not_quoted(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error") as refused:
        BackupAlarms(**wrong)
    assert "s3cret" not in str(refused.value)
    assert BackupAlarms(notify="a/b\na/b", remind_hours=0).open().remind is None
