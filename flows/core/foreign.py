"""Archives of `mongodump --archive` that lie in a store without a manifest: their names, and what they hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from flows.core.archive import ArchiveHeader, ArchiveReader, End, PreludeEntry, is_users
from flows.core.archive.format import OPLOG, TIMESERIES
from flows.core.compress import Compression, Readable, open_compressed
from flows.core.errors import ConfigurationError, FormatError, IntegrityError, UnsupportedVersion
from flows.core.extjson import CollectionMetadata
from flows.core.manifest import Manifest, NamespaceRecord, SegmentEntry, SegmentRecord
from flows.core.names import Namespace
from flows.core.report import format_count
from flows.core.restore_plan import RestorePlan
from flows.core.selection import is_system
from flows.core.source import Consistency, Kind, SourceIdentity
from flows.core.tally import Totals

ARCHIVE_NAME = "foreign.archive"  # of the file in the spool: a key may be longer than the name of a file
# Nine or ten digits are the years 1973 to 2286; fewer are dates such as 20260306.
_NAME = re.compile(r"(?P<plan>[^/]+)-(?P<seconds>[0-9]{9,10})\.(gz|archive|archive\.gz)")
_MAGIC = {b"\x1f\x8b": Compression.GZIP, b"\x28\xb5\x2f\xfd": Compression.ZSTD}
_MOST_NAMES = 5

Progress = Callable[[int], None]  # stored bytes since the last call; raises to stop


@dataclass(frozen=True, slots=True)
class ForeignName:
    """What the name of an archive says, in the form that mgob gives it: `mpg-1772769600.gz`."""

    plan: str
    taken: datetime  # start of the dump, aware UTC


@dataclass(frozen=True, slots=True)
class Survey:
    """What a whole and sound archive holds."""

    manifest: Manifest  # in memory only: one segment, which is the archive
    oplog_entries: int
    users: int
    roles: int


@dataclass(frozen=True, slots=True)
class ArchiveReport:
    """What a restore of an archive returns."""

    key: str
    namespaces: int
    documents: int
    bytes: int
    indexes: int
    safety_backup: str  # plan and id of the backup of what was overwritten; empty where there is none
    oplog_entries: int  # in the archive; never applied
    users: int  # in the archive, whether or not they were asked for
    roles: int
    warnings: tuple[str, ...]
    dry_run: bool


def parse_foreign(key: str) -> ForeignName | None:
    """Read the plan and the time from a key in the root of a store; None for a key of another form."""
    match = _NAME.fullmatch(key)
    if match is None:
        return None
    return ForeignName(match["plan"], datetime.fromtimestamp(int(match["seconds"]), tz=UTC))


def survey_archive(path: Path, *, key: str, sha256: str, modified: datetime, users: bool, progress: Progress) -> Survey:
    """Read a whole archive, prove that it is sound, and describe it the way a manifest describes a backup.

    The CRCs cover the documents, and gzip covers all. In an archive that was not compressed nothing covers the
    options and indexes of its collections.

    Args:
        path: The bytes as stored: plain, or compressed with gzip or zstd, which is told from the first of them.
        key: Where they are stored; for messages, and for the plan and the time of the dump.
        sha256: Of the file.
        modified: When it was stored; counts as the time of the dump where the key has none.
        users: Whether users and roles will be restored.
        progress: Called while the file is read.

    Raises:
        FormatError, Truncated, IntegrityError: Where it is not a whole and sound archive.
        UnsupportedVersion: Where it holds what cannot be restored yet.
        ConfigurationError: Where it holds nothing.
    """
    with _named(key), path.open("rb") as file:
        compression = _compression(file)
        with open_compressed(file, compression, name=key) as stream:
            counted = _Counted(file, stream, progress)
            reader = ArchiveReader(counted)
            oddities = tuple(reader.warnings)  # of its prelude; those at the end are what mongorestore stumbles over
            totals = {event.namespace: event.totals for event in reader if isinstance(event, End)}
        wanted = [entry for entry in reader.entries if entry.namespace != OPLOG and not _is_internal(entry.namespace)]
        records = tuple(_record(entry, reader.header, reader.metadata[entry.namespace], totals) for entry in wanted)
    if not records:
        raise ConfigurationError(
            "the archive holds no collections",
            hint="mongodump writes such an archive, without an error, of a database that does not exist: "
            "use another one.",
            key=key,
        )
    oplog = totals[OPLOG].documents if OPLOG in totals else None
    user_count, role_count = _accounts(totals, "system.users"), _accounts(totals, "system.roles")
    name = parse_foreign(key)
    segment = SegmentRecord(
        name=ARCHIVE_NAME,
        bytes=path.stat().st_size,
        sha256=sha256,
        archive_bytes=counted.bytes,
        compression=compression.value,
        recipients=(),
        confirmed="not recorded",
        entries=tuple(SegmentEntry(namespace, held) for namespace, held in totals.items()),
    )
    manifest = Manifest(
        plan=name.plan if name else "",
        backup=key,
        source=SourceIdentity(reader.header.server_version, "not recorded", None, None),
        consistency=Consistency.NONE,
        cluster_time=None,
        started=name.taken if name else modified,
        finished=modified,
        namespaces=records,
        segments=(segment,),
        users=bool(user_count or role_count),
        warnings=(
            _consistency_warning(oplog),
            "mongodump keeps no counts: a dump that broke off looks whole, so compare these with what you expect",
            *_left_warnings(reader.entries, user_count, role_count, users=users),
            *oddities,
        ),
        versions={"mongodump": reader.header.tool_version},
    )
    return Survey(manifest, oplog or 0, user_count, role_count)


def archive_report(survey: Survey, plan: RestorePlan, *, indexes: int, kept: str, dry_run: bool) -> ArchiveReport:
    """The small value that the flow returns."""
    return ArchiveReport(
        key=survey.manifest.backup,
        namespaces=len(plan.items),
        documents=plan.documents,
        bytes=plan.bytes,
        indexes=indexes,
        safety_backup=kept,
        oplog_entries=survey.oplog_entries,
        users=survey.users,
        roles=survey.roles,
        warnings=survey.manifest.warnings,
        dry_run=dry_run,
    )


class _Counted:
    """Counts the plain bytes, and reports the stored ones, while a stream is read."""

    def __init__(self, file: BinaryIO, stream: Readable, progress: Progress) -> None:
        self._file = file
        self._stream = stream
        self._progress = progress
        self._position = 0
        self.bytes = 0

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self.bytes += len(data)
        position = self._file.tell()
        self._progress(position - self._position)
        self._position = position
        return data


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Say in an error which archive it is about, and that no harm was done."""
    try:
        yield
    except (FormatError, IntegrityError) as error:
        hint = error.hint or "The archive is damaged or was cut off: use another one."
        facts = {name: value for name, value in error.facts.items() if name != "at"}
        raise type(error)(error.message, hint=f"{hint} Nothing was written.", key=key, **facts) from error


def _compression(file: BinaryIO) -> Compression:
    first = file.read(4)
    file.seek(0)
    return next((kind for magic, kind in _MAGIC.items() if first.startswith(magic)), Compression.NONE)


def _is_internal(namespace: Namespace) -> bool:
    """Whether it belongs to one server, or to MongoDB itself, and no restore can bring it back."""
    if is_users(namespace) or "$" in namespace.collection:
        return False
    return namespace.database == "local" or is_system(namespace)


def _record(
    entry: PreludeEntry, header: ArchiveHeader, metadata: CollectionMetadata, totals: Mapping[Namespace, Totals]
) -> NamespaceRecord:
    # Tools before 100.4.0 wrote no type, and with `--viewsAsCollections` a view's options do not say that it is one.
    kind = Kind.COLLECTION
    if "viewOn" in metadata.options:
        kind = Kind.VIEW
    elif entry.type == TIMESERIES:
        kind = Kind.TIMESERIES
    data = header.data_namespace(entry)
    record = NamespaceRecord(entry.namespace, kind, entry.metadata, totals[data].content, Consistency.NONE)
    if record.data_namespace != data:
        raise UnsupportedVersion(
            "time-series collections of this server version cannot be restored yet",
            hint="Restore this archive with `mongorestore --archive`.",
            namespace=str(entry.namespace),
            expected="before 8.3",
            got=header.server_version,
        )
    return record


def _accounts(totals: Mapping[Namespace, Totals], kind: str) -> int:
    """How many users, or roles, the archive holds."""
    return sum(
        held.documents
        for namespace, held in totals.items()
        if is_users(namespace) and namespace.collection.endswith(kind)
    )


def _consistency_warning(oplog: int | None) -> str:
    loose = "collections were dumped one after the other, so they need not be of one point in time"
    if oplog is None:
        return loose
    return f"the archive holds an oplog of {format_count(oplog)} entries, which is NOT applied: {loose}"


def _left_warnings(entries: tuple[PreludeEntry, ...], user_count: int, role_count: int, *, users: bool) -> list[str]:
    """What the archive holds and the restore leaves out."""
    warnings = []
    if (user_count or role_count) and not users:
        warnings.append(
            f"the archive holds {format_count(user_count)} users and {format_count(role_count)} roles, "
            "which are NOT restored without `include_users`"
        )
    internal = [str(entry.namespace) for entry in entries if _is_internal(entry.namespace)]
    if internal:
        names = ", ".join(internal[:_MOST_NAMES]) + (", …" if len(internal) > _MOST_NAMES else "")
        warnings.append(f"collections of MongoDB's own are not restored: {names}")
    return warnings
