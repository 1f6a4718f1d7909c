"""What a preflight finds out about the source. It only asks; nothing is changed there."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from pymongo.errors import OperationFailure

from flows.core.errors import BackupError
from flows.core.preflight_facts import Oplog, Problem, Right, Rights, SourceFacts, Transport, Unknown
from flows.core.report import format_bytes
from flows.core.selection import Selection
from flows.mongo.client import SOURCE, Client, mongo_errors
from flows.mongo.planning import plan_source
from flows.mongo.source import MongoSource

T = TypeVar("T")

_UNAUTHORIZED = 13
_LOOPBACK = ("localhost", "::1")


def survey_source(
    source: MongoSource,
    selection: Selection,
    *,
    password_in_uri: bool,
    segment_bytes: int,
    in_flight: int,
    clock: Callable[[], datetime],
) -> SourceFacts:
    """Find out all that a checklist asks of a source.

    Args:
        source: Just opened.
        selection: What the backups of the plan take.
        password_in_uri: Whether the connection string of its block has a password in it.
        segment_bytes: How much BSON a segment of them holds [bytes].
        in_flight: How many segments are worked on at a time.
        clock: Gives the time of this machine, aware.
    """
    tls = _transport(source.client)
    try:
        identity = source.identity()
    except BackupError as error:
        return unreached(error, tls, password_in_uri=password_in_uri)
    readable, denied, spool = _readable(source, selection, segment_bytes=segment_bytes, in_flight=in_flight)
    alone = Unknown("a standalone has none", "See the row about the replica set.")
    client = source.client
    return SourceFacts(
        reached=f"MongoDB {identity.server_version}, {identity.topology} {identity.replica_set or ''}".strip(),
        tls=tls,
        password_in_uri=password_in_uri,
        readable=readable,
        denied=denied,
        rights=_asked(lambda: _rights(client)),
        replica_set=identity.replica_set,
        oplog=_asked(lambda: _oplog(client)) if identity.replica_set else alone,
        history_seconds=_asked(lambda: _history(client)) if identity.replica_set else alone,
        ahead_seconds=_asked(lambda: _ahead(client, clock)),
        spool_bytes=spool,
    )


def unreached(error: BackupError, tls: Transport | Unknown, *, password_in_uri: bool) -> SourceFacts:
    """What is known of a source that does not answer."""
    unknown = Unknown("MongoDB was not reached")
    return SourceFacts(
        reached=Problem.of(error),
        tls=tls,
        password_in_uri=password_in_uri,
        readable=unknown,
        denied=None,
        rights=unknown,
        replica_set=unknown,
        oplog=unknown,
        history_seconds=unknown,
        ahead_seconds=unknown,
        spool_bytes=unknown,
    )


def _asked(ask: Callable[[], T | Unknown]) -> T | Unknown:
    try:
        with mongo_errors(SOURCE):
            return ask()
    except BackupError as error:
        return Unknown.of(error)


def _transport(client: Client) -> Transport:
    # There is no public name for what the driver made of connection string and settings together; a test holds it
    # against servers with and without TLS.
    options = client.options.pool_options
    context = options._ssl_context
    hosts = [host for host, _ in client.topology_description.server_descriptions()]
    return Transport(
        encrypted=context is not None,
        verified=context is not None and context.verify_mode is not ssl.CERT_NONE,
        named=not options.tls_allow_invalid_hostnames,
        local=all(host in _LOOPBACK or host.startswith("127.") or host.endswith(".sock") for host in hosts),
    )


def _readable(
    source: MongoSource, selection: Selection, *, segment_bytes: int, in_flight: int
) -> tuple[str | Problem | Unknown, Problem | None, int | Unknown]:
    """What a backup would read, what its user may not, and the room that it takes on the spool disk [bytes]."""
    try:
        planned = plan_source(source, selection, users=False, segment_bytes=segment_bytes)
    except BackupError as error:
        cause = error.__cause__
        if isinstance(cause, OperationFailure) and cause.code == _UNAUTHORIZED:
            unknown = Unknown("the user may not read all of MongoDB", error.hint)
            return unknown, Problem.of(error), unknown
        return Problem.of(error), None, Unknown.of(error)
    many = len(planned.collections)
    readable = f"a backup would read {many} namespace{'s'[: many != 1]}, about {format_bytes(planned.bytes)}"
    return readable, None, planned.room(in_flight)


def _rights(client: Client) -> Rights:
    status = client.admin.command({"connectionStatus": 1, "showPrivileges": True})["authInfo"]
    of_backup: frozenset[Right] = frozenset()
    if {"role": "backup", "db": "admin"} in status["authenticatedUserRoles"]:
        # A user may look up the roles that it has.
        role = {"role": "backup", "db": "admin"}
        found = client.admin.command({"rolesInfo": role, "showPrivileges": True})["roles"]
        of_backup = _flat(found[0]["privileges"] if found else [])
    return Rights(
        logged_in=bool(status["authenticatedUsers"]),
        held=_flat(status["authenticatedUserPrivileges"]),
        of_backup=of_backup,
    )


def _flat(privileges: Iterable[Mapping[str, Any]]) -> frozenset[Right]:
    return frozenset(Right(_named(one["resource"]), action) for one in privileges for action in one["actions"])


def _named(resource: Mapping[str, Any]) -> str:
    """What a privilege is about, for people."""
    if "cluster" in resource:
        return "cluster"
    if "anyResource" in resource:
        return "any resource"
    if "system_buckets" in resource:
        return "the buckets of time-series collections"
    database, collection = resource.get("db", ""), resource.get("collection", "")
    return f"{database or '*'}.{collection or '*'}" if database or collection else "every database"


def _oplog(client: Client) -> Oplog | Unknown:
    oplog = client.local["oplog.rs"]
    ends = [oplog.find_one({}, {"ts": 1}, sort=[("$natural", order)]) for order in (1, -1)]
    if ends[0] is None or ends[1] is None:
        return Unknown("the oplog is empty")
    stats = client.local.command({"collStats": "oplog.rs"}, read_preference=client.read_preference)
    filled = stats["size"] / stats["maxSize"] if stats.get("maxSize") else None
    return Oplog(ends[0]["ts"].as_datetime(), ends[1]["ts"].as_datetime(), filled)


def _history(client: Client) -> int:
    name = "minSnapshotHistoryWindowInSeconds"
    return int(client.admin.command({"getParameter": 1, name: 1}, read_preference=client.read_preference)[name])


def _ahead(client: Client, clock: Callable[[], datetime]) -> float:
    before = clock()
    told: datetime = client.admin.command("hello", read_preference=client.read_preference)["localTime"]
    after = clock()
    return (told.replace(tzinfo=UTC) - (before + (after - before) / 2)).total_seconds()
