"""The commands, what a person reads about them, and the entry of the program."""

from __future__ import annotations

import sys
from pathlib import Path

from cyclopts import App, CycloptsError, Group

from flows.cli.server import choose_server
from flows.cli.status import MEANINGS, Status
from flows.core.version import __version__

_EPILOGUE = "Exit status:\n\n" + "\n".join(f"* {status.value}: {text}" for status, text in MEANINGS.items())
_WATCHED = """\
The store is the folder of `--folder`; else the bucket that the environment names, without any Prefect; else the block.

* `MONGO_BACKUP_S3_BUCKET`, `_PREFIX`, `_URL`, `_REGION`, `_PROVIDER`: as in the block
* `MONGO_BACKUP_S3_ACCESS_KEY`, `_SECRET_KEY`, `_CUSTOMER_KEY`: without the first two it is the role of the machine
* `MONGO_BACKUP_PING_URL`: a dead-man's switch, as that of healthchecks.io
* `MONGO_BACKUP_PUSH_URL`: a Prometheus push gateway

Each may be in a file: `…_FILE` says which."""
_SAFELY = "Send the output into a file that nobody else can read: `(umask 077; python -m flows keys > keys.txt)`."
_DAILY, _NIGHT, _STORE, _PROOF = (
    Group(name, sort_key=place)
    for place, name in enumerate(("Every day", "When something is lost", "What is stored", "Proof"))
)

# A shell completes programs, and not modules.
_PROGRAM = "mongo-backup"

app = App(
    name=_PROGRAM if Path(sys.argv[0]).name == _PROGRAM else "python -m flows",
    help="MongoDB backups that are proven to restore. `COMMAND --help` explains a command and its options.",
    help_epilogue=_EPILOGUE,
    version=__version__,
    result_action="return_value",
)
# By name, so that the help does not have to import what takes seconds.
for verb, group, text in (
    ("backup", _DAILY, "Take a verified backup."),
    ("inventory", _DAILY, "List the backups in a store."),
    ("restore", _NIGHT, "Bring a backup back, or show what that would write."),
    ("restore-documents", _NIGHT, "Bring single documents back."),
    ("restore-archive", _NIGHT, "Bring an archive of mongodump back."),
    ("prune", _STORE, "Remove what retention no longer keeps, or show what that would be."),
    ("hold", _STORE, "Keep a backup whatever retention says, or let it go again."),
    ("copy", _STORE, "Bring backups from one store to another."),
    ("export", _STORE, "Write a backup as Parquet files, for analytics."),
    ("compact-exports", _STORE, "Write exports of changes anew as a whole one."),
    ("prune-exports", _STORE, "Remove exports that retention no longer keeps, or show which."),
    ("erase", _STORE, "Remove one person from all files of an export, with proof."),
    ("probe", _STORE, "Find out what a store can do."),
    ("verify", _PROOF, "Read stored backups again, and say which are damaged."),
    ("drill", _PROOF, "Restore a backup into a scratch MongoDB, and compare."),
    ("preflight", _PROOF, "Go through the checklist of an operator."),
):
    app.command(f"flows.cli.verbs:{verb.replace('-', '_')}", name=verb, group=group, help=text)
app.command(
    "flows.cli.watch:watch",
    name="watch",
    group=_DAILY,
    help="See that nothing is late, damaged or suspicious.",
    help_epilogue=f"{_WATCHED}\n\n{_EPILOGUE}",
)
app.command("flows.cli.evidence:app", name="evidence", group=_PROOF, help="Prove or report on what drills have left.")
app.command(
    "flows.cli.keys:keys",
    name="keys",
    group=_STORE,
    help="Make new keys for encryption, signatures, pseudonyms.",
    help_epilogue=f"{_SAFELY}\n\n{_EPILOGUE}",
)
app.register_install_completion_command()


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Those after the program's name; by default those of the process.

    Returns:
        The exit status: a `Status`.
    """
    given = sys.argv[1:] if arguments is None else arguments
    choose_server(own="--no-server" in given)
    try:
        return app(given, exit_on_error=False) or Status.DONE
    except CycloptsError:  # it has been told
        return Status.WRONG_USE
