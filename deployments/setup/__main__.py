"""The command: `python -m deployments.setup`."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from dotenv.parser import parse_stream

from deployments.setup.changes import Act, changes_text
from deployments.setup.mgob import read_plan_file
from deployments.setup.settings import Common, Plan, read_common, read_plan
from deployments.setup.stanzas import FILE, read_yaml
from deployments.setup.variables import Given, read_values, variables_text
from flows.core.errors import BackupError, ConfigurationError

_EPILOG = """\
It makes and changes blocks, work pool, deployments and automations on the server that PREFECT_API_URL names, from
variables of the environment. What is as it should be stays untouched, and nothing is ever deleted. The variables of
mgob are understood; --variables lists all.

  python -m deployments.setup --env-file .env --dry-run     what would be done
  python -m deployments.setup --env-file .env               do it
  python -m deployments.setup --mgob-plan config/*.yml      plan files of mgob, each a plan here

Exit status: 0 it is as it should be, 1 it is not, and the message says why, 2 the command line is wrong.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 1 failed.

    Args:
        arguments: Those after the program's name; by default those of the process.
    """
    given = _parser().parse_args(arguments)
    if given.variables:
        print(variables_text())
        return 0
    problems: list[BackupError] = []
    try:
        _run(given, problems)
    except BackupError as error:
        problems.append(error)
    if problems:
        print("\n".join(map(str, problems)), file=sys.stderr)
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deployments.setup",
        description="Set up backups from environment variables and mgob's plan files.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--env-file", action="append", default=[], type=Path, metavar="FILE",
        help="file with variables, NAME=value; more of them may be given, and the environment wins over them",
    )  # fmt: skip
    parser.add_argument("--mgob-plan", nargs="+", default=[], type=Path, metavar="FILE", help="plan files of mgob")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument(
        "--write", type=Path, metavar="FILE",
        help="only write the deployments with these settings, as a file for `prefect deploy`; needs no server",
    )  # fmt: skip
    parser.add_argument(
        "--deployments",
        type=Path,
        default=FILE,
        metavar="FILE",
        help="where the deployments are from [prefect.yaml here]",
    )
    parser.add_argument("--variables", action="store_true", help="list the variables, and end")
    return parser


def _run(given: argparse.Namespace, problems: list[BackupError]) -> None:
    notes: list[str] = []
    environment = _environment(given.env_file, notes)
    plans, common = read_settings(
        environment, given.mgob_plan, notes, problems, complete=given.write is None, now=datetime.now(UTC)
    )
    document = read_yaml(given.deployments)
    if problems:
        _print_notes(notes)
        return
    # Prefect takes seconds to import, and reads its settings then.
    from deployments.setup.act import Setup  # noqa: PLC0415

    setup = Setup.of(plans, common, document, problems if given.write is None else [])
    if problems:
        _print_notes(notes)
        return
    if given.write is not None:
        _print_notes(notes)
        given.write.write_text(setup.file(), encoding="utf-8")
        print(f"{given.write}: prefect --no-prompt deploy --prefect-file {given.write} --all")
        return
    with setup.connected(notes) as live:
        _print_notes(notes)
        print(changes_text(live.changes))
        todo = [change for change in live.changes if change.act is not Act.LEAVE]
        if not todo:
            print("Nothing to change.")
        elif given.dry_run:
            print("Nothing was changed: this was a dry run.")
        else:
            live.apply()
            print("Done.\n\n" + setup.next_steps())


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
    if twice := sorted({name for name in names if names.count(name) > 1}):
        problems.append(
            ConfigurationError(
                "several plan files give plans of the same name",
                hint="Rename a file: the plan is called after it.",
                plans=twice,
            )
        )
    return plans, common


def _environment(files: Iterable[Path], notes: list[str]) -> dict[str, Given]:
    """All variables by name: those of the files, and those of the process, which win."""
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
                found[binding.key] = Given(binding.value or "", f"{binding.key}")
    for name, text in os.environ.items():
        if name in found and found[name].text != text and name.startswith(("MGOB_", "MONGO_")):
            notes.append(f"{name} is taken from the environment, and not from the env file, which has another value.")
        found[name] = Given(text, name)
    for name, given in found.items():
        if name.startswith("PREFECT_"):
            os.environ.setdefault(name, given.text)
    return found


def _print_notes(notes: Iterable[str]) -> None:
    for note in dict.fromkeys(notes):
        print(textwrap.fill(note, 100, initial_indent="! ", subsequent_indent="  ", break_long_words=False))
    if notes:
        print()


if __name__ == "__main__":
    sys.exit(main())
