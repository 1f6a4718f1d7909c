"""The databases of a drill on a server: claimed, kept from others, found again after a kill, and dropped.

A drill has a database of its own on the server, `drill_<id>`, with the lease: a time by the clock of the server that it
renews while it lives. What it restores is in `drill_<id>_…`. Only what has a lease is ever dropped, so that a database
of somebody else is safe whatever its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flows.core.drill import check_apart, shared_uuids
from flows.core.manifest import Manifest
from flows.core.merge import Existing
from flows.core.restore_plan import compare_servers
from flows.core.source import SourceIdentity
from flows.mongo.client import TARGET, mongo_errors
from flows.mongo.target import MongoTarget

LEASE_SECONDS = 600  # [s] after which a drill that did not renew it counts as dead
EMPTY = "empty"  # a collection beside the lease, on which checks are tried
_LEASE = "lease"
_SCRATCH = re.compile(r"(drill_[0-9a-f]{12})(_.*)?", re.DOTALL)
_OWN = ("admin", "config", "local")


def scratch_name(run: str) -> str:
    """What the names of the databases of a drill begin with.

    Args:
        run: Id of the flow run.
    """
    return f"drill_{run.replace('-', '')[-12:]}"


def check_not_source(target: MongoTarget, manifest: Manifest) -> SourceIdentity:
    """Refuse a server that is the source of the backup, or older than it; gives its identity. Writes nothing.

    Raises:
        Refused: See `check_apart` and `compare_servers`.
        TargetError: It cannot be written to.
    """
    identity = target.identity()
    databases = {record.namespace.database for record in manifest.namespaces}
    check_apart(manifest.source, identity, shared=shared_uuids(manifest, target.existing(databases)))
    compare_servers(manifest.source, identity)
    return identity


def renew_lease(target: MongoTarget, scratch: str) -> None:
    """Say that the drill lives. The first time makes its database."""
    with mongo_errors(TARGET, database=scratch):
        target.client[scratch][_LEASE].update_one({"_id": _LEASE}, [{"$set": {"seen": "$$NOW"}}], upsert=True)


def make_empty(target: MongoTarget, scratch: str) -> None:
    """Make the collection on which checks are tried. Safe to repeat."""
    with mongo_errors(TARGET, database=scratch):
        target.client[scratch][EMPTY].drop()
        target.client[scratch].create_collection(EMPTY)


def drop_scratch(target: MongoTarget, scratch: str) -> None:
    """Drop all databases of a drill, the one with the lease last. Safe to repeat."""
    for database in (*scratch_databases(target, scratch), scratch):
        with mongo_errors(TARGET, database=database):
            target.client.drop_database(database)


def scratch_databases(target: MongoTarget, scratch: str) -> list[str]:
    """The databases that a drill restored into."""
    return [name for name in _names(target) if name.startswith(f"{scratch}_")]


def sweep_scratch(target: MongoTarget) -> list[str]:
    """Drop what drills have left that were killed; gives the names that their databases begin with."""
    found = {match[1] for name in _names(target) if (match := _SCRATCH.fullmatch(name))}
    stale: Mapping[str, Any] = {
        "_id": _LEASE,
        "$expr": {"$lt": ["$seen", {"$subtract": ["$$NOW", 1000 * LEASE_SECONDS]}]},
    }
    swept = []
    for scratch in sorted(found):
        with mongo_errors(TARGET, database=scratch):
            dead = target.client[scratch][_LEASE].find_one(stale) is not None
        if dead:
            drop_scratch(target, scratch)
            swept.append(scratch)
    return swept


def survey(target: MongoTarget, manifest: Manifest, scratch: str, *, own: bool) -> list[Existing]:
    """List what a drill has made, with options and indexes.

    Args:
        target: Where.
        manifest: The backup, for databases of MongoDB's own that are in it.
        scratch: What the names of the drill's databases begin with.
        own: Whether the whole server is the drill's; else only those databases are.
    """
    if own:
        held = {record.namespace.database for record in manifest.namespaces}
        databases = [name for name in _names(target) if name != scratch and (name not in _OWN or name in held)]
    else:
        databases = scratch_databases(target, scratch)
    return [
        Existing(found.namespace, found.kind, found.documents, target.metadata(found.namespace, found.kind), found.uuid)
        for found in target.existing(databases)
    ]


def _names(target: MongoTarget) -> list[str]:
    with mongo_errors(TARGET):
        return target.client.list_database_names()
