"""The command: `python -m deployments.setup`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.setup.changes import Act, changes_text
from deployments.setup.inputs import read_environment, read_settings
from deployments.setup.stanzas import FILE, read_yaml
from deployments.setup.variables import variables_text
from flows.cli.server import choose_server
from flows.cli.status import Status, status_of
from flows.core.errors import BackupError

if TYPE_CHECKING:
    from deployments.setup.act import Setup

_EPILOG = """\
It makes and changes blocks, work pool, deployments and automations on the
server that PREFECT_API_URL names. What is as it should be stays untouched, and
nothing is ever deleted. The variables of mgob are understood as they are.

  python -m deployments.setup --env-file .env --dry-run    what would be done
  python -m deployments.setup --env-file .env              do it
  python -m deployments.setup --mgob-plan config/*.yml     plan files of mgob

Exit status: 0 all is as it should be; 1 the server refused something; 2 the
command or a variable is wrong, nothing was changed; 5 no server answers.
"""
_ON_THIS_MACHINE = """\
The secrets are in Prefect's file on this machine. See what is in the store:

  python -m flows inventory --no-server"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Those after the program's name; by default those of the process.

    Returns:
        The exit status: a `Status`.
    """
    given = _parser().parse_args(arguments)
    if given.variables:
        print(variables_text())
        return Status.DONE
    problems: list[BackupError] = []
    try:
        _run(given, problems)
    except BackupError as error:
        print(error, file=sys.stderr)
        return status_of(error)
    if problems:
        print("\n".join(map(str, problems)) + "\nNothing was changed.", file=sys.stderr)
    return Status.WRONG_USE if problems else Status.DONE


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
        "--no-server",
        action="store_true",
        help="make the blocks alone, in a file of this machine, for `python -m flows ... --no-server`",
    )
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
    """Do what was asked for; with problems nothing is done."""
    notes: list[str] = []
    environment = read_environment(given.env_file, os.environ, notes)
    if given.no_server:
        choose_server(own=True)
    for name, value in environment.items():
        if name.startswith("PREFECT_") and not given.no_server:
            os.environ.setdefault(name, value.text)  # which server, and how to log in there
    complete = given.write is None
    now = datetime.now(UTC)
    plans, common = read_settings(environment, given.mgob_plan, notes, problems, complete=complete, now=now)
    document = read_yaml(given.deployments)
    if not problems:
        # Prefect reads its settings when it is imported.
        from deployments.setup.act import Setup  # noqa: PLC0415

        setup = Setup.of(plans, common, document, problems if complete else [])
    if problems or not complete:
        _print_notes(notes)
    if problems:
        return
    if complete:
        _set_up(setup, notes, dry_run=given.dry_run, own=given.no_server)
    else:
        given.write.write_text(setup.file(), encoding="utf-8")
        print(f"{given.write}: prefect --no-prompt deploy --prefect-file {given.write} --all")


def _set_up(setup: Setup, notes: list[str], *, dry_run: bool, own: bool) -> None:
    with setup.on_this_machine() if own else setup.connected(notes) as live:
        _print_notes(notes)
        print(changes_text(live.changes))
        if all(change.act is Act.LEAVE for change in live.changes):
            print("Nothing to change.")
        elif dry_run:
            print("Nothing was changed: this was a dry run.")
        else:
            live.apply()
            print("Done.\n\n" + (_ON_THIS_MACHINE if own else setup.next_steps()))


def _print_notes(notes: Iterable[str]) -> None:
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    for note in dict.fromkeys(notes):
        print(textwrap.fill(note, width, initial_indent="! ", subsequent_indent="  ", break_long_words=False))
    if notes:
        print()


if __name__ == "__main__":
    sys.exit(main())
