"""A drill: which backup it takes, where it must not go, and how what it restored is held against the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from flows.core.archive import is_users
from flows.core.errors import (
    BackupError,
    BackupNotFound,
    DefinitionsDiffer,
    FormatError,
    IntegrityError,
    ObjectMissing,
    Refused,
    RestoreIncomplete,
)
from flows.core.evidence import Finding
from flows.core.extjson import CollectionMetadata, dumps_document, encode_exactly, loads_metadata
from flows.core.manifest import Manifest
from flows.core.merge import Existing
from flows.core.proof import NamespaceProof, differences_of_metadata
from flows.core.restore_plan import RestoreItem
from flows.core.source import Kind, SourceIdentity
from flows.core.ttl import held
from flows.core.verification import NOT_SHOWN

_LONGEST_DATABASE = 63  # [bytes]
_SHOWN = 500  # [characters] of an option or index in a finding
_NOTHING = "nothing"


class Rule(StrEnum):
    """Which backup a drill takes."""

    NEWEST = "newest"
    OLDEST = "oldest"
    RANDOM = "random"
    IN_TURN = "in-turn"


@dataclass(frozen=True, slots=True)
class DefinitionFinding(Finding):
    """An option or index that is not as it should be. Of an encrypted backup people may know it, and not the store."""

    @property
    def for_store(self) -> Finding:
        """The same without what it is."""
        what = "options and indexes are not as in the manifest"
        return Finding(what, self.backup, self.key, self.namespace, self.offset, NOT_SHOWN, NOT_SHOWN)


def for_store(findings: Iterable[Finding], *, encrypted: bool) -> list[Finding]:
    """Findings as they are kept in the store, where more people read than have a key."""
    return [found.for_store if encrypted and isinstance(found, DefinitionFinding) else found for found in findings]


def choose_backup(
    rule: str, backups: Sequence[str], *, plan: str, day: date, drilled: Mapping[str, datetime]
) -> tuple[str, str]:
    """Choose the backup of a drill.

    Args:
        rule: One of `Rule`, `latest` for the newest, or an id, which need not be among the backups.
        backups: Ids of all listed backups, oldest first.
        plan: Name of the backup job.
        day: For `random`: the same day chooses the same backup, as long as it is there.
        drilled: For `in-turn`: when each backup was drilled last. One that never was comes first, of several the
            oldest, which retention will remove first; then the one whose drill is longest ago.

    Returns:
        The id, and the rule by which it was chosen, for the report.

    Raises:
        BackupNotFound: Where the plan has no backup.
    """
    if rule == "latest":
        rule = Rule.NEWEST
    if rule not in set(Rule):
        return rule, "named"
    if not backups:
        raise BackupNotFound(
            "there is no backup of this plan to drill",
            hint="Check the plan and the store; the inventory flow lists what is there.",
            plan=plan,
        )
    if rule == Rule.NEWEST:
        return backups[-1], rule
    if rule == Rule.OLDEST:
        return backups[0], rule
    if rule == Rule.RANDOM:
        # Each backup draws a number: a backup that comes or goes during the day changes the choice only if it won.
        return max(backups, key=lambda backup: hashlib.sha256(f"{plan} {day} {backup}".encode()).digest()), rule
    return min(backups, key=lambda backup: (backup in drilled, drilled.get(backup), backup)), rule


def check_apart(source: SourceIdentity, target: SourceIdentity, *, shared: Iterable[str] = ()) -> None:
    """Refuse a target that is the source of the backup, or may be: a drill can never touch it.

    Args:
        source: As the manifest has it.
        target: The server that was given for the drill.
        shared: Namespaces that have the same uuid in the backup and on that server.

    Raises:
        Refused: It is the source, or nothing proves that it is not.
    """
    same = next(iter(shared), None)
    if same is not None or (source.replica_set_id is not None and source.replica_set_id == target.replica_set_id):
        raise Refused(
            "the target of the drill is the very MongoDB that this backup was taken of",
            hint="Leave `target` empty for a throw-away MongoDB on the worker, or name another server. "
            "Names and addresses do not matter, and there is no way around this.",
            replica_set=target.replica_set,
            **({"replica_set_id": target.replica_set_id} if same is None else {"collection_with_the_same_uuid": same}),
        )
    both_known = source.replica_set_id is not None and target.replica_set_id is not None
    other_name = None not in (source.replica_set, target.replica_set) and source.replica_set != target.replica_set
    no_set = source.replica_set is not None and target.replica_set is None
    if not (both_known or other_name or no_set):
        raise Refused(
            "nothing proves that the target of the drill is not the MongoDB that this backup was taken of",
            hint="Leave `target` empty for a throw-away MongoDB on the worker. Or grant `clusterMonitor` to the users "
            "of both blocks, so that the identity of the replica set can be read, and take a new backup.",
            expected="another replica set",
            got=f"{source.topology} {source.replica_set or ''} and {target.topology} {target.replica_set or ''}",
        )


def scratch_rename(manifest: Manifest, scratch: str) -> dict[str, str]:
    """Where a drill puts each database on a server that is not its own.

    Args:
        manifest: The backup.
        scratch: What the name of each of its databases begins with; then an underscore.
    """
    names = sorted({record.namespace.database for record in manifest.namespaces if not is_users(record.namespace)})
    wanted = {name: f"{scratch}_{name}" for name in names}
    return {
        name: long if len(long.encode()) <= _LONGEST_DATABASE else f"{scratch}_{number}"
        for number, (name, long) in enumerate(wanted.items())
    }


def compare_contents(items: Iterable[RestoreItem], proofs: Iterable[NamespaceProof]) -> list[Finding]:
    """Hold the documents that were read back against the manifest: number and content digest of each namespace."""
    read = {proof.namespace: proof.content for proof in proofs}
    findings = []
    for item in items:
        expected, got = item.record.content, read.get(item.target)
        namespace = str(item.record.namespace)
        if item.record.kind is Kind.VIEW or got == expected:
            continue
        if got is None:
            what, wanted, found = "documents could not be read back and compared", expected.digest, _NOTHING
        elif got.documents != expected.documents:
            what, wanted, found = "another number of documents", str(expected.documents), str(got.documents)
        else:
            what, wanted, found = "another content of documents", expected.digest, got.digest
        findings.append(Finding(what, namespace=namespace, expected=wanted, got=found))
    return findings


def compare_listing(items: Iterable[RestoreItem], found: Iterable[Existing], *, hold_ttl: bool) -> list[Finding]:
    """Hold what the scratch target has in the end against the manifest.

    Args:
        items: What was restored.
        found: All namespaces in the databases of the drill, with their metadata.
        hold_ttl: Whether documents were kept from expiring.

    Returns:
        Namespaces that are missing or too many, kinds, numbers of documents, options, validators, definitions of views
        and indexes that differ.
    """
    there = {existing.namespace: existing for existing in found}
    findings = []
    for item in items:
        existing = there.pop(item.target, None)
        namespace, kind = str(item.record.namespace), item.record.kind
        if existing is None:
            findings.append(
                Finding(
                    "a namespace is missing in the scratch target",
                    namespace=namespace,
                    expected=kind.value,
                    got=_NOTHING,
                )
            )
            continue
        if existing.kind is not kind:
            findings.append(Finding("another kind", namespace=namespace, expected=kind.value, got=existing.kind.value))
            continue
        expected = item.record.content.documents
        if existing.documents not in (None, expected):
            findings.append(_number_differs(namespace, expected, existing.documents))
        findings += _metadata(namespace, held(item.metadata()) if hold_ttl else item.metadata(), existing.metadata)
    for name, existing in sorted(there.items()):
        what = "the scratch target has a namespace that the backup has not"
        findings.append(Finding(what, namespace=str(name), expected=_NOTHING, got=existing.kind.value))
    return findings


def _number_differs(namespace: str, expected: int, got: int | None) -> Finding:
    return Finding("another number of documents", namespace=namespace, expected=str(expected), got=str(got))


def _metadata(namespace: str, wanted: CollectionMetadata, there: CollectionMetadata | None) -> list[Finding]:
    if there is None:
        what = "options and indexes could not be listed and compared"
        return [Finding(what, namespace=namespace, expected="the user may list them", got="it may not")]
    return [
        DefinitionFinding(
            str(difference),
            namespace=namespace,
            expected=_shown(wanted, difference.what, difference.name),
            got=_shown(there, difference.what, difference.name),
        )
        for difference in differences_of_metadata(wanted, there)
    ]


def _shown(metadata: CollectionMetadata, what: str, name: str) -> str:
    """One option or index as people read it. These are definitions, and hold no documents."""
    values: Mapping[str, Any] = (
        metadata.options if what == "option" else {str(index.get("name")): index for index in metadata.indexes}
    )
    return dumps_document(encode_exactly({name: values[name]}))[:_SHOWN] if name in values else _NOTHING


def concerns_backup(error: BackupError) -> bool:
    """Whether an error that ended a drill tells of the backup, and not only of the worker or of the scratch target."""
    return isinstance(_cause(error), IntegrityError | FormatError | ObjectMissing)


def _cause(error: BackupError) -> BackupError:
    """The error itself: of the state of the scratch target nobody needs to know."""
    cause = error.__cause__
    return cause if isinstance(error, RestoreIncomplete) and isinstance(cause, BackupError) else error


def finding_of(error: BackupError, backup: str) -> Finding:
    """An error that ended a drill, as a finding."""
    error = _cause(error)
    facts = error.facts
    offset = facts.get("offset")
    kind = DefinitionFinding if isinstance(error, DefinitionsDiffer) else Finding
    return kind(
        error.message,
        backup=backup,
        key=str(facts.get("key", facts.get("segment", ""))),
        namespace=str(facts.get("namespace", "")),
        offset=offset if isinstance(offset, int) else None,
        expected=str(facts.get("expected", "")),
        got=str(facts.get("got", "")),
    )


def shared_uuids(manifest: Manifest, existing: Iterable[Existing]) -> list[str]:
    """Namespaces of a server that have the uuid of a collection in the backup: it is the source, or a copy of it.

    Args:
        manifest: The backup.
        existing: What the server has in the databases of the backup.
    """
    uuids = {loads_metadata(record.metadata).uuid for record in manifest.namespaces}
    return [str(found.namespace) for found in existing if found.uuid is not None and found.uuid in uuids]
