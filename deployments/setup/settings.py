"""What the variables mean, checked; nothing here asks a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from deployments.setup.mgob import read_params
from deployments.setup.reader import Reader
from deployments.setup.schedules import check_cron, longest_gap
from deployments.setup.servers import Server, database_of_uri, read_source, read_target
from deployments.setup.store import Bucket, read_bucket
from deployments.setup.variables import GPG, PREFIX, Given
from flows.core.errors import BackupError, ConfigurationError
from flows.core.keys import check_plan_name
from flows.core.selection import compile_pattern
from flows.core.version import __version__
from flows.core.zones import time_zone

POOL_TYPES = ("process", "docker", "kubernetes")
_RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
_MOST_DAYS = 36_500
_GRACE_HOURS = 2  # for a backup to end, after its time


@dataclass(frozen=True, slots=True)
class Plan:
    """One backup job.

    Attributes:
        retention: Parameter of `backup`; None removes nothing.
        late: No backup in so long is an alarm.
    """

    name: str
    cron: str
    time_zone: str
    databases: tuple[str, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    include_users: bool
    compression: str
    retention: dict[str, Any] | None
    late: timedelta
    read_preference: str
    source: Server
    target: Server
    bucket: Bucket


@dataclass(frozen=True, slots=True)
class Keys:
    """What protects and opens backups: the fields of two blocks, one key a line, empty where there is none."""

    recipients: str = ""
    passphrase: str = field(default="", repr=False)
    signing_key: str = field(default="", repr=False)
    identities: str = field(default="", repr=False)
    passphrases: str = field(default="", repr=False)
    trusted_signers: str = ""

    @property
    def protect(self) -> bool:
        """Whether backups are encrypted."""
        return bool(self.recipients or self.passphrase)

    @property
    def open(self) -> bool:
        """Whether there are identities or trusted signers."""
        return bool(self.identities or self.passphrases or self.trusted_signers)


@dataclass(frozen=True, slots=True)
class Common:
    """What all plans have in common."""

    keys: Keys
    pool: str
    pool_type: str
    image: str
    alert_block: str
    watch_alarms: str
    drill_overdue: timedelta


def read_common(given: Mapping[str, Given], notes: list[str], problems: list[BackupError]) -> Common:
    """Read what all plans have in common.

    Args:
        given: Settings by their keys.
        notes: Gets what the operator should know.
        problems: Gets what cannot be used.
    """
    reader = Reader(given, problems)
    keys = Keys(
        "\n".join(reader.words("RECIPIENTS")),
        reader.secret("PASSPHRASE"),
        reader.secret("SIGNING_KEY").strip(),
        reader.secret("IDENTITIES"),
        reader.secret("IDENTITY_PASSPHRASES"),
        "\n".join(reader.words("TRUSTED_SIGNERS")),
    )
    if keys.signing_key and not keys.protect:
        reader.missing(
            "RECIPIENTS",
            "public keys of age",
            "Backups that are signed are encrypted, too. `python -m flows keys` makes both kinds of keys.",
        )
    pool_type = reader.choice("WORK_POOL_TYPE", POOL_TYPES, "process")
    if "IMAGE" in reader and pool_type == "process":
        notes.append(f"{reader.origin('IMAGE')} is not used: a process pool runs no containers.")
    return Common(
        keys,
        reader.text("WORK_POOL") or "mongo-backup",
        pool_type,
        reader.text("IMAGE") or f"mongo-backup-flows:{__version__}",
        reader.text("ALERT_BLOCK"),
        reader.text("WATCH_ALARMS"),
        timedelta(days=reader.decimal("DRILL_OVERDUE_DAYS", 35, 1, _MOST_DAYS)),
    )


def read_plan(
    given: Mapping[str, Given],
    notes: list[str],
    problems: list[BackupError],
    *,
    encrypted: bool,
    complete: bool,
    now: datetime,
) -> Plan:
    """Read the settings of one plan.

    Args:
        given: Settings by their keys.
        notes: Gets what the operator should know: what meant something else in mgob, and what was taken for granted.
        problems: Gets what is missing or cannot be used.
        encrypted: Whether there are keys to encrypt with.
        complete: Whether source and store have to be there, or only what deployments need.
        now: Aware time from which to look for the longest gap of the schedule.
    """
    reader = Reader(read_params(given, notes, problems), problems)
    if GPG in given and not encrypted:
        problems.append(_gpg(given[GPG]))
    zone = reader.checked("TIME_ZONE", lambda text: time_zone(text).key, "UTC")
    cron = reader.checked("CRON", lambda text: check_cron(text, zone, now), "0 4 * * *")
    if "CRON" in reader and "TIME_ZONE" not in reader:
        notes.append(f"{reader.origin('CRON')} is by the clock of UTC: MONGO_BACKUP_TIME_ZONE names another zone.")
    gap = longest_gap(cron, zone, now).total_seconds() / 3600
    source = read_source(reader, notes, complete=complete)
    return Plan(
        name=reader.checked("PLAN", check_plan_name, "default"),
        cron=cron,
        time_zone=zone,
        databases=reader.words("DATABASES") or database_of_uri(reader),
        include=_patterns(reader, "INCLUDE"),
        exclude=_patterns(reader, "EXCLUDE"),
        include_users=reader.flag("INCLUDE_USERS"),
        compression=reader.choice(
            "COMPRESSION", ("gzip", "zstd", "none"), "none" if reader.flag("NO_GZIP") else "gzip"
        ),
        retention=_retention(reader, zone, gap, notes),
        late=timedelta(hours=reader.decimal("LATE_HOURS", round(gap + _GRACE_HOURS, 1), 0.1, _MOST_DAYS * 24)),
        read_preference=reader.choice(
            "SOURCE_READ_PREFERENCE",
            ("primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"),
            "primary",
        ),
        source=source,
        target=read_target(reader, source, notes),
        bucket=read_bucket(reader, notes, complete=complete),
    )


def _gpg(given: Given) -> ConfigurationError:
    return ConfigurationError(
        "mgob encrypted these backups with GPG, and here nothing would encrypt them",
        hint="Backups are encrypted with age here: `python -m flows keys` makes keys, MONGO_BACKUP_RECIPIENTS takes "
        "the public one. If they may be stored as they are, remove that setting of mgob.",
        variable=given.origin,
    )


def _patterns(reader: Reader, key: str) -> tuple[str, ...]:
    patterns = reader.words(key)

    def check(_: str) -> tuple[str, ...]:
        for pattern in patterns:
            compile_pattern(pattern)
        return patterns

    return reader.checked(key, check, ())


def _retention(reader: Reader, zone: str, gap_hours: float, notes: list[str]) -> dict[str, Any] | None:
    """The parameter of `backup`; None where nothing is to be removed."""
    if reader.text("RETENTION_DAYS").lower() == "forever":
        notes.append(f"{reader.origin('RETENTION_DAYS')}: backups are never removed, and the bucket grows for ever.")
        return None
    counts = {name: reader.number(f"RETENTION_{name.upper()}", 0, 0, _MOST_DAYS) for name in _RULES}
    least = 0 if any(counts.values()) else 1
    days = reader.number("RETENTION_DAYS", 7, least, _MOST_DAYS)
    rules: dict[str, Any] = {"days": days, "at_least": reader.number("RETENTION_AT_LEAST", 3, 1, _MOST_DAYS)}
    rules |= {name: count for name, count in counts.items() if count}
    if zone != "UTC":
        rules["time_zone"] = zone
    if "RETENTION_DAYS" in reader and not reader.origin("RETENTION_DAYS").startswith(PREFIX):
        notes.append(_retention_note(reader.origin("RETENTION_DAYS"), days, gap_hours))
    return rules


def _retention_note(origin: str, days: int, gap_hours: float) -> str:
    text = (
        f"{origin} meant the newest {days} files in mgob's own folder, and nothing was ever removed from the bucket. "
        f"Here it is {days} days in the bucket, for backups that are made from now on."
    )
    if gap_hours < 23:
        text += (
            f" At this schedule that is {round(days * 24 / gap_hours)} backups or more. To keep the newest {days}, set "
            f"MONGO_BACKUP_RETENTION_LAST={days} and MONGO_BACKUP_RETENTION_DAYS=0."
        )
    return text
