"""The manifests: what they promise, read from them. They are put together as kustomize does it, as far as is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.worker import GRACE_SECONDS
from flows.cli.app import app
from tests.deployments.test_images import DEPLOYMENTS
from tests.support.setups import read_example

FOLDER = DEPLOYMENTS / "kubernetes"
Manifest = dict[str, Any]


def read(path: Path) -> Manifest:
    found: Manifest = yaml.safe_load(path.read_text())
    return found


def merged(below: Any, above: Any) -> Any:
    """A strategic merge: maps by key, lists of things with names by name."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {key: merged(below.get(key), above.get(key)) for key in {**below, **above}}
    if isinstance(below, list) and isinstance(above, list) and all("name" in item for item in (*below, *above)):
        names = {item["name"]: item for item in below}
        for item in above:
            names[item["name"]] = merged(names.get(item["name"]), item)
        return list(names.values())
    return below if above is None else above


def built(folder: Path) -> Iterator[Manifest]:
    """All manifests of a kustomization."""
    kustomization = read(folder / "kustomization.yaml")
    for name in kustomization["resources"]:
        if (folder / name).is_dir():
            yield from built(folder / name)
            continue
        manifest = read(folder / name)
        for patch in kustomization.get("patches", []):
            target = patch["target"]
            if manifest["kind"] == target["kind"] and manifest["metadata"]["name"] in target["name"].split("|"):
                above = read(folder / patch["path"])
                manifest = merged(manifest, {"spec": above["spec"]})
        yield manifest


MANIFESTS = {
    f"{way}/{m['kind']}/{m['metadata']['name']}": m for way in ("worker", "without-server") for m in built(FOLDER / way)
}
PODS = {
    name: manifest["spec"].get("jobTemplate", manifest)["spec"]["template"]["spec"]
    for name, manifest in MANIFESTS.items()
    if manifest["kind"] in ("Deployment", "Job", "CronJob")
}
every_pod = pytest.mark.parametrize("name", PODS)


def way_of(name: str) -> Path:
    """The folder of the kustomization that a pod is from."""
    return FOLDER / name.partition("/")[0]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_all_that_should_be_there_is() -> None:
    assert PODS.keys() == {
        "worker/Deployment/worker",
        "worker/Job/setup",
        *(f"without-server/CronJob/{name}" for name in ("backup", "verify", "drill", "restore", "watch")),
    }
    named = {path.name for path in FOLDER.glob("*/*.yaml")}
    used = {name for path in FOLDER.glob("*/kustomization.yaml") for name in read(path)["resources"]}
    assert named - used == {"kustomization.yaml", "pod.yaml"}
    namespace = MANIFESTS["worker/Namespace/mongo-backup"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@every_pod
def test_a_pod_is_restricted(name: str) -> None:
    pod = PODS[name]
    own = pod["securityContext"]
    assert own["runAsNonRoot"] is True
    assert (own["runAsUser"], own["runAsGroup"], own["fsGroup"]) == (10001, 10001, 10001)
    assert own["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    for container in containers(pod):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"].keys() == {"requests", "limits"}
        assert "ports" not in container
        # Beside the root, which is read-only, only its own volumes can be written.
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


@every_pod
def test_a_pod_has_volumes_with_a_limit_and_secrets_by_reference(name: str) -> None:
    volumes = {volume["name"]: volume for volume in PODS[name]["volumes"]}
    for volume in volumes.values():
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"]
        else:
            assert volume["secret"]["secretName"] == "mongo-backup"
            assert volume["secret"]["defaultMode"] == 0o440
    for container in containers(PODS[name]):
        for mount in container["volumeMounts"]:
            assert mount["name"] in volumes
            assert mount["name"] != "secrets" or mount["readOnly"] is True
        assert not any("secretKeyRef" in str(item) for item in container.get("env", []))


@every_pod
def test_images_are_pinned_where_the_pods_are_put_together(name: str) -> None:
    images = read(way_of(name) / "kustomization.yaml")["images"]
    assert {container["image"] for container in containers(PODS[name])} == {"mongo-backup-flows"}
    assert [(image["name"], image["newTag"]) for image in images] == [("mongo-backup-flows", "0.1.0")]


@every_pod
def test_what_is_named_is_there(name: str) -> None:
    generated = {
        generator["name"]
        for path in (way_of(name), FOLDER / "base")
        for generator in read(path / "kustomization.yaml").get("configMapGenerator", [])
    }
    for container in containers(PODS[name]):
        for source in container.get("envFrom", []):
            assert source["configMapRef"]["name"] in generated
    account = PODS[name]["serviceAccountName"]
    assert f"{way_of(name).name}/ServiceAccount/{account}" in MANIFESTS


def test_the_worker_is_started_anew_only_long_after_it_was_lost() -> None:
    (worker,) = PODS["worker/Deployment/worker"]["containers"]
    live = worker["livenessProbe"]
    assert live["periodSeconds"] * live["failureThreshold"] >= 3600, "that kills the runs that are under way"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert worker[probe]["exec"]["command"] == ["python", "-m", "deployments.health", "8080", "/health"]
    assert MANIFESTS["worker/Deployment/worker"]["spec"]["strategy"] == {"type": "Recreate"}
    assert PODS["worker/Deployment/worker"]["terminationGracePeriodSeconds"] >= GRACE_SECONDS + 10


def test_nobody_connects_to_a_pod() -> None:
    policy = MANIFESTS["worker/NetworkPolicy/mongo-backup"]["spec"]
    assert policy["podSelector"] == {}
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == []
    assert all(rule["ports"] for rule in policy["egress"])


@pytest.mark.parametrize("verb", ["backup", "verify", "drill", "restore", "watch"])
def test_a_job_calls_what_the_command_line_has(verb: str) -> None:
    python, *called = PODS[f"without-server/CronJob/{verb}"]["containers"][0]["args"]
    assert (python, *called[:3]) == ("python", "-m", "flows", verb)
    app.parse_args(called[2:], exit_on_error=False, print_error=False)
    cron = MANIFESTS[f"without-server/CronJob/{verb}"]["spec"]
    assert cron["concurrencyPolicy"] == "Forbid" or cron["suspend"]
    assert cron["jobTemplate"]["spec"]["backoffLimit"] == 0


def test_a_flow_finds_a_server_with_its_blocks_and_nothing_else_of_secrets() -> None:
    pod = PODS["without-server/CronJob/backup"]
    server, setup = pod["initContainers"]
    (flow,) = pod["containers"]
    assert server["restartPolicy"] == "Always"
    assert server["args"][:3] == ["prefect", "server", "start"]
    assert "127.0.0.1" in server["args"]
    assert setup["args"] == ["python", "-m", "deployments.setup"]
    assert {"name": "PREFECT_API_URL", "value": "http://127.0.0.1:4200/api"} in flow["env"]
    assert [container["name"] for container in containers(pod) if "secrets" in str(container["volumeMounts"])] == [
        "setup"
    ]


def test_the_settings_are_all_that_the_set_up_needs_and_have_no_secret(tmp_path: Path) -> None:
    settings = FOLDER / "base" / "settings.env"
    plan, _, strangers = read_example(settings, tmp_path)
    assert plan.source.password == "source-password"
    assert plan.bucket.bucket == "backups"
    assert strangers == []
    # The keys of the secret are the names of the files.
    for way in ("worker", "without-server"):
        said = (FOLDER / way / "kustomization.yaml").read_text()
        assert {path.name for path in tmp_path.iterdir()} <= set(re.findall(r"--from-file=([\w-]+)", said))
    folders = {Path(path).parent for path in re.findall(r"_FILE=(.+)", settings.read_text())}
    assert folders == {Path("/run/secrets/mongo-backup")}
