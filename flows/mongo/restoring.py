"""The steps of a restore that concern the target as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from flows.core.extjson import loads_metadata
from flows.core.manifest import Manifest
from flows.core.merge import Duplicates, missing_indexes
from flows.core.names import Namespace
from flows.core.proof import Merged, NamespaceProof, differences_of_content, differences_of_metadata
from flows.core.restore_plan import (
    Action,
    RestoreItem,
    RestoreMode,
    RestorePlan,
    compare_servers,
    plan_restore,
    plan_targets,
)
from flows.core.selection import Selection
from flows.core.source import Kind
from flows.core.tally import Content
from flows.core.ttl import OPTION, expiries, held, without_own_expiry
from flows.mongo.merging import check_readable
from flows.mongo.target import MongoTarget


def plan_target(
    target: MongoTarget,
    manifest: Manifest,
    selection: Selection,
    *,
    mode: RestoreMode,
    rename: Mapping[str, str],
    users: bool,
    duplicates: Duplicates,
    now: datetime,
) -> RestorePlan:
    """Decide what a restore would write where, with what the target holds now. Writes nothing.

    Raises:
        TargetError: Where the target cannot be written to, or what is merged into not be read.
        Refused: Where it is older than the source of the backup.
        ConfigurationError: As in `plan_restore`.
    """
    targets = plan_targets(manifest, selection, rename)  # before the target is asked about names that cannot be
    identity = target.identity()
    own_source, notes = compare_servers(manifest.source, identity)
    databases = {namespace.database for namespace in targets.values()}
    existing = {found.namespace: found for found in target.existing(databases)}
    if mode is RestoreMode.MERGE:
        for namespace in existing.keys() & set(targets.values()):
            found = existing[namespace]
            existing[namespace] = dataclasses.replace(found, metadata=target.metadata(namespace, found.kind))
    plan = plan_restore(
        manifest, selection, mode=mode, rename=rename, users=users, existing=existing, duplicates=duplicates
    )
    for item in plan.merged:
        check_readable(target, item.data_target)
    described = f"MongoDB {identity.server_version}, {identity.topology} {identity.replica_set or ''}".strip()
    expiring = tuple(
        f"{item.target}: {rule.sentence()}, restored ones too; `hold_ttl` keeps them. Now it would delete "
        f"{rule.doomed(item.record.ages, now=now)}"
        for item in plan.items
        for rule in expiries(loads_metadata(item.record.metadata))
    )
    return dataclasses.replace(plan, target=described, own_source=own_source, warnings=notes + plan.warnings + expiring)


def prepare_target(target: MongoTarget, plan: RestorePlan, *, preserve_uuid: bool) -> None:
    """Drop what is replaced, then create every collection, empty and without indexes.

    All metadata is read before the first drop, so that a manifest with options that cannot be parsed does no harm.
    """
    parsed = [(item, loads_metadata(item.record.metadata)) for item in plan.items]
    for item in plan.items:
        if item.action is Action.REPLACE:
            target.drop(item.target)
    for item, metadata in parsed:
        if item.record.kind is not Kind.VIEW and item.action is not Action.MERGE:
            created = without_own_expiry(metadata)  # turned on at the end
            target.create(item.target, item.record.kind, created, preserve_uuid=preserve_uuid)


def finish_collections(
    target: MongoTarget,
    items: Sequence[RestoreItem],
    *,
    merged: Mapping[Namespace, Merged],
    read_back: bool,
    hold_ttl: bool,
    majority: bool,
    progress: Callable[[int], None],
) -> tuple[NamespaceProof, ...]:
    """Build the indexes of collections whose documents are all there, and hold each against the manifest.

    Safe to repeat: an index that is there already in the same form is left as it is.

    Args:
        target: Where they are.
        items: Collections, no views.
        merged: By the name in the target: what became of the documents of collections that had some before.
        read_back: Whether to read all documents and compare their content digest; else they are only counted.
        hold_ttl: Whether documents are kept from expiring.
        majority: Whether a majority of the replica set has confirmed every document already; else it is waited for.
        progress: Called with the bytes that were read back; may raise to stop.
    """
    if not majority:
        for item in items:
            target.wait_for_majority(item.target)
    return tuple(
        _finish_merged(target, item, merged.get(item.data_target, Merged()), hold_ttl=hold_ttl)
        if item.action is Action.MERGE
        else _finish_collection(target, item, read_back=read_back, hold_ttl=hold_ttl, progress=progress)
        for item in items
    )


def _finish_merged(target: MongoTarget, item: RestoreItem, merged: Merged, *, hold_ttl: bool) -> NamespaceProof:
    """What the collection holds besides is not the backup's, so its documents were compared one by one as they came."""
    wanted = loads_metadata(item.record.metadata)
    there = target.metadata(item.target, item.record.kind)
    lacking = missing_indexes(wanted, there)
    built = target.build_indexes(item.target, held(lacking) if hold_ttl else lacking)
    rules = [rule for rule in expiries(lacking) if rule.index is not None]  # the collection's own stays as it is
    resume = tuple(rule.resume(item.target) for rule in rules) if hold_ttl else ()
    differences = []
    if merged.documents != item.record.content.documents:
        differences.append(f"{item.record.content.documents} documents expected, {merged.documents} were compared")
    if there is not None:
        now = target.metadata(item.target, item.record.kind)
        differences += [f"index {index['name']!r} is missing" for index in missing_indexes(wanted, now).indexes]
    return NamespaceProof(item.target, built, None, there is not None, tuple(differences), resume, merged)


def _finish_collection(
    target: MongoTarget, item: RestoreItem, *, read_back: bool, hold_ttl: bool, progress: Callable[[int], None]
) -> NamespaceProof:
    record = item.record
    metadata = loads_metadata(record.metadata)
    rules = expiries(metadata)
    if hold_ttl:
        metadata = held(metadata)
    # Documents first: as soon as an index lets them, old ones expire.
    differences: list[str] = []
    content: Content | None = None
    if read_back:
        document_bytes = record.content.bytes // max(record.content.documents, 1)
        content = target.content(item.target, record.kind, document_bytes=document_bytes, progress=progress)
    if content is not None:
        differences = differences_of_content(record.content, content)
    else:
        # Where the user may not count either, what the server confirmed with every insert has to do.
        counted = target.count(item.target, record.kind)
        if counted not in (None, record.content.documents):
            differences = [f"{record.content.documents} documents expected, {counted} found"]
    indexes = target.build_indexes(item.target, metadata)
    if OPTION in metadata.options:
        target.expire_after(item.target, metadata.options[OPTION])
    there = target.metadata(item.target, record.kind)
    if there is not None:
        differences += map(str, differences_of_metadata(metadata, there))
    resume = tuple(rule.resume(item.target) for rule in rules) if hold_ttl else ()
    return NamespaceProof(item.target, indexes, content, there is not None, tuple(differences), resume)


def finish_views(target: MongoTarget, plan: RestorePlan) -> tuple[NamespaceProof, ...]:
    """Create the views of a plan, and hold each against the manifest. Safe to repeat: one that is there stays."""
    items = [item for item in plan.items if item.record.kind is Kind.VIEW and item.action is not Action.LEAVE]
    present = {found.namespace for found in target.existing({item.target.database for item in items})}
    proofs = []
    for item in items:
        metadata = item.metadata()
        if item.target not in present:
            target.create(item.target, Kind.VIEW, metadata, preserve_uuid=False)
        there = target.metadata(item.target, Kind.VIEW)
        differences = () if there is None else tuple(map(str, differences_of_metadata(metadata, there)))
        proofs.append(NamespaceProof(item.target, 0, None, there is not None, differences))
    return tuple(proofs)
