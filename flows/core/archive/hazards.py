"""What a whole and well-formed archive may have that mongorestore stumbles over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import dropwhile

from flows.core.archive.format import OPLOG, ArchiveHeader, is_users
from flows.core.extjson import CollectionMetadata, decode_exactly
from flows.core.names import Namespace
from flows.core.tally import Totals

_WORKERS = 4  # of mongorestore, without `-j`
# From this server version on, a restore of users doesn't look for the version of their schema.
_NO_AUTH_SCHEMA = (8, 1, 0)


class Hazards:
    """Watches an archive go by; each hazard is one sentence for the operator.

    Args:
        header: Of the archive.
        metadata: Of all namespaces in the prelude.
    """

    def __init__(self, header: ArchiveHeader, metadata: Mapping[Namespace, CollectionMetadata]) -> None:
        self._header = header
        self._metadata = metadata
        self._order: list[Namespace] = []  # as their first headers came
        self._most_open = 0
        self._oplog_overlaps = False
        self._auth_schema = False

    def opened(self, namespace: Namespace, now_open: int) -> None:
        """The first header of a namespace came; `now_open` namespaces wait for their end, with this one."""
        self._order.append(namespace)
        self._most_open = max(self._most_open, now_open)
        self._oplog_overlaps |= namespace == OPLOG and now_open > 1

    def passed(self, namespace: Namespace, documents: Iterable[bytes]) -> None:
        """Documents of a namespace came."""
        if is_users(namespace) and namespace.collection.endswith("system.version"):
            self._auth_schema |= any(decode_exactly(document).get("_id") == "authSchema" for document in documents)

    def found(self, totals: Mapping[Namespace, Totals]) -> list[str]:
        """All hazards of an archive that was read to its end."""
        return [*self._of_order(), *self._of_users(totals), *self._of_metadata()]

    def _of_order(self) -> Iterable[str]:
        workers = max(_WORKERS, self._header.concurrent_collections)
        if self._most_open > workers:
            yield (
                f"{self._most_open} namespaces are open at once and the archive promises {workers}: "
                f"mongorestore hangs unless it runs with -j {self._most_open}"
            )
        after_collections = dropwhile(is_users, self._order)
        late = [str(namespace) for namespace in after_collections if is_users(namespace)]
        if late:
            yield f"{', '.join(late)} comes after collections: mongorestore may refuse the users and roles"
        if OPLOG in self._order and (self._oplog_overlaps or self._order[-1] != OPLOG):
            yield "the oplog does not come after all collections: mongorestore --oplogReplay fails or hangs"

    def _of_users(self, totals: Mapping[Namespace, Totals]) -> Iterable[str]:
        for namespace in self._order:
            if not is_users(namespace) or namespace.collection.endswith("system.version"):
                continue
            if totals[namespace].documents == 0:
                yield f"{namespace} is empty: mongorestore --drop removes those of the target"
            elif (
                namespace.collection.endswith("system.users")
                and not self._auth_schema
                and self._header.release < _NO_AUTH_SCHEMA
            ):
                yield f"{namespace} comes without the version of its schema: mongorestore refuses the users"

    def _of_metadata(self) -> Iterable[str]:
        for namespace, metadata in self._metadata.items():
            for index in metadata.indexes:
                if not isinstance(index.get("name"), str):
                    yield f"{namespace} has an index without a name, which mongorestore drops silently: {index}"
        if Namespace("local", "oplog.rs") in self._metadata:
            yield "mongorestore hangs on local.oplog.rs unless it runs with --nsExclude local.oplog.rs"
