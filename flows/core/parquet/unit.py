"""One unit of an export: an archive of some namespaces is read from front to end, profiled, or written as Parquet.

What is in memory is bounded by `BATCH_BYTES` of documents and a row group of rows, whatever the size of the archive.
What an archive was found to hold is compared with the manifest of the backup before anything of it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from flows.core.archive import ArchiveReader, Batch
from flows.core.compress import Readable
from flows.core.errors import IntegrityError
from flows.core.names import Namespace
from flows.core.parquet.changes import KEY, IdentityForm, Selection, fingerprints, id_documents
from flows.core.parquet.engine import Engine
from flows.core.parquet.partitions import Partitioning
from flows.core.parquet.parts import FileFormat, PartWriter, WrittenFile
from flows.core.parquet.profile import Profile
from flows.core.parquet.reading import split
from flows.core.parquet.records import FileRole
from flows.core.parquet.schema import ExportSchema
from flows.core.parquet.views import EXPORT, OP
from flows.core.spool import spool_errors
from flows.core.tally import Totals

MIB = 1024 * 1024
BATCH_BYTES = 2 * MIB  # of documents that are converted at a time [bytes]

Progress = Callable[[int, int], None]  # documents, bytes since the last call; raises to stop
Transform = Callable[[pa.Table], pa.Table]


@dataclass(frozen=True, slots=True)
class Documents:
    """Some documents of one namespace, whole and one after the other."""

    namespace: Namespace
    buffer: bytes
    starts: list[int]  # where each begins

    def each(self) -> Iterator[bytes]:
        """Each by itself."""
        edges = [*self.starts, len(self.buffer)]
        return (self.buffer[begin:end] for begin, end in pairwise(edges))

    def first(self, number: int) -> bytes:
        """The first so many of them."""
        return self.buffer if number >= len(self.starts) else self.buffer[: self.starts[number]]


@dataclass(frozen=True, slots=True)
class Selected:
    """Those of some documents that are to be written."""

    buffer: bytes
    more: tuple[pa.Field, ...] = ()  # columns that they have besides, at the end
    values: tuple[Sequence[str], ...] = ()  # of these, for each document

    def columns(self, rejected: Sequence[bytes], rows: int) -> Iterator[tuple[pa.Field, pa.Array]]:
        """The columns for the rows that came of the documents, which are fewer where some were rejected."""
        if not self.more:
            return
        stays = [True] * len(self.values[0])
        left = list(rejected)
        for number, document in enumerate(split(self.buffer) if left else ()):
            if left and document == left[0]:
                del left[0]
                stays[number] = False
        for field, values in zip(self.more, self.values, strict=True):
            kept = [value for value, stay in zip(values, stays, strict=True) if stay]
            if len(kept) != rows:
                raise IntegrityError("rows and documents do not agree", expected=len(kept), got=rows)
            yield field, pa.array(kept, field.type)


# Given documents and the hashes of their `_id`.
Select = Callable[[Documents, Sequence[bytes]], Selected]


@dataclass(frozen=True)
class Columns:
    """How the documents of one namespace become rows.

    Attributes:
        schema: How they are converted.
        arrow: What files have: the same after the rules, and of an export of changes the columns of those.
        form: How files are written.
        partitioning: None for files without partitions.
        transform: The rules for personal data; None: there are none.
        identities: What the next export of changes needs; None: there will be none.
        role: Of the files of rows.
    """

    schema: ExportSchema
    arrow: pa.Schema
    form: FileFormat
    partitioning: Partitioning | None = None
    transform: Transform | None = None
    identities: IdentityForm | None = None
    role: FileRole = FileRole.ROWS


@dataclass(frozen=True, slots=True)
class WrittenNamespace:
    """What a unit has made of one namespace."""

    files: tuple[WrittenFile, ...]
    documents: int  # that were read
    rejected: int = 0  # of those that were to be written
    rejects: Path | None = None  # BSON of these; None where there are none, or where rules forbid that they leave
    reasons: tuple[str, ...] = ()  # why they were rejected, each once


def batches_of(
    stream: Readable,
    expected: Mapping[Namespace, Totals] | None,
    wanted: frozenset[Namespace],
    *,
    ended: Callable[[Namespace], None] | None = None,
) -> Iterator[Documents]:
    """The documents of an archive, about `BATCH_BYTES` of one namespace at a time.

    Args:
        stream: The archive, unpacked.
        expected: What the manifest says of each namespace in it; None: nothing says it but the archive.
        wanted: Namespaces to give; others are read and left out.
        ended: Called with each of these, after its last documents.

    Raises:
        FormatError, Truncated: It is no whole archive.
        IntegrityError: It is not what the manifest says. Documents that were given until then must not count.
    """
    held: dict[Namespace, list[Batch]] = {}
    sizes: dict[Namespace, int] = {}
    totals: dict[Namespace, Totals] = {}
    with_digest = expected is not None and any(item.digest for item in expected.values())
    for event in ArchiveReader(stream, digest=with_digest):
        if not isinstance(event, Batch):
            totals[event.namespace] = event.totals
            if event.namespace in held:
                yield _joined(held.pop(event.namespace))
            if ended is not None and event.namespace in wanted:
                ended(event.namespace)
            continue
        if event.namespace not in wanted:
            continue
        size = sizes.get(event.namespace, 0) + len(event.buffer)
        held.setdefault(event.namespace, []).append(event)
        if size >= BATCH_BYTES:
            yield _joined(held.pop(event.namespace))
            size = 0
        sizes[event.namespace] = size
    if expected is not None:
        check_totals(expected, totals)


def _joined(batches: Sequence[Batch]) -> Documents:
    starts: list[int] = []
    size = 0
    for batch in batches:
        starts += [size + start for start in batch.starts] if size else batch.starts
        size += len(batch.buffer)
    return Documents(batches[0].namespace, b"".join(batch.buffer for batch in batches), starts)


def check_totals(expected: Mapping[Namespace, Totals], got: Mapping[Namespace, Totals]) -> None:
    """Hold what an archive held against the manifest of its backup.

    Raises:
        IntegrityError: With the first namespace that differs.
    """
    for namespace in sorted(expected.keys() | got.keys()):
        if expected.get(namespace) != got.get(namespace):
            raise IntegrityError(
                "a segment does not hold what the manifest of its backup says",
                hint="Nothing was published. Export an older backup, and look into who can write to the bucket.",
                namespace=str(namespace),
                expected=expected.get(namespace),
                got=got.get(namespace),
            )


def profile_unit(
    engine: Engine,
    stream: Readable,
    expected: Mapping[Namespace, Totals] | None,
    wanted: frozenset[Namespace],
    *,
    progress: Progress,
    each: Callable[[Documents], None] | None = None,
) -> dict[Namespace, Profile]:
    """What the documents of a unit are made of, by namespace.

    Args:
        engine: What looks at documents.
        stream: The archive, unpacked.
        expected: As for `batches_of`.
        wanted: Namespaces to look at.
        progress: Called after each batch.
        each: Sees each batch too.
    """
    found: dict[Namespace, Profile] = {}
    for documents in batches_of(stream, expected, wanted):
        profile = engine.profile(str(documents.namespace), documents.buffer)
        if documents.namespace in found:
            found[documents.namespace].merge(profile)
        else:
            found[documents.namespace] = profile
        if each is not None:
            each(documents)
        progress(len(documents.starts), len(documents.buffer))
    return found


def write_unit(
    engine: Engine,
    stream: Readable,
    expected: Mapping[Namespace, Totals] | None,
    columns: Mapping[Namespace, Columns],
    folder: Path,
    stem: str,
    *,
    progress: Progress,
    select: Select | None = None,
) -> dict[Namespace, WrittenNamespace]:
    """Write the documents of a unit as files below a folder, those of each namespace in a folder of its own.

    Args:
        engine: What converts documents.
        stream: The archive, unpacked.
        expected: As for `batches_of`.
        columns: How the documents of each wanted namespace become rows.
        folder: Where to; only its owner may read it. Where anything fails, no file is left in it.
        stem: How the names of all files begin.
        progress: Called after each batch.
        select: Which documents are written; None: all.

    Raises:
        FormatError, Truncated, IntegrityError: See `batches_of`.
        IntegrityError: A file does not give back what was written.
        SpoolError: The disk is full.
    """
    sinks: dict[Namespace, _Sink] = {}
    written: dict[Namespace, WrittenNamespace] = {}

    def finish(namespace: Namespace) -> None:
        """Do not hold the last rows of one beside those of the next."""
        if namespace in sinks:
            written[namespace] = sinks[namespace].finish()

    with ExitStack() as stack:
        for documents in batches_of(stream, expected, frozenset(columns), ended=finish):
            namespace = documents.namespace
            if namespace not in sinks:
                sink = _Sink(columns[namespace], folder / f"{stem}-{len(sinks)}", stem)
                sinks[namespace] = stack.enter_context(sink)
            sinks[namespace].write(engine, documents, select)
            progress(len(documents.starts), len(documents.buffer))
        return written


class _Sink(ExitStack):
    """Where the rows of one namespace go."""

    def __init__(self, columns: Columns, folder: Path, stem: str) -> None:
        super().__init__()
        with spool_errors(folder):
            folder.mkdir(mode=0o700)
        self._columns = columns
        self._rows = self.enter_context(
            PartWriter(folder, stem, columns.arrow, columns.form, columns.partitioning, role=columns.role)
        )
        self._identities: PartWriter | None = None
        if columns.identities is not None:
            form = replace(columns.form, bloom=(), statistics=(KEY,))
            writer = PartWriter(folder, f"identities-{stem}", columns.identities.schema, form, role=FileRole.IDENTITIES)
            self._identities = self.enter_context(writer)
        self._rejects = folder / f"{stem}.rejects.bson"
        self._documents = 0
        self._rejected = 0
        self._reasons: dict[str, None] = {}

    def write(self, engine: Engine, documents: Documents, select: Select | None) -> None:
        """Convert documents and pass them on."""
        self._documents += len(documents.starts)
        keys: list[bytes] = []
        if self._identities is not None:
            identities = self._identify(engine, documents)
            self._identities.write(identities)
            keys = identities[KEY].to_pylist()
        chosen = select(documents, keys) if select is not None else Selected(documents.buffer)
        if not chosen.buffer:
            return
        converted = engine.convert(self._columns.schema, chosen.buffer)
        table = self._ruled(converted.table)
        if self._columns.transform is None and converted.rejects:
            with spool_errors(self._rejects), self._rejects.open("ab") as file:
                file.writelines(reject.document for reject in converted.rejects)
        self._rejected += len(converted.rejects)
        self._reasons |= dict.fromkeys(reject.why for reject in converted.rejects)
        for field, values in chosen.columns([reject.document for reject in converted.rejects], table.num_rows):
            table = table.append_column(field, values)
        self._rows.write(table)

    def _ruled(self, table: pa.Table) -> pa.Table:
        return table if self._columns.transform is None else self._columns.transform(table)

    def _identify(self, engine: Engine, documents: Documents) -> pa.Table:
        """Hashes and `_id` of all documents, as the rows have it."""
        form = self._columns.identities
        assert form is not None  # noqa: S101 - the caller has looked
        table = fingerprints(documents.each(), form.secret)
        ids = self._ruled(engine.convert(self._columns.schema, id_documents(documents.each())).table)
        for name in form.columns:
            table = table.append_column(form.schema.field(name), ids[name])
        return table

    def finish(self) -> WrittenNamespace:
        """Close all files."""
        rejects = self._rejects if self._rejects.exists() else None
        files = self._rows.finish() + (self._identities.finish() if self._identities is not None else ())
        return WrittenNamespace(files, self._documents, self._rejected, rejects, tuple(self._reasons))


class Selector:
    """Gives those documents of a unit that have changed, with what has become of each.

    Args:
        selections: Of each namespace that is exported by its changes; of others all are given.
        export: Id of this export.
    """

    def __init__(self, selections: Mapping[Namespace, Selection], export: str) -> None:
        self._selections = selections
        self._export = export

    def __call__(self, documents: Documents, keys: Sequence[bytes]) -> Selected:
        """Those of some documents."""
        if documents.namespace not in self._selections:
            return Selected(documents.buffer)
        selection = self._selections[documents.namespace]
        chosen: list[bytes] = []
        ops: list[str] = []
        for document, key in zip(documents.each(), keys, strict=True):
            op = selection.get(key)
            if op is not None:
                chosen.append(document)
                ops.append(op)
        fields = (pa.field(OP, pa.string()), pa.field(EXPORT, pa.string()))
        return Selected(b"".join(chosen), fields, (ops, [self._export] * len(ops)))
