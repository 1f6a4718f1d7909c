"""The command line: `python -m flows inventory` shows what is in a repository."""

from __future__ import annotations

import argparse
import sys

from flows.core.errors import BackupError
from flows.core.report import text_table
from flows.inventory import inventory


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 failed (the message is on standard error).

    Args:
        arguments: Those after the program's name; by default those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m flows", description="MongoDB backups that are proven to restore.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("inventory", help="list the backups in a store")
    listing.add_argument("--store", default="backups", help="name of the MongoDB Backup Store block [%(default)s]")
    listing.add_argument("--plan", default=None, help="name of the backup job; all, if none is given")
    given = parser.parse_args(arguments)
    try:
        rows = inventory(plan=given.plan, store=given.store)
    except BackupError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is a command
        return 1
    print(text_table([row.cells() for row in rows]))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
