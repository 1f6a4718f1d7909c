"""Every error that this project raises on purpose.

There is one class per decision that a caller makes, not one per place. A message is a fact in lower case; `facts`
say where, what was expected and what was found; the hint says what to do next.
"""

from __future__ import annotations

from typing import Any, ClassVar


class BackupError(Exception):
    """Base of all errors of this project.

    Args:
        message: What is wrong, as a lower-case fact without a full stop.
        hint: What the operator does next, as a sentence.
        facts: Where, expected, got: shown as `name=value` in the order given. Never a secret.
    """

    code: ClassVar[str] = "backup-error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in self.facts.items())
        text = f"{self.message} ({facts})" if facts else self.message
        return f"{text}\nHINT: {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments do not survive the default pickling, and Prefect pickles exceptions.
        return (_rebuild, (type(self), self.message, self.hint, self.facts))


def _rebuild(kind: type[BackupError], message: str, hint: str, facts: dict[str, Any]) -> BackupError:
    return kind(message, hint=hint, **facts)


class ConfigurationError(BackupError):
    """The request can never work as it stands. Raised before anything is read or written."""

    code = "configuration"


class SourceError(BackupError):
    """The MongoDB that is backed up refused something, or cannot give what was asked."""

    code = "source"


class SourceUnavailable(SourceError):
    """The source does not answer now and may answer in a minute."""

    code = "source-unavailable"
    retryable = True


class DumpFailed(SourceError):
    """Reading stopped before the end, or gave something that is not what was planned."""

    code = "dump-failed"


class TargetError(BackupError):
    """The MongoDB that is restored into refused something."""

    code = "target"


class TargetUnavailable(TargetError):
    """The target does not answer now and may answer in a minute."""

    code = "target-unavailable"
    retryable = True


class TargetNotEmpty(TargetError):
    """The target already has what the restore would write, and nobody asked to replace it."""

    code = "target-not-empty"


class RestoreIncomplete(TargetError):
    """A restore stopped after it had begun to write; the message says in what state the target is."""

    code = "restore-incomplete"


class StoreError(BackupError):
    """The object store refused something."""

    code = "store"


class StoreUnavailable(StoreError):
    """The store does not answer now and may answer in a minute."""

    code = "store-unavailable"
    retryable = True


class StoreDenied(StoreError):
    """The credentials may not do this, or are not known to the store."""

    code = "store-denied"


class SomeStoresFailed(StoreError):
    """A store of a plan failed, and others have the backup: it exists, and has fewer copies than was asked for."""

    code = "some-stores-failed"


class ObjectMissing(StoreError):
    """There is no object at this key."""

    code = "object-missing"


class ObjectExists(StoreError):
    """There is an object at this key already, and it must not be overwritten."""

    code = "object-exists"


class SpoolError(BackupError):
    """The spool folder on the local disk cannot be used or is full."""

    code = "spool"


class FormatError(BackupError):
    """Bytes break the format that they claim to have."""

    code = "format"


class UnsupportedVersion(FormatError):
    """The format is known, this version of it is not."""

    code = "unsupported-version"


class Truncated(FormatError):
    """The bytes end before the format says that they may."""

    code = "truncated"


class IntegrityError(BackupError):
    """Well-formed bytes that are not the recorded ones."""

    code = "integrity"


class DefinitionsDiffer(IntegrityError):
    """Options or indexes are not the recorded ones; `expected` and `got` may be encrypted in the store."""

    code = "definitions-differ"


class RestoreDiffers(IntegrityError):
    """A restore has come to its end, and the target is not what the manifest says."""

    code = "restore-differs"


class DrillFailed(IntegrityError):
    """A drill has come to its end and found something wrong; its report says what."""

    code = "drill-failed"


class BackupDamaged(IntegrityError):
    """A verification came to its end, and a stored backup is not what its manifest says."""

    code = "backup-damaged"


class BackupUnopened(IntegrityError):
    """A verification came to its end, and none of the identities given opens a backup."""

    code = "backup-unopened"


class ErasureIncomplete(IntegrityError):
    """An erasure came to its end, and something of the person is left; its report says what."""

    code = "erasure-incomplete"


class PreflightFailed(BackupError):
    """A preflight came to its end, and something on the checklist failed."""

    code = "preflight-failed"


class StoredWrongly(IntegrityError):
    """An object just uploaded is not in the store as it was sent; sending it again may help."""

    code = "stored-wrongly"
    retryable = True


class AlarmRaised(BackupError):
    """A watch came to its end, and something is late, damaged or looks wrong; its report says what."""

    code = "alarm-raised"


class RepositoryError(BackupError):
    """The backups of a plan are not in a state in which this can be done."""

    code = "repository"


class BackupNotFound(RepositoryError):
    """No backup with this id is in the repository."""

    code = "backup-not-found"


class PlanBusy(RepositoryError):
    """Another run of the same plan holds it."""

    code = "plan-busy"


class Refused(BackupError):
    """A clear request that would harm protected data."""

    code = "refused"


class MaintenanceFailed(BackupError):
    """A step before or after a restore failed; the message says which, and what that means for the restore."""

    code = "maintenance"


class ServerUnavailable(BackupError):
    """The Prefect server, which has the blocks and keeps what runs leave, does not answer now."""

    code = "server-unavailable"
    retryable = True


class Stopped(BackupError):
    """The run was cancelled or another part of it failed, and this part stopped at the next safe place."""

    code = "stopped"
