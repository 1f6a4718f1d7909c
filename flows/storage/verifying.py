"""Verifying the backups of a plan: which are due, each against its manifest, and the results kept beside them."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime

from flows.core.access import Access, check_signer
from flows.core.encryption import Identities, Identity
from flows.core.errors import (
    BackupNotFound,
    ConfigurationError,
    FormatError,
    IntegrityError,
    ObjectExists,
    ObjectMissing,
    StoreDenied,
)
from flows.core.keys import backup_prefix, backup_time, manifest_key
from flows.core.manifest import Manifest, SegmentRecord
from flows.core.results import ALL, ResultName, Scope, Standing, result_key, scope_of
from flows.core.verification import Finding, SegmentCheck, Walk, verify_segment
from flows.core.verified import BackupVerification, Opened, VerifiedBackup, sizes_finding
from flows.storage.access import opening_identity
from flows.storage.inventory import Listing
from flows.storage.manifests import check_listed, manifest_bytes, parse_manifest
from flows.storage.repository import Repository
from flows.storage.store import ObjectStore, Progress

logger = logging.getLogger(__name__)

_RESULT_LIMIT_BYTES = 64 * 1024 * 1024
_MOST_HEADERS = 3  # that are tried for the identity: the first objects may be damaged


@dataclass(frozen=True, slots=True)
class Due:
    """A backup that is to be verified, and how much of it."""

    backup: str
    scope: Scope
    stored_bytes: int  # [bytes] about so many will be read


@dataclass(frozen=True, slots=True)
class DuePlan:
    """What a verification will look at, newest first."""

    location: str  # of the store
    listed: int  # backups of the plan
    listed_bytes: int | None  # [bytes] stored of all of them; None where only one was asked for
    due: tuple[Due, ...]


@dataclass(frozen=True, slots=True)
class OpenedBackup:
    """A backup before its segments are read.

    Attributes:
        opened: What is known so far.
        manifest: None where it cannot be relied on; nothing says then what segments should be.
        identity: What opens them; None where nothing does, or nothing has to.
        segments: Those to read.
        missing: Findings about objects that are not read and not there in full size.
        scope: How much is read.
    """

    opened: Opened
    manifest: Manifest | None
    identity: Identity | None
    segments: tuple[SegmentRecord, ...]
    missing: tuple[Finding, ...]
    scope: Scope


def plan_verification(store: ObjectStore, plan: str, *, backup: str | None, share: str, now: datetime) -> DuePlan:
    """Decide which backups are read, and how much of each.

    The newest is always read as a whole, and so is each that does not count as good: it may have been put right.
    Of the others it is the part whose turn it is today: which segments that are follows from the id of the backup and
    the date alone, so that nobody has to remember what was read yesterday.

    Args:
        store: Where the backups are.
        plan: Name of their plan.
        backup: Only this one, as a whole: an id, or `latest`; None: by share.
        share: `all`, or `1/7` for a seventh.
        now: For the date, aware.

    Raises:
        BackupNotFound: There is no such backup.
        ConfigurationError: The share is none.
    """
    today = scope_of(share, day=now.toordinal())
    repository = Repository(store, plan)
    if backup is not None:
        one = repository.named(backup, now)
        backup_time(one)  # refuses what is no id: it becomes part of a key
        check_listed(store, plan, one)
        return DuePlan(store.location, 1, None, (Due(one, ALL, 0),))
    inventory = repository.inventory()
    found = [Due(item.backup, ALL, 0) for item in inventory.unreadable]
    newest = max((item.facts.backup for item in inventory.backups), default="")
    for item in inventory.backups:
        facts = item.facts
        mine = sum(today.holds(facts.backup, number) for number in range(facts.segments))
        if facts.backup == newest or item.damage or mine == facts.segments:
            found.append(Due(facts.backup, ALL, facts.stored_bytes))
        elif mine:
            found.append(Due(facts.backup, today, facts.stored_bytes * mine // facts.segments))
    found.sort(key=lambda due: due.backup, reverse=True)
    listed = len(inventory.backups) + len(inventory.unreadable)
    return DuePlan(store.location, listed, sum(item.facts.stored_bytes for item in inventory.backups), tuple(found))


def open_backup(
    store: ObjectStore, plan: str, due: Due, identities: Identities, *, now: datetime
) -> OpenedBackup | None:
    """Read the manifest of a backup, see who signed it, what opens it, and that its objects are there.

    Args:
        store: Where it is.
        plan: Name of the plan.
        due: The backup.
        identities: What may open it, and who may sign it.
        now: When this begins, aware.

    Returns:
        None where the backup was removed since it was listed.
    """
    opened = Opened(plan, due.backup, now)
    try:
        data = manifest_bytes(store, plan, due.backup)
    except BackupNotFound:
        return None
    except FormatError as error:
        return _unusable(opened, due, error, manifest_key(plan, due.backup))
    opened = dataclasses.replace(opened, manifest_sha256=hashlib.sha256(data).hexdigest())
    try:
        manifest = parse_manifest(plan, due.backup, data)
    except (FormatError, IntegrityError) as error:
        return _unusable(opened, due, error, manifest_key(plan, due.backup))
    findings, notes = [], []
    try:
        check_signer(manifest, identities)
    except IntegrityError as error:
        findings.append(Finding.of(error, key=manifest.key))
    identity = None
    if manifest.recipients and not identities:
        notes.append("encrypted, and no identities were given: only length and SHA-256 of the objects were compared")
    elif manifest.recipients:
        identity, problem = _opener(store, manifest, identities)
        if problem is not None:
            findings.append(problem)
            notes.append("not opened: only length and SHA-256 of the objects were compared")
    access = Access(identities, identity)
    try:
        manifest = access.opened(manifest)
    except (FormatError, IntegrityError) as error:
        return _unusable(opened, due, error, manifest.key)
    lines = access.lines(manifest)
    listing = {item.key: item.size for item in store.list(backup_prefix(plan, due.backup))}
    chosen: list[SegmentRecord] = []
    missing: list[Finding] = []
    for number, record in enumerate(manifest.segments):
        key = manifest.segment_key(record)
        if key in listing and due.scope.holds(due.backup, number):
            chosen.append(record)
        elif (finding := sizes_finding(key, record.bytes, listing.get(key))) is not None:
            missing.append(finding)
    return OpenedBackup(
        dataclasses.replace(
            opened,
            trusted=not any(finding.key == manifest.key for finding in findings),
            signature=lines[0].partition(": ")[2],
            opener=lines[1].partition(": ")[2] if identity is not None else "",
            findings=tuple(findings),
            not_checked=tuple(notes),
        ),
        manifest,
        identity,
        tuple(chosen),
        tuple(missing),
        due.scope,
    )


def verify_stored(
    store: ObjectStore, backup: OpenedBackup, record: SegmentRecord, *, phase: int, walk: Walk, progress: Progress
) -> SegmentCheck:
    """Read one segment again, without a file on the local disk.

    Where something is found it is read a second time: an error page of the store, or a bit that fell over on the way,
    is no damage of what is stored. The second reading counts, and says what the first one found.

    Args:
        store: Where it is.
        backup: Its backup, whose manifest can be relied on.
        record: The segment.
        phase: See `flows.core.verification.verify_segment`.
        walk: Which documents are walked.
        progress: Called with the stored bytes as they come; may raise to stop.

    Raises:
        StoreUnavailable, StoreDenied: It cannot be read now.
    """
    if backup.manifest is None:
        raise ConfigurationError("a segment cannot be verified without a manifest", segment=record.name)
    manifest, identity = backup.manifest, backup.identity
    key = manifest.segment_key(record)

    def once() -> SegmentCheck:
        try:
            with closing(store.read(key)) as pieces:
                return verify_segment(
                    pieces, manifest, record, identity=identity, phase=phase, walk=walk, progress=progress
                )
        except ObjectMissing as error:  # since it was listed
            return SegmentCheck(record.name, 0, "", False, findings=(Finding.of(error, key=key),))

    first = once()
    if first.findings:
        second = once()
        if second.findings:
            return second
        said = f"was found sound when it was read a second time; first: {first.findings[0].for_store}"
        return dataclasses.replace(second, warning=said)
    with suppress(ObjectMissing):  # it was there a moment ago
        if gap := store.encryption_gap(key):
            return dataclasses.replace(first, warning=f"is not encrypted by the store as its block asks: {gap}")
    return first


def keep_result(store: ObjectStore, backup: OpenedBackup, checks: Iterable[SegmentCheck]) -> VerifiedBackup | None:
    """Put the result of a backup beside it, and remove those that it replaces. Safe to repeat after a crash.

    Returns:
        None where the backup was removed while it was read: then nothing is stored and nothing was found.

    Raises:
        IntegrityError: The store took the result and has something else.
    """
    opened = backup.opened
    try:
        check_listed(store, opened.plan, opened.backup)
    except BackupNotFound:
        return None
    named = len(backup.manifest.segments) if backup.manifest is not None else 0
    read = tuple(checks)
    scope = ALL if len(read) == named else backup.scope
    found = BackupVerification(opened, scope, named, read, backup.missing)
    data = found.to_json()
    name = found.name(data)
    key = result_key(opened.plan, opened.backup, name)
    try:
        store.put(key, data, if_absent=True)
    except ObjectExists:
        logger.info("the result of %s is there already, from an earlier try", opened.backup)
    if store.get(key, limit=max(len(data), _RESULT_LIMIT_BYTES)) != data:
        raise IntegrityError(
            "the store took the result of a verification and has something else",
            hint="Check the store, then verify again.",
            key=key,
        )
    _remove_replaced(store, opened, name)
    return VerifiedBackup.of(found, backup.manifest, result_key=key, result_sha256=hashlib.sha256(data).hexdigest())


def read_standing(store: ObjectStore, plan: str, backup: str) -> Standing:
    """What verifications say of a listed backup, with one request."""
    return _listing(store, plan, backup).standing(backup)


def warned(store: ObjectStore, manifest: Manifest) -> Manifest:
    """The manifest with what verifications say against the backup among its warnings."""
    marks = read_standing(store, manifest.plan, manifest.backup).marks
    told = (
        f"{mark}: it may not restore, or not to what was backed up; the inventory shows the others" for mark in marks
    )
    return dataclasses.replace(manifest, warnings=(*manifest.warnings, *told))


def _remove_replaced(store: ObjectStore, opened: Opened, name: ResultName) -> None:
    folder = backup_prefix(opened.plan, opened.backup)
    older = [
        folder + text
        for text in _listing(store, opened.plan, opened.backup).results(opened.backup)
        if (parsed := ResultName.parse(text)) is not None and name.replaces(parsed)
    ]
    try:
        store.delete(older)
    except StoreDenied as error:
        logger.info("older results of %s stay: %s", opened.backup, error.message)


def _listing(store: ObjectStore, plan: str, backup: str) -> Listing:
    listing = Listing(plan)
    for item in store.list(backup_prefix(plan, backup)):
        listing.add(item)
    return listing


def _opener(store: ObjectStore, manifest: Manifest, identities: Identities) -> tuple[Identity | None, Finding | None]:
    """What opens a backup; where the first object does not say, the next one is asked."""
    problem: Finding | None = None
    for first in range(min(_MOST_HEADERS, len(manifest.segments))):
        asked = dataclasses.replace(manifest, segments=manifest.segments[first:])
        key = manifest.segment_key(manifest.segments[first])
        try:
            return opening_identity(store, asked, identities), problem
        except ConfigurationError as error:
            return None, Finding.of(error, key=key, damage=False)
        except (FormatError, IntegrityError, ObjectMissing) as error:
            problem = problem or Finding.of(error, key=key)
    return None, problem


def _unusable(opened: Opened, due: Due, error: FormatError | IntegrityError, key: str) -> OpenedBackup:
    note = "none of its segments: nothing says what they should be without a manifest that can be relied on"
    return OpenedBackup(
        dataclasses.replace(opened, findings=(Finding.of(error, key=key),), not_checked=(note,)),
        None,
        None,
        (),
        (),
        due.scope,
    )
