"""Writing a target: collections with their options, raw documents, indexes, views, users."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bson import Binary
from pymongo.errors import OperationFailure

from flows.core.errors import TargetError, TargetUnavailable
from flows.core.extjson import CollectionMetadata, loads_metadata
from flows.core.merge import Existing
from flows.core.names import Namespace
from flows.core.proof import differences_of_metadata
from flows.core.source import Kind, SourceIdentity
from flows.core.tally import Content, Tally
from flows.mongo.catalog import Catalog, uuid_of
from flows.mongo.client import TARGET, Client, mongo_errors
from flows.mongo.identity import server_identity
from flows.mongo.raw import raw_batches

_DUPLICATE_KEY = 11000
_NAMESPACE_EXISTS = 48
_UNAUTHORIZED = 13
_UUID_SUBTYPE = 4
# What the server takes in one insert; it says so in `hello`, and has said the same since version 3.6.
BATCH_DOCUMENTS = 100_000
BATCH_BYTES = 16 * 1024 * 1024
_MAJORITY = {"w": "majority"}


class RawDocuments:
    """Whole BSON documents one after the other, to be sent as they are.

    The driver writes a document with this marker by copying `raw`, as it does for `RawBSONDocument`; an insert sends
    its documents one after the other without anything in between. So one object may stand for a whole batch, and no
    Python object is made for each document.
    """

    _type_marker = 101

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


@dataclass(frozen=True, slots=True)
class Inserted:
    """What became of one batch."""

    documents: int  # new in the target
    present: int  # were there already, from an earlier try


class MongoTarget:
    """The MongoDB that is restored into."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._catalog = Catalog(client, TARGET)

    @property
    def client(self) -> Client:
        """The driver's client, for what the modules of this package do beyond a restore."""
        return self._client

    def identity(self) -> SourceIdentity:
        """Ask the server who it is, and whether it can be written to.

        Raises:
            TargetError: Where it is not a primary.
        """
        identity = server_identity(self._client, TARGET)
        with mongo_errors(TARGET):
            hello = self._client.admin.command("hello")
        if not hello.get("isWritablePrimary"):
            raise TargetError(
                "the target is not a primary, so nothing can be written to it",
                hint="Give the whole replica set in the connection string, with `replicaSet=`.",
                replica_set=identity.replica_set,
            )
        return identity

    def address(self) -> str:
        """Host and port of the primary, as the connection string or its replica set names it."""
        with mongo_errors(TARGET):
            found = self._client.address
        return f"{found[0]}:{found[1]}" if found else "an unknown address"

    def existing(self, databases: Iterable[str]) -> list[Existing]:
        """List what the target has in some databases, MongoDB's own collections aside."""
        found = []
        for database in sorted(set(databases)):
            db = self._client[database]
            with mongo_errors(TARGET, database=database):
                for item in db.list_collections():
                    name = item["name"]
                    if name.startswith("system.") and name != "system.js":
                        continue
                    kind = Kind(item["type"])
                    count = 0 if kind is Kind.VIEW else self.count(Namespace(database, name), kind)
                    found.append(Existing(Namespace(database, name), kind, count, uuid=uuid_of(item)))
        return found

    def count(self, namespace: Namespace, kind: Kind) -> int | None:
        """Documents of a collection by the server's own count; buckets of a time-series collection.

        None where the user may not ask: the built-in role `restore` writes and does not read.
        """
        data = namespace.buckets if kind is Kind.TIMESERIES else namespace
        with mongo_errors(TARGET, namespace=str(namespace)):
            try:
                return self._client[data.database][data.collection].estimated_document_count()
            except OperationFailure as error:
                if error.code != _UNAUTHORIZED:
                    raise
                return None

    def drop(self, namespace: Namespace) -> None:
        """Drop a collection, time-series collection or view; one that is not there is fine."""
        with mongo_errors(TARGET, namespace=str(namespace)):
            self._client[namespace.database].drop_collection(namespace.collection)

    def content(
        self, namespace: Namespace, kind: Kind, *, document_bytes: int, progress: Callable[[int], None]
    ) -> Content | None:
        """Read a collection back, and say what is in it; of a time-series collection its buckets.

        Args:
            namespace: By the name that users know.
            kind: Not a view.
            document_bytes: Size of an average document [bytes]; 0 where it is not known.
            progress: Called with the bytes of each batch; may raise to stop.

        Returns:
            None where the user may not read: the built-in role `restore` only writes.
        """
        data = namespace.buckets if kind is Kind.TIMESERIES else namespace
        tally = Tally()
        collection = self._client[data.database][data.collection]
        with mongo_errors(TARGET, namespace=str(namespace), action="read back"):
            try:
                for batch in raw_batches(collection, {}, document_bytes=document_bytes, hint={"$natural": 1}):
                    tally.add(batch)
                    progress(len(batch))
            except OperationFailure as error:
                if error.code != _UNAUTHORIZED:
                    raise
                return None
        return tally.totals().content

    def metadata(self, namespace: Namespace, kind: Kind) -> CollectionMetadata | None:
        """Options and indexes as they are now; None where the user may not list them, as with the role `restore`.

        Raises:
            TargetError: There is no such namespace.
        """
        listed = self._catalog.listed(namespace)
        if listed is None:
            raise TargetError(
                "what was just restored is not there any more",
                hint="Something else writes to the target: stop it, then restore again.",
                namespace=str(namespace),
            )
        try:
            return loads_metadata(self._catalog.describe(namespace, kind, listed).metadata)
        except TargetError as error:
            if not isinstance(error.__cause__, OperationFailure) or error.__cause__.code != _UNAUTHORIZED:
                raise
            return None

    def create(
        self,
        namespace: Namespace,
        kind: Kind,
        metadata: CollectionMetadata,
        *,
        preserve_uuid: bool,
        again: bool = False,
    ) -> None:
        """Create a collection, time-series collection or view with the options that it had.

        Args:
            namespace: The name to create.
            kind: What it is, for the message.
            metadata: Options, indexes and uuid from the backup.
            preserve_uuid: Give it the uuid that it had. Needs the right to run `applyOps`, as in the official tool.
            again: An earlier try may have made it: one that is empty and has these options is taken for that.

        Raises:
            TargetError: Where it exists already, or the server does not take an option.
        """
        command: dict[str, Any] = {"create": namespace.collection, **metadata.options}
        id_index = next((index for index in metadata.indexes if index.get("name") == "_id_"), None)
        if id_index is not None and kind is Kind.COLLECTION:
            command["idIndex"] = {name: value for name, value in id_index.items() if name != "ns"}
            command.pop("autoIndexId", None)
        with mongo_errors(TARGET, namespace=str(namespace), action="create"):
            if preserve_uuid and metadata.uuid is not None:
                self._create_with_uuid(namespace, command, metadata.uuid, again=again)
                return
            try:
                self._client[namespace.database].command(command)
            except OperationFailure as error:
                if not (again and error.code == _NAMESPACE_EXISTS and self._is_new(namespace, kind, metadata)):
                    raise

    def _create_with_uuid(self, namespace: Namespace, command: Mapping[str, Any], uuid: str, *, again: bool) -> None:
        listed = self._catalog.listed(namespace)
        if listed is not None and again and uuid_of(listed) == uuid:
            return
        # The server would not mind: it gives a collection that is in the way a name of its own making.
        if listed is not None:
            raise TargetError(
                "a collection of this name has come into the target since the plan was made",
                hint="Something else writes to the target: stop it, then restore again.",
                namespace=str(namespace),
            )
        operation = {
            "op": "c",
            "ns": f"{namespace.database}.$cmd",
            "o": command,
            "ui": Binary(bytes.fromhex(uuid), _UUID_SUBTYPE),
        }
        self._client.admin.command({"applyOps": [operation]})

    def _is_new(self, namespace: Namespace, kind: Kind, wanted: CollectionMetadata) -> bool:
        """Whether a collection is there as `create` makes it, without documents; no where the user may not look."""
        there = self.metadata(namespace, kind)
        return (
            there is not None
            and self.count(namespace, kind) == 0
            and not differences_of_metadata(replace(wanted, indexes=[]), replace(there, indexes=[]))
        )

    def insert(
        self, namespace: Namespace, documents: bytes, count: int, *, again: bool, majority: bool = True
    ) -> Inserted:
        """Send one batch of raw documents, past validators, and wait until a majority has it.

        A document that a validator would refuse today was in the source and is restored.

        Args:
            namespace: Where the documents go.
            documents: Whole BSON documents, at most `BATCH_BYTES` of them unless it is a single one.
            count: How many they are.
            again: An earlier try may have inserted some of them: those that are there are counted, not refused.
            majority: Else the primary alone confirms it, and `wait_for_majority` is called later.

        Raises:
            TargetUnavailable: Where the connection broke; some of the documents may be there.
            TargetError: Where the server refused a document.
        """
        command = {
            "insert": namespace.collection,
            "documents": [RawDocuments(documents)],
            "ordered": False,
            "bypassDocumentValidation": True,
            "writeConcern": _MAJORITY if majority else {"w": 1},
        }
        with mongo_errors(TARGET, namespace=str(namespace), action="insert"):
            reply = self._client[namespace.database].command(command)
        check_majority(reply, namespace)
        errors = reply.get("writeErrors", ())
        present = sum(1 for error in errors if error["code"] == _DUPLICATE_KEY)
        others = [error for error in errors if error["code"] != _DUPLICATE_KEY]
        if others or (present and not again):
            first = (others or errors)[0]
            raise TargetError(
                "the target refused documents",
                hint="Something else writes to the collection, or the server does not take what another version held.",
                namespace=str(namespace),
                refused=len(errors),
                code=first["code"],
                got=str(first["errmsg"]).split(" dup key:")[0][:200],
            )
        inserted = int(reply["n"])
        if inserted + present != count:
            raise TargetError(
                "the target confirmed another number of documents than were sent",
                hint="Do not rely on what is in the target: look at its log, then restore again.",
                namespace=str(namespace),
                expected=count,
                got=inserted + present,
            )
        return Inserted(inserted, present)

    def wait_for_majority(self, namespace: Namespace) -> None:
        """Wait until a majority of the replica set has all that was written before.

        A command that changes nothing waits for the newest write of the server, and the role `restore` may give it.
        """
        with mongo_errors(TARGET, namespace=str(namespace), action="wait for a majority"):
            reply = self._client[namespace.database].command(
                {"collMod": namespace.collection, "writeConcern": _MAJORITY}
            )
        check_majority(reply, namespace)

    def build_indexes(self, namespace: Namespace, metadata: CollectionMetadata) -> int:
        """Build the indexes of one collection, all in one pass over its documents; returns how many.

        The index on `_id` and a clustered one came with the collection. On a collection with a collation, an index
        without one is a simple one: the server leaves that out of its list, and would give the collection's to a new
        index.
        """
        wanted = []
        for index in metadata.indexes:
            if index.get("clustered") or list(index["key"].items()) == [("_id", 1)]:
                continue
            wanted.append({name: value for name, value in index.items() if name not in ("ns", "background")})
            if "collation" in metadata.options:
                wanted[-1].setdefault("collation", {"locale": "simple"})
        if wanted:
            with mongo_errors(TARGET, namespace=str(namespace), action="createIndexes"):
                reply = self._client[namespace.database].command(
                    {"createIndexes": namespace.collection, "indexes": wanted, "writeConcern": _MAJORITY}
                )
            check_majority(reply, namespace)
        return len(wanted)

    def expire_after(self, namespace: Namespace, seconds: int) -> None:
        """Let the documents of a time-series or clustered collection expire [s]."""
        with mongo_errors(TARGET, namespace=str(namespace), action="expireAfterSeconds"):
            self._client[namespace.database].command("collMod", namespace.collection, expireAfterSeconds=seconds)

    def merge_users(self, collections: Mapping[str, Sequence[tuple[bytes, int]]], *, database: str | None) -> None:
        """Bring users and roles back the way mongorestore does: through two temporary collections.

        What the target lacks is added. Users and roles that it has stay as they are, with their passwords and rights:
        the server leaves them alone, unless it were told to remove all that the backup has not.

        Args:
            collections: Batches of raw documents, each with their number, under `system.users` and `system.roles`.
            database: Only those of this database, or None for all.
        """
        temporary = {"system.users": "tempusers", "system.roles": "temproles"}
        command: dict[str, Any] = {"_mergeAuthzCollections": 1}
        admin = self._client.admin
        with mongo_errors(TARGET, action="users and roles"):
            try:
                for name, batches in collections.items():
                    place = temporary[name]
                    admin.drop_collection(place)
                    for batch, count in batches:
                        self.insert(Namespace("admin", place), batch, count, again=False)
                    command["tempUsersCollection" if name == "system.users" else "tempRolesCollection"] = (
                        f"admin.{place}"
                    )
                admin.command({**command, "drop": False, "db": database or "", "writeConcern": _MAJORITY})
            finally:
                for place in temporary.values():
                    admin.drop_collection(place)


def check_majority(reply: Mapping[str, Any], namespace: Namespace) -> None:
    """See that a majority of the replica set has a write: the driver does not raise this for a command as it is.

    Raises:
        TargetUnavailable: Where it has not, or not yet.
    """
    error = reply.get("writeConcernError")
    if error:
        raise TargetUnavailable(
            "the target took a write, and a majority of its replica set did not confirm it",
            hint="Look at the members of the replica set.",
            namespace=str(namespace),
            code=error["code"],
            got=str(error["errmsg"])[:200],
        )
