"""What the exit status of a command says."""

from __future__ import annotations

from enum import IntEnum

from flows.core.errors import (
    BackupError,
    ConfigurationError,
    IntegrityError,
    PlanBusy,
    PreflightFailed,
    Refused,
    TargetNotEmpty,
)


class Status(IntEnum):
    """Exit statuses; the texts are in the help of the command line."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    REFUSED = 3
    FINDINGS = 4
    UNREACHABLE = 5
    SUSPICIONS = 6
    INTERRUPTED = 130  # as shells say it of SIGINT


MEANINGS = {
    Status.DONE: "done",
    Status.FAILED: "failed; the message says how far it came",
    Status.WRONG_USE: "the command, a parameter or a block is wrong; nothing was touched",
    Status.REFUSED: "refused, because it would do harm or another run is under way; nothing was written",
    Status.FINDINGS: "it looked, and something is not as it should be",
    Status.UNREACHABLE: "MongoDB, the store or the Prefect server does not answer; try again",
    Status.SUSPICIONS: "it looked, and nothing is wrong for certain; people have to say whether it is",
    Status.INTERRUPTED: "interrupted",
}

_BY_ERROR: tuple[tuple[tuple[type[BackupError], ...], Status], ...] = (
    ((ConfigurationError,), Status.WRONG_USE),
    ((Refused, TargetNotEmpty, PlanBusy), Status.REFUSED),
    ((PreflightFailed,), Status.FINDINGS),
)


def status_of(error: BackupError) -> Status:
    """The exit status for an error that ended a command."""
    for kinds, status in _BY_ERROR:
        if isinstance(error, kinds):
            return status
    if error.retryable:
        return Status.UNREACHABLE
    return Status.FINDINGS if isinstance(error, IntegrityError) else Status.FAILED
