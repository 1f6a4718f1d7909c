"""What the manifest of a data set consists of: exports, their namespaces, files, and schemas."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from flows.core.errors import FormatError
from flows.core.fields import Fields
from flows.core.names import Namespace
from flows.core.source import ClusterTime, Consistency

_SHA256 = re.compile(r"[0-9a-f]{64}")


class FileRole(StrEnum):
    """What a file is for."""

    ROWS = "rows"  # Parquet: documents, a row each
    CHANGES = "changes"  # Parquet: documents that were inserted, updated or deleted since another export: `_op`
    IDENTITIES = "identities"  # Parquet: keyed hashes of all documents, for the next export of changes
    REJECTS = "rejects"  # BSON: documents that no row could hold
    DICTIONARY = "dictionary"  # Markdown: what the columns are


class ExportKind(StrEnum):
    """What an export has of a namespace."""

    FULL = "full"  # every document
    CHANGES = "changes"  # what has changed since the export `since`
    COMPACTED = "compacted"  # every document, written anew from the exports before


@dataclass(frozen=True, slots=True)
class DataFile:
    """One stored object."""

    key: str  # below the prefix of the store
    role: FileRole
    rows: int  # rows of Parquet, documents of rejects; 0 for a dictionary
    bytes: int  # [bytes] as stored
    sha256: str  # of the bytes as stored
    confirmed: str  # how the store proved that it holds these bytes: "store checksum" or "read back"
    partition: str = ""  # `month=2026-03` where the namespace is partitioned; empty where it is not


@dataclass(frozen=True, slots=True)
class Changes:
    """How many documents of a namespace have changed since another export."""

    inserted: int
    updated: int
    deleted: int


@dataclass(frozen=True, slots=True)
class ExportedNamespace:
    """One namespace in one export."""

    namespace: Namespace
    kind: ExportKind
    since: str  # for changes: id of the export that they follow; else empty
    documents: int  # that the source had
    rejected: int  # of these, how many are in files of rejects and in no row
    schema: str  # SHA-256 of the schema that its rows have
    changes: Changes | None  # for changes
    hash_key: str  # id of the key of the identities; empty where it has none
    partitioned_by: str  # path of the date field whose month names the partitions; empty where it is not partitioned
    files: tuple[DataFile, ...]

    def of(self, *roles: FileRole) -> tuple[DataFile, ...]:
        """Its files of these roles."""
        return tuple(file for file in self.files if file.role in roles)

    @property
    def rows(self) -> int:
        """In its files of rows and of changes."""
        return sum(file.rows for file in self.of(FileRole.ROWS, FileRole.CHANGES))


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """One export: what was in a source at one time."""

    export: str  # its id, such as `2026-03-06T04-00-00Z`
    plan: str  # of the backup; empty for a live database
    backup: str  # id of the backup; empty for a live database
    cluster_time: ClusterTime | None  # of the data
    consistency: Consistency
    data_time: datetime  # of which time the data is, aware: when the backup, or the reading, began
    started: datetime
    finished: datetime
    engine: str
    rules: str  # SHA-256 of the rules for personal data; empty where there were none
    keys: tuple[str, ...]  # ids of the keys that hashed values
    warnings: tuple[str, ...]
    versions: dict[str, str]  # of this project and of what wrote the files
    namespaces: tuple[ExportedNamespace, ...]

    def named(self, namespace: Namespace) -> ExportedNamespace | None:
        """What it has of a namespace; None: nothing."""
        return next((item for item in self.namespaces if item.namespace == namespace), None)

    @property
    def files(self) -> tuple[DataFile, ...]:
        """All of them."""
        return tuple(file for item in self.namespaces for file in item.files)


@dataclass(frozen=True, slots=True)
class SchemaRecord:
    """The schema of a namespace, as it is now in the registry."""

    namespace: Namespace
    version: int  # from 1; a schema only ever grows
    sha256: str  # of the schema
    key: str  # of the object that holds it
    first_seen: dict[str, str]  # id of the export in which each path was seen first


def read_schema(item: Fields) -> SchemaRecord:
    """Read what a manifest has of a schema."""
    return SchemaRecord(
        _name(item.inner("namespace")),
        item.integer("version"),
        item.matching("sha256", _SHA256),
        item.text("key"),
        item.text_map("first_seen"),
    )


def read_export(item: Fields) -> ExportRecord:
    """Read what a manifest has of an export."""
    time = None if item.is_null("cluster_time") else item.inner("cluster_time")
    return ExportRecord(
        export=item.text("export"),
        plan=item.text("plan"),
        backup=item.text("backup"),
        cluster_time=ClusterTime(time.integer("seconds"), time.integer("increment")) if time is not None else None,
        consistency=item.member("consistency", Consistency),
        data_time=item.time("data_time"),
        started=item.time("started"),
        finished=item.time("finished"),
        engine=item.text("engine"),
        rules=item.text("rules"),
        keys=tuple(item.texts("keys")),
        warnings=tuple(item.texts("warnings")),
        versions=item.text_map("versions"),
        namespaces=tuple(_namespace(part) for part in item.items("namespaces")),
    )


def _namespace(item: Fields) -> ExportedNamespace:
    changes = None if item.is_null("changes") else item.inner("changes")
    found = ExportedNamespace(
        namespace=_name(item.inner("namespace")),
        kind=item.member("kind", ExportKind),
        since=item.text("since"),
        documents=item.integer("documents"),
        rejected=item.integer("rejected"),
        schema=item.matching("schema", _SHA256),
        changes=Changes(*(changes.integer(name) for name in ("inserted", "updated", "deleted"))) if changes else None,
        hash_key=item.text("hash_key"),
        partitioned_by=item.text("partitioned_by"),
        files=tuple(_file(part) for part in item.items("files")),
    )
    if (found.kind is ExportKind.CHANGES) != bool(found.since):
        raise FormatError("changes follow an export, and nothing else does", namespace=str(found.namespace))
    return found


def _file(item: Fields) -> DataFile:
    return DataFile(
        key=item.text("key"),
        role=item.member("role", FileRole),
        rows=item.integer("rows"),
        bytes=item.integer("bytes"),
        sha256=item.matching("sha256", _SHA256),
        confirmed=item.text("confirmed"),
        partition=item.text("partition"),
    )


def _name(item: Fields) -> Namespace:
    return Namespace(item.text("database"), item.text("collection"))
