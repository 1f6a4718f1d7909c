"""Reading a source: who it is, what it holds, and the raw documents at one point in time."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bson import MaxKey, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

from flows.core.errors import DumpFailed
from flows.core.names import Namespace
from flows.core.selection import (
    USER_COLLECTIONS,
    Selection,
    choose_databases,
    choose_namespaces,
    unused_excludes,
)
from flows.core.source import ClusterTime, CollectionInfo, Kind, SourceIdentity
from flows.mongo.ages import count_ages
from flows.mongo.catalog import RAW, Catalog, uuid_of
from flows.mongo.client import SOURCE, Client, mongo_errors
from flows.mongo.identity import server_identity
from flows.mongo.raw import raw_batches

_UNAUTHORIZED = 13
# More samples make ranges of more even size; each costs the server one random read.
_SAMPLES_PER_PIECE = 30
_MOST_SAMPLES = 20_000


@dataclass(frozen=True, slots=True)
class Listing:
    """What was selected in a source, and what the operator should know about it."""

    collections: tuple[CollectionInfo, ...]
    warnings: tuple[str, ...]


class MongoSource:
    """The MongoDB that is backed up. It is only ever read."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._catalog = Catalog(client, SOURCE)

    @property
    def client(self) -> Client:
        """The driver's client, for what the modules of this package ask beyond a backup."""
        return self._client

    def identity(self) -> SourceIdentity:
        """Ask the server who it is.

        Raises:
            SourceError: For a server that cannot be backed up.
        """
        return server_identity(self._client, SOURCE)

    def majority_time(self) -> ClusterTime | None:
        """The newest point in time that a majority of the replica set holds; None on a standalone.

        A snapshot read at this time shows the same on every member, and cannot be rolled back.
        """
        with mongo_errors(SOURCE):
            hello = self._ask("admin", {"hello": 1})
        written = hello.get("lastWrite", {}).get("majorityOpTime")
        return ClusterTime(written["ts"].time, written["ts"].inc) if written else None

    def listing(self, selection: Selection, *, users: bool) -> Listing:
        """List what the selection asks for, with options, indexes and sizes; users and roles first.

        Raises:
            ConfigurationError: For an unknown database, a pattern that matches nothing, or an empty selection.
            SourceError: Where the user has not the right to read something that was selected.
        """
        # Without the right to list them all, the server would name only those that this user may see: fine where the
        # databases were named, and silently too few where all are meant.
        every = {} if selection.databases else {"authorizedDatabases": False}
        with mongo_errors(SOURCE):
            reply = self._ask("admin", {"listDatabases": 1, "nameOnly": True, **every})
        existing = [str(item["name"]) for item in reply["databases"]]
        names = choose_databases(existing, selection.databases)
        listed = {info.namespace: info for name in names for info in self._catalog.collections(name)}
        chosen = choose_namespaces(listed, selection)
        warnings = [f"the exclude pattern {text!r} matches nothing" for text in unused_excludes(listed, selection)]
        collections = [self._with_size(listed[namespace]) for namespace in chosen]
        if users:
            own = self._users(None if not selection.databases else names)
            if not own:
                warnings.append("users and roles were asked for and there are none")
            collections = own + collections
        return Listing(tuple(collections), tuple(warnings))

    def _ask(self, database: str, command: dict[str, Any]) -> dict[str, Any]:
        # By itself the driver sends commands to the primary, which a source may be told to spare.
        return self._client[database].command(command, read_preference=self._client.read_preference)

    def _raw(self, namespace: Namespace) -> Collection[RawBSONDocument]:
        database: Database[Any] = self._client.get_database(namespace.database, codec_options=RAW)
        return database[namespace.collection]

    def _with_size(self, info: CollectionInfo) -> CollectionInfo:
        if not info.has_documents:
            return info
        data = info.data_namespace
        collection = self._raw(data)
        with mongo_errors(SOURCE, namespace=str(data)):
            # Nothing has been written yet: the moment to find out that a collection may not be read.
            first = next(iter(collection.find({}, limit=1)), None)
            documents = collection.estimated_document_count()
            try:
                stats = self._ask(data.database, {"collStats": data.collection})
                size = int(stats["size"])
            except OperationFailure as error:
                if error.code != _UNAUTHORIZED:
                    raise
                # The role `backup` may read everything and not ask for sizes: measure a few documents instead.
                sample = list(collection.aggregate([{"$sample": {"size": 100}}])) if first is not None else []
                size = documents * sum(len(d.raw) for d in sample) // max(len(sample), 1)
            ages = count_ages(self._client, info)
        return dataclasses.replace(info, bytes=size, documents=documents, ages=ages)

    def _users(self, databases: Sequence[str] | None) -> list[CollectionInfo]:
        """Users and roles: all of them, or of the databases named, as `mongodump --dumpDbUsersAndRoles` keeps them."""
        found = []
        for name in USER_COLLECTIONS:
            for database in ["admin"] if databases is None else databases:
                count = self._count_users(name, None if databases is None else database)
                # An empty `system.users` would make `mongorestore --drop` remove every user of the target.
                if not count:
                    continue
                if databases is None:
                    namespace = Namespace("admin", name)
                    item = self._catalog.listed(namespace)
                    if item is None:
                        continue
                    found.append(_resized(self._catalog.describe(namespace, Kind.COLLECTION, item), documents=count))
                else:
                    found.append(
                        CollectionInfo(Namespace(database, f"$admin.{name}"), Kind.COLLECTION, "", "", documents=count)
                    )
        if not any("system.users" in str(i.namespace) or "system.roles" in str(i.namespace) for i in found):
            return []
        return found

    def _count_users(self, name: str, database: str | None) -> int:
        with mongo_errors(SOURCE, namespace=f"admin.{name}"):
            return self._client.admin[name].count_documents(users_filter(name, database))

    def split(self, info: CollectionInfo, count: int) -> list[bytes]:
        """Find `count - 1` documents `{_id: value}` that cut a collection into ranges of about equal size.

        The server samples and sorts, so that the order is its own, across all BSON types.
        """
        data = info.data_namespace
        size = min(count * _SAMPLES_PER_PIECE, _MOST_SAMPLES)
        pipeline: list[dict[str, Any]] = [
            {"$sample": {"size": size}},
            {"$project": {"_id": 1}},
            {"$group": {"_id": "$_id"}},  # a sample may give one document twice
            {"$sort": {"_id": 1}},
        ]
        with mongo_errors(SOURCE, namespace=str(data)):
            ids = [bytes(document.raw) for document in self._raw(data).aggregate(pipeline)]
        step = max(len(ids) // count, 1)
        return ids[step::step][: count - 1]

    def read(
        self,
        namespace: Namespace,
        *,
        at: ClusterTime | None,
        lower: bytes | None = None,
        upper: bytes | None = None,
        document_bytes: int = 0,
    ) -> Generator[bytes, None, None]:
        """Read a collection, or the range of it between two `_id` values, as raw batches of whole documents.

        Args:
            namespace: Where the documents are; `$admin.system.users` stands for the users of that database.
            at: The point in time to read at, or None for what is there now.
            lower: Document `{_id: value}` from which to read, inclusive.
            upper: Document `{_id: value}` up to which to read, exclusive.
            document_bytes: Size of an average document, where it is known [bytes]: batches are then of about 1 MiB.

        Yields:
            Concatenated BSON documents, at most about 16 MiB at a time, exactly as the server sent them; in the order
            of the disk, or of the `_id` index where there are bounds.

        Raises:
            SourceUnavailable: Where the connection breaks; nothing tells then what is missing, so read again.
            DumpFailed: Where the server no longer has that point in time, or killed the query.
        """
        criteria: dict[str, Any] = {}
        place = namespace
        if namespace.collection.startswith("$admin."):
            name = namespace.collection.removeprefix("$admin.")
            criteria = users_filter(name, namespace.database)
            place = Namespace("admin", name)
        # `min` and `max` bound the index itself and so span BSON types; a filter with `$gte` would keep to one type.
        arguments: dict[str, Any] = {"hint": {"$natural": 1}}
        if lower is not None:
            arguments["min"] = RawBSONDocument(lower)
        if upper is not None:
            arguments["max"] = RawBSONDocument(upper)
        if lower is not None or upper is not None:
            arguments["hint"] = {"_id": 1}
        if criteria:
            arguments.pop("hint")
        collection = self._client[place.database][place.collection]
        with mongo_errors(SOURCE, namespace=str(namespace)), self._session(at) as session:
            yield from raw_batches(collection, criteria, document_bytes=document_bytes, session=session, **arguments)
            if lower is not None and upper is None:
                # An index bounded from below alone ends before MaxKey, which is a legal `_id` like any other.
                yield from raw_batches(collection, {"_id": MaxKey()}, session=session)

    @contextmanager
    def _session(self, at: ClusterTime | None) -> Iterator[ClientSession | None]:
        if at is None:
            yield None
            return
        with self._client.start_session(snapshot=True) as session:
            # Every reader of a backup must see the same point in time. The driver picks a time with the first read of
            # a session and has no public way to give it one; what it sends is `readConcern.atClusterTime`, and a test
            # watches that.
            vars(session)["_snapshot_time"] = Timestamp(at.seconds, at.increment)
            yield session

    def require_same(self, info: CollectionInfo) -> None:
        """See that a collection is still the one that was listed.

        A collection that was dropped reads as an empty one, without any error.

        Raises:
            DumpFailed: Where it is gone, or another one has taken its name.
        """
        if not info.archive_type:
            return  # users of one database: a part of a collection that nobody can drop
        found = self._catalog.listed(info.namespace)
        uuid = uuid_of(found) if found is not None else None
        if found is None or uuid != info.uuid:
            raise DumpFailed(
                "a collection was dropped or replaced while it was backed up",
                hint="Run the backup again; exclude collections that come and go.",
                namespace=str(info.namespace),
                expected=info.uuid,
                got=uuid or ("no collection" if found is None else None),
            )


def users_filter(name: str, database: str | None) -> dict[str, Any]:
    """Which users or roles belong to a database, as the official tool decides; the version is for all."""
    return {"db": database} if database is not None and name != "system.version" else {}


def _resized(info: CollectionInfo, *, size: int = 0, documents: int) -> CollectionInfo:
    return dataclasses.replace(info, bytes=size, documents=documents)
