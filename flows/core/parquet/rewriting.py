"""Writing a file of an export anew without some of its rows, with everything else as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flows.core.errors import IntegrityError
from flows.core.parquet.parts import FileFormat, PartWriter, WrittenFile

_WHOLE = 1 << 60  # [bytes] no file is larger: one becomes one


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A file whose bytes were compared before.

    Raises:
        IntegrityError: It is no Parquet file, or its pages are damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError) as error:  # it raises either for damaged bytes
        raise IntegrityError(
            "a file of an export cannot be read as Parquet",
            hint="Its bytes are those that were stored: export the collection again in full.",
            file=path.name,
            got=str(error),
        ) from error


def groups(file: pq.ParquetFile) -> Iterator[pa.Table]:
    """Its rows, one row group at a time."""
    for number in range(file.num_row_groups):
        yield file.read_row_group(number)


def rewrite(
    path: Path, folder: Path, goes: Callable[[pa.Table], pa.Array], *, progress: Callable[[int], None]
) -> tuple[int, WrittenFile | None]:
    """Write a file anew.

    Args:
        path: The file.
        folder: Where to; it is made.
        goes: Says of each row of a table whether it goes.
        progress: Called after each group, with 0 bytes; what it raises stops.

    Returns:
        How many rows have gone, and the new file: None where none did, or where no row is left.

    Raises:
        IntegrityError: The file cannot be read, or the new one does not give back what was written.
        SpoolError: The disk is full.
    """
    folder.mkdir(mode=0o700)
    gone = 0
    with opened(path) as file:
        form = form_of(file.metadata)
        with PartWriter(folder, path.stem, file.schema_arrow, form) as writer:
            for table in groups(file):
                mask = goes(table)
                gone += pc.sum(mask).as_py() or 0
                writer.write(table.filter(pc.invert(mask)))
                progress(0)
            written = writer.finish()
    if not gone:
        for one in written:
            one.path.unlink()
        return 0, None
    return gone, written[0] if written else None


def form_of(found: pq.FileMetaData) -> FileFormat:
    """How a file was written, as far as it tells."""
    columns = [
        found.row_group(group).column(number)
        for group in range(found.num_row_groups)
        for number in range(found.num_columns)
    ]
    return FileFormat(
        file_bytes=_WHOLE,
        statistics=tuple(dict.fromkeys(column.path_in_schema for column in columns if column.is_stats_set)),
        bloom=tuple(
            dict.fromkeys(column.path_in_schema for column in columns if column.bloom_filter_offset is not None)
        ),
    )
