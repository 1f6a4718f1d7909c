"""What a restore will write where: decided, and shown, before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from flows.core.archive import is_users
from flows.core.errors import BackupError, ConfigurationError, Refused, RestoreIncomplete, TargetNotEmpty
from flows.core.extjson import CollectionMetadata, loads_metadata
from flows.core.manifest import Manifest, NamespaceRecord, SegmentRecord
from flows.core.names import Namespace
from flows.core.rename import check_matches, choose_targets, parse_rename
from flows.core.selection import Selection, choose_namespaces, escape_pattern
from flows.core.source import Kind, SourceIdentity, parse_release
from flows.core.views import changed_names, follow


class RestoreMode(StrEnum):
    """What happens to namespaces that the target already has."""

    INTO_NEW = "into_new"
    REPLACE = "replace"


class Action(StrEnum):
    """What happens to one namespace."""

    CREATE = "create"
    REPLACE = "drop, then create"
    REFUSE = "REFUSED: it exists"


@dataclass(frozen=True, slots=True)
class RestoreItem:
    """One namespace of the plan."""

    record: NamespaceRecord
    target: Namespace
    action: Action
    present_documents: int | None  # in the target now; they are lost by a replacement; None: nobody may count them
    view_names: Mapping[str, str] = field(default_factory=dict)  # collections that a view has to look for elsewhere

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
    own_source: bool = False  # the target is the MongoDB that the backup was taken of
    warnings: tuple[str, ...] = ()

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
    def overwritten(self) -> Selection:
        """What will be dropped, as a backup of it is selected."""
        names = [item.target for item in self.replaced]
        patterns = tuple(escape_pattern(str(name)) for name in names)
        return Selection(tuple(sorted({name.database for name in names})), patterns)

    @property
    def confirmation(self) -> str:
        """What the operator has to type: the databases in which something is dropped; empty where nothing is."""
        return ",".join(sorted({item.target.database for item in self.replaced}))

    def check_free(self) -> None:
        """Refuse to add to what is there, where everything was to be new.

        Raises:
            TargetNotEmpty: In mode `into_new` where the target has one of the namespaces.
        """
        taken = [item.target for item in self.items if item.action is Action.REFUSE]
        if taken:
            raise TargetNotEmpty(
                "the target already has namespaces that this restore would write",
                hint="Restore into another database with `rename`, or replace them with mode `replace`.",
                namespaces=len(taken),
                first=str(min(taken)),
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
                "this restore drops collections and was not confirmed",
                hint=f"Set `confirm` to {self.confirmation!r} to replace {len(self.replaced)} namespaces, "
                "or restore into another database with `rename`.",
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


def plan_restore(
    manifest: Manifest,
    selection: Selection,
    *,
    mode: RestoreMode,
    rename: Mapping[str, str],
    users: bool,
    existing: Mapping[Namespace, int | None],
) -> RestorePlan:
    """Decide what a restore writes where.

    Args:
        manifest: The backup.
        selection: Databases and patterns, matched against the names in the backup.
        mode: What to do with namespaces that the target has.
        rename: As in `plan_targets`.
        users: Whether users and roles are merged into the target too.
        existing: Documents of every namespace that the target has in the databases concerned; None: not known.

    Raises:
        ConfigurationError: As in `plan_targets`, or for a view that would not see what it looks at.
        FormatError: Where something is renamed, and the definition of a view cannot be read.
    """
    held = _held(manifest)
    targets = plan_targets(manifest, selection, rename)
    there = Action.REPLACE if mode is RestoreMode.REPLACE else Action.REFUSE
    items = tuple(
        RestoreItem(
            record=held[namespace],
            target=target,
            action=there if target in existing else Action.CREATE,
            present_documents=existing.get(target, 0),
        )
        for namespace, target in targets.items()
    )
    user_names = _user_names(manifest, databases={n.database for n in targets}) if users else ()
    data = {held[namespace].data_namespace for namespace in targets} | set(user_names)
    segments = tuple(s for s in manifest.segments if any(entry.namespace in data for entry in s.entries))
    return RestorePlan(manifest.backup, mode, _views_following(items) if rename else items, segments, user_names)


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


class RestoreProgress:
    """How far a restore has come, so that a failure can say in what state the target is."""

    def __init__(self, plan: RestorePlan) -> None:
        self._plan = plan
        self._loaded: set[str] = set()
        self._pending = [item for item in plan.items if item.record.kind is not Kind.VIEW]

    def loaded(self, segment: str) -> None:
        """Remember that all of a segment is in the target."""
        self._loaded.add(segment)

    def completed(self) -> tuple[RestoreItem, ...]:
        """The collections whose documents are all there since this was asked last."""
        missing = self._missing()
        done = tuple(item for item in self._pending if item.record.data_namespace not in missing)
        self._pending = [item for item in self._pending if item.record.data_namespace in missing]
        return done

    @contextmanager
    def told_on_failure(self, kept: str) -> Iterator[None]:
        """Add the state of the target to an error of ours that leaves the block.

        Args:
            kept: Plan and id of the backup of what was overwritten; empty where there is none.

        Raises:
            RestoreIncomplete: In place of the error, which is its cause.
        """
        try:
            yield
        except BackupError as error:
            raise RestoreIncomplete(
                f"the restore stopped: {error.message}; {self.sentence()}",
                hint=f"{error.hint} To restore this or another backup again, use mode `replace` with `confirm`: "
                "it drops what is there and begins anew.".strip()
                + (f" What was there before is kept as {kept}." if kept else ""),
                **error.facts,
            ) from error

    def sentence(self) -> str:
        """The state of the target in one sentence."""
        missing = self._missing()
        whole = [item for item in self._plan.items if item.record.data_namespace not in missing]
        partial = len(self._plan.items) - len(whole)
        return (
            f"the target has {len(self._loaded)} of {len(self._plan.segments)} segments, "
            f"the documents of {len(whole)} namespaces are complete, {partial} are empty or incomplete, "
            f"indexes and views may be missing"
        )

    def _missing(self) -> set[Namespace]:
        """The archive's names of what has documents in segments that are not loaded."""
        return {
            entry.namespace
            for segment in self._plan.segments
            if segment.name not in self._loaded
            for entry in segment.entries
            if entry.totals.documents
        }
