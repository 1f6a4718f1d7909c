"""The format of `mongodump --archive`, written strictly and read as tolerantly as mongorestore reads it."""

from flows.core.archive.format import ArchiveHeader, PreludeEntry, data_namespaces, is_users
from flows.core.archive.reader import ArchiveReader, ArchiveSummary, Batch, End, verify_archive
from flows.core.archive.writer import ArchiveWriter

__all__ = [
    "ArchiveHeader",
    "ArchiveReader",
    "ArchiveSummary",
    "ArchiveWriter",
    "Batch",
    "End",
    "PreludeEntry",
    "data_namespaces",
    "is_users",
    "verify_archive",
]
