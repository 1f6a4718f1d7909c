"""The image: what gets in, on what it stands, how it starts, and how it says whether it is well."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from packaging.requirements import Requirement

from flows.core.version import __version__

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = ROOT / "deployments"
DOCKERFILE = (DEPLOYMENTS / "Dockerfile").read_text()
# Lines that go on are one.
INSTRUCTIONS = [line for line in re.sub(r"\\\n", " ", DOCKERFILE).splitlines() if line and not line.startswith("#")]
PINNED = re.compile(r"[\w./-]+:[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}")


def of(instruction: str) -> list[str]:
    return [line.partition(" ")[2].strip() for line in INSTRUCTIONS if line.startswith(f"{instruction} ")]


def pins(lock: str) -> dict[str, str]:
    """The versions of a lock file, by name; where there are several for several systems, the lines of all."""
    found: dict[str, str] = {}
    for line in (ROOT / lock).read_text().splitlines():
        if matched := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(.+?) *\\$", line):
            found[matched[1]] = "\n".join(filter(None, [found.get(matched[1]), matched[2]]))
    return found


def test_every_image_below_is_pinned_by_version_and_digest() -> None:
    given = dict(argument.split("=", 1) for argument in of("ARG"))
    for base in of("FROM"):
        name = base.split(" ")[0]
        if name in re.findall(r"AS (\w+)", DOCKERFILE):
            continue
        assert PINNED.fullmatch(given[name.strip("${}")]), base


def test_it_installs_what_runs_need_and_nothing_without_a_hash() -> None:
    install = next(run for run in of("RUN") if " install " in run and "pip" in run)
    for option in ("--require-hashes", "--no-deps", "--only-binary :all:", "-r /requirements-run.lock"):
        assert option in install
    run, everything = pins("requirements-run.lock"), pins("requirements.lock")
    assert len(run) > 100
    assert run.items() <= everything.items(), "run `make lock`: requirements-run.lock is older than requirements.lock"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {Requirement(line).name for line in project["dependencies"]} <= run.keys()
    extras = project["optional-dependencies"]
    others = {Requirement(line).name for line in (*extras["demo"], *extras["test"])} - {project["name"]}
    assert others & run.keys() == set(), "these are for demo and tests alone"


def test_both_locks_are_written_by_one_command() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\nlock:")[2].partition("\n\n")[0]
    assert "-o requirements.lock" in recipe
    assert "-c requirements.lock" in recipe
    assert recipe.index("-o requirements.lock") < recipe.index("-o requirements-run.lock")


def test_what_is_copied_is_there_and_gets_to_the_builder() -> None:
    let_in = (DEPLOYMENTS / "Dockerfile.dockerignore").read_text().splitlines()
    assert let_in[1] == "*"
    copied = {line.split(" ")[0] for line in of("COPY") if not line.startswith("--from")}
    assert copied == {line[1:] for line in let_in if line.startswith("!")}
    for name in copied:
        assert (ROOT / name).exists()
    for secret in ("deployments/.env", "deployments/secrets"):
        assert secret in let_in
        ignored = subprocess.run(["git", "check-ignore", "--quiet", f"{secret}/file"], cwd=ROOT, check=False)
        assert ignored.returncode == 0, f"git would take {secret}"


def test_it_is_not_root_and_its_folders_are_private() -> None:
    assert of("USER") == ["10001:10001"]
    made = next(run for run in of("RUN") if "useradd" in run)
    assert "--uid 10001 --gid 10001" in made
    assert "install -d -o 10001 -g 10001 -m 0700 /spool /var/lib/prefect" in made
    assert "MONGO_BACKUP_SPOOL=/spool" in DOCKERFILE


def test_its_version_is_that_of_the_code() -> None:
    assert f"VERSION={__version__}" in of("ARG")


def entrypoint(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", DEPLOYMENTS / "entrypoint.sh", *command],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_secrets_get_from_files_into_the_variables_of_prefect(tmp_path: Path) -> None:
    login, key = tmp_path / "login", tmp_path / "key with a blank"
    login.write_text("admin:a'b\"$c\\ d\n")
    key.write_text("k" * 44)
    shown = entrypoint(
        "env",
        PREFECT_API_AUTH_STRING_FILE=str(login),
        PREFECT_SERVER_ENCRYPTION_KEY_FILE=str(key),
        PREFECT_API_SSL_CERT_FILE="/etc/ssl/ca.pem",  # a setting of Prefect that is a file
    ).stdout.splitlines()
    assert "PREFECT_API_AUTH_STRING=admin:a'b\"$c\\ d" in shown
    assert f"PREFECT_SERVER_ENCRYPTION_KEY={'k' * 44}" in shown
    assert [line for line in shown if line.partition("=")[0].endswith("_FILE")] == [
        "PREFECT_API_SSL_CERT_FILE=/etc/ssl/ca.pem"
    ]


@pytest.mark.parametrize("content", [None, ""])
def test_a_secret_that_is_not_there_stops_the_start(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "login"
    if content is not None:
        path.write_text(content)
    refused = entrypoint("echo", "started", PREFECT_API_AUTH_STRING_FILE=str(path))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"The file that PREFECT_API_AUTH_STRING_FILE names is empty, or user {os.getuid()} cannot read it: {path}\n"
    )


def test_the_program_takes_the_place_of_the_script() -> None:
    # Otherwise a signal would end the shell, and not what it started.
    with subprocess.Popen(
        ["/bin/sh", DEPLOYMENTS / "entrypoint.sh", "sh", "-c", "echo $$; exit 7"], stdout=subprocess.PIPE, text=True
    ) as process:
        said, _ = process.communicate()
    assert int(said) == process.pid
    assert process.returncode == 7


class Health(BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_GET(self) -> None:
        self.send_response(int(self.path[1:]))
        self.end_headers()
        self.wfile.write(b"as asked")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def health(*arguments: str, environment: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deployments.health", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_health_check_tells_well_from_unwell_and_from_gone(port: int) -> None:
    # A proxy of the container's environment is no way to the container itself.
    well = health(str(port), "/200", environment={**os.environ, "http_proxy": "http://127.0.0.1:1"})
    assert (well.returncode, well.stdout) == (0, "200 as asked\n")
    assert (health(str(port), "/503").returncode, health(str(port), "/503").stdout) == (1, "503 as asked\n")
    gone = health("1", "/health")
    assert gone.returncode == 1
    assert gone.stdout.startswith("no answer from port 1: ")
