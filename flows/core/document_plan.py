"""Which documents of a backup come back, and where to: decided before anything is read or written."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from flows.core.archive import is_users
from flows.core.errors import ConfigurationError, FormatError, Refused, TargetNotEmpty
from flows.core.extjson import loads_document, loads_metadata
from flows.core.manifest import Manifest, NamespaceRecord, SegmentRecord
from flows.core.names import SCRATCH_PREFIX, Namespace
from flows.core.rename import check_database
from flows.core.source import Kind

_MOST_NAME_BYTES = 255  # of database and collection together


class Into(StrEnum):
    """Where the documents go."""

    LIVE = "live"
    BESIDE = "beside"


class ExistingDocuments(StrEnum):
    """What happens to a document of the live collection that differs from the one in the backup."""

    KEEP = "keep"
    OVERWRITE = "overwrite"


@dataclass(frozen=True, slots=True)
class DocumentRequest:
    """What the operator asked for."""

    namespace: Namespace  # in the backup
    criteria: bytes = field(repr=False)  # the filter as BSON; it may hold somebody's name
    into: Into
    existing: ExistingDocuments
    database: str  # in the target

    @property
    def overwrites(self) -> bool:
        """Whether documents of the live collection may be replaced."""
        return self.into is Into.LIVE and self.existing is ExistingDocuments.OVERWRITE

    def check_confirmation(self, typed: str) -> None:
        """Refuse to overwrite unless the name of the database was typed.

        Raises:
            Refused: Where it was not.
        """
        if self.overwrites and typed.strip() != self.database:
            raise Refused(
                "overwriting documents was not confirmed",
                hint=f"Set `confirm` to {self.database!r}, or keep what is there with `existing: keep`. "
                "A dry run shows the differences.",
                expected=self.database,
                got=typed,
            )


@dataclass(frozen=True, slots=True)
class LiveCollection:
    """What the target has under the name of the collection."""

    kind: Kind
    capped: bool
    expiring: tuple[str, ...]  # fields by which it removes documents when they are old


@dataclass(frozen=True, slots=True)
class DocumentPlan:
    """The whole of it, printable."""

    request: DocumentRequest
    backup: str
    record: NamespaceRecord
    live: Namespace
    compared: bool  # whether there is a live collection to compare with
    destination: Namespace
    scratch: Namespace
    segments: tuple[SegmentRecord, ...]
    warnings: tuple[str, ...]

    @property
    def collation(self) -> Mapping[str, Any] | None:
        """That of the collection in the backup: it decides what matches."""
        collation: Mapping[str, Any] | None = loads_metadata(self.record.metadata).options.get("collation")
        return collation


def request_documents(
    namespace: str,
    criteria: Mapping[str, Any] | str,
    *,
    into: Into,
    existing: ExistingDocuments,
    database: str | None,
) -> DocumentRequest:
    """Read what an operator typed.

    Args:
        namespace: `database.collection` in the backup.
        criteria: A filter as canonical or relaxed Extended JSON: the object or its text.
        into: Where the documents go.
        existing: What to do with documents that differ.
        database: In the target, where it has another name there.

    Raises:
        ConfigurationError: For a namespace, a filter or a database that is none.
    """
    name = Namespace.parse(namespace)
    check_database(database or name.database, database=name.database, got=database or name.database)
    return DocumentRequest(name, read_filter(criteria), into, existing, database or name.database)


def read_filter(criteria: Mapping[str, Any] | str) -> bytes:
    """A filter as BSON.

    Raises:
        ConfigurationError: Where it is not a document in Extended JSON.
    """
    try:
        text = criteria if isinstance(criteria, str) else json.dumps(criteria)
        return loads_document(text)
    except (FormatError, TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            "the filter is not a document in Extended JSON",
            hint='Write it as for `find`, with quotes around names, for example {"number": "INV-000042"} '
            'or {"at": {"$gte": {"$date": "2026-03-06T00:00:00Z"}}}.',
            got=error.facts.get("because", error.message) if isinstance(error, FormatError) else str(error),
        ) from error


def find_record(manifest: Manifest, namespace: Namespace) -> NamespaceRecord:
    """The record of a collection with documents that can be chosen one by one.

    Raises:
        ConfigurationError: Where the backup has none of this name.
        Refused: For views, time-series collections, users and roles.
    """
    held = {str(record.namespace): record for record in manifest.namespaces}
    record = held.get(str(namespace))
    if record is None:
        close = difflib.get_close_matches(str(namespace), held, n=1)
        raise ConfigurationError(
            "the backup does not hold this namespace",
            hint=f"Did you mean {close[0]!r}?" if close else f"It holds {len(held)}: {', '.join(sorted(held)[:10])}.",
            backup=manifest.backup,
            got=str(namespace),
        )
    if is_users(namespace):
        raise Refused(
            "users and roles are not restored one by one",
            hint="Use the flow `restore` with `include_users`.",
            namespace=str(namespace),
        )
    if record.kind is not Kind.COLLECTION:
        why = {
            Kind.VIEW: "a view has no documents of its own",
            Kind.TIMESERIES: "measurements of a time-series collection have no unique _id to tell them apart by",
        }
        raise Refused(
            why[record.kind],
            hint="Name the collection that the view is on."
            if record.kind is Kind.VIEW
            else "Restore the whole collection into another database: the flow `restore` with `include` and `rename`.",
            namespace=str(namespace),
        )
    return record


def place(request: DocumentRequest, backup: str) -> Namespace:
    """Where the documents go.

    Raises:
        ConfigurationError: Where the name of the collection beside would be too long for a server.
    """
    if request.into is Into.LIVE:
        return live_namespace(request)
    beside = Namespace(request.database, f"{request.namespace.collection}_restored_{backup.replace('-', '')}")
    if len(str(beside).encode()) > _MOST_NAME_BYTES:
        raise ConfigurationError(
            "the name of the new collection would be too long",
            hint="Give a `database` with a shorter name.",
            expected=f"at most {_MOST_NAME_BYTES} bytes",
            got=str(beside),
        )
    return beside


def live_namespace(request: DocumentRequest) -> Namespace:
    """The collection that the documents are compared with."""
    return Namespace(request.database, request.namespace.collection)


def plan_documents(
    manifest: Manifest,
    request: DocumentRequest,
    *,
    run: str,
    live: LiveCollection | None,
    beside_exists: bool,
    leftovers: Sequence[str],
) -> DocumentPlan:
    """Decide what is read and where documents go.

    Args:
        manifest: The backup.
        request: What was asked for.
        run: Id of the run, for the name of the scratch collection.
        live: What the target has under the collection's name; None: nothing.
        beside_exists: Whether it has the collection that `beside` would make.
        leftovers: Scratch collections that the database has now.

    Raises:
        ConfigurationError: As in `find_record` and `place`; and where there is no live collection to write to.
        Refused: As in `find_record`; and for a live collection in which single documents cannot be written.
        TargetNotEmpty: Where the collection beside exists.
    """
    record = find_record(manifest, request.namespace)
    scratch = Namespace(request.database, SCRATCH_PREFIX + run.replace("-", ""))
    destination = place(request, manifest.backup)
    if request.into is Into.LIVE:
        _check_live(live, destination)
    elif beside_exists:
        raise TargetNotEmpty(
            "the collection that would be made exists",
            hint="Drop or rename it if you have done with it; each backup has a name of its own.",
            namespace=str(destination),
        )
    warnings = [
        f"`{destination}` removes documents that are old by `{name}`: it may remove again what comes back"
        for name in (live.expiring if live and request.into is Into.LIVE else ())
    ]
    warnings += [
        f"`{request.database}.{name}` was left by a run that was killed, or belongs to one that is under way. "
        f'If none is: `db.getSiblingDB("{request.database}").getCollection("{name}").drop()`'
        for name in leftovers
        if name != scratch.collection  # from an earlier try of this run, which will make it anew
    ]
    return DocumentPlan(
        request=request,
        backup=manifest.backup,
        record=record,
        live=live_namespace(request),
        compared=live is not None and live.kind is Kind.COLLECTION,
        destination=destination,
        scratch=scratch,
        segments=tuple(
            segment
            for segment in manifest.segments
            if any(e.namespace == record.data_namespace and e.totals.documents for e in segment.entries)
        ),
        warnings=tuple(warnings),
    )


def _check_live(live: LiveCollection | None, destination: Namespace) -> None:
    if live is None:
        raise ConfigurationError(
            "the target does not have this collection",
            hint="Bring the whole collection back with the flow `restore`, or the documents with `into: beside`.",
            namespace=str(destination),
        )
    if live.kind is not Kind.COLLECTION:
        raise Refused(
            f"what the target has under this name is a {live.kind.value}, not a plain collection",
            hint="Use `into: beside`.",
            namespace=str(destination),
        )
    if live.capped:
        raise Refused(
            "documents cannot be put back into a capped collection: each one would push out another",
            hint="Use `into: beside`.",
            namespace=str(destination),
        )
