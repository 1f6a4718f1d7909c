"""mgob's plan files and the options of mongodump in them, as settings of this project.

A file is taken apart into values with the names that mgob's variables have (`target.host` is MGOB_TARGET_HOST), so that
everything else is read in one way. As with mgob, variables such as `MPG__TARGET_PASSWORD` win over the file `mpg.yml`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from deployments.setup.variables import Given
from flows.core.errors import BackupError, ConfigurationError
from flows.core.keys import check_plan_name


def read_plan_file(path: Path, environment: Mapping[str, Given], notes: list[str]) -> dict[str, Given]:
    """Read a plan of mgob.

    Args:
        path: The file; mgob names the plan after it.
        environment: Variables, for those that win over the file.
        notes: Gets what the operator should know.

    Returns:
        Values by the names of mgob's variables, and the name of the plan.

    Raises:
        ConfigurationError: It cannot be read, or is no plan.
    """
    try:
        plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        # What the parser says quotes the line, and that may be the one with the password.
        where = getattr(error, "problem_mark", None)
        raise ConfigurationError(
            "the plan file cannot be read",
            hint="Give a file that mgob can read, too.",
            file=str(path),
            got=getattr(error, "strerror", None) or (f"not YAML at line {where.line + 1}" if where else "not UTF-8"),
        ) from None
    if not isinstance(plan, dict) or not all(isinstance(section, dict | None) for section in plan.values()):
        raise ConfigurationError(
            "the plan file is not one of mgob",
            hint="It has sections such as target, scheduler and s3.",
            file=str(path),
        )
    values = {
        f"MGOB_{'_'.join(keys).upper()}": Given(_text(value), f"{path.name}: {'.'.join(keys)}")
        for keys, value in _leaves(plan)
    }
    for given in values.values():
        if "${" in given.text:
            raise ConfigurationError(
                "the plan file has a place that is still to be filled in",
                hint="Fill it in first, for example with envsubst.",
                setting=given.origin,
            )
    prefix = path.stem.replace("-", "_").upper() + "__"
    for name, given in environment.items():
        if name.upper().startswith(prefix):
            values["MGOB_" + name[len(prefix) :].upper()] = given
    retention = values.get("MGOB_SCHEDULER_RETENTION")
    if retention is not None and retention.text.strip() == "0":
        del values["MGOB_SCHEDULER_RETENTION"]
        notes.append(
            f"{retention.origin} 0 meant no copy in mgob's own folder, and nothing for the bucket. It is not taken "
            "over: MONGO_BACKUP_RETENTION_DAYS says how long backups stay in the bucket, and without it 7 days."
        )
    return values | {"MONGO_BACKUP_PLAN": Given(_plan_name(path, notes), f"the name of {path.name}")}


def _leaves(section: Mapping[Any, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in section.items():
        keys = (*above, str(key))
        if isinstance(value, dict):
            yield from _leaves(value, keys)
        elif value is not None:
            yield keys, value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _plan_name(path: Path, notes: list[str]) -> str:
    name = re.sub(r"[^a-z0-9-]", "-", path.stem.lower()).strip("-")[:63]
    if name != path.stem:
        notes.append(f"{path.name}: the plan is called {name} here; a name has lower-case letters, digits and `-`.")
    return check_plan_name(name)


def read_params(given: Mapping[str, Given], notes: list[str], problems: list[BackupError]) -> dict[str, Given]:
    """Take over what options of mongodump mean. What is set in another way stays as it is.

    Args:
        given: Settings by their keys, with the options under `PARAMS`.
        notes: Gets a line for each option that is not taken over, and why.
        problems: Gets an error where the options cannot be told apart.

    Returns:
        The settings, with those of the options.
    """
    if "PARAMS" not in given:
        return dict(given)
    try:
        words = shlex.split(given["PARAMS"].text)
    except ValueError:
        # Without the text, in which a password may be.
        problems.append(
            ConfigurationError(
                "the options of mongodump cannot be read",
                hint="Close its quotes.",
                setting=given["PARAMS"].origin,
            )
        )
        return dict(given)
    origin, database = given["PARAMS"].origin, given["DATABASES"].text if "DATABASES" in given else ""
    settings: dict[str, Given] = {}
    for option, value in _options(words):
        key, text = _meaning(option, value, database)
        if key:
            before = f"{settings[key].text}," if key == "EXCLUDE" and key in settings else ""
            settings[key] = Given(before + text, f"{option} in {origin}")
        elif text:
            notes.append(f"{option} in {origin} is not taken over: {text}.")
    return settings | dict(given)


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Options with their values, which stand behind `=` or are the next word."""
    while words:
        option, equals, value = words.pop(0).partition("=")
        if not equals and words and not words[0].startswith("-"):
            value = words.pop(0)
        yield option.lstrip("-"), value


def _mode(value: str) -> str:
    """The mode of a read preference, which may be written as JSON."""
    if not value.startswith("{"):
        return value
    try:
        return str(json.loads(value).get("mode", ""))
    except ValueError:
        return value


# What an option of mongodump means here: the setting and how its value is written there.
_MEANT: dict[str, tuple[str, Callable[[str], str]]] = {
    "authenticationDatabase": ("SOURCE_AUTH_DATABASE", str),
    "ssl": ("SOURCE_TLS", lambda _: "true"),
    "tls": ("SOURCE_TLS", lambda _: "true"),
    "sslCAFile": ("SOURCE_TLS_CA_FILE", str),
    "tlsCAFile": ("SOURCE_TLS_CA_FILE", str),
    "sslPEMKeyFile": ("SOURCE_TLS_CERTIFICATE_KEY_FILE", str),
    "tlsCertificateKeyFile": ("SOURCE_TLS_CERTIFICATE_KEY_FILE", str),
    "sslPEMKeyPassword": ("SOURCE_TLS_CERTIFICATE_KEY_PASSWORD", str),
    "tlsCertificateKeyFilePassword": ("SOURCE_TLS_CERTIFICATE_KEY_PASSWORD", str),
    "readPreference": ("SOURCE_READ_PREFERENCE", _mode),
    "dumpDbUsersAndRoles": ("INCLUDE_USERS", lambda _: "true"),
    "uri": ("SOURCE_URI", str),
    "host": ("SOURCE_HOST", str),
    "h": ("SOURCE_HOST", str),
    "port": ("SOURCE_PORT", str),
    "username": ("SOURCE_USERNAME", str),
    "u": ("SOURCE_USERNAME", str),
    "password": ("SOURCE_PASSWORD", str),
    "p": ("SOURCE_PASSWORD", str),
    "db": ("DATABASES", str),
    "d": ("DATABASES", str),
}
_NOT_MEANT = {
    "oplog": "all collections of a replica set are read at one point in time",
    "gzip": "",
    "quiet": "",
    "forceTableScan": "",
    "numParallelCollections": "`segments_in_flight` of the flow says how much is done at a time",
    "j": "`segments_in_flight` of the flow says how much is done at a time",
    "authenticationMechanism": "give it in MONGO_BACKUP_SOURCE_URI",
    "tlsInsecure": "the certificate of the server is always verified: give its CA in MONGO_TLS_CA_FILE",
    "sslAllowInvalidCertificates": "the certificate of the server is always verified: give its CA in MONGO_TLS_CA_FILE",
    "sslAllowInvalidHostnames": "the certificate of the server is always verified, its name too",
    "query": "whole collections are backed up, and with them all documents",
    "q": "whole collections are backed up, and with them all documents",
    "queryFile": "whole collections are backed up, and with them all documents",
}


def _meaning(option: str, value: str, database: str) -> tuple[str, str]:
    """The setting of an option and its value; no setting, and why, where there is none."""
    if option in _MEANT:
        key, written = _MEANT[option]
        return key, written(value)
    if option in ("collection", "c", "excludeCollection", "excludeCollectionsWithPrefix"):
        if not database:
            return "", "it needs a database"
        end = "*" if option == "excludeCollectionsWithPrefix" else ""
        return "INCLUDE" if option.startswith("c") else "EXCLUDE", f"{database}.{value}{end}"
    return "", _NOT_MEANT.get(option, "it is not known here")
