"""The deployments: those of `deployments/prefect.yaml`, with the settings of the plans put in.

The file stays the one place that says which deployments there are, what they are called and what they are set to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deployments.setup.settings import Common, Plan
from flows.core.errors import ConfigurationError

FOLDER = Path(__file__).parents[1]
FILE = FOLDER / "prefect.yaml"
DEFAULT_PLAN = "default"
_BACKUP = "flows.backup.backup"
_NEEDED = frozenset({"name", "description", "tags", "entrypoint", "work_pool"})
KEYS = "keys"  # the blocks of keys, of both types


@dataclass(frozen=True, slots=True)
class Names:
    """The blocks of a plan, by name."""

    source: str
    target: str
    store: str


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file of deployments.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(
            "the file of deployments cannot be read",
            hint="deployments/prefect.yaml is one; correct it, or take it from the project again.",
            file=str(path),
            got=str(error),
        ) from error
    if not isinstance(document, dict) or not isinstance(document.get("deployments"), list):
        raise ConfigurationError(
            "the file of deployments has none",
            hint="deployments/prefect.yaml is one; the list is called `deployments`.",
            file=str(path),
        )
    for stanza in document["deployments"]:
        _check_stanza(stanza, path)
    return document


def _check_stanza(stanza: Mapping[str, Any], path: Path) -> None:
    """Refuse what would be left out without a word.

    Raises:
        ConfigurationError: Something is missing, or nobody here knows it.
    """
    missing = _NEEDED - stanza.keys()
    unknown = stanza.keys() - _NEEDED - {"schedules", "parameters"}
    unknown |= stanza.get("work_pool", {}).keys() - {"name", "job_variables"}
    for schedule in stanza.get("schedules", []):
        missing |= {"slug", "cron", "timezone"} - schedule.keys()
        unknown |= schedule.keys() - {"slug", "cron", "timezone"}
    if missing or unknown:
        raise ConfigurationError(
            "a deployment has what the set-up does not know, or lacks what it needs",
            hint="Write it as those of deployments/prefect.yaml are, or deploy it with `prefect deploy`.",
            file=str(path),
            deployment=stanza.get("name"),
            missing=sorted(missing),
            unknown=sorted(unknown),
        )


def fill_in(
    document: Mapping[str, Any],
    plans: Sequence[Plan],
    names: Mapping[str, Names],
    common: Common,
    accepts: Callable[[str], frozenset[str]],
) -> dict[str, Any]:
    """Put the settings into the deployments.

    What runs by a schedule is there once for each plan; what is run by hand is there once, set to the first plan.

    Args:
        document: The file of deployments.
        plans: At least one. The deployments of a plan that is not called `default` have its name.
        names: The blocks of each plan, by the name of the plan.
        common: Keys and work pool.
        accepts: The parameters of a flow, by its entrypoint.

    Returns:
        A file for `prefect deploy`, without anything secret.
    """
    stanzas = []
    for stanza in document["deployments"]:
        scheduled = bool(stanza.get("schedules")) and "plan" in stanza.get("parameters", {})
        for plan in plans if scheduled else plans[:1]:
            filled = _filled(stanza, plan, names[plan.name], common, accepts(stanza["entrypoint"]))
            if scheduled and plan.name != DEFAULT_PLAN:
                filled["name"] = plan.name
            stanzas.append(filled)
    pool = pool_of(common)
    for stanza in stanzas:
        stanza["work_pool"] = {**stanza["work_pool"], **copy.deepcopy(pool["work_pool"])}
    pull = pool.get("pull", document.get("pull"))
    return ({"pull": pull} if pull else {}) | {"deployments": stanzas}


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes texts of several lines as such, and nothing as a reference."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - its name for it
        """Whether what comes twice is written twice."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def yaml_text(document: Mapping[str, Any]) -> str:
    """A file for `prefect deploy`."""
    text: str = yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def _filled(
    stanza: Mapping[str, Any], plan: Plan, names: Names, common: Common, accepted: frozenset[str]
) -> dict[str, Any]:
    filled = copy.deepcopy(dict(stanza))
    parameters = filled.setdefault("parameters", {})
    entrypoint = filled["entrypoint"]
    settings: dict[str, Any] = {
        "plan": plan.name,
        "source": names.source,
        # Exports go into a store whose block people make.
        **({"dataset": plan.name} if "dataset" in accepted else {"target": names.target}),
        "store": names.store,
        "time_zone": plan.time_zone,
        "backup_hours": plan.late.total_seconds() / 3600,
        "drill_days": common.drill_overdue.total_seconds() / 86400,
    }
    # Elsewhere it has rules even where backups are kept for ever: a prune by hand shows what they would remove.
    if plan.retention is not None or entrypoint == _BACKUP:
        settings["retention"] = plan.retention
    parameters |= {name: value for name, value in settings.items() if name in parameters}
    if common.keys.open and "identities" in accepted:
        parameters["identities"] = KEYS
    if common.watch_alarms and "alarms" in accepted:
        parameters["alarms"] = common.watch_alarms
    # What reads no source takes the block for its signing key, for the evidence.
    if common.keys.protect and "encryption" in accepted and ("source" in parameters or common.keys.signing_key):
        parameters["encryption"] = KEYS
    if entrypoint == _BACKUP:
        parameters |= _taken(plan)
    elif plan.databases and {"source", "databases"} <= accepted:
        parameters["databases"] = list(plan.databases)
    for schedule in filled.get("schedules", []):
        schedule["timezone"] = plan.time_zone
        if entrypoint == _BACKUP:
            schedule["cron"] = plan.cron
    return filled


def _taken(plan: Plan) -> dict[str, Any]:
    """What a backup takes and how; only what differs from the defaults of the flow, as in the file."""
    wanted: dict[str, Any] = {"databases": list(plan.databases)}
    if plan.include:
        wanted["include"] = list(plan.include)
    if plan.exclude:
        wanted["exclude"] = list(plan.exclude)
    if plan.include_users:
        wanted["include_users"] = True
    if plan.compression != "gzip":
        wanted["compression"] = plan.compression
    return wanted


def pool_of(common: Common) -> dict[str, Any]:
    """Name and job variables of the work pool, and where its containers find the project."""
    if common.pool_type == "process":
        return {"work_pool": {"name": common.pool}}
    template: dict[str, Any] = yaml.safe_load((FOLDER / f"pool-{common.pool_type}.yaml").read_text(encoding="utf-8"))
    template["work_pool"]["name"] = common.pool
    template["work_pool"]["job_variables"]["image"] = common.image
    return template
