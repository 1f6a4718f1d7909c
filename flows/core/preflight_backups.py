"""The rows of the checklist about the backups themselves and the keys to them, and the whole of it."""

from __future__ import annotations

from datetime import datetime, timedelta

from flows.core.preflight import Row, State, failed, unchecked
from flows.core.preflight_facts import (
    BackupsFacts,
    Facts,
    KeysFacts,
    Last,
    Limits,
    NewestBackup,
    Problem,
    SourceFacts,
    StoreFacts,
    Unknown,
    WorkerFacts,
)
from flows.core.preflight_source import source_rows
from flows.core.preflight_store import store_rows
from flows.core.report import format_bytes, format_duration
from flows.core.retention import RetentionPolicy

# Beyond this stores begin to refuse requests (at 15 minutes), and ages of garbage and ends of locks go wrong.
_MOST_SKEW_SECONDS = 300.0
_NO_BACKUP = Unknown("there is no backup yet", "Run a backup, then the preflight again.")

# Where botocore finds keys by itself.
_ON_WORKER = {
    "env": "the environment of the worker",
    "shared-credentials-file": "a file on the worker",
    "config-file": "a file on the worker",
    "boto-config": "a file on the worker",
    "custom-process": "a program on the worker",
}


def judge(facts: Facts, policy: RetentionPolicy, limits: Limits, *, now: datetime) -> tuple[Row, ...]:
    """Go through the checklist.

    Args:
        facts: What was found out.
        policy: How long backups are kept in the store.
        limits: Of the operator.
        now: Aware.
    """
    found = facts.backups.newest
    newest = found if isinstance(found, NewestBackup) else None
    return (
        *source_rows(facts.source, newest, limits),
        *store_rows(facts.store, policy, limits),
        _credentials(facts.source, facts.store),
        _at_rest(facts.backups, facts.store, facts.keys),
        _clocks(facts.source, facts.store, limits),
        _spool(facts.source, newest, facts.worker),
        _newest(facts.backups, now),
        _identity(facts.backups, facts.keys),
        _last("last drill", facts.backups, facts.backups.drill, limits.drill_days, "drill", now),
        _last("last verification", facts.backups, facts.backups.verification, limits.verification_days, "verify", now),
    )


def _credentials(source: SourceFacts, store: StoreFacts) -> Row:
    check = "credentials are in blocks"
    if isinstance(store.keys_from, Unknown):
        return unchecked(check, store.keys_from)
    if not store.keys_from:
        return Row(
            check, State.FAIL, "there are none for the store", "Fill in the credentials block of the store's block."
        )
    if store.keys_from in _ON_WORKER:
        return Row(
            check,
            State.FAIL,
            f"those of the store come from {_ON_WORKER[store.keys_from]}: every program on it has them",
            "Put access key and secret key into the credentials block of the store's block, and take them off the "
            "worker.",
        )
    if source.password_in_uri:
        return Row(
            check,
            State.WARN,
            "the password for MongoDB is part of a connection string, which programs like to show in errors",
            "Fill in host, `username` and `password` of the MongoDB Backup Source block in place of "
            "`connection_string`, or take user and password out of it.",
        )
    if store.keys_from != "block":
        return Row(check, State.PASS, f"those of the store are the worker's own role ({store.keys_from}), without keys")
    return Row(check, State.PASS, "those of MongoDB and of the store")


def _at_rest(backups: BackupsFacts, store: StoreFacts, keys: KeysFacts) -> Row:
    check = "encryption at rest"
    ours = (
        "Give `encryption` of the backup flow a MongoDB Backup Encryption block, so that nobody who gets at the bucket "
        "reads them."
    )
    newest = backups.newest
    by_store = "" if store.encryption == "none" else f"its block asks for {store.encryption}"
    if isinstance(newest, NewestBackup) and newest.store_encryption:
        by_store = f"it said {newest.store_encryption} of the newest backup"
    elif not by_store and isinstance(store.default_encryption, str) and store.default_encryption:
        by_store = f"its default is {store.default_encryption}"
    also = f"; the store encrypts too: {by_store}" if by_store else ""
    if isinstance(newest, NewestBackup) and newest.recipients:
        many = f"{len(newest.recipients)} keys" if len(newest.recipients) > 1 else "one key"
        return Row(check, State.PASS, f"the newest backup is encrypted to {many}{also}")
    if keys.encrypts and isinstance(newest, NewestBackup):
        seen = f"the newest backup is not encrypted by this project, and a block for that is named{also}"
        return Row(check, State.WARN, seen, "Give the backup flow the same block as `encryption`, and run a backup.")
    if keys.encrypts:
        return Row(check, State.PASS, f"a block for the encryption of new backups is named{also}")
    if by_store:
        seen = f"only by the store: {by_store}; whoever may read the bucket reads the data"
        return Row(check, State.WARN, seen, ours)
    if isinstance(store.default_encryption, Unknown):
        seen = f"not by this project; whether the store does is not known: {store.default_encryption.why}"
        return Row(check, State.NOT_CHECKED, seen, ours)
    return Row(check, State.FAIL, "neither this project nor the store encrypts backups", ours)


def _clocks(source: SourceFacts, store: StoreFacts, limits: Limits) -> Row:
    check = "clocks"
    said, known = [], []
    for name, ahead in (("MongoDB", source.ahead_seconds), ("the store", store.ahead_seconds)):
        if isinstance(ahead, Unknown):
            said.append(f"that of {name} is not known: {ahead.why}")
        else:
            said.append(f"{name} is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}")
            known.append(abs(ahead))
    seen = "; ".join(said)
    if not known:
        return Row(check, State.NOT_CHECKED, seen)
    worst = max(known)
    mend = "Set the clocks of all three by NTP: ages, ends of locks and signatures of requests are reckoned with them."
    if worst > _MOST_SKEW_SECONDS:
        return Row(check, State.FAIL, seen, mend)
    return Row(check, State.WARN, seen, mend) if worst > limits.clock_seconds else Row(check, State.PASS, seen)


def _spool(source: SourceFacts, newest: NewestBackup | None, worker: WorkerFacts) -> Row:
    check = "spool space"
    free = worker.spool_free
    if isinstance(free, Problem):
        return failed(check, free)
    needs = {} if isinstance(source.spool_bytes, Unknown) else {"a backup": source.spool_bytes}
    needs |= {"a restore": newest.restore_bytes} if newest is not None else {}
    if not needs:
        return Row(check, State.NOT_CHECKED, f"{format_bytes(free)} are free; what a backup needs is not known")
    what = max(needs, key=lambda name: needs[name])
    seen = f"{format_bytes(free)} are free, and {what} needs up to {format_bytes(needs[what])}"
    larger = "Free some space, or set MONGO_BACKUP_SPOOL on the worker to a folder on a larger disk."
    if free < needs[what]:
        return Row(check, State.FAIL, seen, larger)
    if newest is not None:
        drill = newest.bson_bytes + worker.drill_room_bytes
        seen += f"; a drill in a throw-away MongoDB needs {format_bytes(drill)}"
        if free < drill:
            return Row(check, State.WARN, seen, f"{larger} Or give the drill a `target`.")
    return Row(check, State.PASS, seen)


def _newest(backups: BackupsFacts, now: datetime) -> Row:
    check = "newest backup"
    newest = backups.newest
    if isinstance(newest, Unknown):
        return unchecked(check, newest)
    if isinstance(newest, Problem):
        return failed(check, newest)
    if newest is None:
        return Row(check, State.FAIL, "there is none", "Run the backup flow once, and see that its schedule is on.")
    if newest.marks:
        return Row(
            check,
            State.FAIL,
            f"{newest.backup}: {'; '.join(newest.marks)}",
            "Take a new backup now, and find out what changed the objects.",
        )
    age = format_duration(max(now - newest.started, timedelta()))
    return Row(check, State.PASS, f"{newest.backup}, {age} old, and all its objects are there")


def _identity(backups: BackupsFacts, keys: KeysFacts) -> Row:
    check = "restore identity"
    newest = backups.newest
    if newest is None:
        return _identity_of_the_first(check, keys)
    opened = newest.opened if isinstance(newest, NewestBackup) else Unknown("nothing is known of the newest backup")
    if isinstance(opened, Unknown):
        return unchecked(check, opened)
    if isinstance(opened, Problem):
        return failed(check, opened)
    return Row(check, State.PASS, f"the newest backup is {opened}")


def _identity_of_the_first(check: str, keys: KeysFacts) -> Row:
    if not keys.recipients or not keys.opens:
        return unchecked(check, _NO_BACKUP)
    if set(keys.recipients) & set(keys.opens):
        return Row(check, State.PASS, "there is no backup yet; an identity belongs to a recipient of new ones")
    return Row(
        check,
        State.FAIL,
        "there is no backup yet, and none of the identities belongs to a recipient of new ones",
        "Put the secret key of one of the recipients into the MongoDB Backup Identities block: without it nobody could "
        "read the backups.",
    )


def _last(check: str, backups: BackupsFacts, last: Last | Unknown, days: float, flow: str, now: datetime) -> Row:
    if isinstance(last, Unknown):
        return unchecked(check, last)
    untrusted = f"; {last.untrusted} records are left out, which nobody who is trusted signed" if last.untrusted else ""
    run = f"Run the flow `{flow}`, and see that its schedule is on."
    if last.newest is None:
        if backups.newest is None and not last.untrusted:
            return unchecked(check, _NO_BACKUP)
        return Row(check, State.FAIL, f"there never was one{untrusted}", run)
    if last.passed is None or last.newest != last.passed:
        seen = f"the newest, of {last.newest:%Y-%m-%d %H:%M} UTC, failed{untrusted}"
        return Row(check, State.FAIL, seen, f"Its page says what was found. When that is mended: {run}")
    ago = now - last.passed
    seen = f"passed {format_duration(max(ago, timedelta()))} ago, and may be {days:g} days ago{untrusted}"
    return Row(check, State.PASS, seen) if ago <= timedelta(days=days) else Row(check, State.FAIL, seen, run)
