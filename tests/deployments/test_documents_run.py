"""README.md and RUNBOOK.md, as their readers use them: every command is run, from the documents themselves.

Nothing in here repeats a command. `NOT_HERE` says which ones cannot be run on a machine that builds, and why; all of
them are held by `test_documents.py` too. What the documents say that one should see is looked for in the output.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import Flow
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.flow_engine import run_flow
from prefect.states import Cancelled
from prefect_aws import AwsCredentials

from blocks import (
    BackupEncryption,
    BackupIdentities,
    BackupStore,
    ErasureSubject,
    ExportRules,
    MongoDBSource,
    MongoDBTarget,
)
from deployments import embedded
from deployments.setup.__main__ import main as set_up
from flows.cli.app import main as flows_main
from flows.core.encryption import Identity
from flows.core.errors import PreflightFailed
from flows.core.parquet.pseudonyms import RootKey
from flows.core.signing import SigningKey
from tests.support.desk import PASSWORD, USER, Desk, desk
from tests.support.documents import Block, blocks, commands, simple
from tests.support.flow_runs import new_second

ROOT = Path(__file__).parents[2]
README, RUNBOOK = ROOT / "README.md", ROOT / "deployments" / "RUNBOOK.md"
AGE = shutil.which("age")
# One process for all commands of a block: Prefect starts a server of its own in each.
ONE_PROCESS = """
import sys
from deployments.setup.__main__ import main as set_up
from flows.cli.app import main as flows
programs = {"deployments.setup": set_up, "flows": flows}
for command in sys.argv[1:]:
    program, *words = eval(command)
    status = programs[program](words)
    assert status == 0, (status, command)
"""


@dataclass(frozen=True)
class Elsewhere:
    """A kind of commands that are not run as they stand.

    Attributes:
        instead: What is done in place of it; gives what it prints.
    """

    pattern: str
    why: str
    instead: Callable[[str, Desk], str]


def nothing(command: str, desk: Desk) -> str:
    return ""


def inside(command: str, desk: Desk) -> str:
    """What is run in the container."""
    return perform(shlex.join(shlex.split(command)[6:]), desk)


def helped(command: str, desk: Desk) -> str:
    """The program knows the options."""
    verb = re.findall(r"(?<= )[a-z]+", command.partition(" --")[0])
    shown = once(f"{command} --help", desk, lambda: desk.prefect(*verb, "--help"))
    assert all(option in shown for option in re.findall(r"--[a-z-]+", command)), shown
    return ""


def ended(command: str, desk: Desk) -> str:
    """It starts, and ends when it is asked to."""
    argv = [sys.executable, *shlex.split(command)[1:]]
    with subprocess.Popen(
        argv,
        cwd=desk.shell.folder,
        env=desk.shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as worker:
        assert worker.stdout is not None
        told = ""
        for line in worker.stdout:
            told += line
            if "started!" in line:
                worker.terminate()
    assert worker.returncode == 0, told
    return told


def copied(command: str, desk: Desk) -> str:
    """Another program brings the objects."""
    source, target = shlex.split(command)[-2:]
    assert source.startswith(f"s3://{desk.bucket}/")
    folder = desk.shell.folder / target
    shutil.copytree(desk.s3.folder / source.removeprefix("s3://"), folder)
    return " ".join((target, *(path.name for path in folder.iterdir())))


def created_only(command: str, desk: Desk) -> str:
    """The run is made, so its parameters are right; nobody begins it."""
    run = created(shlex.split(command.replace("\\\n", ""))[3:], desk)
    desk.client.set_flow_run_state(run, Cancelled(), force=True)
    return ""


NOT_HERE = (
    Elsewhere(r"make ", "takes minutes; the targets are those of this project's own checks", nothing),
    Elsewhere(r"docker compose run --rm --no-deps worker ", "no containers here: what is in there is run", inside),
    Elsewhere(r"docker compose ", "no containers here; see test_compose.py", nothing),
    Elsewhere(r"kubectl ", "no cluster here; see test_kubernetes.py", nothing),
    Elsewhere(r"prefect server start", "one runs already", helped),
    Elsewhere(r"python -m deployments\.worker", "never ends by itself; see test_worker.py", ended),
    Elsewhere(r"aws s3 cp ", "a program of others that is not here", copied),
    Elsewhere(r"(for|age) [^$]*(.|\n)*mongorestore ", "not here; see test_official_tools.py", nothing),
    *(() if AGE else (Elsewhere(r"for f in [^\n]*; do age -d ", "a program of others that is not here", nothing),)),
    Elsewhere(
        r"prefect deployment run .* approval=true", "wants a second person; see test_approval_ui.py", created_only
    ),
)
# What commands find on these parts, by their exit status.
FINDS = {
    "preflight": 4,  # no TLS at the store, whose keys open all of its buckets
    "watch --trust": 4,  # nothing was verified yet
    "evidence verify --folder": 4,  # not signed, where a signer is named
}
NEW_PASSWORDS = (("", "backup"), ("", "restore"), ("new ", "backup"))
# What one should see, and nobody sees here.
NOT_SEEN = {
    "(.venv)": "is the prompt of a shell that someone types into",
    "ok: 1": "is how mongosh answers",
    "0 document(s) failed to restore": "see NOT_HERE",
    "Nothing to change.": "is said the next time",
    "report.html": "is written, and not told",
    **({} if AGE else {"is whole": "see NOT_HERE"}),
}


def perform(command: str, desk: Desk) -> str:
    """Run one command of a document, or do what `NOT_HERE` says; gives what it prints."""
    if "restore-documents" in command:  # the accident
        with desk.mongo() as client:
            client["mpg"]["invoices"].delete_one({"number": "INV-000042"})
    for kind in NOT_HERE:
        if re.match(kind.pattern, command):
            return kind.instead(command, desk)
    match simple(command):
        case ["python", "-m", "flows", *words]:
            return once(command, desk, lambda: by_the_command_line(words, desk))
        case ["prefect", "deployment", "run", *words]:
            return once(command, desk, lambda: by_a_deployment(words, desk))
        case ["python", "-m", "deployments.setup", *words]:
            status, told = desk.program(lambda: set_up(words))
            assert status == 0, told
            if "--dry-run" not in words:
                desk.ran.clear()
            return told
        case ["prefect", *words]:
            return desk.prefect(*words)
    return desk.shell.run(command)


def once(command: str, desk: Desk, act: Callable[[], str]) -> str:
    """What is there word for word a second time, with the same settings, is not run again."""
    if command not in desk.ran:
        desk.ran[command] = act()
    return desk.ran[command]


def by_the_command_line(words: list[str], desk: Desk) -> str:
    with new_second() if words[0] == "backup" else nullcontext():
        status, told = desk.program(lambda: flows_main(words))
    expected = next((found for start, found in FINDS.items() if " ".join(words).startswith(start)), 0)
    assert status == expected, f"exit status {status}\n{told}"
    return told


def created(words: list[str], desk: Desk) -> UUID:
    """A run of a deployment, by Prefect's own command, which checks its parameters."""
    told = desk.prefect("deployment", "run", *(word for word in words if word != "--watch"))
    return UUID(re.findall(r"UUID: (\S+)", told)[0])


def by_a_deployment(words: list[str], desk: Desk) -> str:
    """Run a deployment in this process, in place of the process that a worker starts for it."""
    run = desk.client.read_flow_run(created(words, desk))
    flow = flow_of(desk.client.read_deployment_by_name(words[0]).entrypoint or "")
    with desk.shell.here(), new_second() if flow.name == "backup" else nullcontext():
        state: Any = run_flow(flow, flow_run=run, parameters=run.parameters, return_type="state")
    if not state.is_completed():
        assert flow.name == "preflight", state.message
        assert isinstance(state.result(raise_on_failure=False), PreflightFailed)
    return str(state.name)


def flow_of(entrypoint: str) -> Flow[..., Any]:
    module, _, name = entrypoint.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, Flow)
    return found


def without_server(found: list[str], desk: Desk) -> str:
    """Run commands that need no server, which see nothing of that of this process."""
    words = [repr(shlex.split(command)[2:]) for command in found]
    done = subprocess.run(
        [sys.executable, "-c", ONE_PROCESS, *words],
        cwd=desk.shell.folder,
        env=desk.shell.environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def in_mongosh(block: Block, text: str, desk: Desk) -> str:
    """Commands of the administrator; each password that is asked for is the next one."""
    statements = re.findall(r'^db\.getSiblingDB\("(\w+)"\)\.runCommand\((\{.*?\})\)$', text, re.MULTILINE | re.DOTALL)
    with desk.mongo() as client:
        for database, command in statements:
            parsed = json.loads(command.replace("passwordPrompt()", '""'))
            if "pwd" in parsed:
                parsed["pwd"] = desk.passwords.pop(0)
            client[database].command(parsed)
    return ""


def as_a_program(block: Block, text: str, desk: Desk) -> str:
    status, told = desk.program(lambda: exec(compile(text, block.where, "exec"), {"__name__": "__main__"}))
    assert status == 0, told
    return told


def as_a_file(block: Block, text: str, desk: Desk) -> str:
    assert re.fullmatch(r"[a-z]+\.env", block.title), block
    (desk.shell.folder / block.title).write_text(text)
    return ""


def in_the_shell(block: Block, text: str, desk: Desk) -> str:
    found = commands(text)
    if all("--no-server" in command for command in found):
        return without_server([desk.filled(command) for command in found], desk)
    told = [perform(desk.filled(command), desk) for command in found]
    desk.tidy()
    return "\n".join(told)


RUNNERS: dict[str, Callable[[Block, str, Desk], str]] = {
    "sh": in_the_shell,
    "python": as_a_program,
    "javascript": in_mongosh,
    "dotenv": as_a_file,
}


def follow(document: Path, desk: Desk) -> None:
    """Do all that a document says, from its first line to its last, but for what is not run: policies and YAML."""
    wrong: list[str] = []
    for block in blocks(document):
        if block.language not in RUNNERS:
            continue
        # A shell fills in its own commands, one by one.
        text = block.text if block.language == "sh" else desk.filled(block.text)
        try:
            told = RUNNERS[block.language](block, text, desk)
        except Exception as error:  # noqa: BLE001 - all that is wrong with a document is told at once
            wrong.append(f"{block.where}: {type(error).__name__}: {error}\n{block.text}")
            continue
        for words in block.seen:
            pattern = ".*".join(map(re.escape, words.split("…")))
            if words not in NOT_SEEN and not re.search(pattern, told):
                wrong.append(f"{block.where}: one should see {words}, and sees\n{told}")
    assert not wrong, "\n\n".join(wrong)


@pytest.fixture(scope="module")
def machine(parts: embedded.Parts, prefect_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with desk(parts, prefect_database, tmp_path_factory.mktemp("documents")) as held:
        yield held


@pytest.mark.timeout(900)  # a flow a command, on a machine that may be busy
def test_readme(machine: Desk) -> None:
    """Its blocks are made in the UI, and its secrets with an editor: that is in no command."""
    machine.new_terminal("backups")
    identity, key = Identity.generate(), SigningKey.generate()
    keys = AwsCredentials(aws_access_key_id=machine.s3.access_key, aws_secret_access_key=machine.s3.secret_key)
    login = {"host": machine.mongod.host, "port": machine.mongod.port, "username": USER, "password": PASSWORD}
    login |= {"tls": True, "tls_ca_file": str(machine.mongod.ca_file)}
    BackupStore(credentials=keys, bucket="backups", endpoint=machine.s3.endpoint).save("backups", overwrite=True)
    exports = BackupStore(credentials=keys, bucket="mongo-exports", endpoint=machine.s3.endpoint)
    exports.save("exports", overwrite=True)
    MongoDBSource(**login).save("source", overwrite=True)
    MongoDBTarget(**login).save("target", overwrite=True)
    BackupEncryption(recipients=identity.public, signing_key=key.secret).save("keys", overwrite=True)
    rules = next(block.text for block in blocks(README) if "unlisted: drop" in block.text)
    ExportRules(rules=rules, keys=RootKey.generate().secret).save("gdpr", overwrite=True)
    ErasureSubject(values="C-1").save("case-42", overwrite=True)
    for name in "keys", "auditor":
        BackupIdentities(identities=identity.secret).save(name, overwrite=True)
    CustomWebhookNotificationBlock(name="ops", url="http://127.0.0.1:9/").save("ops", overwrite=True)
    secrets = machine.checkout / "run-secrets"
    secrets.mkdir()
    for name, text in {
        "mongo-password": PASSWORD,
        "s3-access-key": machine.s3.access_key,
        "s3-secret-key": machine.s3.secret_key,
        "access": machine.s3.access_key,
        "secret": machine.s3.secret_key,
        "ping": "http://127.0.0.1:9/",
    }.items():
        (secrets / name).write_text(text)
    machine.signer = key.public
    follow(README, machine)
    assert machine.invoices == 1000


@pytest.mark.timeout(900)
def test_runbook(machine: Desk) -> None:
    machine.new_terminal("mongo-backups")
    machine.passwords = [
        "password of the user backup",
        "password of the user restore",
        "new password of the user backup",
    ]
    follow(RUNBOOK, machine)
    assert machine.invoices == 1000
    assert machine.passwords == []
    diary = (machine.checkout.parent / "bin" / "diary").read_text().splitlines()
    assert [line.split()[1] for line in diary] == ["stop", "start"]
