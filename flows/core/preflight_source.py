"""The rows of the checklist about the MongoDB that is backed up, and about how bytes travel."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from flows.core.preflight import Row, State, failed, unchecked
from flows.core.preflight_facts import (
    Limits,
    NewestBackup,
    Oplog,
    Problem,
    Right,
    SourceFacts,
    Transport,
    Unknown,
)
from flows.core.report import format_duration

# Actions that only look: of the built-in roles `backup`, `readAnyDatabase` and `clusterMonitor`. The last is not needed
# for a backup, and tells it the identity of the replica set.
_LOOKS = frozenset(
    """
    allCollectionStats changeStream checkFreeMonitoringStatus collStats connPoolStats dbHash dbStats find
    getCmdLineOpts getDatabaseVersion getDefaultRWConcern getLog getParameter getShardMap getShardVersion hostInfo
    indexStats inprog killCursors listCachedAndActiveUsers listClusterCatalog listCollections listDatabases listIndexes
    listSearchIndexes listSessions listShards netstat operationMetrics planCacheRead queryStatsRead
    queryStatsReadTransformed replSetGetConfig replSetGetStatus serverStatus shardedDataDistribution shardingState top
    useUUID validate viewRole viewUser
    """.split()  # noqa: SIM905 - a line each would be forty
)
# What the role `backup` may do that is more than looking, where the user may not look the role up.
_OF_BACKUP = frozenset(
    {
        Right("cluster", "appendOplogNote"),
        Right("cluster", "setUserWriteBlockMode"),
        Right("config.settings", "insert"),
        Right("config.settings", "update"),
        Right("admin.mms.backup", "insert"),
        Right("admin.mms.backup", "update"),
        Right("admin.system.backup_users", "find"),
    }
)
# More than a backup needs, and no harm to documents or accounts.
_IDLE = frozenset({"appendOplogNote", "setUserWriteBlockMode", "bypassWriteBlockingMode", "killAnyCursor", "unlock"})
_DESTROY = frozenset({"anyAction", "dropCollection", "dropDatabase", "remove", "update"})
_WIDE = frozenset({"any resource", "every database"})
_MOST_NAMED = 4  # rights, in one line

_ONLY_BACKUP = (
    "Make a user for backups that has the role `backup` and no other, and name it in the MongoDB Backup Source block; "
    "restores have a block and a user of their own."
)


def source_rows(facts: SourceFacts, newest: NewestBackup | None, limits: Limits) -> list[Row]:
    """The rows about the source.

    Args:
        facts: What was found out.
        newest: The newest backup, for how long one takes; None: there is none that is known.
        limits: Of the operator.
    """
    return [
        _answers(facts),
        transport_row(
            "TLS to MongoDB",
            facts.tls,
            turn_on="Start mongod with `--tlsMode requireTLS`, and turn on `tls` in the MongoDB Backup Source block; "
            "set `tls_ca_file` there if the CA is your own.",
            verify="Take `tlsInsecure` and `tlsAllowInvalidCertificates` out of the connection string, and set "
            "`tls_ca_file` in the MongoDB Backup Source block to the CA of the server.",
            name="Take `tlsAllowInvalidHostnames` out of the connection string, and use a host name that the "
            "certificate of the server names.",
        ),
        _rights(facts),
        _replica_set(facts.replica_set),
        _oplog(facts.oplog, limits),
        _history(facts.history_seconds, newest),
    ]


def transport_row(check: str, transport: Transport | Unknown, *, turn_on: str, verify: str, name: str) -> Row:
    """Whether bytes travel encrypted, and to the right end.

    Args:
        check: Name of the row.
        transport: How they travel.
        turn_on: What to do where they are not encrypted.
        verify: What to do where the certificate is not verified.
        name: What to do where the name in it is not compared.
    """
    if isinstance(transport, Unknown):
        return unchecked(check, transport)
    if not transport.encrypted and transport.local:
        seen = "off; the connection stays on this machine"
        return Row(check, State.WARN, seen, f"Before either end moves to another machine: {turn_on}")
    if not transport.encrypted:
        return Row(check, State.FAIL, "off: data and password cross the network as they are", turn_on)
    if not transport.verified:
        seen = "on, and the certificate is not verified: whoever is in between can read everything"
        return Row(check, State.FAIL, seen, verify)
    if not transport.named:
        seen = "on, and any certificate of the CA is taken, whatever host it is for"
        return Row(check, State.WARN, seen, name)
    return Row(check, State.PASS, "on, and the certificate is verified")


def _answers(facts: SourceFacts) -> Row:
    check = "MongoDB answers"
    if isinstance(facts.reached, Problem):
        return failed(check, facts.reached)
    if isinstance(facts.readable, Problem):
        return failed(check, facts.readable)
    more = f"; {facts.readable}" if isinstance(facts.readable, str) else ""
    return Row(check, State.PASS, f"{facts.reached}{more}")


def _rights(facts: SourceFacts) -> Row:
    check = "rights of the backup user"
    rights = facts.rights
    if facts.denied is not None:
        return failed(check, facts.denied)
    if isinstance(rights, Unknown):
        return unchecked(check, rights)
    if not rights.logged_in:
        return Row(
            check,
            State.FAIL,
            "nobody logs in: whoever reaches this MongoDB can read and drop everything",
            "Turn on access control (`security.authorization: enabled`), make a user with the role `backup`, and name "
            "it in the MongoDB Backup Source block.",
        )
    more = rights.held - (rights.of_backup | _OF_BACKUP)
    harmful = [right for right in more if right.action not in _LOOKS | _IDLE]
    if harmful:
        return Row(
            check,
            State.FAIL,
            f"the user may do more than read: {_named(harmful)}. Whoever takes over the worker may do so too",
            _ONLY_BACKUP,
        )
    idle = [right for right in more if right.action in _IDLE]
    if idle:
        return Row(check, State.WARN, f"the user has rights that no backup uses: {_named(idle)}", _ONLY_BACKUP)
    reads = "read all that a backup reads, and " if isinstance(facts.readable, str) else ""
    return Row(check, State.PASS, f"the user may {reads}change nothing")


def _named(rights: Iterable[Right]) -> str:
    """Rights for people: each action once, on the most that it may be done to; what destroys comes first."""
    widest: dict[str, str] = {}
    for right in sorted(rights, key=lambda right: (right.resource not in _WIDE, right.resource)):
        widest.setdefault(right.action, right.resource)
    actions = sorted(widest, key=lambda action: (action not in _DESTROY, action))
    more = f" and {len(actions) - _MOST_NAMED} more" if len(actions) > _MOST_NAMED else ""
    return ", ".join(f"{action} on {widest[action]}" for action in actions[:_MOST_NAMED]) + more


def _replica_set(name: str | Unknown | None) -> Row:
    check = "replica set"
    if isinstance(name, Unknown):
        return unchecked(check, name)
    if name is None:
        return Row(
            check,
            State.FAIL,
            "a standalone: its collections cannot be read at one point in time, so no backup is consistent",
            "Turn it into a replica set of one member: start mongod with `--replSet`, then `rs.initiate()`; set "
            "`replica_set` in the MongoDB Backup Source block.",
        )
    return Row(check, State.PASS, f"{name}: all collections are read at one point in time")


def _oplog(oplog: Oplog | Unknown, limits: Limits) -> Row:
    check = "oplog window"
    if isinstance(oplog, Unknown):
        return unchecked(check, oplog)
    window, wanted = oplog.last - oplog.first, timedelta(hours=limits.oplog_hours)
    seen = f"the oplog reaches {format_duration(window)} back, and should reach {format_duration(wanted)}"
    if window >= wanted:
        return Row(check, State.PASS, seen)
    larger = (
        "Make it larger: `db.adminCommand({replSetResizeOplog: 1, size: <MB>})`, and give it a least time with "
        f"`minRetentionHours: {limits.oplog_hours:g}`."
    )
    if oplog.filled and window / oplog.filled >= wanted:
        full = format_duration(window / oplog.filled)
        return Row(
            check,
            State.WARN,
            f"{seen}; it is not full yet, and at this rate will reach {full}",
            f"Nothing, if the replica set is young: look again in {format_duration(wanted)}. Otherwise: {larger}",
        )
    return Row(check, State.FAIL, seen, larger)


def _history(seconds: int | Unknown, newest: NewestBackup | None) -> Row:
    check = "snapshot history"
    if isinstance(seconds, Unknown):
        return unchecked(check, seconds)
    kept = f"a point in time stays readable for {format_duration(timedelta(seconds=seconds))}"
    if newest is None:
        return Row(
            check,
            State.NOT_CHECKED,
            f"{kept}; there is no backup yet that says how long one takes",
            "Run a backup, then the preflight again.",
        )
    took = newest.finished - newest.started
    seen = f"{kept}, and the newest backup took {format_duration(took)}"
    if 2 * took.total_seconds() > seconds:
        wanted = max(3600, 3 * int(took.total_seconds()))
        return Row(
            check,
            State.WARN,
            f"{seen}: a slower one may fail",
            f"Make it longer: `db.adminCommand({{setParameter: 1, minSnapshotHistoryWindowInSeconds: {wanted}}})`, and "
            "in the configuration of mongod, so that it stays.",
        )
    return Row(check, State.PASS, seen)
