"""The commands: their help, what they refuse, and what their exit status says."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cli import verbs
from flows.cli.app import app, main
from flows.cli.server import choose_server
from flows.cli.status import MEANINGS, Status, status_of
from flows.core import errors

ROOT = Path(__file__).parents[2]
VERBS = sorted(set(verbs.VERBS))


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A terminal of 80 columns; and what a command does to the environment of its process ends with its test."""
    before = dict(os.environ)
    monkeypatch.setenv("COLUMNS", "80")
    yield
    os.environ.clear()
    os.environ.update(before)


def said(capsys: pytest.CaptureFixture[str], *typed: str) -> tuple[int, str]:
    status = main(list(typed))
    told = capsys.readouterr()
    return status, told.out + told.err


def test_the_help_names_every_command_and_what_exit_statuses_mean(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, "--help")
    assert status == 0
    assert max(map(len, text.splitlines())) <= 80
    for name in (*(verb.replace("_", "-") for verb in VERBS), "evidence", "keys", "watch"):
        assert f" {name} " in text
    for meaning in MEANINGS.values():
        assert meaning.split(";")[0] in " ".join(text.split())


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_command_explains_every_parameter_of_its_flow(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = said(capsys, verb.replace("_", "-"), "--help")
    assert status == 0
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.replace("│", " ").split())
    for name in inspect.signature(verbs.VERBS[verb].flow.fn).parameters:
        option = f"--{name.replace('_', '-')}"
        assert option in words
        after = words.partition(f"{option} ")[2][:60]
        assert any(letter.islower() for letter in after), option  # what it is, in words
    assert "--json" in words


@pytest.mark.parametrize(("verb", "flag"), [("prune", "dry-run"), ("restore", "safety-backup"), ("restore", "prove")])
def test_the_help_says_which_flags_are_on(verb: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = " ".join(said(capsys, verb, "--help")[1].replace("│", " ").split())
    assert "[default: on]" in words.partition(f"--no-{flag}")[2].partition(" --")[0]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["bakup"], "bakup"),
        (["backup", "--plan"], "--plan"),
        (["backup", "--compression", "rar"], 'Choose from: "gzip", "zstd", "none"'),
        (["restore", "--retention", "days=1"], "Unknown option: --retention"),
        (["hold", "--backup", "latest"], "--why"),
        (["evidence", "verify", "--trust", "ed25519:00"], "--trust is for --folder"),
    ],
)
def test_wrong_use_is_told_and_ends_with_2(typed: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, *typed)
    assert status == Status.WRONG_USE
    assert message in " ".join(text.replace("│", " ").split())


def test_exit_statuses_say_what_to_do_next() -> None:
    expected = {
        errors.ConfigurationError: Status.WRONG_USE,
        errors.Refused: Status.REFUSED,
        errors.TargetNotEmpty: Status.REFUSED,
        errors.PlanBusy: Status.REFUSED,
        errors.StoreUnavailable: Status.UNREACHABLE,
        errors.SourceUnavailable: Status.UNREACHABLE,
        errors.ServerUnavailable: Status.UNREACHABLE,
        errors.BackupDamaged: Status.FINDINGS,
        errors.DrillFailed: Status.FINDINGS,
        errors.RestoreDiffers: Status.FINDINGS,
        errors.PreflightFailed: Status.FINDINGS,
        errors.BackupNotFound: Status.FAILED,
        errors.SpoolError: Status.FAILED,
    }
    assert {kind: status_of(kind("something")) for kind in expected} == expected


def test_the_command_line_needs_no_prefect_to_explain_itself() -> None:
    code = "import sys; from flows.cli.app import main; main(['--help']); print('prefect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_shells_complete_commands_and_options() -> None:
    script = app.generate_completion(prog_name="mongo-backup", shell="bash")
    assert all(word in script for word in ("restore-documents", "evidence", "inventory"))


def test_no_server_is_none_whoever_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # With a profile of Prefect that names one it is tried out in tests/deployments/test_documents_run.py.
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("PREFECT_PROFILE", "work")
    monkeypatch.delenv("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", raising=False)
    choose_server(own=False)
    assert (os.environ["PREFECT_API_URL"], os.environ["PREFECT_PROFILE"]) == ("http://127.0.0.1:9/api", "work")
    assert "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE" not in os.environ
    monkeypatch.setenv("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")
    choose_server(own=True)
    assert "PREFECT_API_URL" not in os.environ
    assert (os.environ["PREFECT_PROFILE"], os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"]) == ("ephemeral", "true")
