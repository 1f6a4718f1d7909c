"""Choosing documents of a backup by a filter, comparing them with a target, and writing them there.

The documents of the backup are loaded into a scratch collection, so that the server decides what a filter matches.
Documents are compared here, as bytes: to the server's own `$eq` the numbers 1 and 1.0 are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import ReadPreference
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from flows.core.document_diff import Difference, DocumentDiff, compare
from flows.core.document_page import WrittenDocuments
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
from flows.core.elements import array_of, document_of, id_of, nested
from flows.core.errors import BackupError, ConfigurationError, RestoreIncomplete, TargetError
from flows.core.extjson import CollectionMetadata, loads_metadata
from flows.core.manifest import Manifest
from flows.core.names import SCRATCH_PREFIX, Namespace
from flows.core.source import Kind
from flows.core.tally import walk
from flows.mongo.catalog import RAW, Catalog
from flows.mongo.client import TARGET, mongo_errors
from flows.mongo.raw import RawBatches
from flows.mongo.target import MongoTarget, check_majority

Checkpoint = Callable[[], None]  # called between batches; raises to stop
Pair = tuple[bytes, bytes | None]  # a document of the backup, and what the target has under its `_id`

_UNAUTHORIZED = 13
# What is held at a time: so many documents of the backup, and one batch of the server, which is at most 16 MiB.
_CHUNK_DOCUMENTS = 1000
_CHUNK_BYTES = 4 * 1024 * 1024


def plan_into(target: MongoTarget, manifest: Manifest, request: DocumentRequest, *, run: str) -> DocumentPlan:
    """Decide what is read and written, with what the target has now. Writes nothing.

    Raises:
        TargetError: Where the target cannot be written to, or not be read.
        ConfigurationError, Refused, TargetNotEmpty: As in `plan_documents`.
    """
    find_record(manifest, request.namespace)  # before the target is asked about a collection of that name
    target.identity()
    live, destination = live_namespace(request), place(request, manifest.backup)
    _check_readable(target, live)
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
    for chunk in _chunks(_matching(target, plan)):
        checkpoint()
        for document, present in _paired(target, plan.live, chunk) if plan.compared else ((d, None) for d in chunk):
            diff.add(document, present)
    return diff


def write_documents(target: MongoTarget, plan: DocumentPlan, *, checkpoint: Checkpoint) -> WrittenDocuments:
    """Write the documents that match to where they belong, and read each batch again.

    Every document is compared once more right before, so that what has come into the live collection since the diff is
    treated by the same rule. Equal documents are left alone, and different ones too unless they may be overwritten.

    Raises:
        RestoreIncomplete: Where anything fails after the first write; it says how many documents were written.
    """
    done = WrittenDocuments()
    if plan.request.into is Into.BESIDE:
        _create(target, plan.destination, plan)
    try:
        for chunk in _chunks(_matching(target, plan)):
            checkpoint()
            done = _write_chunk(target, plan, chunk, done)
    except BackupError as error:
        raise RestoreIncomplete(
            f"restoring documents stopped: {error.message}; before that {done.inserted} were inserted and "
            f"{done.replaced} replaced, and perhaps a part of the next {_CHUNK_DOCUMENTS}",
            hint=f"{error.hint} Run it again when the cause is gone: it shows and writes what is still missing"
            f"{', after you have dropped the new collection' if plan.request.into is Into.BESIDE else ''}.".strip(),
            **error.facts,
        ) from error
    return done


def _write_chunk(
    target: MongoTarget, plan: DocumentPlan, chunk: list[bytes], done: WrittenDocuments
) -> WrittenDocuments:
    missing: list[bytes] = []
    different: list[bytes] = []
    for document, present in _paired(target, plan.destination, chunk):
        kind = compare(document, present)
        if kind is Difference.MISSING:
            missing.append(document)
        elif kind is Difference.DIFFERENT and plan.request.overwrites:
            different.append(document)
    if missing:
        target.insert(plan.destination, b"".join(missing), len(missing), again=False)
    if different:
        _replace(target, plan.destination, different)
    for document, present in _paired(target, plan.destination, missing + different):
        if document != present:
            raise TargetError(
                "a document that was just written is not in the target as it was written",
                hint="Something else writes to it at the same time.",
                namespace=str(plan.destination),
                got=compare(document, present).value,
            )
    return WrittenDocuments(done.inserted + len(missing), done.replaced + len(different))


def _replace(target: MongoTarget, namespace: Namespace, documents: list[bytes]) -> None:
    # As a pipeline: a plain replacement may not have fields whose names begin with `$`, which a document may.
    updates = [
        {
            "q": RawBSONDocument(document_of(b"_id", id_of(document)), RAW),
            "u": [{"$replaceWith": {"$literal": RawBSONDocument(document, RAW)}}],
        }
        for document in documents
    ]
    command = {
        "update": namespace.collection,
        "updates": updates,
        "ordered": False,
        "bypassDocumentValidation": True,
        "writeConcern": {"w": "majority"},
    }
    with mongo_errors(TARGET, namespace=str(namespace), action="update"):
        reply = target.client[namespace.database].command(command)
    check_majority(reply, namespace)
    if errors := reply.get("writeErrors", ()):  # the driver does not raise them for a command that is sent as it is
        raise TargetError(
            "the target refused to replace documents",
            hint="Look up the code; a unique index may stand against it.",
            namespace=str(namespace),
            refused=len(errors),
            code=errors[0]["code"],
            got=str(errors[0]["errmsg"]).split(" dup key:")[0][:200],
        )


def _create(target: MongoTarget, namespace: Namespace, plan: DocumentPlan) -> None:
    # Of all options only the collation: a validator, a size or an expiry would stand against old documents.
    options = {"collation": plan.collation} if plan.collation else {}
    target.create(namespace, Kind.COLLECTION, CollectionMetadata(options=options), preserve_uuid=False)


def _check_readable(target: MongoTarget, namespace: Namespace) -> None:
    with mongo_errors(TARGET, namespace=str(namespace)):
        try:
            next(iter(_raw(target, namespace).find({}, limit=1)), None)
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:
                raise
            raise TargetError(
                "the user may not read the target",
                hint="Documents are compared with what is there, and the role `restore` only writes: grant "
                f"`readWrite` on the database {namespace.database!r} beside it.",
                namespace=str(namespace),
            ) from error


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
        with mongo_errors(TARGET), _raw(target, plan.scratch).aggregate_raw_batches(pipeline) as batches:
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


def _paired(target: MongoTarget, namespace: Namespace, documents: list[bytes]) -> Iterator[Pair]:
    """Each document with what a collection has under its `_id`, in any order."""
    waiting = {id_of(document): document for document in documents}
    unknown = 0
    for present in (
        _with_ids(target, namespace, nested(document_of(b"$in", array_of(list(waiting))))) if waiting else ()
    ):
        document = waiting.pop(id_of(present), None)
        if document is None:
            unknown += 1
        else:
            yield document, present
    for value, document in waiting.items():
        # The server takes more for the same than bytes tell: 1 and 1.0, or two spellings that a collation does not tell
        # apart. It found some, so it is asked for each that is left.
        found = _with_ids(target, namespace, nested(document_of(b"$eq", value))) if unknown else ()
        yield document, next(iter(found), None)


def _with_ids(target: MongoTarget, namespace: Namespace, condition: bytes) -> Iterator[bytes]:
    criteria = RawBSONDocument(document_of(b"_id", condition), RAW)
    with mongo_errors(TARGET, namespace=str(namespace)):
        yield from _split(RawBatches(_raw(target, namespace), criteria))


def _chunks(batches: Iterable[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for document in _split(batches):
        if chunk and (len(chunk) == _CHUNK_DOCUMENTS or size + len(document) > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(document)
        size += len(document)
    if chunk:
        yield chunk


def _split(batches: Iterable[bytes]) -> Iterator[bytes]:
    for batch in batches:
        ends: list[int] = []
        walk(batch, 0, ends)
        start = 0
        for end in ends:
            yield batch[start:end]
            start = end


def _raw(target: MongoTarget, namespace: Namespace) -> Collection[Any]:
    # From the primary, whatever the connection string prefers: what was just written has to be seen.
    database = target.client.get_database(namespace.database, codec_options=RAW, read_preference=ReadPreference.PRIMARY)
    return database[namespace.collection]
