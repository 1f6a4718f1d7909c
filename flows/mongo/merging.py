"""Writing documents into a collection that has some already.

Documents are told apart by `_id` and compared as bytes: to the server's own `$eq` the numbers 1 and 1.0 are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import ReadPreference
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from flows.core.document_diff import Difference, compare
from flows.core.elements import array_of, document_of, id_of, nested
from flows.core.errors import TargetError
from flows.core.merge import Duplicates
from flows.core.names import Namespace
from flows.core.proof import Merged
from flows.core.tally import walk
from flows.mongo.catalog import RAW
from flows.mongo.client import TARGET, mongo_errors
from flows.mongo.raw import RawBatches
from flows.mongo.target import MongoTarget, check_majority

Pair = tuple[bytes, bytes | None]  # a document of the backup, and what the target has under its `_id`

_UNAUTHORIZED = 13
# What is held at a time: so many documents of the backup, and one batch of the server, which is at most 16 MiB.
CHUNK_DOCUMENTS = 1000
_CHUNK_BYTES = 4 * 1024 * 1024


def check_readable(target: MongoTarget, namespace: Namespace) -> None:
    """See that documents of a collection may be read, before anything is written.

    Raises:
        TargetError: Where they may not.
    """
    with mongo_errors(TARGET, namespace=str(namespace)):
        try:
            next(iter(raw(target, namespace).find({}, limit=1)), None)
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:
                raise
            raise TargetError(
                "the user may not read the target",
                hint="Documents are compared with what is there, and the role `restore` only writes: grant "
                f"`readWrite` on the database {namespace.database!r} beside it.",
                namespace=str(namespace),
            ) from error


def chunks(batches: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Single documents, so many at a time as are compared at once."""
    chunk: list[bytes] = []
    size = 0
    for document in _split(batches):
        if chunk and (len(chunk) == CHUNK_DOCUMENTS or size + len(document) > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(document)
        size += len(document)
    if chunk:
        yield chunk


def merge_chunk(
    target: MongoTarget, namespace: Namespace, chunk: list[bytes], duplicates: Duplicates, *, read_back: bool
) -> Merged:
    """Insert the documents that a collection lacks, and treat those that it has by a rule. Safe to repeat.

    Args:
        target: Where the collection is.
        namespace: Where the documents go.
        chunk: Documents with an `_id` each.
        duplicates: What happens to those that are there with other content. Equal ones are left alone.
        read_back: Whether to read again what was written, and compare it.

    Raises:
        TargetError: With `fail`, where a document is there with other content: nothing of this chunk is written then.
            Where the server refuses a document, or something else is in the collection afterwards.
    """
    missing: list[bytes] = []
    different: list[bytes] = []
    for document, present in paired(target, namespace, chunk):
        kind = compare(document, present)
        if kind is Difference.MISSING:
            missing.append(document)
        elif kind is Difference.DIFFERENT:
            different.append(document)
    if different and duplicates is Duplicates.FAIL:
        raise TargetError(
            "the target has other documents under an `_id` of the backup",
            hint="Restore with `duplicates` set to `keep` or `overwrite`, or into another database with `rename`.",
            namespace=str(namespace),
            documents=len(different),
        )
    replaced = different if duplicates is Duplicates.OVERWRITE else []
    if missing:
        target.insert(namespace, b"".join(missing), len(missing), again=False)
    if replaced:
        _replace(target, namespace, replaced)
    if read_back:
        _compare_written(target, namespace, missing + replaced)
    equal = len(chunk) - len(missing) - len(different)
    return Merged(len(missing), len(replaced), len(different) - len(replaced), equal)


def _compare_written(target: MongoTarget, namespace: Namespace, written: list[bytes]) -> None:
    for document, present in paired(target, namespace, written):
        if document != present:
            raise TargetError(
                "a document that was just written is not in the target as it was written",
                hint="Something else writes to it at the same time.",
                namespace=str(namespace),
                got=compare(document, present).value,
            )


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


def paired(target: MongoTarget, namespace: Namespace, documents: list[bytes]) -> Iterator[Pair]:
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
        yield from _split(RawBatches(raw(target, namespace), criteria))


def _split(batches: Iterable[bytes]) -> Iterator[bytes]:
    for batch in batches:
        ends: list[int] = []
        walk(batch, 0, ends)
        start = 0
        for end in ends:
            yield batch[start:end]
            start = end


def raw(target: MongoTarget, namespace: Namespace) -> Collection[Any]:
    """A collection whose documents are given as their bytes."""
    # From the primary, whatever the connection string prefers: what was just written has to be seen.
    database = target.client.get_database(namespace.database, codec_options=RAW, read_preference=ReadPreference.PRIMARY)
    return database[namespace.collection]
