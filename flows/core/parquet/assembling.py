"""Putting the record of an export together from what its units have brought, and the next version of its data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from flows.core.errors import IntegrityError
from flows.core.names import Namespace
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.records import Changes, DataFile, ExportedNamespace, ExportKind, ExportRecord, SchemaRecord
from flows.core.report import counted

_MOST_REASONS = 5


@dataclass(frozen=True, slots=True)
class Brought:
    """What units have brought of one namespace."""

    documents: int = 0  # that were read
    rejected: int = 0
    files: tuple[DataFile, ...] = ()
    reasons: tuple[str, ...] = ()  # why documents were rejected

    def plus(self, documents: int, rejected: int, files: Iterable[DataFile], reasons: Iterable[str] = ()) -> Brought:
        """With what one more unit has brought."""
        return Brought(
            self.documents + documents,
            self.rejected + rejected,
            (*self.files, *files),
            tuple(dict.fromkeys((*self.reasons, *reasons))),
        )

    def warnings(self, namespace: Namespace) -> tuple[str, ...]:
        """What the operator should know of it."""
        if not self.rejected:
            return ()
        what = f"{counted(self.rejected, 'document')} of {namespace} cannot be rows"
        return (f"{what}: {'; '.join(self.reasons[:_MOST_REASONS])}",)


def exported_namespace(
    namespace: Namespace,
    brought: Brought,
    *,
    profiled: int | None,
    expected: int | None,
    schema: SchemaRecord,
    partitioned_by: str = "",
    since: str = "",
    changes: Changes | None = None,
    hash_key: str = "",
    dictionary: DataFile | None = None,
    dry: bool = False,
) -> ExportedNamespace:
    """What the manifest says of a namespace in an export.

    Args:
        namespace: Its name.
        brought: By all units.
        profiled: How many documents were profiled, those that cannot be rows counted in; None: the source may have
            changed since.
        expected: How many documents the source has; None: nothing says it.
        schema: The version of its schema.
        partitioned_by: As written by the operator; empty: it is not.
        since: For changes: the export that they follow.
        changes: For changes: how many documents.
        hash_key: Id of the key of its identities.
        dictionary: Its data dictionary.
        dry: Nothing was written.

    Raises:
        IntegrityError: Documents are missing, or rows are.
    """
    files = tuple(sorted(brought.files, key=lambda file: file.key))
    found = ExportedNamespace(
        namespace=namespace,
        kind=ExportKind.CHANGES if since else ExportKind.FULL,
        since=since,
        documents=brought.documents,
        rejected=brought.rejected,
        schema=schema.sha256,
        changes=changes,
        hash_key=hash_key,
        partitioned_by=partitioned_by,
        files=(*files, dictionary) if dictionary is not None else files,
    )
    hint = "Nothing was published. Run the export again; if it happens again, verify the backup."
    facts = {"namespace": str(namespace), "profiled": profiled, "read": brought.documents, "in_source": expected}
    if any(number not in (None, brought.documents) for number in (profiled, expected)):
        raise IntegrityError("the passes of an export do not agree on the number of documents", hint=hint, **facts)
    written = brought.documents if changes is None else changes.inserted + changes.updated + changes.deleted
    if not dry and found.rows != written - brought.rejected:
        raise IntegrityError(
            "an export has not as many rows as documents",
            hint=hint,
            expected=written - brought.rejected,
            got=found.rows,
            **facts,
        )
    return found


def with_export(
    dataset: Dataset, record: ExportRecord, schemas: Sequence[SchemaRecord], *, written: datetime
) -> Dataset:
    """The next version, with one more export."""
    by_name: Mapping[Namespace, SchemaRecord] = {item.namespace: item for item in (*dataset.schemas, *schemas)}
    return dataset.following((*dataset.exports, record), by_name.values(), written=written, by="export")
