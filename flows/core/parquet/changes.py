"""What has changed between two exports of a collection, by comparing what is left of every document: two keyed hashes.

An export that others may follow leaves identities beside its rows: for each document the hash of its `_id`, the hash of
all its bytes, and the columns of `_id` as the rows have them. No field of the documents has to say when they changed.
The hashes are keyed, so that where rules hide values nobody finds one by trying.

Both sides are cut into buckets by the hash of `_id`, so that memory is bounded whatever their size.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from flows.core.elements import document_of, id_of
from flows.core.errors import FormatError
from flows.core.parquet.records import Changes
from flows.core.parquet.views import DELETED, EXPORT, OP
from flows.core.spool import spool_errors

KEY, HASH = "_key", "_hash"  # columns of identities, before those of `_id`
HASH_BYTES = 16
BINARY = pa.binary(HASH_BYTES)
INSERT, UPDATE = "insert", "update"
PUBLIC = "public"  # id of the key where the values are in the files anyway

_UNIT, _OP = "unit", "op"
_FINGERPRINTS = pa.schema([(KEY, BINARY), (HASH, BINARY)])
_CHANGED = pa.schema([(_UNIT, pa.int32()), (KEY, BINARY), (_OP, pa.string())])
# Which documents of a unit have changed: hash of `_id`, and what has become of it. Not by their places, which are
# others where the next pass reads another member of the replica set.
Selection = dict[bytes, str]
_BUCKET_ROWS = 1_000_000
_MOST_BUCKETS = 256  # by the first byte of the hash
_BYTES = pa.array([bytes([number]) for number in range(_MOST_BUCKETS)], pa.binary())
_DOUBLE, _INT32, _INT64 = struct.Struct("<d"), struct.Struct("<i"), struct.Struct("<q")
_FIRST = slice(5, 9)  # of a document whose first field is `_id`: the name of that field
_NO_ID = b""


def public_secret(dataset: str) -> bytes:
    """The key of hashes where it need not be a secret; another one for each data set."""
    return hashlib.sha256(f"mongo-backup-flows identities v1\n{dataset}".encode()).digest()


def id_value(document: bytes) -> bytes:
    """`_id` with its byte of type, the same for numbers that MongoDB takes for the same `_id`; empty: there is none."""
    try:
        # Nearly always it is an ObjectId, and the first field.
        if document[4] == 0x07 and document[_FIRST] == b"_id\0":
            return b"\x07" + document[9:21]
        value = id_of(document)
    except (FormatError, IndexError):
        return _NO_ID
    if value[0] == 0x10:
        return b"\x12" + _INT64.pack(_INT32.unpack_from(value, 1)[0])
    if value[0] == 0x01:
        number = _DOUBLE.unpack_from(value, 1)[0]
        if number.is_integer() and abs(number) < 2**63:
            return b"\x12" + _INT64.pack(int(number))
    return value


def fingerprints(documents: Iterable[bytes], secret: bytes) -> pa.Table:
    """The hashes of documents, in their order."""
    keys, hashes = [], []
    for document in documents:
        value = id_value(document)
        # A document that is not clearly one is its own identity.
        keys.append(_hash(value or document, secret))
        hashes.append(_hash(document, secret))
    return pa.table([pa.array(keys, BINARY), pa.array(hashes, BINARY)], schema=_FINGERPRINTS)


def id_documents(documents: Iterable[bytes]) -> bytes:
    """For each document one that has nothing but its `_id`."""
    empty = b"\x05\0\0\0\0"
    return b"".join(document_of(b"_id", value) if (value := id_value(document)) else empty for document in documents)


@dataclass(frozen=True)
class IdentityForm:
    """How the identities of a namespace are made.

    Attributes:
        secret: The key of the hashes.
        columns: That hold `_id`, after the rules.
        schema: Of files of identities.
    """

    secret: bytes = field(repr=False)
    columns: tuple[str, ...]
    schema: pa.Schema

    @classmethod
    def of(cls, secret: bytes, arrow: pa.Schema, columns: tuple[str, ...]) -> IdentityForm:
        """For rows of a schema."""
        return cls(secret, columns, pa.schema([*_FINGERPRINTS, *(arrow.field(name) for name in columns)]))


def deleted_rows(gone: pa.Table, schema: pa.Schema, export: str) -> pa.Table:
    """Rows that say of documents that they are gone: `_id`, and nothing else.

    Args:
        gone: Identities. Those without `_id`, which are of documents that are no rows, are left out.
        schema: Of files of changes.
        export: Id of the export that found it out.
    """
    names = [name for name in gone.schema.names if name not in (KEY, HASH)]
    known = pc.is_valid(gone[names[0]])
    for name in names[1:]:
        known = pc.or_(known, pc.is_valid(gone[name]))
    gone = gone.filter(known)
    constant = {OP: DELETED, EXPORT: export}
    return pa.table(
        [
            gone[column.name].cast(column.type)
            if column.name in names
            else pa.repeat(pa.scalar(constant.get(column.name), column.type), gone.num_rows)
            if column.name in constant
            else pa.nulls(gone.num_rows, column.type)
            for column in schema
        ],
        schema=schema,
    )


def aligned(old: pa.Table, schema: pa.Schema) -> pa.Table:
    """Identities of an earlier export with the columns that `_id` has now: a schema only grows."""
    columns = [
        old[column.name].cast(column.type) if column.name in old.schema.names else pa.nulls(len(old), column.type)
        for column in schema
    ]
    return pa.table(columns, schema=schema)


def with_change_columns(arrow: pa.Schema) -> pa.Schema:
    """What files of changes have: which change it was, and the id of the export that found it."""
    return arrow.append(pa.field(OP, pa.string())).append(pa.field(EXPORT, pa.string()))


def save_fingerprints(path: Path, tables: Iterable[pa.Table]) -> None:
    """Keep the fingerprints of a unit until it is known what they are compared with."""
    with spool_errors(path), pa.ipc.new_file(str(path), _FINGERPRINTS) as file:
        for table in tables:
            file.write_table(table)


def read_fingerprints(path: Path) -> pa.Table:
    """What was kept of a unit."""
    with spool_errors(path), pa.ipc.open_file(str(path)) as file:
        return file.read_all()


def save_selection(path: Path, selection: Selection) -> None:
    """Keep which documents of a unit have changed."""
    table = pa.table({KEY: pa.array(selection.keys(), BINARY), _OP: pa.array(selection.values(), pa.string())})
    with spool_errors(path), pa.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table)


def read_selection(path: Path) -> Selection:
    """What was kept of a unit; nothing has changed in it where nothing was kept."""
    if not path.exists():
        return {}
    with spool_errors(path), pa.ipc.open_file(str(path)) as file:
        table = file.read_all()
    return dict(zip(table[KEY].to_pylist(), table[_OP].to_pylist(), strict=True))


def _hash(data: bytes, secret: bytes) -> bytes:
    return hashlib.blake2b(data, key=secret, digest_size=HASH_BYTES).digest()


class Comparison:
    """The identities of one namespace, old and new, in a folder of the spool.

    Args:
        folder: Made for it, and empty.
        documents: How many there are on the larger side, about.
        old: The schema of the old identities.
    """

    def __init__(self, folder: Path, documents: int, old: pa.Schema) -> None:
        self._folder = folder
        self._buckets = 1
        while self._buckets * _BUCKET_ROWS < documents and self._buckets < _MOST_BUCKETS:
            self._buckets *= 2
        self._stack = ExitStack()
        self._old = self._writers("old", old)
        self._new = self._writers("new", pa.schema([*_FINGERPRINTS, _CHANGED.field(_UNIT)]))
        self._changed: list[pa.Table] = []

    def add_old(self, table: pa.Table) -> None:
        """Identities of the export before."""
        self._add(self._old, table)

    def add_new(self, unit: int, table: pa.Table) -> None:
        """Fingerprints of all documents of a unit."""
        units = pa.repeat(pa.scalar(unit, pa.int32()), table.num_rows)
        self._add(self._new, table.append_column(_UNIT, units))

    def deleted(self) -> Iterator[pa.Table]:
        """Compare; gives the old identities that are gone, some at a time. At its end the other changes are known."""
        self._stack.close()
        for bucket in range(self._buckets):
            old, new = self._read("old", bucket), self._read("new", bucket)
            places = pc.index_in(new[KEY], value_set=old[KEY].combine_chunks())
            same = pc.equal(new[HASH], old[HASH].take(places))
            ops = pc.if_else(pc.is_null(places), INSERT, pc.if_else(same, None, UPDATE))
            table = pa.table([new[_UNIT], new[KEY], ops.cast(pa.string())], schema=_CHANGED)
            self._changed.append(table.filter(pc.is_valid(table[_OP])))
            yield old.filter(pc.invert(pc.is_in(old[KEY], value_set=new[KEY].combine_chunks())))

    def changes(self, deleted: int) -> Changes:
        """How many there are of each kind, once `deleted` has come to its end."""
        ops = [op for table in self._changed for op in table[_OP].to_pylist()]
        return Changes(ops.count(INSERT), ops.count(UPDATE), deleted)

    def selections(self) -> dict[int, Selection]:
        """Which documents of each unit have changed, once `deleted` has come to its end."""
        table = pa.concat_tables(self._changed)
        found = {}
        for unit in pc.unique(table[_UNIT]).to_pylist():
            mine = table.filter(pc.equal(table[_UNIT], unit))
            found[unit] = dict(zip(mine[KEY].to_pylist(), mine[_OP].to_pylist(), strict=True))
        return found

    def _path(self, side: str, bucket: int) -> Path:
        return self._folder / f"{side}-{bucket:03d}.arrow"

    def _writers(self, side: str, schema: pa.Schema) -> list[pa.RecordBatchFileWriter]:
        with spool_errors(self._folder):
            return [
                self._stack.enter_context(pa.ipc.new_file(str(self._path(side, bucket)), schema))
                for bucket in range(self._buckets)
            ]

    def _add(self, writers: list[pa.RecordBatchFileWriter], table: pa.Table) -> None:
        with spool_errors(self._folder):
            if len(writers) == 1:
                writers[0].write_table(table)
                return
            first = pc.index_in(pc.binary_slice(table[KEY].cast(pa.binary()), 0, 1), value_set=_BYTES)
            buckets = pc.divide(first, _MOST_BUCKETS // len(writers))
            for bucket, writer in enumerate(writers):
                writer.write_table(table.filter(pc.equal(buckets, bucket)))

    def _read(self, side: str, bucket: int) -> pa.Table:
        with spool_errors(self._folder), pa.ipc.open_file(str(self._path(side, bucket))) as file:
            return file.read_all()
