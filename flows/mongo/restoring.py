"""The steps of a restore that concern the target as a whole."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from flows.core.errors import TargetError
from flows.core.extjson import loads_metadata
from flows.core.manifest import Manifest
from flows.core.restore_plan import Action, RestoreMode, RestorePlan, check_rename, plan_restore
from flows.core.selection import Selection
from flows.core.source import Kind
from flows.mongo.target import MongoTarget

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FinishedTarget:
    """What was done at the end of a restore."""

    indexes: int
    uncounted: int  # namespaces whose documents the user may not count


def plan_target(
    target: MongoTarget,
    manifest: Manifest,
    selection: Selection,
    *,
    mode: RestoreMode,
    rename: Mapping[str, str],
    users: bool,
) -> RestorePlan:
    """Decide what a restore would write where, with what the target holds now. Writes nothing.

    Raises:
        TargetError: Where the target cannot be written to.
        ConfigurationError, TargetNotEmpty: As in `plan_restore`.
    """
    check_rename(rename)  # before the target is asked about a database of that name
    target.identity()
    databases = {record.namespace.renamed(dict(rename)).database for record in manifest.namespaces}
    existing = {found.namespace: found.documents for found in target.existing(databases)}
    return plan_restore(manifest, selection, mode=mode, rename=rename, users=users, existing=existing)


def prepare_target(target: MongoTarget, plan: RestorePlan, *, preserve_uuid: bool) -> None:
    """Drop what is replaced, then create every collection, empty and without indexes.

    All metadata is read before the first drop, so that a manifest with options that cannot be parsed does no harm.
    """
    parsed = [(item, loads_metadata(item.record.metadata)) for item in plan.items]
    for item in plan.items:
        if item.action is Action.REPLACE:
            target.drop(item.target)
    for item, metadata in parsed:
        if item.record.kind is not Kind.VIEW:
            target.create(item.target, item.record.kind, metadata, preserve_uuid=preserve_uuid)


def finish_target(target: MongoTarget, plan: RestorePlan) -> FinishedTarget:
    """Build the indexes, create the views, and compare the counts with the manifest.

    Safe to repeat: an index or a view that is there already in the same form is left as it is. Where the user may not
    count, what the server confirmed with every insert has to do; it was compared while the segments were loaded.

    Raises:
        TargetError: Where a count differs from the manifest.
    """
    indexes = 0
    for item in plan.items:
        metadata = loads_metadata(item.record.metadata)
        if item.record.kind is not Kind.VIEW:
            indexes += target.build_indexes(item.target, metadata)
    present = {found.namespace for found in target.existing({item.target.database for item in plan.items})}
    for item in plan.items:
        if item.record.kind is Kind.VIEW and item.target not in present:
            target.create(item.target, Kind.VIEW, loads_metadata(item.record.metadata), preserve_uuid=False)
    uncounted = 0
    for item in plan.items:
        if item.record.kind is Kind.VIEW:
            continue
        got = target.count(item.target, item.record.kind)
        if got is None:
            uncounted += 1
        elif got != item.record.content.documents:
            raise TargetError(
                "a collection has another number of documents than the backup",
                hint="Something else wrote to the target during the restore: stop it, then restore again.",
                namespace=str(item.target),
                expected=item.record.content.documents,
                got=got,
            )
    if uncounted:
        logger.warning(
            "the user of the target may not count documents, so %d namespaces were compared by what the server "
            "confirmed for each insert; grant `readAnyDatabase` too for a count at the end",
            uncounted,
        )
    return FinishedTarget(indexes, uncounted)
