"""The steps of a restore that concern the target as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from flows.core.errors import Refused
from flows.core.extjson import CollectionMetadata, loads_metadata
from flows.core.manifest import Manifest
from flows.core.merge import Existing, missing_indexes
from flows.core.names import Namespace
from flows.core.proof import Merged, NamespaceProof, differences_of_content, differences_of_metadata
from flows.core.restore_plan import (
    Action,
    RestoreItem,
    RestoreMode,
    RestorePlan,
    RestoreRequest,
    compare_servers,
    plan_restore,
    plan_targets,
)
from flows.core.source import Kind
from flows.core.tally import Content
from flows.core.ttl import NEVER_SECONDS, OPTION, expiries, held, without_own_expiry
from flows.mongo.merging import check_readable
from flows.mongo.target import MongoTarget


def plan_target(target: MongoTarget, manifest: Manifest, request: RestoreRequest, *, now: datetime) -> RestorePlan:
    """Decide what a restore would write where, with what the target holds now. Writes nothing.

    Raises:
        TargetError: Where the target cannot be written to, or what is merged into not be read.
        Refused: Where it is older than the source of the backup, or another collection has a uuid to be preserved.
        ConfigurationError: As in `plan_restore`.
    """
    targets = plan_targets(
        manifest, request.selection, request.rename
    )  # before the target is asked about names that cannot be
    identity = target.identity()
    own_source, notes = compare_servers(manifest.source, identity)
    databases = {namespace.database for namespace in (*targets.values(), *(targets if request.preserve_uuid else ()))}
    existing = {found.namespace: found for found in target.existing(databases)}
    if request.mode is RestoreMode.MERGE:
        for namespace in existing.keys() & set(targets.values()):
            found = existing[namespace]
            existing[namespace] = dataclasses.replace(found, metadata=target.metadata(namespace, found.kind))
    plan = plan_restore(manifest, request, existing=existing)
    if request.preserve_uuid:
        _check_uuids(plan, existing.values())
    for item in plan.merged:
        check_readable(target, item.data_target)
    described = f"MongoDB {identity.server_version}, {identity.topology} {identity.replica_set or ''}".strip()
    expiring = tuple(
        f"{item.target}: {rule.sentence()}, restored ones too; `hold_ttl` keeps them. Now it would delete "
        f"{rule.doomed(item.record.ages, now=now)}"
        for item in plan.items
        for rule in expiries(loads_metadata(item.record.metadata))
    )
    return dataclasses.replace(
        plan,
        target=described,
        address=target.address(),
        own_source=own_source,
        warnings=notes + plan.warnings + expiring,
    )


def _check_uuids(plan: RestorePlan, found: Iterable[Existing]) -> None:
    """See that no collection that stays has a uuid that the restore gives to another.

    MongoDB would give that collection the new name, and the restore would go on in it.
    """
    wanted = {loads_metadata(item.record.metadata).uuid: item.target for item in plan.items}
    dropped = {item.target for item in plan.replaced}
    for present in found:
        taker = wanted.get(present.uuid) if present.uuid else None
        if taker not in (None, present.namespace) and present.namespace not in dropped:
            raise Refused(
                "a collection of the target has the uuid that another one would be restored with",
                hint="It is most likely the original. Turn `preserve_uuid` off: the restored one gets a new uuid.",
                namespace=str(taker),
                has_it=str(present.namespace),
            )


def prepare_target(target: MongoTarget, plan: RestorePlan, *, preserve_uuid: bool, again: bool) -> None:
    """Drop what is replaced, then create every collection, empty and without indexes.

    All metadata is read before the first drop, so that a manifest with options that cannot be parsed does no harm.

    Args:
        target: Where to write.
        plan: What to drop and to create.
        preserve_uuid: Give collections the uuid that they had.
        again: An earlier try may have done a part of it, and nothing has been loaded since.
    """
    parsed = [(item, loads_metadata(item.record.metadata)) for item in plan.items]
    for item in plan.items:
        if item.action is Action.REPLACE:
            target.drop(item.target)
    for item, metadata in parsed:
        if item.record.kind is not Kind.VIEW and item.action is not Action.MERGE:
            created = without_own_expiry(metadata)  # turned on at the end
            target.create(item.target, item.record.kind, created, preserve_uuid=preserve_uuid, again=again)


def compare_documents(
    target: MongoTarget,
    items: Sequence[RestoreItem],
    *,
    merged: Mapping[Namespace, Merged],
    read_back: bool,
    majority: bool,
    progress: Callable[[int], None],
) -> tuple[NamespaceProof, ...]:
    """Hold the documents of collections against the manifest. Writes nothing.

    It comes before their indexes: as soon as an index lets them, old documents expire, and a second look would miss
    them.

    Args:
        target: Where they are.
        items: Collections whose documents are all there; no views.
        merged: By the name in the target: what became of the documents of collections that had some before. What such
            a collection holds besides is not the backup's, so its documents were compared one by one as they came.
        read_back: Whether to read all documents and compare their content digest; else they are only counted.
        majority: Whether a majority of the replica set has confirmed every document already; else it is waited for.
        progress: Called with the bytes that were read back; may raise to stop.

    Returns:
        What is proved so far; `finish_collections` adds the rest.
    """
    if not majority:
        for item in items:
            target.wait_for_majority(item.target)
    return tuple(
        _compare_merged(item, merged.get(item.data_target, Merged()))
        if item.action is Action.MERGE
        else _compare_documents(target, item, read_back=read_back, progress=progress)
        for item in items
    )


def _compare_merged(item: RestoreItem, merged: Merged) -> NamespaceProof:
    expected = item.record.content.documents
    wrong = (f"{expected} documents expected, {merged.documents} were compared",)
    differences = wrong if merged.documents != expected else ()
    return NamespaceProof(item.target, 0, None, False, differences, merged=merged)


def _compare_documents(
    target: MongoTarget, item: RestoreItem, *, read_back: bool, progress: Callable[[int], None]
) -> NamespaceProof:
    record = item.record
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
    return NamespaceProof(item.target, 0, content, False, tuple(differences))


def finish_collections(
    target: MongoTarget, items: Sequence[RestoreItem], compared: Sequence[NamespaceProof], *, hold_ttl: bool
) -> tuple[NamespaceProof, ...]:
    """Build the indexes of collections, let their documents expire again, and compare options and indexes.

    Safe to repeat: an index that is there already in the same form is left as it is.

    Args:
        target: Where they are.
        items: Collections, no views.
        compared: What `compare_documents` found for each of them.
        hold_ttl: Whether documents are kept from expiring.
    """
    pairs = zip(items, compared, strict=True)
    return tuple(
        (_finish_merged if item.action is Action.MERGE else _finish_collection)(target, item, proof, hold_ttl=hold_ttl)
        for item, proof in pairs
    )


def _finish_merged(
    target: MongoTarget, item: RestoreItem, compared: NamespaceProof, *, hold_ttl: bool
) -> NamespaceProof:
    wanted = loads_metadata(item.record.metadata)
    there = target.metadata(item.target, item.record.kind)
    lacking = missing_indexes(wanted, there)
    built = target.build_indexes(item.target, held(lacking) if hold_ttl else lacking)
    now = target.metadata(item.target, item.record.kind) if there is not None else None
    still = missing_indexes(wanted, now).indexes if now is not None else []
    return dataclasses.replace(
        compared,
        indexes=built,
        metadata=now is not None,
        differences=compared.differences + tuple(f"index {index['name']!r} is missing" for index in still),
        resume=_resume(item, held(lacking) if now is None else now) if hold_ttl else (),
    )


def _resume(item: RestoreItem, there: CollectionMetadata) -> tuple[str, ...]:
    """The commands for the indexes that are held in the target, from an earlier try too; its own rules stay."""
    names = {index["name"] for index in there.indexes if float(index.get(OPTION, 0)) >= NEVER_SECONDS}
    return tuple(r.resume(item.target) for r in expiries(loads_metadata(item.record.metadata)) if r.index in names)


def _finish_collection(
    target: MongoTarget, item: RestoreItem, compared: NamespaceProof, *, hold_ttl: bool
) -> NamespaceProof:
    metadata = loads_metadata(item.record.metadata)
    rules = expiries(metadata)
    if hold_ttl:
        metadata = held(metadata)
    indexes = target.build_indexes(item.target, metadata)
    if OPTION in metadata.options:
        target.expire_after(item.target, metadata.options[OPTION])
    there = target.metadata(item.target, item.record.kind)
    differences = () if there is None else tuple(map(str, differences_of_metadata(metadata, there)))
    return dataclasses.replace(
        compared,
        indexes=indexes,
        metadata=there is not None,
        differences=compared.differences + differences,
        resume=tuple(rule.resume(item.target) for rule in rules) if hold_ttl else (),
    )


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
