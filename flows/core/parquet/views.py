"""Views for DuckDB: each collection as it is now, in one table, whatever exports it came in."""

from __future__ import annotations

from collections.abc import Iterator

from flows.core.names import Namespace
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.records import DataFile, ExportKind, FileRole

OP, EXPORT = "_op", "_export"  # columns of files of changes
DELETED = "delete"
ID = "_id"

_HEAD = """\
-- Views of version {version} of the data set {name}, for DuckDB: each collection as of its newest export.
-- They name files; a later version has views of its own. Where the files are somewhere else than
-- {base}
-- replace that in this text.
"""


def views_sql(dataset: Dataset, base: str, id_columns: dict[Namespace, tuple[str, ...]]) -> str:
    """The text that makes a view of every collection.

    Args:
        dataset: The version.
        base: Address of the store: `s3://bucket/prefix`, or a folder.
        id_columns: The columns that hold `_id`, where they are more than that one.
    """
    parts = [_HEAD.format(version=dataset.version, name=dataset.name, base=base)]
    for namespace in dataset.namespaces:
        query = view_query(dataset, namespace, base, id_columns.get(namespace, (ID,)))
        if query:
            parts.append(f"CREATE OR REPLACE VIEW {_name(str(namespace))} AS\n{query};\n")
    return "\n".join(parts)


def view_query(
    dataset: Dataset, namespace: Namespace, base: str, id_columns: tuple[str, ...] = (ID,), export: str = ""
) -> str:
    """The query that gives a collection as it was at an export; empty where there is nothing to read.

    Args:
        dataset: The version.
        namespace: The collection.
        base: As for `views_sql`.
        id_columns: The columns that hold `_id`.
        export: Id of the export; empty: the newest.
    """
    chain = dataset.chain(namespace, export)
    files = [file for _, item in chain for file in item.of(FileRole.ROWS, FileRole.CHANGES)]
    if not files:
        return ""
    if all(item.kind is not ExportKind.CHANGES for _, item in chain):
        return f"SELECT * FROM {_read(files, base)}"  # noqa: S608 - names and texts in it are quoted
    identity = ", ".join(map(_name, id_columns))
    return (  # names and texts in it are quoted
        f"SELECT * EXCLUDE ({OP}, {EXPORT}) FROM (\n"  # noqa: S608
        # Files of whole exports have no such columns, so they come first.
        f"  SELECT * FROM {_read(files, base)}\n"
        f"  QUALIFY row_number() OVER (PARTITION BY {identity} ORDER BY {EXPORT} DESC NULLS LAST) = 1\n"
        f") WHERE {OP} IS DISTINCT FROM '{DELETED}'"
    )


def _read(files: list[DataFile], base: str) -> str:
    paths = ",\n    ".join(_text(path) for path in paths_of(files, base))
    return f"read_parquet([\n    {paths}\n  ], union_by_name = true, hive_partitioning = false)"


def paths_of(files: list[DataFile], base: str) -> Iterator[str]:
    """Where readers find files, below the address of the store."""
    return (f"{base.rstrip('/')}/{file.key}" for file in files)


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
