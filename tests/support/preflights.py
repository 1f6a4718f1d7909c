"""Facts of a set-up in which nothing is wrong, for tests that make one thing wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from flows.core.checks import CheckLine
from flows.core.preflight import Row
from flows.core.preflight_backups import judge
from flows.core.preflight_facts import (
    BackupsFacts,
    BucketLock,
    Buckets,
    Deleted,
    Deletion,
    Documents,
    Facts,
    KeysFacts,
    Last,
    Limits,
    NewestBackup,
    Oplog,
    Right,
    Rights,
    SourceFacts,
    StoreFacts,
    Transport,
    WorkerFacts,
)
from flows.core.preflight_store import EVERY_BLOCK
from flows.core.retention import RetentionPolicy
from tests.support.samples import STARTED

NOW = STARTED + timedelta(hours=8)
GIB = 1024**3
SECURE = Transport(encrypted=True, verified=True, named=True)

NEWEST = NewestBackup(
    backup="2026-03-06T04-00-00Z",
    started=STARTED,
    finished=STARTED + timedelta(minutes=2),
    marks=(),
    bson_bytes=5 * GIB,
    restore_bytes=GIB,
    recipients=("age1alice", "age1bob"),
    store_encryption="",
    opened="opened by age1alice",
)
GOOD = Facts(
    SourceFacts(
        reached="MongoDB 6.0.5, replica set rs0",
        tls=SECURE,
        password_in_uri=False,
        readable="a backup would read 12 namespaces, about 5.0 GiB",
        denied=None,
        rights=Rights(True, frozenset({Right("every database", "find")}), frozenset()),
        replica_set="rs0",
        oplog=Oplog(NOW - timedelta(hours=30), NOW, 1.0),
        history_seconds=300,
        ahead_seconds=0.2,
        spool_bytes=GIB,
    ),
    StoreFacts(
        location="s3://backups/mongo",
        folder="mongo/mpg/",
        lines=(CheckLine("write", True, "49 bytes"),),
        transport=SECURE,
        keys_from="block",
        encryption="none",
        lock="governance",
        lock_days=7,
        versions=True,
        anybody=(),
        policy_public=False,
        acl_public=(),
        blocks=EVERY_BLOCK,
        default_encryption="AES256",
        deleted=Deleted(Deletion.GONE),
        lifecycle=(),
        object_lock=BucketLock(True),
        buckets=Buckets(None),
        beyond=False,
        documents=Documents("s3://invoices", same_bucket=False, overlapping=False, readable=False),
        ahead_seconds=-1.4,
    ),
    BackupsFacts(
        newest=NEWEST, drill=Last(NOW - timedelta(days=3), NOW - timedelta(days=3)), verification=Last(NOW, NOW)
    ),
    KeysFacts(encrypts=True, recipients=("age1alice", "age1bob"), opens=("age1alice",)),
    WorkerFacts(spool_free=20 * GIB, drill_room_bytes=GIB // 2),
)


def changed(part: str, **values: Any) -> Facts:
    """Good facts, with some of one part changed."""
    return replace(GOOD, **{part: replace(getattr(GOOD, part), **values)})


def row(check: str, facts: Facts, policy: RetentionPolicy | None = None, *, now: datetime = NOW) -> Row:
    """One row of the checklist."""
    rows = judge(facts, policy or RetentionPolicy(), Limits(), now=now)
    (found,) = [row for row in rows if row.check == check]
    return found
