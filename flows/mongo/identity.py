"""Who a server is, whichever end it stands at."""

from __future__ import annotations

from pymongo.errors import OperationFailure

from flows.core.source import SourceIdentity, parse_release
from flows.mongo.client import Client, Side, mongo_errors

# From this version on a time-series collection has no buckets collection, and is read and written in another way.
_VIEWLESS_TIMESERIES = (8, 3)


def server_identity(client: Client, side: Side) -> SourceIdentity:
    """Ask a server for its version and its replica set.

    Args:
        client: A client of it.
        side: Source or target, for the errors.

    Raises:
        SourceError, TargetError: For a server that this project does not support, or that cannot be reached.
        UnsupportedVersion: Its version is not three numbers.
    """
    with mongo_errors(side):
        hello = client.admin.command("hello", read_preference=client.read_preference)
        version = str(client.admin.command("buildInfo", read_preference=client.read_preference)["version"])
    if hello.get("msg") == "isdbgrid":
        raise side.general(
            f"the {side.name} is a mongos, and sharded clusters are not supported",
            hint="Give a replica set; for a sharded cluster use the tools of its vendor.",
        )
    if parse_release(version) >= _VIEWLESS_TIMESERIES:
        raise side.general(
            f"the server version of the {side.name} is not supported yet",
            hint="Supported are MongoDB 4.4 to 8.2; later ones keep time-series collections in another form.",
            got=version,
        )
    return SourceIdentity(
        server_version=version,
        topology="replica set" if "setName" in hello else "standalone",
        replica_set=hello.get("setName"),
        replica_set_id=_replica_set_id(client, side) if "setName" in hello else None,
    )


def _replica_set_id(client: Client, side: Side) -> str | None:
    with mongo_errors(side):
        try:
            config = client.admin.command("replSetGetConfig")
        except OperationFailure:
            return None  # the roles `backup` and `restore` do not include it: the identity is then the name alone
    return str(config["config"]["settings"]["replicaSetId"])
