"""Parameters of flows that are more than a name: what operators see as a drop-down or a sub-form."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flows.core.errors import ConfigurationError
from flows.core.parquet.export_retention import ExportPolicy
from flows.core.preflight_facts import Limits
from flows.core.retention import RetentionPolicy
from flows.core.segments import DEFAULT_SEGMENT_MIB

MOST_IN_FLIGHT = 16  # more would only wait for the same disk and the same server
MOST_APPROVAL_MINUTES = 7 * 24 * 60
LEAST_CACHE_GB = 0.25  # of a mongod


def check_in_flight(segments: int) -> None:
    """Refuse a number of segments in flight that cannot work.

    Raises:
        ConfigurationError: Where it is not between 1 and 16.
    """
    if not 1 <= segments <= MOST_IN_FLIGHT:
        raise ConfigurationError(
            "the number of segments in flight is out of range",
            hint="More of them need more disk and memory; 3 keep every stage busy.",
            expected=f"1 to {MOST_IN_FLIGHT}",
            got=segments,
        )


def approval_patience(wanted: bool, minutes: float) -> timedelta | None:
    """How long a run waits for a second person; None where nobody is asked.

    Raises:
        ConfigurationError: Where nobody could answer in that time, or a process would wait for weeks.
    """
    if not 0 < minutes <= MOST_APPROVAL_MINUTES:
        raise ConfigurationError(
            "the time to wait for an approval is out of range",
            hint="The run, and with it the worker's slot, waits for so long.",
            expected=f"more than 0, at most {MOST_APPROVAL_MINUTES} minutes",
            got=minutes,
        )
    return timedelta(minutes=minutes) if wanted else None


def check_drill_limits(rto_minutes: float | None, rpo_hours: float | None, cache_gb: float) -> None:
    """Refuse limits of a drill that cannot work.

    Raises:
        ConfigurationError: Where one is not above 0, or the cache is smaller than MongoDB takes.
    """
    for name, value, least in (
        ("rto_limit_minutes", rto_minutes, 0.0),
        ("rpo_limit_hours", rpo_hours, 0.0),
        ("cache_gb", cache_gb, LEAST_CACHE_GB),
    ):
        if value is not None and (value < least or value <= 0):
            raise ConfigurationError(
                "a number is too small for a drill",
                hint="Leave it out for no limit." if name != "cache_gb" else "MongoDB takes no smaller cache.",
                parameter=name,
                expected="more than 0" if not least else f"at least {least:g}",
                got=value,
            )


class WriteConcern(StrEnum):
    """When a batch of documents counts as written. At the end of a restore a majority has all of them either way."""

    MAJORITY = "majority"
    PRIMARY = "primary"


class Overlap(StrEnum):
    """What a run does while another one of the same plan is under way."""

    WAIT = "wait"
    REFUSE = "refuse"


class Retention(BaseModel):
    """How long backups are kept. A backup that one of the rules keeps stays; a rule that is 0 is off."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(default=7, description="A backup is kept until it is this many days old, of 24 hours each.")
    at_least: int = Field(
        default=3,
        title="Never fewer than",
        description="So many of the newest backups that are verified are never removed, whatever their age.",
    )
    last: int = Field(
        default=0, title="Newest", description="So many of the newest backups are kept, whatever their age. 0 is off."
    )
    hourly: int = Field(
        default=0,
        title="Hours",
        description="24 keeps one backup, the newest, of each of the last 24 hours that have one. 0 is off.",
    )
    daily: int = Field(
        default=0,
        title="Calendar days",
        description="14 keeps one backup, the newest, of each of the last 14 days that have one. 0 is off.",
    )
    weekly: int = Field(
        default=0,
        title="Weeks",
        description="8 keeps one backup, the newest, of each of the last 8 weeks that have one. 0 is off.",
    )
    monthly: int = Field(
        default=0,
        title="Months",
        description="12 keeps one backup, the newest, of each of the last 12 months that have one. 0 is off.",
    )
    yearly: int = Field(
        default=0,
        title="Years",
        description="10 keeps one backup, the newest, of each of the last 10 years that have one. 0 is off.",
    )
    time_zone: str = Field(
        default="UTC",
        title="Time zone",
        description="Where hours, days, weeks, months and years begin, such as Europe/Berlin.",
    )
    garbage_after_hours: float = Field(
        default=12,
        ge=0,
        title="Garbage after",
        description="What a crashed run left is removed when it is this many hours old: longer than any backup takes.",
    )

    def policy(self) -> RetentionPolicy:
        """The rules, checked.

        Raises:
            ConfigurationError: For rules that make no sense, such as none.
        """
        return RetentionPolicy(**self.model_dump(exclude={"garbage_after_hours"}))

    def grace(self) -> timedelta:
        """How old garbage must be."""
        return timedelta(hours=self.garbage_after_hours)


class ExportRetention(BaseModel):
    """How long exports, and partitions of them, are kept. A rule that is 0 is off."""

    model_config = ConfigDict(extra="forbid")

    partition_days: int = Field(
        default=3653,
        title="Partitions",
        description="A partition is kept until its month, day or year is over for this many days: 3653 are ten years.",
    )
    export_days: int = Field(
        default=0,
        title="Exports",
        description="An export is kept as a whole until its data is this many days old, and for as long as the changes "
        "of another one follow it.",
    )
    at_least: int = Field(
        default=1,
        title="Never fewer than",
        description="So many of the newest exports are never removed as a whole, whatever their age.",
    )

    def policy(self) -> ExportPolicy:
        """The rules, checked.

        Raises:
            ConfigurationError: For rules that make no sense, such as none.
        """
        return ExportPolicy(**self.model_dump())


class PreflightLimits(BaseModel):
    """What is long enough, late or too much, and how the backups of the plan are taken."""

    model_config = ConfigDict(extra="forbid")

    oplog_hours: float = Field(
        default=24,
        ge=0,
        title="Oplog",
        description="The oplog has to reach back so many hours [h]; 0: any length will do.",
    )
    clock_seconds: float = Field(
        default=60, gt=0, title="Clocks", description="By so much two clocks may differ [s]; 300 fail in any case."
    )
    deleted_days: float = Field(
        default=30,
        gt=0,
        title="Deleted backups",
        description="For so many days what was deleted may live on as an old version [days].",
    )
    drill_days: float = Field(
        default=35, gt=0, title="Drill", description="The last drill that passed may be so many days ago [days]."
    )
    verification_days: float = Field(
        default=8,
        gt=0,
        title="Verification",
        description="The last verification that passed may be so many days ago [days].",
    )
    segment_mib: int = Field(
        default=DEFAULT_SEGMENT_MIB,
        ge=16,
        title="Segment size",
        description="As the backups of the plan have it [MiB], for the room that they need.",
    )
    segments_in_flight: int = Field(
        default=3,
        ge=1,
        le=MOST_IN_FLIGHT,
        title="Segments in flight",
        description="As the backups of the plan have it, for the room that they need.",
    )

    def limits(self) -> Limits:
        """For the layer below."""
        return Limits(**self.model_dump(exclude={"segment_mib", "segments_in_flight"}))


class OtherStore(BaseModel):
    """One more store that gets a backup, with a retention of its own. Scripts may give its name alone."""

    model_config = ConfigDict(extra="forbid")

    store: str = Field(description="Name of its MongoDB Backup Store block.")
    retention: Retention | None = Field(
        default=Retention(), description="How long backups are kept there; none means that this run removes nothing."
    )

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, value: Any) -> Any:
        return {"store": value} if isinstance(value, str) else value
