"""docker-compose.yml: what it promises, read from it; nothing is started."""

from __future__ import annotations

import base64
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.setup.variables import VARIABLES
from deployments.worker import GRACE_SECONDS
from tests.deployments.test_images import DEPLOYMENTS, PINNED
from tests.support.setups import read_example

TEXT = (DEPLOYMENTS / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
KEYS: dict[str, Any] = yaml.safe_load((DEPLOYMENTS / "docker-compose.keys.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"setup", "trial"}
every_service = pytest.mark.parametrize("name", SERVICES)


def users_of(kind: str, name: str) -> set[str]:
    return {service for service, given in SERVICES.items() if name in given.get(kind, [])}


@every_service
def test_images_are_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    # What is built here has the version of the code.
    assert PINNED.fullmatch(image) or (image == "mongo-backup-flows:0.1.0" and SERVICES[name]["build"])


@every_service
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    user, group = map(int, service["user"].split(":"))
    assert user > 0
    assert group > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"}
    assert not any("docker.sock" in volume or volume.startswith(("/", ".")) for volume in service.get("volumes", []))
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert service["logging"]["options"]["max-size"]


@every_service
def test_a_service_says_whether_it_is_well_and_starts_again(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert service["restart"] == "no"
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        # That of the worker is in its image.
        assert name == "worker" or service["healthcheck"]["test"][0] == "CMD"


def test_what_a_service_waits_for_can_come() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] == ("service_completed_successfully" if other in ONE_SHOT else "service_healthy")
            # What is not in its profile would never come.
            assert SERVICES[other].get("profiles") == service.get("profiles") or how["required"] is False


def test_ports_are_open_on_this_machine_alone() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:4200:4200"]


def test_the_database_is_reached_by_the_server_alone() -> None:
    assert COMPOSE["networks"]["database"]["internal"] is True
    assert users_of("networks", "database") == {"database", "server"}
    assert SERVICES["database"]["networks"] == ["database"]


def test_the_trial_starts_only_when_it_is_asked_for_and_reaches_nobody() -> None:
    trial = {name for name, service in SERVICES.items() if service.get("profiles") == ["trial"]}
    assert trial == {"mongo", "minio", "trial"}
    assert COMPOSE["networks"]["trial"]["internal"] is True
    for name in trial:
        assert SERVICES[name]["networks"] == ["trial"]


def test_secrets_are_files_and_go_to_those_who_need_them() -> None:
    for name, secret in {**COMPOSE["secrets"], **KEYS["secrets"]}.items():
        assert secret == {"file": f"secrets/{name}"}
    assert users_of("secrets", "source-password") == {"setup", "trial"}
    assert SERVICES["worker"]["secrets"] == ["prefect-login"]
    assert users_of("secrets", "prefect-encryption-key") == {"server"}
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if named := re.fullmatch(r"/run/secrets/(.+)", str(value)):
                assert variable.endswith("_FILE")
                assert named[1] in service["secrets"]
            else:
                assert not re.search("PASSWORD|SECRET|_KEY|AUTH_STRING|TOKEN", variable)


def test_the_keys_go_to_the_set_up() -> None:
    assert KEYS["services"].keys() == {"setup"}
    setup = KEYS["services"]["setup"]
    assert set(setup["environment"].values()) == {f"/run/secrets/{name}" for name in setup["secrets"]}
    assert setup["secrets"] == list(KEYS["secrets"])


def test_the_server_keeps_its_leases_and_what_it_must_not_lose() -> None:
    server = SERVICES["server"]["environment"]
    assert server["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"].endswith(".lease_storage.filesystem")
    # The leases are in there.
    assert f"server:{server['PREFECT_HOME']}" in SERVICES["server"]["volumes"]
    assert SERVICES["worker"]["volumes"] == ["spool:/spool"]


def test_the_worker_has_the_time_that_it_gives_its_runs() -> None:
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) >= GRACE_SECONDS + 10


def test_the_example_is_all_that_the_set_up_needs_and_has_no_secrets(tmp_path: Path) -> None:
    plan, common, strangers = read_example(DEPLOYMENTS / "example.env", tmp_path)
    assert (plan.name, plan.source.host, plan.source.password) == ("default", "mongo", "source-password")
    assert (plan.target.username, plan.target.password) == ("restore", "target-password")
    assert (plan.bucket.endpoint, plan.bucket.access_key) == ("http://minio:9000", "s3-access-key")
    # What fills in the file of compose has the same names.
    assert common.pool == re.findall(r"\$\{MONGO_BACKUP_WORK_POOL:-(.+?)\}", TEXT)[0]
    assert strangers == []
    given = {path.name for path in tmp_path.iterdir()}
    assert given == set(SERVICES["setup"]["secrets"]) - {"prefect-login"}


def test_the_keys_have_names_that_the_set_up_knows() -> None:
    known = {f"{name}_FILE" for variable in VARIABLES if variable.secret for name in variable.names}
    assert KEYS["services"]["setup"]["environment"].keys() <= known


def make_secrets(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = folder / "make-secrets.sh"
    script.write_text((DEPLOYMENTS / "make-secrets.sh").read_text())
    return subprocess.run(["/bin/sh", script, *arguments], capture_output=True, text=True, check=False)


def test_secrets_are_made_once_and_are_fit_for_what_takes_them(tmp_path: Path) -> None:
    first = make_secrets(folder=tmp_path)
    secrets = tmp_path / "secrets"
    made = {path.name: path.read_text() for path in secrets.iterdir()}
    assert made.keys() == {"postgres-password", "prefect-login", "prefect-encryption-key"}
    assert "missing secrets/source-password" in first.stdout
    assert not any(value in first.stdout + first.stderr for value in made.values())
    assert len(base64.urlsafe_b64decode(made["prefect-encryption-key"])) == 32
    assert re.fullmatch(r"admin:\w{32}", made["prefect-login"])

    (secrets / "source-password").write_text("mine")
    (secrets / "source-password").chmod(0o600)
    again = make_secrets("--trial", folder=tmp_path)
    assert again.returncode == 0
    all_of_them = {path.name: path.read_text() for path in secrets.iterdir()}
    assert all_of_them.keys() == COMPOSE["secrets"].keys()
    assert all_of_them.items() >= {**made, "source-password": "mine"}.items()
    assert len(set(all_of_them.values())) == len(all_of_them)
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in secrets.iterdir())
    assert "missing" not in again.stdout
    assert make_secrets("--help", folder=tmp_path).returncode == 2
