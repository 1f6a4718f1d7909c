"""README.md and RUNBOOK.md, as their readers use them: every command of them is run, from the documents themselves.

Nothing in here repeats a command. `NOT_HERE` says which ones cannot run on a machine that builds, why, and how they are
checked instead; a command that neither runs nor is in that table fails.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)
from prefect_aws import AwsCredentials
from pymongo import MongoClient

from blocks import BackupEncryption, BackupIdentities, BackupStore, MongoDBSource, MongoDBTarget
from deployments import embedded
from deployments.setup.__main__ import main as set_up
from flows.cli.app import main as flows_main
from flows.core.encryption import Identity
from flows.core.signing import SigningKey
from tests.support.documents import Block, Shell, blocks, commands, simple
from tests.support.quick_prefect import one_authority, schemas_made_once

ROOT = Path(__file__).parents[2]
README, RUNBOOK = ROOT / "README.md", ROOT / "deployments" / "RUNBOOK.md"
USER, PASSWORD = "root", "p@ss w0rd"
LANGUAGES = {"sh", "python", "yaml", "json", "javascript", "dotenv"}
LOOKS = {"--help", "inventory", "preflight", "probe", "watch"}
# What looks at a machine without TLS before its store, or where nothing was drilled yet, has something to tell.
FINDS = {"preflight": {0, 4}, "watch": {0, 4, 6}, "evidence verify --folder": {4}}


@dataclass
class Desk:
    """The machine of an operator, and the parts around it."""

    parts: embedded.Parts
    mongod: embedded.Mongod
    s3: embedded.S3Server
    server: embedded.PrefectServer
    client: SyncPrefectClient
    checkout: Path
    environment: dict[str, str]
    shell: Shell
    bucket: str
    worker: embedded.Process | None = None
    passwords: list[str] = field(default_factory=list)
    signer: str = ""
    ran: set[str] = field(default_factory=set)

    @property
    def stored(self) -> Path:
        return self.s3.folder / self.bucket

    @property
    def newest(self) -> str:
        """The newest backup."""
        found = sorted(path.parent.name for path in self.stored.glob("default/backups/*/manifest.json"))
        return found[-1] if found else "2026-03-06T04-00-00Z"

    def placeholders(self) -> dict[str, str]:
        """What is written for a reader to replace, and what it is here."""
        # The names of setup come from the env file, but for the signer, who is new with each pair of keys.
        env_file = self.checkout / "backup.env"
        signers = re.findall(r"ed25519:[A-Za-z0-9+/=_-]+", env_file.read_text()) if env_file.exists() else []
        return {
            "/srv/mongo-backup-flows": str(self.checkout),
            "http://127.0.0.1:4200/api": self.server.api_url,
            "mongo.example.com": self.mongod.host,
            "=27017": f"={self.mongod.port}",
            "/etc/ssl/mongodb/ca-cert.pem": str(self.mongod.ca_file),
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
            "/run/secrets": str(self.checkout / "run-secrets"),
            "/a/copy/of/the/bucket": str(self.stored),
            "ed25519:…": signers[0] if signers else self.signer,
            "2026-03-06T04-00-00Z": self.newest,
            "2027-01-31T00:00:00Z": f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%dT%H:%M:%SZ}",
            "00000000-0000-0000-0000-000000000000": str(self._last_run()),
            "/srv/payment-gateway-deploy/docker-compose": str(self.checkout),
            "https://gateway.example.com/health": f"{self.server.api_url}/health",
            '"contains": "UP"': '"contains": "true"',
            "mpg-1772769600.gz --rename mpg=": "mpg-1772769600.gz --rename zoo=",
            "https://hc-ping.com/…": "http://127.0.0.1:9/ping",
        }

    def _last_run(self) -> Any:
        runs = self.client.read_flow_runs(limit=1)
        return runs[0].id if runs else "none"

    def filled(self, text: str) -> str:
        """Text with its placeholders replaced."""
        for placeholder, value in self.placeholders().items():
            text = text.replace(placeholder, value)
        return text


def on_path(folder: Path) -> Path:
    """A folder with a `docker`, which the maintenance window of an operator calls: it keeps a diary."""
    folder.mkdir()
    docker = folder / "docker"
    docker.write_text('#!/bin/sh\necho "$@" >> "$(dirname "$0")/diary"\n')
    docker.chmod(0o755)
    return folder


def copied(to: Path) -> Path:
    """A clean checkout, with the virtual environment of this one."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    (to / ".venv").unlink(missing_ok=True)
    (to / ".venv").symlink_to(Path(sys.prefix))
    return to


@pytest.fixture(scope="module")
def machine(parts: embedded.Parts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("documents")
    checkout = copied(folder / "checkout")
    mongod, s3, server = parts.mongod(auth=(USER, PASSWORD), tls=True), parts.s3(), parts.prefect_server()
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongod.uri, tlsCAFile=str(mongod.ca_file)) as client:
        client["mpg"]["customers"].insert_many([{"_id": n, "name": f"customer {n}"} for n in range(20)])
        client["mpg"]["invoices"].insert_many(
            [{"_id": n, "number": f"INV-{n:06}", "customer": n % 20, "status": "paid"} for n in range(200)]
        )
    for bucket in ("mongo-backups", "mongo-backups-offsite", "invoices"):
        (s3.folder / bucket).mkdir()
    shutil.copy(ROOT / "tests" / "golden" / "zoo.archive.gz", s3.folder / "mongo-backups" / "mpg-1772769600.gz")
    environment = parts.environment(server) | {
        "PATH": f"{on_path(folder / 'bin')}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "PREFECT_HOME": str(folder / "home"),  # what needs no server must not find its blocks there
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "MONGO_BACKUP_SPOOL": str(folder / "spool"),
    }
    shell = Shell(checkout, environment, folder / "state")
    with (
        schemas_made_once(),
        SyncPrefectClient(server.api_url) as prefect,
        one_authority(folder),
        # Neither the heartbeat nor the log of a run in this process is looked at, and each costs a second of it.
        temporary_settings(
            {
                PREFECT_API_URL: server.api_url,
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
                PREFECT_LOGGING_TO_API_ENABLED: False,
            }
        ),
    ):
        desk = Desk(parts, mongod, s3, server, prefect, checkout, environment, shell, "mongo-backups")
        yield desk
    if desk.worker is not None:
        desk.worker.kill()
    for part in (server, s3, mongod):
        part.kill()


@pytest.fixture
def desk(machine: Desk) -> Desk:
    """A new terminal."""
    machine.ran = set()
    machine.shell = Shell(machine.checkout, machine.environment, machine.checkout.parent / "state")
    return machine


# What cannot run here.


def as_in_the_makefile(command: str, desk: Desk) -> None:
    target = command.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def inside(command: str, desk: Desk) -> None:
    """A service that the compose file has, and a command that can be run without the container."""
    words = shlex.split(command)
    assert words[4] in services(), command
    perform(shlex.join(words[5:]), desk)


def of_compose(command: str, desk: Desk) -> None:
    named = [word for word in shlex.split(command)[3:] if not word.startswith("-") and not word.isdigit()]
    for service in named:  # the application has services of its own
        assert service in services() or service.startswith("payment-gateway-"), command


def services() -> set[str]:
    compose = yaml.safe_load((ROOT / "deployments" / "docker-compose.yml").read_text())
    return set(compose["services"])


def of_prefect(command: str, desk: Desk) -> None:
    """Each option is in the help of the command."""
    words = shlex.split(command)
    options = [word for word in words if word.startswith("--")]
    verb = [word for word in words if not word.startswith("-")]
    shown = "" if command in desk.ran else desk.shell.run(f"COLUMNS=200 {shlex.join(verb)} --help")
    desk.ran.add(command)
    for option in options if shown else ():
        assert option in shown, command


def with_a_worker(command: str, desk: Desk) -> None:
    """Run it beside the test, from a folder that is not the checkout."""
    if desk.worker is None:
        argv = ["/bin/sh", "-c", f"cd / && exec {command}"]
        desk.worker = desk.parts.process(
            "worker", argv, {**desk.shell.environment, "PREFECT_API_URL": desk.server.api_url}
        )


def downloaded(command: str, desk: Desk) -> None:
    """Another program brings the objects."""
    _, _, _, *words = shlex.split(command.replace("\\\n", " "))
    source, target = words[-2:]
    assert source.startswith(f"s3://{desk.bucket}/")
    shutil.copytree(desk.s3.folder / source.removeprefix("s3://"), desk.shell.folder / target)


def as_a_script(command: str, desk: Desk) -> None:
    desk.shell.parse(command)


def with_age(command: str, desk: Desk) -> None:
    if shutil.which("age"):
        shown = desk.shell.run(command)
        assert "is whole" in shown
    else:
        desk.shell.parse(command)


@dataclass(frozen=True)
class Elsewhere:
    """A kind of commands that are not run as they stand."""

    pattern: str
    why: str
    instead: Callable[[str, Desk], None]


NOT_HERE = (
    Elsewhere(r"make (demo|test)\b", "takes minutes, and has tests of its own", as_in_the_makefile),
    Elsewhere(r"docker compose run --rm ", "there are no containers here: what is run inside is run", inside),
    Elsewhere(r"docker compose (stop|start|logs) ", "there are no containers here: the services are named", of_compose),
    Elsewhere(r"prefect server start", "one runs already: its options are looked up", of_prefect),
    Elsewhere(r"prefect worker start", "never ends: it runs beside the test", with_a_worker),
    Elsewhere(r"aws s3 cp ", "the AWS CLI is not here: the objects are copied", downloaded),
    Elsewhere(r"for f in [^\n]*;\s*do\s[^|]*age -d [^\n]*gunzip -t", "age may not be here", with_age),
    Elsewhere(
        r"(for|age) [^$]*(.|\n)*mongorestore ",
        "the Database Tools are not here: tests/flows/test_official_tools.py has them where they are on PATH",
        as_a_script,
    ),
)


# What runs.


def perform(command: str, desk: Desk) -> None:
    """Run one command of a document, or check it as `NOT_HERE` says."""
    for kind in NOT_HERE:
        if re.match(kind.pattern, command):
            kind.instead(command, desk)
            return
    words = simple(command)
    if words and words[:3] == ["python", "-m", "flows"] and "--no-server" not in words:
        # Word for word what was looked at before in the document: once is enough.
        if words[3] in LOOKS and command in desk.ran:
            return
        desk.ran.add(command)
        with desk.shell.here():
            status = flows_main(words[3:])
        expected = next((found for start, found in FINDS.items() if " ".join(words[3:]).startswith(start)), {0})
        assert status in expected, f"exit status {status} of: {command}"
    elif words and words[:3] == ["python", "-m", "deployments.setup"]:
        with desk.shell.here():
            assert set_up(words[3:]) == 0, command
    elif words and words[:3] == ["prefect", "deployment", "run"]:
        deployed(words[3:], desk)
    else:
        desk.shell.run(command)


def deployed(words: list[str], desk: Desk) -> None:
    """Run a deployment: the first without parameters as it stands, by the worker; later ones in this process. Of those
    with parameters it is seen that the flow takes them.
    """
    name, *rest = words
    given = dict(rest[place + 1].split("=", 1) for place, word in enumerate(rest) if word == "-p")
    assert [word for word in rest if word.startswith("-") and word not in ("-p", "--watch")] == []
    deployment = desk.client.read_deployment_by_name(name)
    flow = flow_of(deployment.entrypoint)
    parameters = deployment.parameters | {key: value_of(text) for key, text in given.items()}
    assert set(parameters) <= set(inspect.signature(flow.fn).parameters), name
    checked = flow.validate_parameters(parameters)
    if given:
        return
    if desk.worker is not None and name not in desk.ran:
        desk.ran.add(name)
        shown = desk.shell.run(shlex.join(["prefect", "deployment", "run", *words]))
        assert "Completed" in shown, shown
    else:
        with desk.shell.here():
            flow(**checked)


def flow_of(entrypoint: str | None) -> Flow[..., Any]:
    module, _, name = (entrypoint or "").rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, Flow)
    return found


def value_of(text: str) -> Any:
    """As `prefect deployment run` reads it: JSON, or a text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def in_mongosh(text: str, desk: Desk) -> None:
    """Commands of the administrator; each password that is asked for is the next one."""
    statements = re.findall(r'^db\.getSiblingDB\("(\w+)"\)\.runCommand\((\{.*?\})\)$', text, re.MULTILINE | re.DOTALL)
    assert len(statements) == text.count("db."), text
    client: MongoClient[dict[str, Any]]
    with MongoClient(desk.mongod.uri, tlsCAFile=str(desk.mongod.ca_file)) as client:
        for database, command in statements:
            parsed = json.loads(command.replace("passwordPrompt()", '""'))
            if "pwd" in parsed:
                parsed["pwd"] = desk.passwords.pop(0)
            client[database].command(parsed)


def of_iam(text: str, desk: Desk) -> None:
    """A policy for the bucket alone, without wildcards among the actions."""
    policy = json.loads(text)
    assert policy["Version"] == "2012-10-17"
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        assert all(re.fullmatch(r"s3:[A-Z][A-Za-z]+", action) for action in statement["Action"])
        of_objects = statement["Resource"] == "arn:aws:s3:::mongo-backups/*"
        assert of_objects or statement["Resource"] == "arn:aws:s3:::mongo-backups"
        for action in statement["Action"]:
            assert of_objects == ("Object" in action or "Abort" in action) or "List" in action, action


def of_a_plan(text: str, desk: Desk) -> None:
    flow_of("flows.backup.backup").validate_parameters(yaml.safe_load(text)["parameters"])


def as_a_program(text: str, desk: Desk) -> None:
    with desk.shell.here():
        exec(compile(text, "block", "exec"), {"__name__": "__main__"})


def as_a_file(block: Block, text: str, desk: Desk) -> None:
    assert re.fullmatch(r"[a-z]+\.env", block.title), block
    (desk.shell.folder / block.title).write_text(text)


def follow(document: Path, desk: Desk) -> None:
    """Do all that a document says, from its first line to its last."""
    runners: Mapping[str, Callable[[str, Desk], None]] = {
        "python": as_a_program,
        "json": of_iam,
        "yaml": of_a_plan,
        "javascript": in_mongosh,
    }
    wrong: list[str] = []

    def attempt(where: str, what: str, act: Callable[[], None]) -> None:
        begun = time.monotonic()
        try:
            act()
        except Exception as error:  # noqa: BLE001 - all that is wrong with a document is told at once
            wrong.append(f"{where}: {what}\n{type(error).__name__}: {error}")
        ended = "failed" if wrong and wrong[-1].startswith(f"{where}: {what}\n") else "done"
        print(f"{time.monotonic() - begun:6.1f} s  {ended}  {where}: {what.splitlines()[0]}")

    for block in blocks(document):
        if block.language == "sh":
            for command in commands(block.text):
                attempt(block.where, command, lambda command=command: perform(desk.filled(command), desk))
        elif block.language == "dotenv":
            attempt(block.where, block.title, lambda block=block: as_a_file(block, desk.filled(block.text), desk))
        else:
            run = runners[block.language]
            attempt(block.where, block.language, lambda run=run, block=block: run(desk.filled(block.text), desk))
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("document", [README, RUNBOOK], ids=lambda path: path.name)
def test_each_block_says_its_language_and_its_links_lead_somewhere(document: Path) -> None:
    for block in blocks(document):
        assert block.language in LANGUAGES, block.where
    text = document.read_text()
    anchors = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (document.parent / target.partition("#")[0]).exists(), target


def test_commands_are_found_in_blocks() -> None:
    text = "one \\\n  two\n\n# a remark\nfor f in *; do\n  three\ndone\ncat > x <<'END'\nfor\nEND\nfour | five\n"
    assert commands(text) == [
        "one \\\n  two",
        "for f in *; do\n  three\ndone",
        "cat > x <<'END'\nfor\nEND",
        "four | five",
    ]
    assert simple("one \\\n  -p 'a|b' \"c;d\" # why") == ["one", "-p", "a|b", "c;d"]
    assert [simple(text) for text in ("one | two", "(one)", "one > two", "one $two", 'one "$two"')] == [None] * 5


@pytest.mark.timeout(900)  # a flow a command, on a machine that may be busy
def test_readme(desk: Desk) -> None:
    identity, key = Identity.generate(), SigningKey.generate()
    keys = AwsCredentials(aws_access_key_id=desk.s3.access_key, aws_secret_access_key=desk.s3.secret_key)
    login = {"host": desk.mongod.host, "port": desk.mongod.port, "username": USER, "password": PASSWORD}
    tls = {"tls": True, "tls_ca_file": str(desk.mongod.ca_file)}
    BackupStore(credentials=keys, bucket="backups", endpoint=desk.s3.endpoint).save("backups", overwrite=True)
    MongoDBSource(**login, **tls).save("source", overwrite=True)
    MongoDBTarget(**login, **tls).save("target", overwrite=True)
    BackupEncryption(recipients=identity.public, signing_key=key.secret).save("keys", overwrite=True)
    BackupIdentities(identities=identity.secret).save("keys", overwrite=True)
    secrets = desk.checkout / "run-secrets"
    secrets.mkdir()
    for name, text in (("access", desk.s3.access_key), ("secret", desk.s3.secret_key), ("ping", "http://127.0.0.1:9/")):
        (secrets / name).write_text(text)
    desk.bucket, desk.signer = "backups", key.public
    follow(README, desk)


@pytest.mark.timeout(900)
def test_runbook(desk: Desk) -> None:
    desk.bucket = "mongo-backups"
    desk.passwords = ["password of the user backup", "password of the user restore", "new password of the user backup"]
    follow(RUNBOOK, desk)
    assert desk.passwords == []
    called = (desk.checkout.parent / "bin" / "diary").read_text().splitlines()
    assert [line.split()[1] for line in called] == ["stop", "start"]
