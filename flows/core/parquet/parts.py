"""Writing the rows of a namespace as Parquet files into a local folder, and reading each again before it counts.

Rows are held until they fill a row group, those of each partition by themselves; what is held and how many files are
open is bounded, whatever the number of partitions. A file has the suffix `.tmp` until it was flushed to the disk,
opened again, and every row in it found to be what was written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from flows.core.errors import ConfigurationError, IntegrityError
from flows.core.parquet.control import Control
from flows.core.parquet.dataset_keys import key_part
from flows.core.parquet.memory import WaitingRows, give_back
from flows.core.parquet.partitions import Partitioning
from flows.core.parquet.records import FileRole
from flows.core.spool import spool_errors

MIB = 1024 * 1024
METADATA_PREFIX = "mongo-backup."  # of the names in the metadata of a file
# Of partitions that get rows in turns. More of them are written too: the file that waits longest is closed, and a
# further one begun when it gets rows again.
MOST_OPEN = 16
# That are read again at a time, by one thread: a row group as a whole takes as much memory as it had.
_READ_ROWS = 4 * 1024


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How files are written.

    Attributes:
        level: Of zstd, 1 to 19.
        group_bytes: Rows of so many bytes in memory make a row group [bytes].
        file_bytes: A file that is larger is followed by another one [bytes].
        statistics: Paths of the columns whose smallest and largest values may be in the file; None: all.
        bloom: Paths of the columns that get a bloom filter, to find rows of one value in files that are not sorted.
        metadata: Names and values for the metadata of the file.
    """

    level: int = 3
    group_bytes: int = 128 * 10**6
    file_bytes: int = 384 * MIB
    statistics: tuple[str, ...] | None = None
    bloom: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that was written and read again."""

    path: Path
    name: str  # below the folder of the namespace: `month=2026-03/part-00002-000.parquet`
    rows: int
    bytes: int  # [bytes]
    sha256: str
    partition: str  # empty where there are none
    role: FileRole


class _Open:
    """A file that is being written."""

    def __init__(self, path: Path, schema: pa.Schema, form: FileFormat, rows: int) -> None:
        self.path = path
        self.control = Control()
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            compression_level=form.level,
            write_page_index=True,
            write_page_checksum=True,
            write_statistics=True if form.statistics is None else list(form.statistics),
            bloom_filter_options={name: {"ndv": max(rows, 1), "fpp": 0.01} for name in form.bloom} or None,
        )

    def write(self, table: pa.Table) -> None:
        self.control.add(table)
        # As one: `write_batch` would make a group of each batch, which costs a sixth of the size.
        self._writer.write_table(table, row_group_size=1 << 30)

    def close(self) -> None:
        self._writer.close()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())


class PartWriter:
    """Writes tables of one schema as files. Use it as a context manager; where the block raises, no file is left.

    Args:
        folder: Where to; it exists, and only its owner may read it.
        stem: How the names of the files begin; no other writer of the namespace and export has it.
        schema: Of all tables.
        form: How files are written.
        partitioning: None for files without partitions.
        role: Of the files.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        schema: pa.Schema,
        form: FileFormat,
        partitioning: Partitioning | None = None,
        *,
        role: FileRole = FileRole.ROWS,
    ) -> None:
        self._role = role
        self._folder = folder
        self._stem = stem
        metadata = {f"{METADATA_PREFIX}{name}": value for name, value in form.metadata.items()}
        self._schema = schema.with_metadata({**(schema.metadata or {}), **metadata})
        self._form = form
        self._partitioning = partitioning
        self._waiting: dict[str, WaitingRows] = {}
        self._open: dict[str, _Open] = {}  # the one that waits longest for rows first
        self._numbers: dict[str, int] = {}
        self.files: list[WrittenFile] = []  # those that are done

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            return
        for part in self._open.values():
            with suppress(Exception):
                part.close()
            part.path.unlink(missing_ok=True)
        for file in self.files:
            file.path.unlink(missing_ok=True)

    def write(self, table: pa.Table) -> None:
        """Add rows.

        Raises:
            SpoolError: The disk is full.
            IntegrityError: A file does not give back what was written.
        """
        table = table.cast(self._schema) if table.schema != self._schema else table
        for partition, rows in self._partitioning.split(table) if self._partitioning else (("", table),):
            if not rows.num_rows:
                continue
            self._waiting.setdefault(partition, WaitingRows()).add(rows)
        while self._waiting and sum(rows.bytes for rows in self._waiting.values()) >= self._form.group_bytes:
            self._flush(max(self._waiting, key=lambda name: self._waiting[name].bytes))

    def finish(self) -> tuple[WrittenFile, ...]:
        """Write what is held, and close all files.

        Raises:
            SpoolError, IntegrityError: See `write`.
        """
        for partition in sorted(self._waiting):
            self._flush(partition)
        for partition in tuple(self._open):
            self._close(partition)
        return tuple(self.files)

    def _flush(self, partition: str) -> None:
        """Write what is held of a partition as one row group."""
        table = self._waiting.pop(partition).table()
        with spool_errors(self._folder):
            part = self._open.pop(partition, None)
            if part is None:
                if len(self._open) >= MOST_OPEN:
                    self._close(next(iter(self._open)))
                part = _Open(self._new_path(partition), self._schema, self._form, table.num_rows)
            self._open[partition] = part
            part.write(table)
            del table
            give_back()
            size = part.path.stat().st_size
        if size >= self._form.file_bytes:
            self._close(partition)

    def _new_path(self, partition: str) -> Path:
        folder = self._folder / partition if partition else self._folder
        folder.mkdir(mode=0o700, exist_ok=True)
        number = self._numbers.get(partition, 0)
        self._numbers[partition] = number + 1
        return folder / f"{self._stem}-{number:03d}.parquet.tmp"

    def _close(self, partition: str) -> None:
        part = self._open.pop(partition)
        try:
            with spool_errors(part.path):
                part.close()
                read_again(part.path, self._schema, part.control)
                path = part.path.with_suffix("")
                part.path.replace(path)
                digest, size = _sha256(path)
        except BaseException:
            part.path.unlink(missing_ok=True)
            raise
        name = f"{key_part(partition)}/{path.name}" if partition else path.name
        self.files.append(WrittenFile(path, name, part.control.rows, size, digest, partition, self._role))


def read_again(path: Path, schema: pa.Schema, written: Control) -> None:
    """Read a whole file, with the checksums of its pages, and compare it with what was written.

    Raises:
        IntegrityError: It is not the same; names the column.
    """
    found = Control()
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False, buffer_size=MIB) as file:
            same = file.schema_arrow.equals(schema, check_metadata=False)
            for batch in file.iter_batches(batch_size=_READ_ROWS, use_threads=False):
                found.add(batch)
            rows = file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unlike(path, expected="a Parquet file that can be read", got=str(error)) from error
    if not same:
        raise _unlike(path, expected="the schema that was written", got="another one")
    if rows != written.rows or (differs := written.differs(found)):
        raise _unlike(path, column=differs if rows == written.rows else "rows", expected=written.rows, got=found.rows)


def _unlike(path: Path, **facts: object) -> IntegrityError:
    return IntegrityError(
        "a Parquet file that was just written does not give back what was written",
        hint="Nothing was published. Check the disk and the memory of this machine, then run again.",
        file=path.name,
        **facts,
    )


def _sha256(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, file.tell()


def check_bloom(schema: pa.Schema, wanted: Iterable[str], namespace: str) -> None:
    """See that a schema has the columns that are to get a bloom filter.

    Raises:
        ConfigurationError: It has not.
    """
    leaves = list(leaf_paths(schema))
    for path in wanted:
        if path not in leaves:
            raise ConfigurationError(
                "a collection has no such column for a bloom filter",
                hint="Name columns as Parquet does, such as `customer.customerId` or `items.list.element.sku`.",
                namespace=namespace,
                got=path,
                columns=leaves[:20],
            )


def leaf_paths(schema: pa.Schema) -> Iterator[str]:
    """The paths of all leaf columns as Parquet writes them: `items.list.element.sku`."""
    for part in schema:
        yield from _leaves(part.name, part.type)


def _leaves(path: str, kind: pa.DataType) -> Iterator[str]:
    if pa.types.is_struct(kind):
        for part in kind:
            yield from _leaves(f"{path}.{part.name}", part.type)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    else:
        yield path
