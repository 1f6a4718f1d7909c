"""From files and variables to settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from dotenv.parser import parse_stream

from deployments.setup.mgob import read_plan_file
from deployments.setup.settings import Common, Plan, read_common, read_plan
from deployments.setup.variables import Given, read_values
from flows.core.errors import BackupError, ConfigurationError


def read_environment(files: Iterable[Path], process: Mapping[str, str], notes: list[str]) -> dict[str, Given]:
    """All variables by name: those of the files, the last of them first, and those of the process before them all.

    Args:
        files: Env files. Values are taken as they are, without filling in others.
        process: Variables of the process.
        notes: Gets a line for each variable of ours that has another value in a file.

    Raises:
        ConfigurationError: A file cannot be read. Never quotes its values.
    """
    found: dict[str, Given] = {}
    for path in files:
        try:
            with path.open(encoding="utf-8") as stream:
                bindings = list(parse_stream(stream))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                "the env file cannot be read",
                hint="Give a file with lines NAME=value.",
                file=str(path),
                got=getattr(error, "strerror", None) or "not UTF-8",
            ) from error
        for binding in bindings:
            if binding.error:
                raise ConfigurationError(
                    "a line of the env file cannot be read",
                    hint="A line is NAME=value, with quotes around a value that has spaces or a #.",
                    file=str(path),
                    line=binding.original.line,
                )
            if binding.key is not None:
                found[binding.key] = Given(binding.value or "", binding.key)
    for name, text in process.items():
        if name in found and found[name].text != text and name.startswith(("MGOB_", "MONGO_")):
            notes.append(f"{name} is taken from the environment, and not from the env file, which has another value.")
        found[name] = Given(text, name)
    return found


def read_settings(
    environment: Mapping[str, Given],
    plan_files: Iterable[Path],
    notes: list[str],
    problems: list[BackupError],
    *,
    complete: bool,
    now: datetime,
) -> tuple[list[Plan], Common]:
    """Read all settings: one plan of the variables, or one of each plan file.

    Args:
        environment: Variables by name.
        plan_files: Plan files of mgob; what they leave out is taken from the variables.
        notes: Gets what the operator should know.
        problems: Gets what is missing or cannot be used.
        complete: Whether source and store have to be there.
        now: Aware time.
    """
    values = read_values(environment, notes, problems, everything=False)
    common = read_common(values, notes, problems)
    layers: list[dict[str, Given]] = []
    for path in plan_files:
        try:
            file = read_values(read_plan_file(path, environment, notes), notes, problems, everything=True)
        except ConfigurationError as error:
            problems.append(error)
            continue
        # One names the server by host and the other by connection string: the file is meant.
        shadowed = {"SOURCE_HOST": "SOURCE_URI", "SOURCE_URI": "SOURCE_HOST"}
        hidden = {shadowed[key] for key in shadowed.keys() & file.keys()}
        layers.append({key: value for key, value in values.items() if key not in hidden} | file)
    plans = [
        read_plan(layer, notes, problems, encrypted=common.keys.protect, complete=complete, now=now)
        for layer in layers or ([] if plan_files else [values])
    ]
    names = [plan.name for plan in plans]
    if len(names) > 1:
        notes.append(
            f"What is run by hand, such as restore/restore, is set to the plan {names[0]}: its form takes another "
            "`plan` and other blocks."
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        problems.append(
            ConfigurationError(
                "several plan files give plans of the same name",
                hint="Rename a file: the plan is called after it.",
                plans=twice,
            )
        )
    return plans, common
