"""Backup ids and the keys of everything in a repository. `FORMAT.md` is the description of both."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from flows.core.errors import ConfigurationError

_ID_FORMAT = "%Y-%m-%dT%H-%M-%SZ"
_PLAN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")

MANIFEST_NAME = "manifest.json"
SEGMENT_PREFIX = "segment-"
ARCHIVE_SUFFIXES = {"gzip": ".archive.gz", "zstd": ".archive.zst", "none": ".archive"}
ENCRYPTED_SUFFIX = ".age"


def backup_id(started: datetime) -> str:
    """Name a backup after its start, in UTC and sortable: `2026-03-06T04-00-00Z`.

    Args:
        started: Aware time of the start; fractions of a second are cut.
    """
    return started.astimezone(UTC).strftime(_ID_FORMAT)


def backup_time(identifier: str) -> datetime:
    """Give back the start that a backup id stands for, in UTC.

    Raises:
        ConfigurationError: Where the text is not a backup id.
    """
    try:
        started = datetime.strptime(identifier, _ID_FORMAT).replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigurationError(
            "not a backup id",
            hint="Give an id such as 2026-03-06T04-00-00Z, or `latest`. The inventory flow lists the ids.",
            got=identifier,
        ) from error
    return started


def is_backup_id(text: str) -> bool:
    """Whether the text is a backup id, written as this project writes it."""
    try:
        return backup_id(backup_time(text)) == text
    except ConfigurationError:
        return False


def is_plan_name(text: str) -> bool:
    """Whether the text can be the name of a plan."""
    return _PLAN.match(text) is not None


def check_plan_name(plan: str) -> str:
    """Give the name of a plan back if it can be part of a key.

    Raises:
        ConfigurationError: Where it cannot.
    """
    if not is_plan_name(plan):
        raise ConfigurationError(
            "not a name for a plan",
            hint="Use lower-case letters, digits and `-`, at most 63, beginning with a letter or digit.",
            got=plan,
        )
    return plan


def backups_prefix(plan: str) -> str:
    """Where the backups of a plan are."""
    return f"{check_plan_name(plan)}/backups/"


def index_key(plan: str) -> str:
    """The key of the index, which is only a cache."""
    return f"{backups_prefix(plan)}.index.json"


def holds_prefix(plan: str) -> str:
    """Where the legal holds and pins of a plan are."""
    return f"{check_plan_name(plan)}/holds/"


def hold_prefix(plan: str, identifier: str) -> str:
    """Where the legal holds and pins of one backup are: beside the backups, so that they outlive it."""
    return f"{holds_prefix(plan)}{identifier}/"


def backup_prefix(plan: str, identifier: str) -> str:
    """Where the objects of one backup are."""
    return f"{backups_prefix(plan)}{identifier}/"


def manifest_key(plan: str, identifier: str) -> str:
    """The key of the object whose presence means that the backup exists."""
    return backup_prefix(plan, identifier) + MANIFEST_NAME


def segment_name(index: int, compression: str, *, encrypted: bool) -> str:
    """The name of a segment within its backup; the ending says how to unpack it without this project."""
    suffix = ARCHIVE_SUFFIXES[compression] + (ENCRYPTED_SUFFIX if encrypted else "")
    return f"{SEGMENT_PREFIX}{index:05d}{suffix}"


def is_folder(key: str) -> bool:
    """Whether a key is that of an empty object with which a console shows a folder."""
    return key.endswith("/")
