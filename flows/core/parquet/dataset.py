"""The manifest of a data set: the object at which readers begin, and which alone says what files the data set has.

A data set is what the exports of one plan have left in one place. Its manifest has a number; the one with the highest
is the data set, and one that is there is never changed. Whoever changes the data set (an export, a compaction, an
erasure, a pruning) stores new files under new keys first, and then the manifest with the next number, last. So a reader
sees all of a change or nothing of it, and what a crash leaves is named by no manifest.

    <data set>/export/versions/00000007.json            the manifest
    <data set>/export/versions/00000007.sql             views for DuckDB, of what this manifest says
    <data set>/export/schemas/<namespace>/<sha256>.json the schema of a namespace; never changed
    <data set>/export/data/<namespace>/<export>/…       files; `_` and what a key cannot hold is percent-encoded
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flows.core.canonical import canonical, plain
from flows.core.errors import IntegrityError
from flows.core.fields import parse_versioned
from flows.core.keys import check_plan_name
from flows.core.names import Namespace
from flows.core.parquet.dataset_keys import export_prefix, version_key
from flows.core.parquet.records import (
    DataFile,
    ExportedNamespace,
    ExportKind,
    ExportRecord,
    SchemaRecord,
    read_export,
    read_schema,
)

FORMAT_VERSION = 1
# A hundred thousand files stay far below it.
DATASET_LIMIT_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a data set has. The order of exports is that of their ids, oldest first."""

    name: str
    version: int  # from 1
    written: datetime
    by: str  # what wrote this version: `export`, `compact`, `erase`, `prune`
    schemas: tuple[SchemaRecord, ...]
    exports: tuple[ExportRecord, ...]

    @property
    def key(self) -> str:
        """Where the manifest is stored."""
        return version_key(self.name, self.version)

    @property
    def files(self) -> tuple[DataFile, ...]:
        """All files of all exports."""
        return tuple(file for export in self.exports for file in export.files)

    @property
    def namespaces(self) -> tuple[Namespace, ...]:
        """Those of which any export has something."""
        return tuple(sorted({item.namespace for export in self.exports for item in export.namespaces}))

    def schema(self, namespace: Namespace) -> SchemaRecord | None:
        """The schema of a namespace; None where it was never exported."""
        return next((record for record in self.schemas if record.namespace == namespace), None)

    def named(self, export: str) -> ExportRecord | None:
        """The export of an id; None: there is none."""
        return next((record for record in self.exports if record.export == export), None)

    def chain(self, namespace: Namespace, export: str = "") -> tuple[tuple[str, ExportedNamespace], ...]:
        """The exports that together say what a namespace was at one of them, oldest first, with their ids.

        Args:
            namespace: Of what.
            export: Id of the export; empty: the newest that has the namespace.

        Raises:
            IntegrityError: An export follows one that is not there.
        """
        have = {record.export: item for record in self.exports if (item := record.named(namespace)) is not None}
        if not have or (export and export not in have):
            return ()
        found: list[tuple[str, ExportedNamespace]] = []
        at = export or max(have)
        while True:
            item = have[at]
            found.insert(0, (at, item))
            if item.kind is not ExportKind.CHANGES:
                return tuple(found)
            if item.since not in have or item.since >= at:
                raise IntegrityError(
                    "the changes of an export follow one that is not in the data set",
                    hint="Export the collection in full.",
                    dataset=self.name,
                    namespace=str(namespace),
                    export=at,
                    since=item.since,
                )
            at = item.since

    def needed_by(self, export: str, namespace: Namespace) -> tuple[str, ...]:
        """Ids of the exports whose changes of a namespace follow an export directly: they are nothing without it."""
        return tuple(
            record.export
            for record in self.exports
            if (item := record.named(namespace)) is not None
            and item.kind is ExportKind.CHANGES
            and item.since == export
        )

    def replacing(self, files: Mapping[str, DataFile | None], *, written: datetime, by: str) -> Dataset:
        """The next version, with other files in place of some.

        Args:
            files: By the key of the file that goes: the one that comes in its place, or None for none.
            written: When, aware.
            by: What does it.

        Raises:
            IntegrityError: A key is not in the data set: somebody else has changed it.
        """
        unknown = files.keys() - {file.key for file in self.files}
        if unknown:
            raise IntegrityError(
                "a file that is to be replaced is not in the data set",
                hint="Another run has changed the data set meanwhile: run it again.",
                dataset=self.name,
                version=self.version,
                key=min(unknown),
            )
        exports = tuple(
            dataclasses.replace(
                export,
                namespaces=tuple(
                    dataclasses.replace(item, files=tuple(_replaced(item.files, files))) for item in export.namespaces
                ),
            )
            for export in self.exports
        )
        return self.following(exports, self.schemas, written=written, by=by)

    def following(
        self,
        exports: Iterable[ExportRecord],
        schemas: Iterable[SchemaRecord],
        *,
        written: datetime,
        by: str,
    ) -> Dataset:
        """The next version, with these exports and schemas instead."""
        return Dataset(
            self.name,
            self.version + 1,
            written,
            by,
            tuple(sorted(schemas, key=lambda record: record.namespace)),
            tuple(sorted(exports, key=lambda record: record.export)),
        )

    @classmethod
    def empty(cls, name: str, *, now: datetime) -> Dataset:
        """What a data set is before its first export; it is not stored."""
        return cls(check_plan_name(name), 0, now, "", (), ())

    def check(self) -> None:
        """Hold the parts against each other.

        Raises:
            IntegrityError: With the first thing that contradicts another.
        """
        keys = [file.key for file in self.files]
        if len(keys) != len(set(keys)):
            raise _contradiction(self, "a file is in it twice", key=next(k for k in keys if keys.count(k) > 1))
        ids = [record.export for record in self.exports]
        if len(ids) != len(set(ids)) or ids != sorted(ids):
            raise _contradiction(self, "its exports are not in the order of their ids", exports=ids)
        prefix = export_prefix(self.name)
        for key in keys:
            if not key.startswith(prefix):
                raise _contradiction(self, "a file is outside of it", key=key)
        for namespace in self.namespaces:
            if self.schema(namespace) is None:
                raise _contradiction(self, "a namespace has no schema", namespace=str(namespace))
            for record in self.exports:
                self.chain(namespace, record.export)

    def to_json(self) -> bytes:
        """Canonical JSON: keys sorted, no spaces, UTF-8, times as `2026-03-06T04:00:00.000Z`."""
        return canonical({"format": FORMAT_VERSION, **plain(self)})

    @classmethod
    def from_json(cls, data: bytes) -> Dataset:
        """Read a manifest, and hold its parts against each other.

        Raises:
            UnsupportedVersion: For a format version that this project does not know.
            FormatError: For anything else that is not such a manifest; names the field.
            IntegrityError: Where it contradicts itself.
        """
        top = parse_versioned(
            data,
            "dataset",
            version=FORMAT_VERSION,
            damaged="Remove the object, if the version before it is whole; else export again.",
        )
        found = cls(
            name=top.text("name"),
            version=top.integer("version"),
            written=top.time("written"),
            by=top.text("by"),
            schemas=tuple(read_schema(item) for item in top.items("schemas")),
            exports=tuple(read_export(item) for item in top.items("exports")),
        )
        found.check()
        return found


def _replaced(files: Iterable[DataFile], by: Mapping[str, DataFile | None]) -> Iterable[DataFile]:
    for file in files:
        new = by.get(file.key, file)
        if new is not None:
            yield new


def _contradiction(dataset: Dataset, what: str, **facts: Any) -> IntegrityError:
    return IntegrityError(
        f"the manifest of a data set contradicts itself: {what}",
        hint="Do not rely on this version: use the one before it, or export in full.",
        dataset=dataset.name,
        version=dataset.version,
        **facts,
    )
