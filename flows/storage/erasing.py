"""Erasing the rows of one person from a data set: files are written anew without them, and the old ones removed.

What a crash leaves is either the version before with all its files, or the new one with files that no version names;
running it again finishes the work, since an erasure removes every file that the newest version does not name.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from flows.core.names import Namespace
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.dataset_keys import export_prefix
from flows.core.parquet.erasure import identities, rows_of, targets
from flows.core.parquet.erasure_report import ErasedFile, ErasedNamespace, Proof, Trace
from flows.core.parquet.paths import FieldPath, path_text
from flows.core.parquet.reading import split
from flows.core.parquet.records import DataFile, FileRole
from flows.core.parquet.rewriting import groups, opened, rewrite
from flows.core.parquet.sought import Sought
from flows.core.parquet.traces import holds, rows_with, traces
from flows.storage.exports import LocalFile, fetch, local_file, store_file
from flows.storage.files import new_file, read_chunks
from flows.storage.store import ObjectStore, Progress

logger = logging.getLogger(__name__)

_TABLES = (FileRole.ROWS, FileRole.CHANGES, FileRole.IDENTITIES)
_Goes = Callable[[pa.Table], pa.Array]


def erase_namespace(
    store: ObjectStore,
    dataset: Dataset,
    namespace: Namespace,
    sought: Sought,
    folder: Path,
    *,
    dry_run: bool,
    progress: Progress,
) -> ErasedNamespace:
    """Find the rows of a person in all files of a namespace, and store files without them beside the old ones.

    A document that is the person's in one file goes with all its versions, also where one of them names somebody else,
    or is only the note that the document was deleted.

    Args:
        store: Where the data set is.
        dataset: Its newest version, held by the caller.
        namespace: Which.
        sought: Who.
        folder: A private folder for one file at a time, and what becomes of it.
        dry_run: Only find.
        progress: Called with bytes as they pass; what it raises stops.

    Raises:
        IntegrityError: A file is not the one that the manifest names.
        ConfigurationError: A field does not tell people apart.
    """
    files = [
        file
        for export in dataset.exports
        if (item := export.named(namespace)) is not None
        for file in item.of(*_TABLES, FileRole.REJECTS)
    ]
    hunt = _Hunt(str(namespace), sought)
    with_rows: set[str] = set()
    for file, path in _fetched(store, files, folder, progress):
        if file.role in _TABLES and hunt.look(path):
            with_rows.add(file.key)
    erased: list[ErasedFile] = []
    # Once more, since a document may have been found in a file that came later.
    again = [file for file in files if file.role not in _TABLES or file.key in with_rows or hunt.documents]
    for file, path in _fetched(store, again, folder, progress):
        if file.role is FileRole.REJECTS:
            gone, made = _without(path, hunt.needles, folder)
        elif dry_run:
            gone, made = hunt.count(path), None
        else:
            gone, written = rewrite(path, folder / "new", hunt.goes(path), progress=progress)
            made = local_file(written.path, "", file.role, written.rows) if written is not None else None
        if gone:
            new = None if dry_run or made is None else _stored(store, file, made, dataset.version + 1, progress)
            erased.append(ErasedFile(file.key, file.role, file.rows, gone, new))
        for left in (*folder.glob("new/*"), *folder.glob("new")):
            left.rmdir() if left.is_dir() else left.unlink()
    return ErasedNamespace(
        namespace,
        tuple(sorted(hunt.fields)),
        sum(file.rows for file in files if file.role is not FileRole.IDENTITIES),
        tuple(erased),
        frozenset(hunt.needles),
    )


class _Hunt:
    """What is known of a person in one namespace, growing as files are read.

    Attributes:
        fields: In which the person was sought.
        needles: Values and pseudonyms.
        documents: Texts of `_id` of the person's documents, by the rule of that column.
    """

    def __init__(self, namespace: str, sought: Sought) -> None:
        self._namespace = namespace
        self._sought = sought
        self.fields: set[str] = set()
        self.needles: set[bytes] = set(sought.clear)
        self.documents: defaultdict[str, set[str]] = defaultdict(set)

    def look(self, path: Path) -> bool:
        """Find rows in a file by fields, and remember the documents that they are."""
        found = False
        with opened(path) as file:
            wanted = targets(file.schema_arrow, self._namespace, self._sought)
            self.fields |= {path_text(at) for at in wanted}
            self.needles.update(*wanted.values())
            for table in groups(file):
                mask = self._mask(table, wanted)
                if not pc.any(mask).as_py():
                    continue
                found = True
                known = identities(table)
                if known is not None:
                    self.documents[known[0]] |= set(known[1].filter(mask).drop_null().to_pylist())
        return found

    def goes(self, path: Path) -> _Goes:
        """What says of the rows of a file whether they go: by fields, or because they are of a document that goes."""
        with opened(path) as file:
            wanted = targets(file.schema_arrow, self._namespace, self._sought)

        def rows(table: pa.Table) -> pa.Array:
            mask = self._mask(table, wanted)
            known = identities(table) if self.documents else None
            if known is None or known[0] not in self.documents:
                return mask
            ids = pa.array(sorted(self.documents[known[0]]), pa.string())
            return pc.or_(mask, pc.is_in(known[1], value_set=ids))

        return rows

    def _mask(self, table: pa.Table, wanted: Mapping[FieldPath, frozenset[bytes]]) -> pa.Array:
        mask = rows_of(table, wanted)
        return pc.or_(mask, rows_with(table, frozenset(self.needles))) if self._sought.anywhere else mask

    def count(self, path: Path) -> int:
        """How many rows of a file go."""
        goes = self.goes(path)
        with opened(path) as file:
            return sum(pc.sum(goes(table)).as_py() or 0 for table in groups(file))


def _fetched(
    store: ObjectStore, files: Iterable[DataFile], folder: Path, progress: Progress
) -> Iterator[tuple[DataFile, Path]]:
    """Each file in turn, compared with the manifest; it is gone when the next one comes."""
    for file in files:
        path = folder / file.key.rpartition("/")[2]
        fetch(store, file, path, progress=progress)
        yield file, path
        path.unlink()


def _without(path: Path, needles: set[bytes], folder: Path) -> tuple[int, LocalFile | None]:
    """Rejects without the documents in whose bytes the person stands; these cannot be read in another way."""
    documents = split(path.read_bytes())
    sought = frozenset(needles)
    stay = [document for document in documents if not holds(document, sought)]
    if len(stay) == len(documents) or not stay:
        return len(documents) - len(stay), None
    (folder / "new").mkdir(mode=0o700)
    made = folder / "new" / path.name
    with new_file(made) as write:
        write(b"".join(stay))
    return len(documents) - len(stay), local_file(made, "", FileRole.REJECTS, len(stay))


def _stored(store: ObjectStore, old: DataFile, made: LocalFile, version: int, progress: Progress) -> DataFile:
    """Store what comes in the place of a file, under a name that says with which version."""
    folder, _, name = old.key.rpartition("/")
    stem, dot, suffix = name.partition(".")
    key = f"{folder}/{stem.partition('-v')[0]}-v{version:08d}{dot}{suffix}"
    return store_file(store, replace(made, key=key, partition=old.partition), progress=progress)


def prove(
    store: ObjectStore, dataset: Dataset, needles: frozenset[bytes], folder: Path, *, progress: Progress
) -> Proof:
    """Read all that a data set has in the store, named or not, and look for a person in every value and every byte.

    Args:
        store: Where it is.
        dataset: The newest version.
        needles: What stands for the person.
        folder: A private folder for one object at a time.
        progress: Called with bytes as they pass; what it raises stops.
    """
    found: list[Trace] = []
    objects = size = rows = 0
    known = {file.key: file for file in dataset.files}
    for item in sorted(store.list(export_prefix(dataset.name)), key=lambda item: item.key):
        path = folder / "object"
        if item.key in known:
            fetch(store, known[item.key], path, progress=progress)
        else:
            store.download(item.key, path, size=item.size, progress=progress)
        objects, size = objects + 1, size + item.size
        if _in_bytes(path, needles):
            found.append(Trace(item.key, "bytes", 1))
        if item.key.endswith(".parquet"):
            in_file: Counter[str] = Counter()
            with opened(path) as file:
                for table in groups(file):
                    rows += table.num_rows
                    progress(0)
                    in_file += traces(table, needles)
            found += [Trace(item.key, where, count) for where, count in sorted(in_file.items())]
        path.unlink()
    return Proof(objects, size, rows, tuple(found))


def _in_bytes(path: Path, needles: frozenset[bytes]) -> bool:
    """Whether one of some texts stands in a file as it is stored: in its footer, or where nothing is compressed."""
    overlap = max(map(len, needles), default=1) - 1
    tail = b""
    for chunk in read_chunks(path):
        if holds(tail + chunk, needles):
            return True
        tail = (tail + chunk)[-overlap:] if overlap else b""
    return False
