"""Settings of the set-up from variables and plan files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from deployments.setup.inputs import read_environment, read_settings
from deployments.setup.settings import Common, Plan
from deployments.setup.variables import VARIABLES, Given
from flows.core.encryption import Identity
from flows.core.errors import BackupError
from flows.core.signing import SigningKey

NOW = datetime(2026, 3, 6, 4, tzinfo=UTC)
# The table of the guide that mgob's operators follow, and the secrets that it speaks of.
GUIDE = {
    "MGOB_CRON": "0 4 * * *",
    "MGOB_RETENTION": "7",
    "MGOB_TARGET_DATABASE": "mpg",
    "MGOB_TARGET_USERNAME": "root",
    "MGOB_S3_URL": "https://s3.example.com",
    "MGOB_S3_BUCKET": "mongo-backups",
    "MGOB_S3_API": "S3v4",
    "MONGO_TLS_ENABLED": "true",
    "MGOB_TARGET_HOST": "mongo",
    "MGOB_TARGET_PASSWORD": "p@ss w0rd$#",
    "MGOB_S3_ACCESS_KEY": "access",
    "MGOB_S3_SECRET_KEY": "secret",
}
# Takes from it what differs from the deployments as they are in the file.
UNEDITED = {"MGOB_TARGET_DATABASE": "", "MGOB_RETENTION": "", "MGOB_CRON": ""}
IDENTITY, SIGNER = Identity.generate(), SigningKey.generate()


def read(
    *changes: dict[str, str], without: tuple[str, ...] = (), plans: tuple[Path, ...] = (), complete: bool = True
) -> tuple[list[Plan], Common, list[str], list[BackupError]]:
    """The settings of the guide with changes; notes and problems."""
    given = {name: text for name, text in GUIDE.items() if name not in without}
    for change in changes:
        given |= change
    notes: list[str] = []
    problems: list[BackupError] = []
    values = {name: Given(text, name) for name, text in given.items()}
    read_plans, common = read_settings(values, plans, notes, problems, complete=complete, now=NOW)
    return read_plans, common, notes, problems


def read_example(path: Path, secrets: Path) -> tuple[Plan, Common, list[str]]:
    """The settings of an env file, whose secrets are in files.

    Args:
        path: The env file. It must have no secret, and nothing that cannot be used.
        secrets: A folder that stands for the one where containers have their secrets; each of them is its own name.

    Returns:
        Its plan, what plans have in common, and notes on variables that nobody knows.
    """
    notes: list[str] = []
    problems: list[BackupError] = []
    values = read_environment([path], {}, notes)
    secret = {name for variable in VARIABLES if variable.secret for name in variable.names}
    assert not [name for name in values.keys() & secret if values[name].text]
    for name, value in values.items():
        if name.removesuffix("_FILE") in secret:
            stand_in = secrets / Path(value.text).name
            stand_in.write_text(stand_in.name)
            values[name] = Given(str(stand_in), name)
    plans, common = read_settings(values, (), notes, problems, complete=True, now=NOW)
    assert problems == []
    return plans[0], common, [note for note in notes if "is not known here" in note or "is not taken over" in note]
