"""The files of deployments, and what the set-up makes of them, of blocks and of alarms: without a server."""

from __future__ import annotations

import importlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import prefect
import pytest
import yaml
from prefect.flows import Flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.schema_tools import validate

from deployments.setup.__main__ import main
from deployments.setup.act import Setup
from deployments.setup.alarms import alarms
from deployments.setup.changes import Act, compare
from deployments.setup.server import automation_thing
from deployments.setup.server_deployments import form_of
from deployments.setup.stanzas import FILE, pool_of, read_yaml
from deployments.setup.wanted import wanted_blocks
from flows.cli.status import Status
from flows.core.errors import ConfigurationError
from flows.core.version import __version__
from tests.support.setups import GUIDE, IDENTITY, SIGNER, UNEDITED, read

ROOT = Path(__file__).parents[2]
FILES = sorted(path for path in (ROOT / "deployments").glob("prefect*.yaml"))
BLOCK = "6f0d1c7e-3f5a-4b0c-9a53-0d6f2b8c1e11"


def setup(*given: dict[str, str], plans: tuple[Path, ...] = (), document: dict[str, Any] | None = None) -> Setup:
    found, common, _, problems = read(*given, plans=plans)
    made = Setup.of(found, common, document or read_yaml(FILE), problems)
    assert problems == []
    return made


def stanzas(made: Setup) -> dict[str, dict[str, Any]]:
    """The deployments by flow and name."""
    return {deployment.name: dict(deployment.stanza) for deployment in made.deployments}


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_each_deployment_of_a_file_fits_its_flow(path: Path) -> None:
    for stanza in read_yaml(path)["deployments"]:
        form = form_of(stanza["entrypoint"])
        parameters = stanza.get("parameters", {})
        assert parameters.keys() <= form.parameters, stanza["name"]
        # What has no default is for the run by hand, which the form asks for it.
        validate(parameters, dict(form.schema) | {"required": []}, raise_on_error=True)
        assert stanza["tags"] == ["mongo-backup"]
        assert len(stanza["description"].split()) > 5
        if "dry_run" in parameters:
            assert parameters["dry_run"] is True, f"{stanza['name']} would write unedited"


def test_every_flow_has_a_deployment() -> None:
    deployed = {stanza["entrypoint"] for stanza in read_yaml(FILE)["deployments"]}
    for path in (ROOT / "flows").glob("[!_]*.py"):
        module = importlib.import_module(f"flows.{path.stem}")
        for name, value in vars(module).items():
            if isinstance(value, Flow) and value.fn.__module__ == module.__name__:
                assert f"flows.{path.stem}.{name}" in deployed


def test_with_the_settings_of_the_file_the_set_up_deploys_the_file_as_it_is() -> None:
    made = setup(UNEDITED)
    assert list(made.document["deployments"]) == read_yaml(FILE)["deployments"]
    assert yaml.safe_load(made.file()) == made.document
    assert "description: |" in made.file()


def test_settings_go_into_all_deployments_that_have_them() -> None:
    made = setup(
        {
            "MONGO_BACKUP_PLAN": "mpg",
            "MGOB_CRON": "30 3 * * *",
            "MONGO_BACKUP_TIME_ZONE": "Europe/Berlin",
            "MGOB_RETENTION": "30",
            "MONGO_BACKUP_EXCLUDE": "mpg.sessions",
            "MONGO_BACKUP_INCLUDE": "mpg.*",
            "MONGO_BACKUP_INCLUDE_USERS": "true",
            "MONGO_BACKUP_COMPRESSION": "zstd",
            "MONGO_BACKUP_WORK_POOL": "night",
            "MONGO_BACKUP_LATE_HOURS": "30",
            "MONGO_BACKUP_DRILL_OVERDUE_DAYS": "40",
            "MONGO_BACKUP_WATCH_ALARMS": "people",
        }
    )
    found = stanzas(made)
    backup = found["backup/mpg"]
    assert backup["schedules"] == [{"slug": "nightly", "cron": "30 3 * * *", "timezone": "Europe/Berlin"}]
    retention = {"days": 30, "at_least": 3, "time_zone": "Europe/Berlin"}
    assert backup["parameters"] == {
        "plan": "mpg",
        "source": "source",
        "store": "backups",
        "databases": ["mpg"],
        "include": ["mpg.*"],
        "exclude": ["mpg.sessions"],
        "include_users": True,
        "compression": "zstd",
        "retention": retention,
        "overlap": "wait",
    }
    assert found["prune/prune"]["parameters"] == {
        "plan": "mpg", "store": "backups", "retention": retention, "dry_run": True,
    }  # fmt: skip
    assert found["verify/mpg"]["schedules"] == [{"slug": "verify", "cron": "0 12 * * *", "timezone": "Europe/Berlin"}]
    assert found["drill/mpg"]["parameters"]["time_zone"] == "Europe/Berlin"
    assert found["restore/restore"]["parameters"]["plan"] == "mpg"
    preflight = found["preflight/mpg"]
    assert preflight["schedules"] == [{"slug": "weekly", "cron": "0 8 * * 1", "timezone": "Europe/Berlin"}]
    assert preflight["parameters"] == {
        "plan": "mpg", "source": "source", "store": "backups", "retention": retention, "databases": ["mpg"],
    }  # fmt: skip
    watch = found["watch/mpg"]
    assert watch["schedules"][0]["cron"] == "30 * * * *"
    assert watch["parameters"] == {
        "plan": "mpg", "store": "backups", "backup_hours": 30, "verification_hours": 50, "drill_days": 40,
        "alarms": "people",
    }  # fmt: skip
    assert {stanza["work_pool"]["name"] for stanza in found.values()} == {"night"}
    for deployment in made.deployments:
        validate(
            dict(deployment.stanza["parameters"]), dict(deployment.form.schema) | {"required": []}, raise_on_error=True
        )


def test_kept_for_ever_a_backup_removes_nothing_and_a_prune_by_hand_has_rules() -> None:
    found = stanzas(setup({"MGOB_RETENTION": "forever"}))
    assert found["backup/nightly"]["parameters"]["retention"] is None
    for name in ("prune/prune", "preflight/weekly"):
        assert found[name]["parameters"]["retention"] == {"days": 7, "at_least": 3}


def test_blocks_of_keys_are_named_where_flows_take_them() -> None:
    found = stanzas(setup({"MONGO_BACKUP_RECIPIENTS": IDENTITY.public}))
    using = {name: stanza["parameters"].get("encryption") for name, stanza in found.items()}
    assert {name for name, block in using.items() if block} == {"backup/nightly", "preflight/weekly"}
    assert not any("identities" in stanza["parameters"] for stanza in found.values())

    keys = {
        "MONGO_BACKUP_RECIPIENTS": IDENTITY.public,
        "MONGO_BACKUP_SIGNING_KEY": SIGNER.secret,
        "MONGO_BACKUP_IDENTITIES": IDENTITY.secret,
        "MONGO_BACKUP_TRUSTED_SIGNERS": SIGNER.public,
    }
    made = setup(keys)
    found = stanzas(made)
    assert {name for name, stanza in found.items() if stanza["parameters"].get("encryption") == "keys"} >= {
        "backup/nightly", "verify/verify", "drill/monthly",
    }  # fmt: skip
    for deployment in made.deployments:
        assert ("identities" in deployment.stanza["parameters"]) == ("identities" in deployment.form.parameters)
    text = made.file()
    for secret in (IDENTITY.secret, SIGNER.secret, GUIDE["MGOB_TARGET_PASSWORD"]):
        assert secret not in text


def test_each_plan_has_its_scheduled_deployments_and_those_by_hand_are_there_once(tmp_path: Path) -> None:
    for name, host in (("mpg", "one"), ("shop", "two")):
        (tmp_path / f"{name}.yml").write_text(f"target: {{host: {host}, database: {name}}}")
    made = setup(plans=(tmp_path / "mpg.yml", tmp_path / "shop.yml"))
    found = stanzas(made)
    assert len(found) == len(made.deployments)
    for flow in ("backup", "verify", "drill", "preflight", "watch"):
        assert {found[f"{flow}/{plan}"]["parameters"]["plan"] for plan in ("mpg", "shop")} == {"mpg", "shop"}
    assert found["restore/restore"]["parameters"]["plan"] == "mpg"
    assert "backup/nightly" not in found
    # The second has another server, in the same store.
    assert found["backup/shop"]["parameters"] | {"retention": {}} == {
        "plan": "shop", "source": "source-shop", "store": "backups", "databases": ["shop"], "retention": {},
        "overlap": "wait",
    }  # fmt: skip
    assert [block.name for block in made.blocks] == [
        "backups-keys", "source", "target", "backups", "source-shop", "target-shop",
    ]  # fmt: skip


def job_template(kind: str) -> dict[str, Any]:
    """What the Prefect server makes of a new work pool of this type."""
    metadata = Path(prefect.__file__).parent / "server/api/collections_data/views/aggregate-worker-metadata.json"
    for collection in json.loads(metadata.read_text()).values():
        for worker in collection.values():
            if worker["type"] == kind:
                found: dict[str, Any] = worker["default_base_job_configuration"]
                return found
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_templates_of_pools_fit_what_prefect_makes_of_them(kind: str) -> None:
    made = setup(UNEDITED, {"MONGO_BACKUP_WORK_POOL_TYPE": kind})
    template = job_template(kind)
    for stanza in stanzas(made).values():
        variables = stanza["work_pool"]["job_variables"]
        assert variables["image"] == f"mongo-backup-flows:{__version__}"
        assert variables.keys() <= template["variables"]["properties"].keys()
        validate(variables, template["variables"], raise_on_error=True)
    assert made.document["pull"] == pool_of(made.common)["pull"]
    written = yaml.safe_load((ROOT / "deployments" / f"pool-{kind}.yaml").read_text())
    assert written["work_pool"]["job_variables"]["image"] == f"mongo-backup-flows:{__version__}"


def test_a_file_with_what_would_be_left_out_is_refused(tmp_path: Path) -> None:
    document = read_yaml(FILE)
    document["deployments"][0]["triggers"] = []
    del document["deployments"][0]["schedules"][0]["slug"]
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigurationError) as caught:
        read_yaml(path)
    assert caught.value.facts == {
        "file": str(path), "deployment": "nightly", "missing": ["slug"], "unknown": ["triggers"],
    }  # fmt: skip


def test_a_block_that_would_not_work_is_refused_by_the_name_of_its_variable() -> None:
    for given, variable in (
        ({"MGOB_S3_STORAGE_CLASS": "GLACIER"}, "MONGO_BACKUP_S3_…"),
        ({"MGOB_S3_BUCKET": "ab"}, "MONGO_BACKUP_S3_BUCKET"),
        ({"MONGO_BACKUP_RECIPIENTS": "age1wrong"}, "MONGO_BACKUP_RECIPIENTS"),
        ({"MONGO_BACKUP_PASSPHRASE": "short"}, "MONGO_BACKUP_PASSPHRASE"),
        ({"MONGO_BACKUP_IDENTITIES": "AGE-SECRET-KEY-1WRONG"}, "MONGO_BACKUP_IDENTITIES"),
    ):
        plans, common, _, problems = read(given)
        wanted_blocks(plans, common, problems)
        assert [error.facts["variable"] for error in problems] == [variable]
        assert "WRONG" not in str(problems[0])


def test_there_is_an_alarm_for_each_thing_that_can_go_wrong() -> None:
    made = setup({"MONGO_BACKUP_DRILL_OVERDUE_DAYS": "40"})
    wanted = alarms(made.plans, made.common, made.document["deployments"], BLOCK)
    assert [automation["name"].removeprefix("MongoDB backup: ") for automation in wanted] == [
        "a backup failed",
        "a verification failed",
        "a drill failed",
        "the backup of default is late",
        "the drill of default is overdue",
        "no worker in mongo-backup",
        "a run died with its worker",
    ]
    within = {automation["name"]: automation["trigger"]["within"] for automation in wanted}
    assert within["MongoDB backup: the backup of default is late"] == timedelta(hours=26).total_seconds()
    assert within["MongoDB backup: the drill of default is overdue"] == timedelta(days=40).total_seconds()
    for automation in wanted:
        if automation["trigger"]["posture"] == "Proactive" and "for_each" not in automation["trigger"]:
            # Counted from the last success, and not in windows that lie end to end.
            assert automation["trigger"]["after"] == automation["trigger"]["expect"] == ["prefect.flow-run.Completed"]
    # As Prefect reads them they are the same, in whatever order its sets come.
    things = [automation_thing(automation) for automation in wanted]
    existing = {(thing.kind, thing.name): thing.fields for thing in map(automation_thing, wanted)}
    assert {change.act for change in compare(things, existing)} == {Act.LEAVE}


def test_what_is_not_scheduled_is_not_waited_for() -> None:
    document = read_yaml(FILE)
    for stanza in document["deployments"]:
        if stanza["name"] == "monthly":
            del stanza["schedules"]
    made = setup(document=document)
    names = [automation["name"] for automation in alarms(made.plans, made.common, made.document["deployments"], BLOCK)]
    assert not any("drill of" in name for name in names)


def test_a_file_for_prefect_deploy_is_written_without_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MONGO_BACKUP_WORK_POOL_TYPE", "docker")
    file = tmp_path / "docker.yaml"
    assert main(["--write", str(file)]) == 0
    assert f"prefect --no-prompt deploy --prefect-file {file} --all" in capsys.readouterr().out
    written = yaml.safe_load(file.read_text())
    assert written["pull"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "/app"}}]
    names = [stanza["name"] for stanza in read_yaml(FILE)["deployments"]]
    assert [stanza["name"] for stanza in written["deployments"]] == names


def test_the_command_says_what_is_missing_and_does_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    for name, text in GUIDE.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("MGOB_S3_BUCKET", "")
    monkeypatch.setenv("MGOB_CRON", "at night")
    assert main([]) == Status.WRONG_USE
    error = capsys.readouterr().err
    assert "(variable='MGOB_CRON', " in error
    assert "(variable='MGOB_S3_BUCKET or MONGO_BACKUP_S3_BUCKET', " in error
    assert error.endswith("Nothing was changed.\n")
    monkeypatch.setenv("MGOB_S3_BUCKET", "backups")
    monkeypatch.setenv("MGOB_CRON", "0 4 * * *")
    assert main([]) == Status.WRONG_USE
    assert "no Prefect server is named" in capsys.readouterr().err
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        assert main([]) == Status.UNREACHABLE
    assert "the Prefect server does not answer" in capsys.readouterr().err
    assert main(["--variables"]) == Status.DONE
