"""What a preflight finds out before it judges: facts of the source, the store, the backups and the worker.

A fact that could not be had is `Unknown` and says why; something that was tried and failed is a `Problem`. Neither ends
a preflight: the first makes a row "not checked", the second a row that failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from flows.core.checks import CheckLine
from flows.core.errors import BackupError


@dataclass(frozen=True, slots=True)
class Unknown:
    """What could not be found out: why, as a lower-case fact, and what makes it known, as a sentence or empty."""

    why: str
    do: str = ""

    @classmethod
    def of(cls, error: BackupError) -> Unknown:
        """Because of an error."""
        return cls(error.message, error.hint)


@dataclass(frozen=True, slots=True)
class Problem:
    """What was tried and failed: how, as a lower-case fact, and what mends it, as a sentence."""

    what: str
    do: str

    @classmethod
    def of(cls, error: BackupError) -> Problem:
        """An error, with what it says of the place."""
        facts = ", ".join(f"{name}: {value}" for name, value in error.facts.items())
        return cls(f"{error.message} ({facts})" if facts else error.message, error.hint)


@dataclass(frozen=True, slots=True)
class Transport:
    """How bytes travel to one of the ends."""

    encrypted: bool  # TLS
    verified: bool = False  # whether the certificate has to be signed by a CA that is trusted
    named: bool = False  # whether it has to name the host
    local: bool = False  # whether they stay on this machine


@dataclass(frozen=True, slots=True)
class Right:
    """What a user of MongoDB may do to what."""

    resource: str  # for people: `cluster`, `every database`, `mpg.*`, `config.settings`
    action: str


@dataclass(frozen=True, slots=True)
class Rights:
    """What the user of the source may do."""

    logged_in: bool
    held: frozenset[Right]
    of_backup: frozenset[Right]  # of the built-in role `backup` of this server; empty: the user may not look it up


@dataclass(frozen=True, slots=True)
class Oplog:
    """How far the oplog reaches."""

    first: datetime  # aware
    last: datetime  # aware
    filled: float | None  # share of its size that is in use; None: not known


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """The MongoDB that is backed up.

    Attributes:
        reached: What it is; a problem where it does not answer.
        tls: How bytes travel to it.
        password_in_uri: Whether the connection string of its block has a password in it.
        readable: What of it a backup would read; a problem where that cannot be read, whoever asks.
        denied: What its user may not do and a backup has to; None: nothing, as far as is known.
        rights: Of its user.
        replica_set: Its name; None for a standalone.
        oplog: How far it reaches.
        history_seconds: For how long it keeps a point in time readable [s].
        ahead_seconds: How far its clock is ahead of this machine's [s].
        spool_bytes: Room that a backup of it takes on the spool disk at one time [bytes].
    """

    reached: str | Problem
    tls: Transport | Unknown
    password_in_uri: bool
    readable: str | Problem | Unknown
    denied: Problem | None
    rights: Rights | Unknown
    replica_set: str | Unknown | None
    oplog: Oplog | Unknown
    history_seconds: int | Unknown
    ahead_seconds: float | Unknown
    spool_bytes: int | Unknown


class Deletion(StrEnum):
    """What became of an object with two versions that was deleted, to see."""

    GONE = "gone"
    HIDDEN = "hidden"  # its versions live on
    LOCKED = "locked"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion leaves."""

    how: Deletion
    days: float | None = None  # for how long what is hidden or locked lives on [days]; None: for ever, or nobody knows


@dataclass(frozen=True, slots=True)
class LifecycleRule:
    """A rule of the bucket that is switched on.

    Attributes:
        name: Its id.
        prefix: Of the keys that it is about; empty: all.
        by_tag: Whether it is only about objects with a tag, which ours never have.
        expires_days: After how many days it deletes; None: it does not.
        expires_at: From which day on it deletes everything, aware; None: it does not.
        archives_days: After how many days it moves objects to a class that cannot be read at once; None: it does not.
    """

    name: str
    prefix: str = ""
    by_tag: bool = False
    expires_days: int | None = None
    expires_at: datetime | None = None
    archives_days: int | None = None


@dataclass(frozen=True, slots=True)
class BucketLock:
    """Whether the bucket can lock objects, and for how many days it does so by itself; 0: it does not."""

    enabled: bool
    default_days: int = 0


@dataclass(frozen=True, slots=True)
class Buckets:
    """What the credentials of the store see beside its bucket."""

    names: tuple[str, ...] | None  # other buckets that they can list; None: they may not list buckets
    readable: tuple[str, ...] = ()  # those of them whose objects they can list


@dataclass(frozen=True, slots=True)
class Documents:
    """Where the documents of the application are, beside the backups."""

    where: str  # for people
    same_bucket: bool
    overlapping: bool  # whether the folder of one is within that of the other
    readable: bool | Unknown | None  # whether the credentials of the backups can list them; None: another provider


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """The place of the backups.

    Attributes:
        location: For people.
        folder: Prefix of all keys of the plan in its bucket.
        lines: What the check of the block has tried.
        transport: How bytes travel to it.
        keys_from: Where its keys come from: `block`, or what botocore calls it; empty: there are none.
        encryption: How its block asks it to encrypt: `none`, `sse-s3`, …
        lock: How its block asks it to lock: `none`, `governance`, `compliance`.
        lock_days: For how many days.
        versions: Whether its bucket is known to keep versions.
        anybody: What somebody without credentials could do.
        policy_public: Whether the policy of its bucket lets everybody in.
        acl_public: The groups of strangers that the ACL of the bucket names.
        blocks: What the public access block forbids; nothing where there is none.
        default_encryption: What the bucket encrypts with where nobody asks; empty: it does not.
        deleted: What a deletion leaves.
        lifecycle: The rules of the bucket that are switched on.
        object_lock: Whether the bucket locks.
        buckets: What its credentials see beside it.
        beyond: Whether its credentials can list objects of the bucket outside of its folder; None: there is no outside.
        documents: Where the documents of the application are; None: nobody said.
        ahead_seconds: How far its clock is ahead of this machine's [s].
    """

    location: str
    folder: str
    lines: tuple[CheckLine, ...]
    transport: Transport | Unknown
    keys_from: str | Unknown
    encryption: str
    lock: str
    lock_days: int | None
    versions: bool
    anybody: tuple[str, ...] | Unknown
    policy_public: bool | Unknown
    acl_public: tuple[str, ...] | Unknown
    blocks: frozenset[str] | Unknown
    default_encryption: str | Unknown
    deleted: Deleted | Unknown
    lifecycle: tuple[LifecycleRule, ...] | Unknown
    object_lock: BucketLock | Unknown
    buckets: Buckets | Unknown
    beyond: bool | Unknown | None
    documents: Documents | Unknown | None
    ahead_seconds: float | Unknown


@dataclass(frozen=True, slots=True)
class NewestBackup:
    """The newest backup of the plan, whose objects are all there.

    Attributes:
        backup: Its id.
        started: Aware.
        finished: Aware.
        marks: Why verifications do not take it for a good copy; none: they do, or there were none.
        bson_bytes: Of all documents [bytes].
        restore_bytes: Room that a restore takes on the spool disk at one time [bytes].
        recipients: Public keys that it is encrypted to by this project; none: it is not.
        store_encryption: How the store said that it encrypted its segments; empty: it said nothing.
        opened: How it is opened; a problem where it cannot be, or nobody who is trusted signed it.
    """

    backup: str
    started: datetime
    finished: datetime
    marks: tuple[str, ...]
    bson_bytes: int
    restore_bytes: int
    recipients: tuple[str, ...]
    store_encryption: str
    opened: str | Problem | Unknown


@dataclass(frozen=True, slots=True)
class Last:
    """What the evidence says of drills, or of verifications."""

    newest: datetime | None = None  # when the newest ended, aware; None: there was none
    passed: datetime | None = None  # when the newest that passed ended, aware
    untrusted: int = 0  # so many newer ones were left out, because nobody who is trusted signed their records


@dataclass(frozen=True, slots=True)
class BackupsFacts:
    """The backups of the plan, and what is known of them; `newest` is None where there is none yet."""

    newest: NewestBackup | Problem | Unknown | None
    drill: Last | Unknown
    verification: Last | Unknown


@dataclass(frozen=True, slots=True)
class KeysFacts:
    """The keys that the operator has named.

    Attributes:
        encrypts: Whether a block for the encryption of new backups was named.
        recipients: The public keys in it; none with a passphrase.
        opens: Public keys of the identities that were named.
    """

    encrypts: bool = False
    recipients: tuple[str, ...] = ()
    opens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """The machine on which this ran.

    Attributes:
        spool_free: Free space of the spool disk [bytes]; a problem where the spool cannot be used.
        drill_room_bytes: What a drill takes there beside the documents themselves [bytes].
    """

    spool_free: int | Problem
    drill_room_bytes: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it."""

    source: SourceFacts
    store: StoreFacts
    backups: BackupsFacts
    keys: KeysFacts
    worker: WorkerFacts


@dataclass(frozen=True, slots=True)
class Limits:
    """What is long enough, late or too much.

    Attributes:
        oplog_hours: How far the oplog has to reach back [h]; 0: any length will do.
        clock_seconds: By how much two clocks may differ [s].
        deleted_days: For how long a backup that was deleted may live on as an old version [days].
        drill_days: How long ago the last drill that passed may be [days].
        verification_days: How long ago the last verification that passed may be [days].
    """

    oplog_hours: float = 24
    clock_seconds: float = 60
    deleted_days: float = 30
    drill_days: float = 35
    verification_days: float = 8
