"""Find out what a store can do, by doing it: at set-up, instead of at three in the morning.

All of it happens in a scratch folder of its own, `.probe/…` below the prefix of the store, and is removed again.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from flows.core.checks import CheckLine
from flows.core.errors import BackupError, ObjectExists, StoreDenied, StoredWrongly, StoreError, StoreUnavailable
from flows.core.report import format_bytes, format_time
from flows.storage.options import NONE, StoreOptions, encryption_of
from flows.storage.profiles import SSE_C, SSE_KMS, SSE_S3, STANDARD
from flows.storage.s3 import S3Store
from flows.storage.s3_errors import answered_at, store_errors
from flows.storage.store import Leftover, Obstacle, compare

_CONTENT = b"written by a probe of this store; may be deleted\n"
_SHA256 = base64.b64encode(hashlib.sha256(_CONTENT).digest()).decode()
_WRONG = base64.b64encode(bytes(32)).decode()
_MD5 = base64.b64encode(hashlib.md5(_CONTENT, usedforsecurity=False).digest()).decode()
SCRATCH = ".probe"
_FORGOTTEN = timedelta(hours=1)  # no probe takes longer, so what is older was left by one that was killed
_MOST_SKEW = timedelta(minutes=5)  # stores refuse requests at 15
_LOCK = timedelta(seconds=3)
_ON_PURPOSE = "Allow it, or leave it so on purpose (append-only) and prune with other credentials."

Answer = dict[str, Any]


def check_store(store: S3Store, scratch: str) -> list[CheckLine]:
    """The small version: list, write, read back and delete one small object, start and abort an upload.

    Args:
        store: What to try.
        scratch: The random part of the keys.

    Returns:
        A line for each thing tried, up to the first whose failure makes the rest pointless.
    """
    probe = _Probe(store, scratch)
    lines = [probe.reach()]
    if lines[-1].ok:
        lines += [probe.listing(), probe.write()]
        if lines[-1].ok:
            lines += [probe.read(), probe.conditional_write(), probe.start_upload(), probe.abort(), probe.clean_up()]
    return lines


def probe_store(store: S3Store, scratch: str, *, now: datetime, sleep: Callable[[float], None]) -> list[CheckLine]:
    """Try everything that backups can make use of, and hold it against the profile of the provider.

    Args:
        store: What to try.
        scratch: The random part of the keys.
        now: By the clock of this machine, aware.
        sleep: Waits so many seconds: for the end of a lock that was set to be tried.

    Returns:
        A line for each thing tried, up to the first whose failure makes the rest pointless. The last is about what the
        probe has left behind.
    """
    probe = _Probe(store, scratch)
    lines = [probe.reach()]
    if not lines[-1].ok:
        return lines
    try:
        lines += [probe.clock(now), probe.listing(), probe.write()]
        if lines[-1].ok:
            lines += [probe.read(), probe.ranged_read(), probe.conditional_write(), probe.multipart()]
            lines += [probe.start_upload(), probe.list_uploads(), probe.abort(), probe.checksums()]
            lines += [probe.deletion(), probe.versions(), probe.object_lock(sleep)]
            lines += [probe.encryption(mode) for mode in (SSE_S3, SSE_KMS, SSE_C)]
            lines += [probe.storage_class()]
    finally:
        last = probe.clean_up()
    return [*lines, last]


class _Probe:
    """One probe of one store. Each method tries one thing and gives its line."""

    def __init__(self, store: S3Store, scratch: str) -> None:
        self._store = store
        self._profile = store.profile
        self._folder = f"{SCRATCH}/{scratch}"
        self._key = f"{self._folder}/object"
        self._unfinished = f"{self._folder}/unfinished"
        self._upload = ""  # id of the unfinished upload
        self._deleted = ""  # key of an object that was deleted as one does without versions
        self._hides = False  # whether the store said that this only hid it
        self._written = {self._key}
        self._time: datetime | None = None  # of the last answer, by the store's clock

    # What backups cannot do without

    def reach(self) -> CheckLine:
        def attempt() -> str:
            try:  # not HeadBucket, which a policy for one prefix cannot allow
                self._ask("list_objects_v2", Bucket=self._store.folder.bucket, Prefix=self._at("")["Key"], MaxKeys=1)
            except StoreDenied as error:
                if error.facts["code"] != "AccessDenied":
                    raise
            return self._store.location  # a bucket that denies is reached; the line about listing says the rest

        return _line("reach the bucket", attempt)

    def clock(self, now: datetime) -> CheckLine:
        if self._time is None:
            return CheckLine("clock", True, "the store does not tell the time")
        ahead = (self._time - now).total_seconds()
        fits = abs(ahead) <= _MOST_SKEW.total_seconds()
        return CheckLine(
            "clock",
            fits,
            f"the store is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}",
            "" if fits else "Set the clock of this machine.",
            "the age of garbage and the ends of locks are reckoned with both clocks",
        )

    def listing(self) -> CheckLine:
        def attempt() -> str:
            # One object is enough: a repository may hold a million.
            return "allowed" if next(iter(self._store.list("")), None) else "allowed, nothing is there yet"

        return _line("list", attempt, "inventory and pruning see what is there")

    def write(self) -> CheckLine:
        def attempt() -> str:
            self._store.put(self._key, _CONTENT)
            return f"{len(_CONTENT)} bytes at {self._key}"

        return _line("write", attempt)

    def read(self) -> CheckLine:
        def attempt() -> str:
            got = self._store.get(self._key, limit=4096)
            compare(self._store.location, self._key, what="content", expected=repr(_CONTENT), got=repr(got))
            return "the same bytes"

        return _line("read back", attempt)

    def ranged_read(self) -> CheckLine:
        def attempt() -> str:
            answer = self._ask("get_object", **self._at(self._key), **self._store.folder.reading, Range="bytes=8-12")
            with store_errors(self._store.location):
                got = answer["Body"].read(), answer.get("ContentRange", "").partition("/")[0]
            if got != (_CONTENT[8:13], "bytes 8-12"):
                raise StoreError("the store answers with another range than was asked for", got=got)
            return "5 bytes from the middle"

        return _line("ranged read", attempt, "a download that breaks goes on where it stopped")

    def multipart(self) -> CheckLine:
        key = f"{self._folder}/parts"
        parts = [bytes(self._profile.min_part_bytes), _CONTENT]

        def attempt() -> str:
            started = self._put("create_multipart_upload", key)
            which = {**self._at(key), "UploadId": started["UploadId"]}
            try:
                etags = []
                for number, data in enumerate(parts, start=1):
                    part = {**self._store.folder.reading, "PartNumber": number, "Body": data}
                    etags.append({"PartNumber": number, "ETag": self._ask("upload_part", **which, **part)["ETag"]})
                self._ask("complete_multipart_upload", **which, MultipartUpload={"Parts": etags})
            except BaseException:
                with suppress(BackupError):  # the first error says why
                    self._ask("abort_multipart_upload", **which)
                raise
            size = self._store.head(key).size
            compare(self._store.location, key, what="size", expected=sum(map(len, parts)), got=size)
            return f"2 parts, {format_bytes(size)}"

        return _line("multipart upload", attempt, "large segments go in parts, and only a part that failed goes again")

    def start_upload(self) -> CheckLine:
        def attempt() -> str:
            self._upload = self._put("create_multipart_upload", self._unfinished)["UploadId"]
            return "started"

        return _line("start an upload", attempt)

    def abort(self) -> CheckLine:
        def attempt() -> str:
            if not self._upload:
                return "not tried: none was started"
            self._ask("abort_multipart_upload", **self._at(self._unfinished), UploadId=self._upload)
            self._upload = ""
            return "aborted"

        return _line("abort an upload", attempt, "a failed upload leaves no parts that cost money", _ON_PURPOSE)

    # What differs between providers

    def conditional_write(self) -> CheckLine:
        claimed = self._profile.conditional_writes

        def attempt() -> CheckLine:
            try:
                self._put("put_object", self._key, Body=_CONTENT, IfNoneMatch="*")
                works, seen = False, "the store overwrites an object that it was told to keep"
            except ObjectExists:
                works, seen = True, "the store refuses to overwrite when asked"
            except StoreError as error:
                works, seen = False, _refusal(error)
            wrong = claimed and not works
            return CheckLine(
                "conditional write",
                not wrong,
                seen,
                "Use the provider `other` for this store, and run one backup of a plan at a time." if wrong else "",
                "of two runs that commit under one id one is refused"
                if works
                else "a key is looked up before the write",
                self._contradiction("conditional writes", claimed, works),
            )

        return _try("conditional write", attempt)

    def list_uploads(self) -> CheckLine:
        def attempt() -> CheckLine:
            if not self._upload:
                return CheckLine("list uploads", True, "not tried: none was started")
            found = self._unfinished in [upload.key for upload in self._store.uploads(SCRATCH)]
            return CheckLine(
                "list uploads",
                True,
                "by folder" if found else "not by folder",
                "" if found or not self._profile.lists_uploads else "Let a lifecycle rule of the bucket abort them.",
                "pruning aborts what crashes left" if found else "pruning does not find what crashes left",
                self._contradiction("uploads are listed by folder", self._profile.lists_uploads, found),
            )

        return _try("list uploads", attempt)

    def checksums(self) -> CheckLine:
        def attempt() -> CheckLine:
            header, trailer = self._kept(ChecksumSHA256=_SHA256), self._kept(ChecksumAlgorithm="SHA256")
            works = "parts" if trailer == _SHA256 else "single" if header == _SHA256 else "nowhere"
            if works != "nowhere" and self._kept(ChecksumSHA256=_WRONG) == _WRONG:
                works = "nowhere"  # the store repeats whatever it is told
            claimed = self._profile.sha256
            return CheckLine(
                "checksums",
                True,
                {"parts": "SHA-256 kept", "single": "SHA-256 kept, not with parts", "nowhere": "none kept"}[works],
                "",
                "every byte is read back" if works == "nowhere" else "the store's own checksum proves what it holds",
                "" if works == claimed else self._says("`sha256`", claimed, works),
            )

        return _try("checksums", attempt)

    def _kept(self, **checksum: str) -> str:
        key = f"{self._folder}/checksum"
        try:
            self._put("put_object", key, Body=_CONTENT, **checksum)
        except (StoreError, StoredWrongly) as error:
            _refusal(error)
            return ""
        return str(self._store.folder.head(key, ChecksumMode="ENABLED").get("ChecksumSHA256", ""))

    def deletion(self) -> CheckLine:
        key = f"{self._folder}/versions"

        def attempt() -> str:
            self._written.add(key)
            for content in (b"first\n", _CONTENT):
                self._store.put(key, content)
            answer = self._ask("delete_object", **self._at(key))
            self._deleted, self._hides = key, bool(answer.get("DeleteMarker"))
            return "allowed; it only hides" if self._hides else "allowed"

        return _line("delete", attempt, "pruning removes old backups", _ON_PURPOSE)

    def versions(self) -> CheckLine:
        def attempt() -> CheckLine:
            if not self._deleted:
                return CheckLine("versions", True, "not tried: nothing could be deleted")
            kept = self._versions_of(self._deleted)
            left = self._store.delete([self._deleted])
            claim = {"never": False, "always": True}.get(self._profile.versions)
            contradicts = "" if claim is None else self._contradiction("versions", claim, self._hides or kept > 0)
            if left:
                seen, hint = "the bucket locks every new object", ""
                if left[0].why is Obstacle.HIDDEN:
                    seen = "a deletion only hides, and these credentials may not delete versions"
                    hint = "Allow s3:ListBucketVersions and s3:DeleteObjectVersion, or let a rule of the bucket do it."
                means = f"what is pruned lives on until {_until(left[0])}"
                return CheckLine("versions", False, seen, hint, means, contradicts)
            seen = f"a deletion only hides; {kept} versions stayed and could be deleted" if kept else "none are kept"
            return CheckLine("versions", True, seen, "", "what is pruned is gone", contradicts)

        return _try("versions", attempt)

    def _versions_of(self, key: str) -> int:
        try:
            answer = self._ask("list_object_versions", Bucket=self._store.folder.bucket, Prefix=self._at(key)["Key"])
        except StoreError as error:  # what is left after a deletion tells more
            _refusal(error)
            return 0
        return len(answer.get("Versions", []))

    def object_lock(self, sleep: Callable[[float], None]) -> CheckLine:
        wanted = self._store.options.lock != NONE

        def attempt() -> CheckLine:
            try:
                answer = self._ask("get_object_lock_configuration", Bucket=self._store.folder.bucket)
            except StoreDenied:
                raise
            except StoreError as error:  # stores without it have many words for that
                _refusal(error)
                answer = {}
            rules = answer.get("ObjectLockConfiguration", {})
            if rules.get("ObjectLockEnabled") != "Enabled":
                hint = "Make a bucket with Object Lock, or set `lock` to `none`." if wanted else ""
                means = "whoever has credentials that delete can delete backups"
                return CheckLine("object lock", not wanted, "the bucket has none", hint, means)
            holds, seen = self._lock_holds(sleep)
            if days := rules.get("Rule", {}).get("DefaultRetention", {}).get("Days"):
                seen += f"; the bucket locks every new object for {days} days"
            claimed = self._profile.object_lock
            return CheckLine(
                "object lock",
                holds,
                seen,
                "" if holds else "Do not rely on the locks of this store.",
                "with `lock` nobody can delete new backups",
                "" if claimed is None else self._contradiction("Object Lock", claimed, holds),
            )

        return _try("object lock", attempt)

    def _lock_holds(self, sleep: Callable[[float], None]) -> tuple[bool, str]:
        key = f"{self._folder}/locked"
        self._ask("head_object", **self._at(self._key), **self._store.folder.reading)
        if self._time is None:
            return True, "not tried: the store does not tell the time"
        lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": self._time + _LOCK}
        put = self._put("put_object", key, Body=_CONTENT, ContentMD5=_MD5, **lock)
        which = {**self._at(key), **({"VersionId": put["VersionId"]} if "VersionId" in put else {})}
        try:
            self._ask("delete_object", **which)
        except StoreError as error:
            _refusal(error)
        else:
            return False, "a locked object could be deleted all the same"
        sleep(_LOCK.total_seconds() + 1)
        try:
            self._ask("delete_object", **which)
        except StoreError as error:
            return True, f"not known, a locked object can never be deleted: {_refusal(error)}"
        return True, "a locked object could not be deleted before its time"

    def encryption(self, mode: str) -> CheckLine:
        key, wanted = f"{self._folder}/{mode}", self._store.options.encryption == mode
        options = StoreOptions(encryption=mode, customer_key=os.urandom(32) if mode == SSE_C else b"")

        def attempt() -> CheckLine:
            try:
                self._ask("put_object", **self._at(key), Body=_CONTENT, **options.writing())
                works = encryption_of(self._ask("head_object", **self._at(key), **options.reading())) == mode
                seen = "done" if works else "taken, and not done"
                if works and not self._is_meant(key, mode):
                    works, seen = False, "not done: the store repeats whatever it is told"
            except StoreError as error:
                works, seen = False, _refusal(error)
            return CheckLine(
                f"encryption {mode}",
                works or not wanted,
                seen,
                "" if works or not wanted else "Use another encryption of the store.",
                f"`encryption` can{'' if works else 'not'} be `{mode}`",
                self._contradiction(f"`{mode}`", mode in self._profile.encryption, works),
            )

        return _try(f"encryption {mode}", attempt)

    def _is_meant(self, key: str, mode: str) -> bool:
        """Whether the store knows what it says: needs the key of a client, or refuses an encryption that is none."""
        try:
            if mode == SSE_C:
                self._ask("get_object", **self._at(key))
            else:
                self._ask("put_object", **self._at(f"{key}-x"), Body=_CONTENT, ServerSideEncryption="no-such-thing")
        except StoreError as error:
            _refusal(error)
            return True
        return False

    def storage_class(self) -> CheckLine:
        wanted = self._store.options.storage_class

        def attempt() -> CheckLine:
            if not wanted:
                return CheckLine("storage class", True, "the usual one of the bucket")
            key = f"{self._folder}/class"
            self._put("put_object", key, Body=_CONTENT, StorageClass=wanted)
            got = self._store.folder.head(key).get("StorageClass", STANDARD)
            days = (self._profile.storage_classes or {}).get(wanted, 0)
            return CheckLine(
                "storage class",
                got == wanted,
                got,
                "" if got == wanted else "Use a class that this provider has.",
                f"warning: every segment is paid for {days} days, however early it is removed" if days else "",
            )

        return _try("storage class", attempt)

    # What is left

    def clean_up(self) -> CheckLine:
        def old(moment: datetime) -> bool:
            return self._time is not None and moment < self._time - _FORGOTTEN

        def attempt() -> str:
            keys = self._written
            with suppress(StoreDenied):  # another line says that nothing can be listed
                keys |= {item.key for item in self._store.list(SCRATCH) if old(item.modified)}
                for upload in self._store.uploads(SCRATCH):
                    if upload.key.startswith(f"{self._folder}/") or old(upload.started):
                        self._store.abort(upload)
            if left := self._store.delete(sorted(keys)):
                raise StoreError(
                    "objects of this probe are still in the store",
                    hint="They are small. What is locked is removed by the first probe after the end of its lock.",
                    left=[f"{item.key}: {item.why.value} until {_until(item)}" for item in left],
                )
            return f"{len(keys)} objects are gone"

        return _line("clean up", attempt, "", _ON_PURPOSE)

    # How

    def _at(self, key: str) -> dict[str, Any]:
        return self._store.folder.at(key or self._folder)

    def _ask(self, operation: str, **arguments: Any) -> Answer:
        if operation in {"put_object", "complete_multipart_upload"}:
            self._written.add(self._store.folder.ours(arguments["Key"]))
        with store_errors(self._store.location):
            answer: Answer = getattr(self._store.folder.client, operation)(**arguments)
        self._time = answered_at(answer) or self._time
        return answer

    def _put(self, operation: str, key: str, **arguments: Any) -> Answer:
        return self._ask(operation, **self._at(key), **self._store.options.writing(), **arguments)

    def _contradiction(self, what: str, claimed: bool, works: bool) -> str:
        words = {True: "yes", False: "no"}
        return "" if claimed == works else self._says(what, words[claimed], words[works])

    def _says(self, what: str, claimed: str, works: str) -> str:
        return f"{what}: the profile `{self._profile.name}` says {claimed}, the store does {works}"


def _refusal(error: BackupError) -> str:
    """What a store said that cannot do something, or does not want to.

    Raises:
        StoreUnavailable: The same one: it says nothing of what the store can do.
    """
    if isinstance(error, StoreUnavailable):
        raise error
    return f"refused: {error.facts.get('code', error.message)}"


def _until(left: Leftover) -> str:
    return format_time(left.until) if left.until else "a time that cannot be seen"


def _try(name: str, attempt: Callable[[], CheckLine], denied: str = "") -> CheckLine:
    """Run one attempt; what it raises becomes the line."""
    try:
        return attempt()
    except BackupError as error:
        facts = ", ".join(f"{fact}={value!r}" for fact, value in error.facts.items())
        hint = " ".join(filter(None, [error.hint, denied if isinstance(error, StoreDenied) else ""]))
        return CheckLine(name, False, f"{error.message} ({facts})" if facts else error.message, hint)


def _line(name: str, attempt: Callable[[], str], means: str = "", denied: str = "") -> CheckLine:
    """Run one attempt; what it returns or raises becomes the line."""
    return _try(name, lambda: CheckLine(name, True, attempt(), "", means), denied)
