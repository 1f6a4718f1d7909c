"""The checklist of an operator: each row in each of its states, and how it looks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flows.core.checks import CheckLine
from flows.core.errors import PreflightFailed, SpoolError, StoreDenied
from flows.core.preflight import PreflightReport, Row, State
from flows.core.preflight_backups import judge
from flows.core.preflight_facts import (
    BucketLock,
    Buckets,
    Deleted,
    Deletion,
    Documents,
    Facts,
    Last,
    LifecycleRule,
    Limits,
    Oplog,
    Problem,
    Right,
    Rights,
    Transport,
    Unknown,
)
from flows.core.preflight_store import EVERY_BLOCK, kept_for
from flows.core.retention import RetentionPolicy
from tests.support.preflights import GIB, GOOD, NEWEST, NOW, changed, row

FAIL, WARN, PASS, NOT_CHECKED = State.FAIL, State.WARN, State.PASS, State.NOT_CHECKED
WHY = Unknown("nobody knows", "Ask.")
WRONG = Problem("it broke", "Mend it.")
NOBODY = Rights(False, frozenset(), frozenset())
Change = tuple[str, str, dict[str, Any], State, str]


def rights(*held: tuple[str, str]) -> dict[str, Any]:
    baseline = frozenset({Right("cluster", "appendOplogNote"), Right("every database", "find")})
    return {"rights": Rights(True, baseline | {Right(*one) for one in held}, baseline)}


def newest(**values: Any) -> dict[str, Any]:
    return {"newest": replace(NEWEST, **values)}


def ago(days: int) -> Last:
    return Last(NOW - timedelta(days=days), NOW - timedelta(days=days))


def rule(**values: Any) -> dict[str, Any]:
    return {"lifecycle": (LifecycleRule("tidy", **values),)}


SOURCE: list[Change] = [
    ("MongoDB answers", "source", {"reached": WRONG}, FAIL, "it broke"),
    ("MongoDB answers", "source", {"readable": WRONG}, FAIL, "it broke"),
    ("MongoDB answers", "source", {"readable": WHY}, PASS, "MongoDB 6.0.5, replica set rs0"),
    ("TLS to MongoDB", "source", {"tls": Transport(False)}, FAIL, "off: data and password cross the network"),
    ("TLS to MongoDB", "source", {"tls": Transport(False, local=True)}, WARN, "off; the connection stays on this"),
    ("TLS to MongoDB", "source", {"tls": Transport(True)}, FAIL, "on, and the certificate is not verified"),
    ("TLS to MongoDB", "source", {"tls": Transport(True, verified=True)}, WARN, "any certificate of the CA is taken"),
    ("TLS to MongoDB", "source", {"tls": WHY}, NOT_CHECKED, "nobody knows"),
    ("rights of the backup user", "source", {"denied": WRONG, "rights": WHY}, FAIL, "it broke"),
    ("rights of the backup user", "source", {"rights": WHY}, NOT_CHECKED, "nobody knows"),
    (
        "rights of the backup user",
        "source",
        {"rights": Rights(False, frozenset(), frozenset())},
        FAIL,
        "nobody logs in",
    ),
    (
        "rights of the backup user",
        "source",
        rights(("cluster", "inprog"), ("mpg.*", "dbStats")),
        PASS,
        "change nothing",
    ),
    ("rights of the backup user", "source", rights(("config.settings", "update")), PASS, "change nothing"),
    ("rights of the backup user", "source", rights(("cluster", "killAnyCursor")), WARN, "killAnyCursor on cluster"),
    (
        "rights of the backup user",
        "source",
        rights(
            ("*.system.js", "insert"),
            ("every database", "insert"),
            ("mpg.*", "dropDatabase"),
            ("cluster", "shutdown"),
            ("cluster", "addShard"),
            ("cluster", "madeUpLater"),
        ),
        FAIL,
        "dropDatabase on mpg.*, addShard on cluster, insert on every database, madeUpLater on cluster and 1 more",
    ),
    ("replica set", "source", {"replica_set": None}, FAIL, "a standalone"),
    ("replica set", "source", {"replica_set": WHY}, NOT_CHECKED, "nobody knows"),
    ("oplog window", "source", {"oplog": WHY}, NOT_CHECKED, "nobody knows"),
    ("oplog window", "source", {"oplog": Oplog(NOW - timedelta(hours=5), NOW, 1.0)}, FAIL, "reaches 5 h 0 min back"),
    ("oplog window", "source", {"oplog": Oplog(NOW - timedelta(hours=5), NOW, None)}, FAIL, "should reach 1 d 0 h"),
    ("oplog window", "source", {"oplog": Oplog(NOW - timedelta(hours=5), NOW, 0.5)}, FAIL, "reaches 5 h 0 min back"),
    ("oplog window", "source", {"oplog": Oplog(NOW - timedelta(hours=5), NOW, 0.1)}, WARN, "will reach 2 d 2 h"),
    ("snapshot history", "source", {"history_seconds": WHY}, NOT_CHECKED, "nobody knows"),
    ("snapshot history", "source", {"history_seconds": 200}, WARN, "the newest backup took 2 min 0 s"),
    ("snapshot history", "backups", {"newest": None}, NOT_CHECKED, "there is no backup yet that says how long"),
]
STORE: list[Change] = [
    ("store takes backups", "store", {"lines": (CheckLine("write", False, "no", "Do."),)}, FAIL, "write: no"),
    ("store takes backups", "store", {"lines": (CheckLine("clean up", False, "no", "Do."),)}, WARN, "clean up: no"),
    ("TLS to the store", "store", {"transport": Transport(False)}, FAIL, "off"),
    ("TLS to the store", "store", {"transport": Transport(False, local=True)}, WARN, "off"),
    ("TLS to the store", "store", {"transport": WHY}, NOT_CHECKED, "nobody knows"),
    ("bucket not public", "store", {"anybody": ("list it", "read objects")}, FAIL, "could list it and read objects"),
    (
        "bucket not public",
        "store",
        {"policy_public": True, "blocks": frozenset()},
        FAIL,
        "its policy lets everybody in",
    ),
    ("bucket not public", "store", {"acl_public": ("everybody",), "blocks": WHY}, FAIL, "its ACL lets in everybody"),
    ("bucket not public", "store", {"policy_public": True}, WARN, "only the public access block keeps them out"),
    ("bucket not public", "store", {"acl_public": ("everybody",)}, WARN, "only the public access block keeps them out"),
    ("bucket not public", "store", {"blocks": EVERY_BLOCK - {"BlockPublicAcls"}}, WARN, "are off: BlockPublicAcls"),
    ("bucket not public", "store", {"blocks": WHY}, PASS, "not known: public access block (nobody knows)"),
    ("bucket not public", "store", {"anybody": WHY}, NOT_CHECKED, "nobody knows"),
    ("lifecycle rules", "store", {"lifecycle": WHY}, NOT_CHECKED, "nobody knows"),
    ("lifecycle rules", "store", rule(expires_days=7), FAIL, "deletes after 7 days, and retention keeps 7"),
    ("lifecycle rules", "store", rule(expires_days=8), WARN, "where backups stop, it removes the last good one too"),
    ("lifecycle rules", "store", rule(expires_at=NOW), FAIL, "deletes everything from 2026-03-06 on"),
    ("lifecycle rules", "store", rule(archives_days=3), WARN, "cannot be read at once"),
    ("lifecycle rules", "store", rule(expires_days=1, prefix="mongo/mpg/evidence/"), FAIL, "deletes after 1 days"),
    ("lifecycle rules", "store", rule(expires_days=1, prefix="mon"), FAIL, "deletes after 1 days"),
    ("lifecycle rules", "store", rule(expires_days=1, prefix="mongo/mpg-two/"), PASS, "none deletes backups"),
    ("lifecycle rules", "store", rule(expires_days=1, by_tag=True), PASS, "none deletes backups"),
    ("what is deleted is gone", "store", {"deleted": WHY}, NOT_CHECKED, "nobody knows"),
    ("what is deleted is gone", "store", {"deleted": Deleted(Deletion.DENIED)}, NOT_CHECKED, "cannot delete"),
    ("what is deleted is gone", "store", {"deleted": Deleted(Deletion.LOCKED, 4)}, PASS, "the row about Object Lock"),
    ("what is deleted is gone", "store", {"deleted": Deleted(Deletion.HIDDEN, 8)}, PASS, "live on for 8 days"),
    ("what is deleted is gone", "store", {"deleted": Deleted(Deletion.HIDDEN, 91)}, WARN, "live on for 91 days"),
    ("what is deleted is gone", "store", {"deleted": Deleted(Deletion.HIDDEN)}, FAIL, "no rule ever removes"),
    ("Object Lock", "store", {"object_lock": WHY}, NOT_CHECKED, "nobody knows"),
    ("Object Lock", "store", {"object_lock": BucketLock(False)}, FAIL, "asks for a lock of 7 days, and the bucket"),
    ("Object Lock", "store", {"lock_days": 8}, WARN, "locked for 8 days (in mode governance)"),
    ("Object Lock", "store", {"object_lock": BucketLock(True, 365)}, WARN, "365 days (by the bucket itself)"),
    ("Object Lock", "store", {"lock_days": None}, WARN, "whoever takes over the worker can delete every backup"),
    ("Object Lock", "store", {"lock_days": None, "deleted": Deleted(Deletion.DENIED)}, PASS, "cannot delete"),
    ("Object Lock", "store", {"lock_days": None, "deleted": Deleted(Deletion.HIDDEN, 3)}, PASS, "as an old version"),
    ("documents kept apart", "store", {"documents": None}, NOT_CHECKED, "nobody said where"),
    ("documents kept apart", "store", {"documents": WHY}, NOT_CHECKED, "nobody knows"),
    ("documents kept apart", "store", {"documents": Documents("s3://b", True, True, True)}, FAIL, "in one folder"),
    ("documents kept apart", "store", {"documents": Documents("s3://b/x", True, False, True)}, WARN, "can list them"),
    ("documents kept apart", "store", {"documents": Documents("s3://b", False, False, WHY)}, NOT_CHECKED, "not known"),
    ("documents kept apart", "store", {"documents": Documents("s3://b", False, False, None)}, PASS, "another provider"),
    ("rights of the store's credentials", "store", {"buckets": WHY}, NOT_CHECKED, "nobody knows"),
    ("rights of the store's credentials", "store", {"buckets": Buckets(tuple("abcd"))}, WARN, "a, b, c and 1 more"),
    ("rights of the store's credentials", "store", {"buckets": Buckets(("a",), ("a",))}, FAIL, "other buckets: a"),
    ("rights of the store's credentials", "store", {"beyond": True}, WARN, "beyond the folder"),
    ("rights of the store's credentials", "store", {"beyond": None}, PASS, "they list no other bucket; whether"),
]
BACKUPS: list[Change] = [
    ("credentials are in blocks", "store", {"keys_from": ""}, FAIL, "there are none"),
    ("credentials are in blocks", "store", {"keys_from": "env"}, FAIL, "the environment of the worker"),
    ("credentials are in blocks", "store", {"keys_from": "shared-credentials-file"}, FAIL, "a file on the worker"),
    ("credentials are in blocks", "store", {"keys_from": "iam-role"}, PASS, "own role (iam-role), without keys"),
    ("credentials are in blocks", "store", {"keys_from": WHY}, NOT_CHECKED, "nobody knows"),
    ("credentials are in blocks", "source", {"password_in_uri": True}, WARN, "part of a connection string"),
    ("encryption at rest", "backups", newest(recipients=()), WARN, "is not encrypted by this project, and a block"),
    ("encryption at rest", "backups", {"newest": None}, PASS, "a block for the encryption of new backups is named"),
    ("clocks", "source", {"ahead_seconds": -61.0}, WARN, "MongoDB is 61 s behind; the store is 1 s behind"),
    ("clocks", "store", {"ahead_seconds": 301.0}, FAIL, "the store is 301 s ahead"),
    ("clocks", "store", {"ahead_seconds": WHY}, PASS, "that of the store is not known: nobody knows"),
    ("spool space", "worker", {"spool_free": WRONG}, FAIL, "it broke"),
    ("spool space", "worker", {"spool_free": GIB - 1}, FAIL, "1024.0 MiB are free, and a backup needs up to 1.0 GiB"),
    ("spool space", "worker", {"spool_free": 5 * GIB}, WARN, "a drill in a throw-away MongoDB needs 5.5 GiB"),
    ("spool space", "backups", newest(restore_bytes=21 * GIB), FAIL, "a restore needs up to 21.0 GiB"),
    ("spool space", "backups", {"newest": None}, PASS, "a backup needs up to 1.0 GiB"),
    ("newest backup", "backups", {"newest": None}, FAIL, "there is none"),
    ("newest backup", "backups", {"newest": WHY}, NOT_CHECKED, "nobody knows"),
    ("newest backup", "backups", {"newest": WRONG}, FAIL, "it broke"),
    ("newest backup", "backups", newest(marks=("found damaged",)), FAIL, "2026-03-06T04-00-00Z: found damaged"),
    ("restore identity", "backups", newest(opened=WRONG), FAIL, "it broke"),
    ("restore identity", "backups", newest(opened=WHY), NOT_CHECKED, "nobody knows"),
    ("restore identity", "backups", {"newest": WRONG}, NOT_CHECKED, "nothing is known of the newest backup"),
    ("restore identity", "backups", {"newest": None}, PASS, "an identity belongs to a recipient of new ones"),
    ("last drill", "backups", {"drill": WHY}, NOT_CHECKED, "nobody knows"),
    ("last drill", "backups", {"drill": Last()}, FAIL, "there never was one"),
    ("last drill", "backups", {"drill": Last(), "newest": None}, NOT_CHECKED, "there is no backup yet"),
    ("last drill", "backups", {"drill": Last(untrusted=2)}, FAIL, "2 records are left out"),
    ("last drill", "backups", {"drill": Last(NOW, NOW - timedelta(days=1))}, FAIL, "2026-03-06 12:00 UTC, failed"),
    ("last drill", "backups", {"drill": Last(NOW)}, FAIL, "the newest, of 2026-03-06 12:00 UTC, failed"),
    (
        "last drill",
        "backups",
        {"drill": Last(*[NOW - timedelta(days=36)] * 2)},
        FAIL,
        "passed 36 d 0 h ago, and may be 35",
    ),
    ("last verification", "backups", {"verification": ago(9)}, FAIL, "and may be 8 days ago"),
    ("last verification", "backups", {"verification": WHY}, NOT_CHECKED, "nobody knows"),
]


@pytest.mark.parametrize(("check", "part", "values", "state", "seen"), [*SOURCE, *STORE, *BACKUPS])
def test_a_row_in_a_state(check: str, part: str, values: dict[str, Any], state: State, seen: str) -> None:
    found = row(check, changed(part, **values))
    assert (found.state, seen in found.seen) == (state, True), found
    if state is not NOT_CHECKED:
        assert bool(found.do) == (state in (FAIL, WARN))
    assert not found.do or found.do.endswith(".")


def test_where_nothing_is_wrong_every_row_passes() -> None:
    rows = judge(GOOD, RetentionPolicy(), Limits(), now=NOW)
    assert {row.check: row.seen for row in rows if row.state is not PASS} == {}
    assert len({row.check for row in rows}) == len(rows) == 22


def without_ours(**store: Any) -> Facts:
    """Backups that this project does not encrypt, nor is told to."""
    facts = changed("store", **store)
    return replace(
        facts,
        backups=replace(facts.backups, newest=replace(NEWEST, recipients=())),
        keys=replace(facts.keys, encrypts=False, recipients=()),
    )


@pytest.mark.parametrize(
    ("store", "state", "seen"),
    [
        ({}, WARN, "only by the store: its default is AES256; whoever may read the bucket reads the data"),
        ({"encryption": "sse-c"}, WARN, "only by the store: its block asks for sse-c"),
        ({"default_encryption": ""}, FAIL, "neither this project nor the store encrypts backups"),
        ({"default_encryption": WHY}, NOT_CHECKED, "whether the store does is not known: nobody knows"),
    ],
)
def test_encryption_by_the_store_alone_is_not_enough(store: dict[str, Any], state: State, seen: str) -> None:
    found = row("encryption at rest", without_ours(**store))
    assert (found.state, seen in found.seen) == (state, True), found


def test_rows_that_need_two_facts_say_which_are_missing() -> None:
    clocks = replace(changed("source", ahead_seconds=WHY), store=replace(GOOD.store, ahead_seconds=WHY))
    assert row("clocks", clocks).state is NOT_CHECKED
    room = replace(changed("source", spool_bytes=WHY), backups=replace(GOOD.backups, newest=WHY))
    assert row("spool space", room).seen == "20.0 GiB are free; what a backup needs is not known"
    stranger = replace(changed("backups", newest=None), keys=replace(GOOD.keys, opens=("age1eve",)))
    assert row("restore identity", stranger).state is FAIL
    nobody = replace(changed("backups", newest=None), keys=replace(GOOD.keys, opens=()))
    assert row("restore identity", nobody).state is NOT_CHECKED


@pytest.mark.parametrize(
    ("policy", "days"),
    [
        (RetentionPolicy(), 7),
        (RetentionPolicy(days=0, last=5), 0),
        (RetentionPolicy(days=7, weekly=5), 35),
        (RetentionPolicy(days=7, daily=14, monthly=12), 372),
        (RetentionPolicy(days=7, yearly=2), 732),
        (RetentionPolicy(days=0, hourly=48), 2),
    ],
)
def test_rules_that_keep_longer_make_an_earlier_lifecycle_rule_a_fail(policy: RetentionPolicy, days: int) -> None:
    assert kept_for(policy) == timedelta(days=days)
    for after, state in ((max(days, 1), FAIL if days else WARN), (days + 1, WARN)):
        assert row("lifecycle rules", changed("store", **rule(expires_days=after)), policy).state is state


def report(*rows: Row) -> PreflightReport:
    return PreflightReport("mpg", "s3://backups/<b>mongo", "Anna on worker-1", NOW, rows)


ROWS = (
    Row("one", PASS, "fine"),
    Row("two", WARN, "a | b\n| c <script>", "Use `f(<x>)` for <it>."),
    Row("three", NOT_CHECKED, "the store does not tell"),
    Row("four", FAIL, "it is *broken*", "Mend it with `mend --now`."),
)


def test_the_page_has_the_worst_first_and_shows_foreign_text_as_text() -> None:
    lines = report(*ROWS).page().splitlines()
    assert lines == [
        "# Preflight of plan mpg",
        "",
        "* **FAILED: 1 failed, 1 warning, 1 not checked, 1 passed**",
        "* **Store**: s3://backups/&lt;b&gt;mongo",
        "* **Checked**: 2026-03-06 12:00:00 UTC by Anna on worker-1",
        "",
        "| check | result |",
        "| --- | --- |",
        "| four | FAIL |",
        "| two | warn |",
        "| three | not checked |",
        "| one | pass |",
        "",
        "## To mend, or to look up",
        "",
        "* **FAIL: four**: it is \\*broken\\*. Mend it with `mend --now`.",
        "* **warn: two**: a | b | c &lt;script&gt;. Use `f(<x>)` for &lt;it&gt;.",
        "* **not checked: three**: the store does not tell.",
        "",
        "## Passed",
        "",
        "* **one**: fine.",
    ]


def test_a_page_without_anything_to_do_says_so() -> None:
    page = report(ROWS[0]).page()
    assert "* **PASSED: 0 failed, 0 warnings, 0 not checked, 1 passed**" in page
    assert "To mend" not in page
    assert "Passed" not in report(*ROWS[1:]).page()


def test_only_a_row_that_failed_fails_the_run() -> None:
    report(*ROWS[:3]).check()
    assert report(*ROWS[:3]).sentence.startswith("PASSED: 0 failed")
    with pytest.raises(PreflightFailed, match="1 check of the preflight failed") as raised:
        report(*ROWS).check()
    assert raised.value.facts["failed"] == ["four"]
    assert raised.value.hint.startswith("The page preflight-mpg under Artifacts says how to mend each. The first: Mend")


def test_an_error_becomes_a_fact_with_what_it_says_of_the_place() -> None:
    error = SpoolError("the disk is full", hint="Free some space.", path="/spool")
    assert Problem.of(error) == Problem("the disk is full (path: /spool)", "Free some space.")
    assert Unknown.of(StoreDenied("denied", hint="Allow it.")) == Unknown("denied", "Allow it.")
