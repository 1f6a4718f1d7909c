"""README.md and RUNBOOK.md: every command in them is one that this project, and the shell, would take.

Commands are read: options, deployments and parameters are held against what is there today, also of those that cannot
be run here. All others are run by `test_documents_run.py`.
"""

from __future__ import annotations

import configparser
import importlib
import importlib.util
import inspect
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow

from deployments.setup.variables import VARIABLES
from deployments.worker import GRACE_SECONDS
from flows.cli.app import app
from flows.core.parquet.rules import RuleSet
from tests.support.documents import Block, blocks, commands, simple

ROOT = Path(__file__).parents[2]
README, RUNBOOK = ROOT / "README.md", ROOT / "deployments" / "RUNBOOK.md"
DOCUMENTS = pytest.mark.parametrize("document", [README, RUNBOOK], ids=lambda path: path.name)
LANGUAGES = {"sh", "python", "yaml", "json", "javascript", "dotenv", "ini"}
# Programs of others, whose words nothing here knows; the shell still has to take the whole.
OF_OTHERS = {
    *(
        ".",
        "age",
        "aws",
        "cat",
        "cd",
        "chmod",
        "cp",
        "curl",
        "echo",
        "env",
        "export",
        "for",
        "git",
        "grep",
        "gunzip",
        "sh",
    ),
    *("ls", "mkdir", "mv", "openssl", "printf", "python3", "rm", "sed", "set", "tail", "umask"),
}


def flow_of(entrypoint: str) -> Flow[..., Any]:
    module, _, name = entrypoint.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, Flow)
    return found


@pytest.fixture(scope="module")
def deployed() -> dict[str, tuple[Flow[..., Any], dict[str, Any]]]:
    """The flow of each deployment of `prefect.yaml`, and the parameters that it has there."""
    stanzas = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
    found = [(flow_of(stanza["entrypoint"]), stanza) for stanza in stanzas]
    return {f"{flow.name}/{stanza['name']}": (flow, stanza.get("parameters", {})) for flow, stanza in found}


def value_of(text: str) -> Any:
    """As `prefect deployment run` reads it: JSON, or a text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def check(command: str, deployed: dict[str, tuple[Flow[..., Any], dict[str, Any]]]) -> None:
    """See that a command would be taken."""
    done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = simple(command) or command.lstrip("(").split()
    if words[:2] == ["docker", "compose"] and "run" in words and "python" in words:
        words = words[words.index("python") :]
    match words:
        case ["python", "-m", "flows", *given]:
            if "--help" not in given and simple(command):
                app.parse_args(given, exit_on_error=False, print_error=False)
        case ["prefect", "deployment", "run", name, *rest]:
            flow, parameters = deployed[name]
            given = dict(rest[at + 1].split("=", 1) for at, word in enumerate(rest) if word == "-p")
            given = {key: value_of(text) for key, text in given.items()}
            assert set(given) <= set(inspect.signature(flow.fn).parameters)
            flow.validate_parameters({**parameters, **given})
            assert [word for word in rest if word.startswith("-")] == [w for w in rest if w in ("-p", "--watch")]
        case ["make", target, *_]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module) is not None
        case ["kubectl", *_]:
            _kubernetes(command)
        case ["prefect", *_] | ["docker", "compose", *_]:
            pass
        case [program, *_]:
            assert program.partition("=")[0] in OF_OTHERS or "mongorestore" in command, program


def _kubernetes(command: str) -> None:
    """The folders and cron jobs that are named."""
    folder = ROOT / "deployments" / "kubernetes"
    for path in re.findall(r"-k deployments/kubernetes/(\S+)", command):
        assert (folder / path / "kustomization.yaml").exists()
    for job in re.findall(r"cronjob/(\S+)", command):
        assert (folder / "without-server" / f"{job}.yaml").exists()


@DOCUMENTS
def test_every_command_would_be_taken(
    document: Path, deployed: dict[str, tuple[Flow[..., Any], dict[str, Any]]]
) -> None:
    wrong, number = [], 0
    for block in blocks(document):
        for command in commands(block.text) if block.language == "sh" else ():
            number += 1
            try:
                check(command, deployed)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - all that is wrong is told at once
                wrong.append(f"{block.where}: {command}\n{type(error).__name__}: {error}")
    assert number > 20
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize(
    "command",
    [
        "python -m flows restore --into-sources",
        "python -m flows bakup",
        "prefect deployment run backup/nigthly",
        "prefect deployment run restore/restore -p renam=1",
        "prefect deployment run restore/restore -p mode=replase",
        "make demos",
        "python -m deployments.setups",
        "mongodumb --all",
        "kubectl apply -k deployments/kubernetes/nowhere",
        "for f in *; do",
    ],
)
def test_a_command_that_would_not_be_taken_is_found(
    command: str, deployed: dict[str, tuple[Flow[..., Any], dict[str, Any]]]
) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - each in its own way
        check(command, deployed)


@DOCUMENTS
def test_blocks_of_other_languages_can_be_read(document: Path) -> None:
    for block in blocks(document):
        read(block)


def read(block: Block) -> None:
    match block.language:
        case "json":
            _policy(json.loads(block.text))
        case "yaml":
            read = yaml.safe_load(block.text)
            if "parameters" in read:
                flow_of("flows.backup.backup").validate_parameters(read["parameters"])
            else:
                RuleSet.parse(read)
        case "python":
            compile(block.text, block.where, "exec")
        case "javascript":
            found = re.findall(
                r'^db\.getSiblingDB\("\w+"\)\.runCommand\((\{.*?\})\)$', block.text, re.MULTILINE | re.DOTALL
            )
            assert len(found) == block.text.count("db."), block.where
            for command in found:
                json.loads(command.replace("passwordPrompt()", '""'))
        case "ini":
            service = configparser.ConfigParser(interpolation=None)
            service.read_string(block.text)
            assert "-m deployments.worker --pool" in service["Service"]["ExecStart"]
            # systemd would tell the runs and their worker at once.
            assert service["Service"]["KillMode"] == "mixed"
            assert int(service["Service"]["TimeoutStopSec"]) >= GRACE_SECONDS + 10
        case "dotenv":
            known = {"PREFECT_API_URL", *(name for variable in VARIABLES for name in variable.names)}
            given = {line.partition("=")[0] for line in block.text.splitlines() if "=" in line and line[0] != "#"}
            assert {name for name in given if {name, name.removesuffix("_FILE")}.isdisjoint(known)} == set(), (
                block.where
            )


def _policy(policy: dict[str, Any]) -> None:
    """For the bucket alone, without wildcards among the actions, each where it belongs."""
    assert policy["Version"] == "2012-10-17"
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        assert all(re.fullmatch(r"s3:[A-Z][A-Za-z]+", action) for action in statement["Action"])
        of_objects = statement["Resource"] == "arn:aws:s3:::mongo-backups/*"
        assert of_objects or statement["Resource"] == "arn:aws:s3:::mongo-backups"
        for action in statement["Action"]:
            assert of_objects == ("Object" in action or "Abort" in action) or "List" in action, action


@DOCUMENTS
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
