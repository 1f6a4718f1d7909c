"""The rows of the checklist about the place of the backups: who gets in, what deletes, and what keeps."""

from __future__ import annotations

from datetime import timedelta

from flows.core.preflight import Row, State, unchecked
from flows.core.preflight_facts import (
    BucketLock,
    Buckets,
    Deleted,
    Deletion,
    Documents,
    LifecycleRule,
    Limits,
    StoreFacts,
    Unknown,
)
from flows.core.preflight_source import transport_row
from flows.core.retention import RetentionPolicy

# All that a public access block can forbid.
EVERY_BLOCK = frozenset({"BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"})
# What a set-up without the right to delete cannot do, on purpose.
_APPEND_ONLY = frozenset({"abort an upload", "clean up"})
_MOST_NAMED = 3  # buckets, in one line


def store_rows(facts: StoreFacts, policy: RetentionPolicy, limits: Limits) -> list[Row]:
    """The rows about the store.

    Args:
        facts: What was found out.
        policy: How long backups are kept in it.
        limits: Of the operator.
    """
    return [
        _works(facts),
        transport_row(
            "TLS to the store",
            facts.transport,
            turn_on="Begin the endpoint in the MongoDB Backup Store block with https://.",
            verify="Turn on `verify` in the client parameters of the store's credentials block; for a CA of your own "
            "give `verify_cert_path`.",
            name="Turn on `verify` in the client parameters of the store's credentials block.",
        ),
        _not_public(facts),
        _lifecycle(facts, policy),
        _deleted(facts, limits),
        _object_lock(facts, policy),
        _documents(facts.documents),
        _least(facts),
    ]


def kept_for(policy: RetentionPolicy) -> timedelta:
    """How old a backup may get by the rules that go by time, where no period is left out."""
    return timedelta(
        days=max(policy.days, policy.daily, 7 * policy.weekly, 31 * policy.monthly, 366 * policy.yearly),
        hours=policy.hourly,
    )


def _works(facts: StoreFacts) -> Row:
    check = "store takes backups"
    wrong = [line for line in facts.lines if not line.ok]
    for line in wrong:
        if line.name not in _APPEND_ONLY:
            return Row(check, State.FAIL, f"{line.name}: {line.detail}", line.hint)
    if wrong:
        return Row(check, State.WARN, f"{wrong[0].name}: {wrong[0].detail}", wrong[0].hint)
    return Row(check, State.PASS, f"{facts.location}: written, read back and deleted")


def _not_public(facts: StoreFacts) -> Row:
    check = "bucket not public"
    blocks = facts.blocks if isinstance(facts.blocks, frozenset) else frozenset()
    open_now: list[str] = []
    held_back: list[str] = []
    if isinstance(facts.anybody, tuple) and facts.anybody:
        open_now.append(f"somebody without credentials could {' and '.join(facts.anybody)}")
    if facts.policy_public is True:
        (held_back if "RestrictPublicBuckets" in blocks else open_now).append("its policy lets everybody in")
    if isinstance(facts.acl_public, tuple) and facts.acl_public:
        groups = " and ".join(facts.acl_public)
        (held_back if "IgnorePublicAcls" in blocks else open_now).append(f"its ACL lets in {groups}")
    close = (
        "Take the grant for everybody out of the policy and the ACL of the bucket, and turn on all four parts of its "
        "public access block."
    )
    if open_now:
        return Row(check, State.FAIL, "; ".join(open_now), close)
    if held_back:
        return Row(check, State.WARN, f"{'; '.join(held_back)}, and only the public access block keeps them out", close)
    if isinstance(facts.blocks, frozenset) and facts.blocks != EVERY_BLOCK:
        off = ", ".join(sorted(EVERY_BLOCK - facts.blocks))
        return Row(
            check,
            State.WARN,
            f"nobody is let in, and nothing keeps that so: parts of the public access block are off: {off}",
            "Turn on all four parts of the public access block of the bucket.",
        )
    if isinstance(facts.anybody, Unknown):
        # The rest may be as closed as can be: some stores give objects away by settings of their own.
        return unchecked(check, facts.anybody)
    others = {"policy": facts.policy_public, "ACL": facts.acl_public, "public access block": facts.blocks}
    closed = [name for name, fact in others.items() if not isinstance(fact, Unknown)]
    unknown = [f"{name} ({fact.why})" for name, fact in others.items() if isinstance(fact, Unknown)]
    seen = [
        "a request without credentials is refused",
        *([f"nobody is let in by {', '.join(closed)}"] if closed else []),
        *([f"not known: {', '.join(unknown)}"] if unknown else []),
    ]
    return Row(check, State.PASS, "; ".join(seen))


def _lifecycle(facts: StoreFacts, policy: RetentionPolicy) -> Row:
    check = "lifecycle rules"
    if isinstance(facts.lifecycle, Unknown):
        return unchecked(check, facts.lifecycle)
    rules = [rule for rule in facts.lifecycle if _touches(rule, facts.folder)]
    kept = kept_for(policy)
    ending = sorted((rule for rule in rules if rule.expires_days is not None), key=lambda rule: rule.expires_days or 0)
    dated = [rule for rule in rules if rule.expires_at is not None]
    leave = (
        "Take the rule off, or give it a prefix without the backups: pruning removes what retention no longer keeps."
    )
    if dated:
        seen = f"the rule {dated[0].name} deletes everything from {dated[0].expires_at:%Y-%m-%d} on"
        return Row(check, State.FAIL, seen, leave)
    if ending and timedelta(days=ending[0].expires_days or 0) <= kept:
        seen = f"the rule {ending[0].name} deletes after {ending[0].expires_days} days, and retention keeps {kept.days}"
        return Row(check, State.FAIL, seen, leave)
    if ending:
        return Row(
            check,
            State.WARN,
            f"the rule {ending[0].name} deletes after {ending[0].expires_days} days whatever there is: where backups "
            "stop, it removes the last good one too, and backups that are held",
            leave,
        )
    moving = [rule for rule in rules if rule.archives_days is not None]
    if moving:
        return Row(
            check,
            State.WARN,
            f"the rule {moving[0].name} moves objects after {moving[0].archives_days} days to a class that cannot be "
            "read at once: neither a verification nor a restore gets at them",
            "Take the rule off, or move to a class whose objects can be read at once, such as GLACIER_IR.",
        )
    return Row(check, State.PASS, "none deletes backups, or moves them out of reach")


def _touches(rule: LifecycleRule, folder: str) -> bool:
    return not rule.by_tag and (folder.startswith(rule.prefix) or rule.prefix.startswith(folder))


def _deleted(facts: StoreFacts, limits: Limits) -> Row:
    check = "what is deleted is gone"
    if isinstance(facts.deleted, Unknown):
        return unchecked(check, facts.deleted)
    how, days = facts.deleted.how, facts.deleted.days
    if how is Deletion.DENIED:
        return Row(
            check,
            State.NOT_CHECKED,
            "these credentials cannot delete",
            "Run the preflight with the store's block that prunes, too.",
        )
    if how is Deletion.GONE:
        versions = ", with all its versions" if facts.versions else ""
        return Row(check, State.PASS, f"an object was deleted{versions}")
    if how is Deletion.LOCKED:
        return Row(check, State.PASS, "the bucket locks new objects; see the row about Object Lock")
    mend = (
        "Allow s3:ListBucketVersions and s3:DeleteObjectVersion for the store's credentials, or give the bucket a "
        f"lifecycle rule NoncurrentVersionExpiration of at most {limits.deleted_days:g} days."
    )
    if days is None:
        seen = "a deletion only hides, and no rule ever removes the old versions: the space and personal data stay"
        return Row(check, State.FAIL, seen, mend)
    seen = f"a deletion only hides, and the old versions live on for {days:.0f} days"
    return Row(check, State.WARN if days > limits.deleted_days else State.PASS, seen, _if(mend, days, limits))


def _if(mend: str, days: float, limits: Limits) -> str:
    return mend if days > limits.deleted_days else ""


def _object_lock(facts: StoreFacts, policy: RetentionPolicy) -> Row:
    check = "Object Lock"
    wanted = facts.lock_days or 0
    if isinstance(facts.object_lock, Unknown):
        return unchecked(check, facts.object_lock)
    bucket: BucketLock = facts.object_lock
    if wanted and not bucket.enabled:
        return Row(
            check,
            State.FAIL,
            f"the store's block asks for a lock of {wanted} days, and the bucket has no Object Lock",
            "Make a bucket with Object Lock, or set `lock` to `none` in the MongoDB Backup Store block.",
        )
    days = max(wanted, bucket.default_days)
    if not days:
        return _not_locked(check, facts.deleted)
    if days <= policy.days:
        return Row(check, State.PASS, f"backups are locked for {days} days, no longer than retention keeps them")
    whose = "by the bucket itself" if bucket.default_days > wanted else f"in mode {facts.lock}"
    return Row(
        check,
        State.WARN,
        f"backups are locked for {days} days ({whose}), and the rule days of retention keeps them for {policy.days}: "
        "what no other rule keeps stays until its lock ends, and personal data in it cannot be erased before",
        "Choose no more days for the lock than retention has: `lock_days` in the MongoDB Backup Store block, and the "
        "default retention of the bucket.",
    )


def _not_locked(check: str, deleted: Deleted | Unknown) -> Row:
    how = None if isinstance(deleted, Unknown) else deleted.how
    if how is Deletion.DENIED:
        return Row(check, State.PASS, "there is none; the store's credentials cannot delete")
    if how is Deletion.HIDDEN:
        return Row(check, State.PASS, "there is none; what the store's credentials delete stays as an old version")
    return Row(
        check,
        State.WARN,
        "there is none: whoever takes over the worker can delete every backup",
        "Use a bucket with Object Lock, and set `lock` and `lock_days` in the MongoDB Backup Store block; or take "
        "backups with credentials that cannot delete, and prune with others.",
    )


def _documents(documents: Documents | Unknown | None) -> Row:
    check = "documents kept apart"
    if isinstance(documents, Unknown):
        return unchecked(check, documents)
    if documents is None:
        return Row(
            check,
            State.NOT_CHECKED,
            "nobody said where the documents of the application are",
            "Give `documents`: s3://bucket/folder, or the name of a MongoDB Backup Store block for that place.",
        )
    return _apart(check, documents)


def _apart(check: str, documents: Documents) -> Row:
    apart = "Give the documents a bucket of their own, with credentials of their own."
    if documents.overlapping:
        return Row(check, State.FAIL, f"backups and documents are in one folder: {documents.where}", apart)
    where = "another folder of the bucket" if documents.same_bucket else "another bucket"
    seen = f"they are in {where}, {documents.where}"
    if isinstance(documents.readable, Unknown):
        seen = f"{seen}; whether the credentials of the backups get there is not known: {documents.readable.why}"
        return Row(check, State.NOT_CHECKED, seen, documents.readable.do)
    if documents.readable is None:
        return Row(check, State.PASS, f"{seen}, at another provider")
    if documents.readable:
        seen = f"{seen}, and the credentials of the backups can list them"
        return Row(check, State.WARN, seen, f"Confine the credentials of the backups to their folder. {apart}")
    return Row(check, State.PASS, f"{seen}; the credentials of the backups are refused there")


def _least(facts: StoreFacts) -> Row:
    check = "rights of the store's credentials"
    if isinstance(facts.buckets, Unknown):
        return unchecked(check, facts.buckets)
    buckets: Buckets = facts.buckets
    confine = (
        "Make credentials that may s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject in this bucket and "
        "folder, and nothing else."
    )
    if buckets.readable:
        seen = f"they can list the objects of other buckets: {_some(buckets.readable)}"
        return Row(check, State.FAIL, seen, confine)
    if facts.beyond is True:
        return Row(
            check, State.WARN, "they can list what else is in the bucket, beyond the folder of the backups", confine
        )
    if buckets.names:
        return Row(check, State.WARN, f"they can list the names of other buckets: {_some(buckets.names)}", confine)
    seen = "they list no other bucket, and nothing beyond the folder of the backups"
    if facts.beyond is None:
        seen = "they list no other bucket"
    return Row(check, State.PASS, f"{seen}; whether they may change the bucket cannot be tried without harm")


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
