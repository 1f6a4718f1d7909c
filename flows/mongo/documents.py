"""Choosing documents of a backup by a filter, comparing them with a target, and writing them there.

The documents of the backup are loaded into a scratch collection, so that the server decides what a filter matches.
`flows.mongo.merging` compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bson.raw_bson import RawBSONDocument

from flows.core.document_diff import DocumentDiff
from flows.core.document_plan import (
    DocumentPlan,
    DocumentRequest,
    Into,
    LiveCollection,
    find_record,
    live_namespace,
    place,
    plan_documents,
)
from flows.core.errors import BackupError, ConfigurationError, RestoreIncomplete
from flows.core.extjson import CollectionMetadata, loads_metadata
from flows.core.manifest import Manifest
from flows.core.merge import Duplicates
from flows.core.names import SCRATCH_PREFIX, Namespace
from flows.core.proof import Merged
from flows.core.source import Kind
from flows.mongo.catalog import RAW, Catalog
from flows.mongo.client import TARGET, mongo_errors
from flows.mongo.merging import CHUNK_DOCUMENTS, check_readable, chunks, merge_chunk, paired, raw
from flows.mongo.target import MongoTarget

Checkpoint = Callable[[], None]  # called between batches; raises to stop


def plan_into(target: MongoTarget, manifest: Manifest, request: DocumentRequest, *, run: str) -> DocumentPlan:
    """Decide what is read and written, with what the target has now. Writes nothing.

    Raises:
        TargetError: Where the target cannot be written to, or not be read.
        ConfigurationError, Refused, TargetNotEmpty: As in `plan_documents`.
    """
    find_record(manifest, request.namespace)  # before the target is asked about a collection of that name
    target.identity()
    live, destination = live_namespace(request), place(request, manifest.backup)
    check_readable(target, live)
    catalog = Catalog(target.client, TARGET)
    with mongo_errors(TARGET, database=request.database):
        scratch = {"name": {"$regex": f"^{SCRATCH_PREFIX}"}}
        leftovers = target.client[request.database].list_collection_names(filter=scratch)
    return plan_documents(
        manifest,
        request,
        run=run,
        live=_live(catalog, live),
        beside_exists=request.into is Into.BESIDE and catalog.listed(destination) is not None,
        leftovers=sorted(leftovers),
    )


def make_scratch(target: MongoTarget, plan: DocumentPlan) -> None:
    """Create the scratch collection, empty, and have the server look at the filter. Safe to repeat.

    Raises:
        ConfigurationError: Where the server does not take the filter.
    """
    target.drop(plan.scratch)
    _create(target, plan.scratch, plan)
    list(_matching(target, plan, empty=True))


def diff_documents(target: MongoTarget, plan: DocumentPlan, *, checkpoint: Checkpoint) -> DocumentDiff:
    """Compare the documents that match with the live collection. Writes nothing.

    Args:
        target: Where scratch and live collection are.
        plan: What is compared; all its segments are in the scratch.
        checkpoint: Called between batches.
    """
    diff = DocumentDiff()
    for chunk in chunks(_matching(target, plan)):
        checkpoint()
        for document, present in paired(target, plan.live, chunk) if plan.compared else ((d, None) for d in chunk):
            diff.add(document, present)
    return diff


def write_documents(target: MongoTarget, plan: DocumentPlan, *, checkpoint: Checkpoint) -> Merged:
    """Write the documents that match to where they belong, and read each batch again.

    Every document is compared once more right before, so that what has come into the live collection since the diff is
    treated by the same rule. Equal documents are left alone, and different ones too unless they may be overwritten.

    Raises:
        RestoreIncomplete: Where anything fails after the first write; it says how many documents were written.
    """
    done = Merged()
    duplicates = Duplicates.OVERWRITE if plan.request.overwrites else Duplicates.KEEP
    if plan.request.into is Into.BESIDE:
        _create(target, plan.destination, plan)
    try:
        for chunk in chunks(_matching(target, plan)):
            checkpoint()
            done += merge_chunk(target, plan.destination, chunk, duplicates, read_back=True)
    except BackupError as error:
        raise RestoreIncomplete(
            f"restoring documents stopped: {error.message}; before that {done.inserted} were inserted and "
            f"{done.replaced} replaced, and perhaps a part of the next {CHUNK_DOCUMENTS}",
            hint=f"{error.hint} Run it again when the cause is gone: it shows and writes what is still missing"
            f"{', after you have dropped the new collection' if plan.request.into is Into.BESIDE else ''}.".strip(),
            **error.facts,
        ) from error
    return done


def _create(target: MongoTarget, namespace: Namespace, plan: DocumentPlan) -> None:
    # Of all options only the collation: a validator, a size or an expiry would stand against old documents.
    options = {"collation": plan.collation} if plan.collation else {}
    target.create(namespace, Kind.COLLECTION, CollectionMetadata(options=options), preserve_uuid=False)


def _live(catalog: Catalog, namespace: Namespace) -> LiveCollection | None:
    listed = catalog.listed(namespace)
    if listed is None:
        return None
    info = catalog.describe(namespace, Kind(listed["type"]), listed)
    metadata = loads_metadata(info.metadata)
    expiring = [next(iter(index["key"])) for index in metadata.indexes if "expireAfterSeconds" in index]
    if "expireAfterSeconds" in metadata.options:
        expiring.append("_id")
    return LiveCollection(info.kind, info.capped, tuple(expiring))


def _matching(target: MongoTarget, plan: DocumentPlan, *, empty: bool = False) -> Iterator[bytes]:
    """The documents of the scratch that match, in batches as the server sends them."""
    pipeline = [{"$match": RawBSONDocument(plan.request.criteria, RAW)}]
    try:
        with mongo_errors(TARGET), raw(target, plan.scratch).aggregate_raw_batches(pipeline) as batches:
            yield from batches
    except BackupError as error:
        if error.retryable:
            raise
        if empty:
            raise ConfigurationError(
                "the server does not take the filter",
                hint="It is used as `$match` of an aggregation, so without `$where`, `$near` and `$text`.",
                code=error.facts.get("code"),
                got=error.facts.get("got"),
            ) from error
        # The server's own sentence may quote a document.
        raise ConfigurationError(
            "the server cannot apply the filter to a document of the backup",
            hint="Look up the code; an expression such as `$toInt` has to be told what to do with other types.",
            code=error.facts.get("code"),
        ) from None
