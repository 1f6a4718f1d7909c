"""What a restore will write where: decided, and shown, before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import partial

from flows.core.archive import is_users
from flows.core.errors import ConfigurationError, Refused, TargetNotEmpty
from flows.core.extjson import CollectionMetadata, loads_metadata
from flows.core.manifest import Manifest, NamespaceRecord, SegmentRecord
from flows.core.merge import Duplicates, Existing, holds_expiry, notes, refusal, replaces_view
from flows.core.names import Namespace
from flows.core.rename import check_matches, choose_targets, parse_rename
from flows.core.report import counted
from flows.core.selection import Selection, choose_namespaces, escape_pattern
from flows.core.source import Kind, SourceIdentity, parse_release
from flows.core.views import changed_names, follow


class RestoreMode(StrEnum):
    """What happens to namespaces that the target already has."""

    INTO_NEW = "into_new"
    REPLACE = "replace"
    MERGE = "merge"


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What the operator asked for."""

    # Databases and patterns, matched against the names in the backup.
    selection: Selection = field(default_factory=Selection)
    mode: RestoreMode = RestoreMode.INTO_NEW
    duplicates: Duplicates = Duplicates.KEEP  # to merge: what happens to documents that both have
    rename: Mapping[str, str] = field(default_factory=dict)  # the rules of `flows.core.rename`
    users: bool = False  # whether users and roles are merged into the target too
    preserve_uuid: bool = False  # whether collections get the uuid that they had


class Action(StrEnum):
    """What happens to one namespace."""

    CREATE = "create"
    REPLACE = "drop, then create"
    MERGE = "add what is missing"
    LEAVE = "leave as it is"
    REFUSE = "REFUSED"


@dataclass(frozen=True, slots=True)
class RestoreItem:
    """One namespace of the plan."""

    record: NamespaceRecord
    target: Namespace
    action: Action
    present_documents: int | None  # in the target now; they are lost by a replacement; None: nobody may count them
    view_names: Mapping[str, str] = field(default_factory=dict)  # collections that a view has to look for elsewhere
    refusal: str = ""  # why, with `Action.REFUSE`
    expires: bool = False  # the collection that is merged into deletes documents by a rule of its own

    @property
    def data_target(self) -> Namespace:
        """Where its documents go."""
        return self.target.buckets if self.record.kind is Kind.TIMESERIES else self.target

    def metadata(self) -> CollectionMetadata:
        """Options and indexes to create it with: those of the backup, with a view's collections under new names.

        Raises:
            FormatError: As in `loads_metadata`.
        """
        held = loads_metadata(self.record.metadata)
        return replace(held, options=follow(held.options, self.view_names)) if self.view_names else held


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """The whole of a restore, printable."""

    backup: str
    mode: RestoreMode
    items: tuple[RestoreItem, ...]
    segments: tuple[SegmentRecord, ...]
    users: tuple[Namespace, ...]  # the archives' names of users and roles that will be merged
    target: str = ""  # what the operator should know of the server
    address: str = ""  # host and port that will be written to
    own_source: bool = False  # the target is the MongoDB that the backup was taken of
    warnings: tuple[str, ...] = ()
    duplicates: Duplicates = Duplicates.KEEP

    @property
    def documents(self) -> int:
        """Documents that will be written."""
        return sum(item.record.content.documents for item in self.items)

    @property
    def bytes(self) -> int:
        """BSON that will be written [bytes]."""
        return sum(item.record.content.bytes for item in self.items)

    @property
    def replaced(self) -> tuple[RestoreItem, ...]:
        """What will be dropped first."""
        return tuple(item for item in self.items if item.action is Action.REPLACE)

    @property
    def merged(self) -> tuple[RestoreItem, ...]:
        """What is there and gets the documents that it lacks."""
        return tuple(item for item in self.items if item.action is Action.MERGE)

    @property
    def endangered(self) -> tuple[RestoreItem, ...]:
        """What will be dropped, or loses documents to those of the backup."""
        return self.replaced + (self.merged if self.duplicates is Duplicates.OVERWRITE else ())

    @property
    def overwritten(self) -> Selection:
        """What is endangered, as a backup of it is selected."""
        names = [item.target for item in self.endangered]
        patterns = tuple(escape_pattern(str(name)) for name in names)
        return Selection(tuple(sorted({name.database for name in names})), patterns)

    def told_of_safety(self, *, kept: bool, encrypted: bool) -> RestorePlan:
        """The plan with a warning where what is endangered is lost, or becomes readable for more people.

        Args:
            kept: Whether it is backed up first.
            encrypted: Whether that backup is encrypted.
        """
        if not self.endangered or (kept and encrypted):
            return self
        warning = (
            "what is overwritten is backed up first, not encrypted: whoever reads the bucket can read it. Name "
            "`identities` with a key or a passphrase, and it is encrypted for them"
            if kept
            else "what is overwritten is lost, because `safety_backup` is off"
        )
        return replace(self, warnings=(*self.warnings, warning))

    @property
    def confirmation(self) -> str:
        """What the operator has to type: the databases in which something is endangered; empty where nothing is."""
        return ",".join(sorted({item.target.database for item in self.endangered}))

    def check_free(self) -> None:
        """Refuse to write to what is there, where everything was to be new or it cannot be added to.

        Raises:
            TargetNotEmpty: Where the target has a namespace that stands against the restore.
        """
        refused = sorted((item.target, item.refusal) for item in self.items if item.action is Action.REFUSE)
        if not refused:
            return
        namespace, why = refused[0]
        if self.mode is RestoreMode.MERGE:
            raise TargetNotEmpty(
                f"a namespace cannot be merged into what the target has: {why}",
                hint="Leave it out with `exclude`, or restore it into another database with `rename`.",
                namespaces=len(refused),
                first=str(namespace),
            )
        raise TargetNotEmpty(
            "the target already has namespaces that this restore would write",
            hint="Restore into another database with `rename`, add what is missing with mode `merge`, or replace them "
            "with mode `replace`.",
            namespaces=len(refused),
            first=str(namespace),
        )

    def check_expiry(self, *, hold: bool) -> None:
        """Refuse to keep documents from expiring in collections whose expiry this restore does not touch.

        Raises:
            Refused: Where expiry is to be held and a collection that is merged into has rules in force.
        """
        expiring = [item.target for item in self.merged if item.expires]
        if hold and expiring:
            raise Refused(
                "a collection that documents are added to deletes old ones by a rule of its own",
                hint="Turn that rule off in the target first, with collMod and a huge expireAfterSeconds, or leave "
                "`hold_ttl` off, or exclude the collection.",
                namespaces=len(expiring),
                first=str(min(expiring)),
            )

    def check_source(self, *, allowed: bool) -> None:
        """Refuse to write to the MongoDB that the backup was taken of, unless that was asked for.

        Raises:
            Refused: Where it was not.
        """
        if self.own_source and not allowed:
            raise Refused(
                "the target is the very MongoDB that this backup was taken of",
                hint="Choose another `target` for a test. To repair this one, turn `into_source` on.",
                target=self.target,
            )

    def check_unchanged(self, now: RestorePlan) -> None:
        """Refuse to act on this plan where the target has changed so much that another one would be made now.

        Raises:
            Refused: It would create or drop something else.
        """
        planned, found = ({(item.target, item.action) for item in plan.items} for plan in (self, now))
        if planned != found:
            raise Refused(
                "the target has changed since this plan was made",
                hint="Nothing has been written. Start the restore again, and look at the new plan.",
                namespace=str(min(planned ^ found)[0]),
            )

    def check_confirmation(self, typed: str) -> None:
        """Refuse to drop anything unless the names of the databases were typed.

        Raises:
            Refused: Where they were not.
        """
        if self.confirmation and typed.strip() != self.confirmation:
            raise Refused(
                "this restore overwrites what is there and was not confirmed",
                hint=f"Set `confirm` to {self.confirmation!r} to overwrite in "
                f"{counted(len(self.endangered), 'namespace')}, or restore into another database with `rename`.",
                expected=self.confirmation,
                got=typed,
            )


def safety_plan(plan: str) -> str:
    """The plan under which a restore of `plan` keeps what it is about to overwrite."""
    return f"{plan[:47]}-before-restore"  # names of plans have at most 63 characters


def check_before(before: datetime | None, backup: str) -> None:
    """Refuse a time that leaves open which backup is meant.

    Raises:
        ConfigurationError: It has no time zone, or a backup is named too.
    """
    if before is None:
        return
    if before.tzinfo is None:
        raise ConfigurationError(
            "`before` has no time zone",
            hint="Add it, for example 2026-03-06T12:00:00+01:00, or Z for UTC.",
            got=before.isoformat(),
        )
    if backup != "latest":
        raise ConfigurationError(
            "both a backup and `before` are given", hint="Leave `backup` at `latest`, or `before` empty.", got=backup
        )


def compare_servers(source: SourceIdentity, target: SourceIdentity) -> tuple[bool, tuple[str, ...]]:
    """Hold the server of a backup against that of a restore.

    Returns:
        Whether both are the same replica set, which names and addresses cannot hide, and what to know of versions.

    Raises:
        Refused: Where the target is older: it may lack what collections and indexes of the backup need.
    """
    taken, wanted = parse_release(source.server_version)[:2], parse_release(target.server_version)[:2]
    if wanted < taken:
        raise Refused(
            "the target is an older MongoDB than the one that was backed up",
            hint="Restore into the same release or a newer one.",
            expected=f"{source.server_version} or newer",
            got=target.server_version,
        )
    notes = []
    if wanted > taken:
        notes.append(
            f"the backup is of MongoDB {source.server_version} and the target is {target.server_version}: options that "
            "the newer one no longer takes stop the restore, and those that it changes are listed as differences"
        )
    if source.replica_set_id is None or target.replica_set_id is None:
        notes.append("whether the target is the source of the backup cannot be told: one of them is no replica set")
    same = source.replica_set_id is not None and source.replica_set_id == target.replica_set_id
    return same, tuple(notes)


def plan_targets(manifest: Manifest, selection: Selection, rename: Mapping[str, str]) -> dict[Namespace, Namespace]:
    """Decide what of a backup goes where, without a look at the target.

    Args:
        manifest: The backup.
        selection: Databases and patterns, matched against the names in the backup.
        rename: The rules of `flows.core.rename`; what no rule matches keeps its name.

    Returns:
        Names in the backup, with the names in the target.

    Raises:
        ConfigurationError: For names that the backup does not have, and rules that cannot work.
    """
    rules = parse_rename(rename)
    held = _held(manifest)
    databases = {namespace.database for namespace in held}
    for name in (*selection.databases, *(old for old in rename if "." not in old)):
        if name not in databases:
            raise ConfigurationError(
                "the backup does not hold this database",
                hint=f"It holds: {', '.join(sorted(databases)) or 'none'}.",
                backup=manifest.backup,
                got=name,
            )
    check_matches(rules, held, backup=manifest.backup)
    wanted = [n for n in held if not selection.databases or n.database in selection.databases]
    return choose_targets([held[namespace] for namespace in choose_namespaces(wanted, selection)], rules)


def plan_restore(manifest: Manifest, request: RestoreRequest, *, existing: Mapping[Namespace, Existing]) -> RestorePlan:
    """Decide what a restore writes where.

    Args:
        manifest: The backup.
        request: What the operator asked for.
        existing: Every namespace that the target has in the databases concerned; to merge, with its metadata.

    Raises:
        ConfigurationError: As in `plan_targets`, or for a view that would not see what it looks at.
        FormatError: Where something is renamed, and the definition of a view cannot be read.
    """
    held = _held(manifest)
    targets = plan_targets(manifest, request.selection, request.rename)
    items = tuple(RestoreItem(held[namespace], target, Action.CREATE, 0) for namespace, target in targets.items())
    if request.rename:
        items = _views_following(items)
    items = tuple(_against(item, existing.get(item.target), request) for item in items)
    user_names = _user_names(manifest, databases={n.database for n in targets}) if request.users else ()
    data = {held[namespace].data_namespace for namespace in targets} | set(user_names)
    segments = tuple(s for s in manifest.segments if any(entry.namespace in data for entry in s.entries))
    return RestorePlan(
        manifest.backup,
        request.mode,
        items,
        segments,
        user_names,
        warnings=tuple(_merge_notes(items, existing)),
        duplicates=request.duplicates,
    )


def _against(item: RestoreItem, there: Existing | None, request: RestoreRequest) -> RestoreItem:
    """Decide what happens where the target has the namespace."""
    if there is None:
        return item
    decide = partial(replace, item, present_documents=there.documents)
    if request.mode is RestoreMode.REPLACE:
        return decide(action=Action.REPLACE)
    if request.mode is RestoreMode.INTO_NEW:
        return decide(action=Action.REFUSE, refusal="it exists")
    kind, metadata = item.record.kind, item.metadata()
    if why := refusal(kind, metadata, there, request.duplicates):
        return decide(action=Action.REFUSE, refusal=why)
    if kind is Kind.VIEW:
        return decide(action=Action.REPLACE if replaces_view(metadata, there, request.duplicates) else Action.LEAVE)
    return decide(action=Action.MERGE, expires=holds_expiry(there))


def _merge_notes(items: Iterable[RestoreItem], existing: Mapping[Namespace, Existing]) -> Iterator[str]:
    for item in items:
        if item.action in (Action.MERGE, Action.LEAVE):
            for note in notes(item.record.kind, item.metadata(), existing[item.target]):
                yield f"{item.target}: {note}"


def _held(manifest: Manifest) -> dict[Namespace, NamespaceRecord]:
    return {record.namespace: record for record in manifest.namespaces if not is_users(record.namespace)}


def _views_following(items: tuple[RestoreItem, ...]) -> tuple[RestoreItem, ...]:
    places = {item.record.namespace: item.target for item in items}
    places |= {item.record.data_namespace: item.data_target for item in items}
    return tuple(
        replace(item, view_names=changed_names(item.record.namespace, item.target, item.metadata().options, places))
        if item.record.kind is Kind.VIEW
        else item
        for item in items
    )


def _user_names(manifest: Manifest, databases: Iterable[str]) -> tuple[Namespace, ...]:
    """Raises ConfigurationError where the backup has no users to restore."""
    chosen = {"admin", *databases}
    found = tuple(r.namespace for r in manifest.namespaces if is_users(r.namespace) and r.namespace.database in chosen)
    if not found:
        raise ConfigurationError(
            "the backup holds no users and roles",
            hint="Turn `include_users` off here, and on in the backups to come.",
            backup=manifest.backup,
        )
    return found
