"""What a preflight finds out about the backups of a plan: the newest, who opens it, and when they were last proved."""

from __future__ import annotations

from datetime import datetime

from flows.core.encryption import Identities
from flows.core.errors import BackupError, BackupNotFound, StoreDenied
from flows.core.evidence import EvidenceKind
from flows.core.manifest import Manifest
from flows.core.preflight_facts import BackupsFacts, Last, NewestBackup, Problem, Unknown
from flows.storage.access import check_access
from flows.storage.evidence import last_of
from flows.storage.repository import LATEST, Repository
from flows.storage.store import ObjectStore
from flows.storage.verifying import read_standing


def survey_backups(
    store: ObjectStore, plan: str, identities: Identities, *, in_flight: int, now: datetime
) -> BackupsFacts:
    """Find out all that a checklist asks of the backups of a plan.

    Args:
        store: Where they are.
        plan: Whose.
        identities: What opens them, and who may sign them.
        in_flight: How many segments a restore works on at a time.
        now: Aware.
    """
    return BackupsFacts(
        newest=_newest(store, plan, identities, in_flight=in_flight, now=now),
        drill=_last(store, plan, EvidenceKind.DRILL, identities, now),
        verification=_last(store, plan, EvidenceKind.VERIFICATION, identities, now),
    )


def _newest(
    store: ObjectStore, plan: str, identities: Identities, *, in_flight: int, now: datetime
) -> NewestBackup | Problem | Unknown | None:
    try:
        manifest = Repository(store, plan).whole(LATEST, now=now)
        marks = read_standing(store, plan, manifest.backup).marks
    except BackupNotFound:
        return None
    except BackupError as error:
        return Unknown.of(error) if error.retryable or isinstance(error, StoreDenied) else Problem.of(error)
    said = {segment.store_encryption for segment in manifest.segments}
    return NewestBackup(
        backup=manifest.backup,
        started=manifest.started,
        finished=manifest.finished,
        marks=marks,
        bson_bytes=manifest.bson_bytes,
        restore_bytes=sum(sorted(segment.bytes for segment in manifest.segments)[-in_flight:]),
        recipients=manifest.recipients,
        store_encryption="" if "" in said else ", ".join(sorted(said)),
        opened=_opened(store, manifest, identities),
    )


def _opened(store: ObjectStore, manifest: Manifest, identities: Identities) -> str | Problem | Unknown:
    try:
        access = check_access(store, manifest, identities)
        access.opened(manifest)
    except BackupError as error:
        return Unknown.of(error) if error.retryable or isinstance(error, StoreDenied) else Problem.of(error)
    signed = ", and signed by a trusted signer" if identities.signers else ""
    if access.identity is None:
        return f"not encrypted, so nobody needs one{signed}"
    opener = "a passphrase" if access.identity.of_passphrase else access.identity.public
    return f"opened by {opener}{signed}"


def _last(store: ObjectStore, plan: str, kind: EvidenceKind, identities: Identities, now: datetime) -> Last | Unknown:
    try:
        return last_of(store, plan, kind, trusted=identities.signers, now=now)
    except BackupError as error:
        return Unknown.of(error)
