"""An object store in a bucket of S3, or of what speaks its protocol.

Uploads are boto3's own; downloads are ours, because the SDK starts a broken download from its beginning. The SDK
repeats a request once and the task repeats a stage, so there is no third layer of retries here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from flows.core.errors import (
    ConfigurationError,
    FormatError,
    IntegrityError,
    ObjectExists,
    ObjectMissing,
    StoredWrongly,
)
from flows.storage.files import file_size, new_file, read_chunks
from flows.storage.options import NONE, StoreOptions, encryption_key_of, encryption_of
from flows.storage.profiles import MIB, ProviderProfile
from flows.storage.s3_delete import delete_objects
from flows.storage.s3_errors import lacks, store_errors
from flows.storage.s3_folder import S3Client, S3Folder
from flows.storage.s3_lock import lengthen, lock_in, require_object_lock
from flows.storage.s3_transfer import (
    Watch,
    add_md5,
    base64_text,
    checksum_of_parts,
    part_size,
    read_object,
    refuse_truncated,
)
from flows.storage.store import (
    BY_READING,
    BY_STORE,
    Leftover,
    Lock,
    PendingUpload,
    Progress,
    StoredObject,
    checked_key,
    checked_prefix,
    compare,
    kept_nothing,
    sha256_of,
    wrong_length,
)

PART_BYTES = 16 * MIB  # [bytes] what is sent again when one part fails; a segment is a few of these
_PART_THREADS = 4


def client_config(
    profile: ProviderProfile,
    *,
    connect_timeout: float = 10,
    read_timeout: float = 60,
    max_pool_connections: int = 4 * _PART_THREADS,
) -> Config:
    """How a boto3 client has to be built for this provider.

    Args:
        profile: The provider.
        connect_timeout: [s].
        read_timeout: [s] without a byte from the store.
        max_pool_connections: At least the uploads at one time, each with four threads.
    """
    return Config(
        # Once more in the client for a lost packet; a store that is down is the task's business, minutes later.
        retries={"mode": "standard", "total_max_attempts": 2},
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        max_pool_connections=max_pool_connections,
        request_checksum_calculation=profile.checksums,
        response_checksum_validation=profile.checksums,
        s3={"addressing_style": profile.addressing},
    )


def without_credentials(config: Config) -> Config:
    """The same for a client that signs nothing, as somebody without credentials has it."""
    return config.merge(Config(signature_version=UNSIGNED))


class S3Store:
    """Objects below a prefix of a bucket. Threads may share it; processes may not.

    Args:
        client: A boto3 client, built with `client_config`, that no store with other options uses.
        bucket: An existing bucket.
        prefix: The folder of this store in the bucket; may be empty.
        profile: What the provider can do.
        options: What it is asked to do with each object.
        part_bytes: [bytes] of each part of an upload but the last, rounded up to whole MiB; it grows for a file that
            would need more than 10,000 parts.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        prefix: str,
        profile: ProviderProfile,
        options: StoreOptions | None = None,
        *,
        part_bytes: int = PART_BYTES,
    ) -> None:
        if part_bytes < profile.min_part_bytes:
            raise ConfigurationError(
                "parts of an upload are too small for this provider",
                hint="Leave the part size at its default.",
                least=profile.min_part_bytes,
                got=part_bytes,
            )
        self.profile = profile
        self.options = options or StoreOptions()
        self.options.check(profile)
        self.folder = S3Folder(client, bucket, checked_prefix(prefix), self.options.reading())
        self._client = client
        self._part_bytes = part_bytes
        self._may_lock = False
        client.meta.events.register("before-parse.s3", refuse_truncated, unique_id="truncated")
        if self.options.lock != NONE and profile.sha256 != "parts":
            # What is to be locked needs a digest in a header, and every part of it too, and so does a longer lock.
            for operation in ("PutObject", "UploadPart", "PutObjectRetention"):
                client.meta.events.register(f"before-call.s3.{operation}", add_md5, unique_id=f"md5-{operation}")

    @property
    def location(self) -> str:
        """See `ObjectStore.location`."""
        return self.folder.location

    def put(self, key: str, data: bytes, *, if_absent: bool = False, lock_until: datetime | None = None) -> None:
        """See `ObjectStore.put`."""
        where = self.folder.at(key)
        extra = self.options.writing() | self._locking(lock_until)
        if self.profile.sha256 == "parts":
            extra["ChecksumAlgorithm"] = "SHA256"
        elif self.profile.sha256 == "single":
            extra["ChecksumSHA256"] = base64_text(hashlib.sha256(data).digest())
        if if_absent and self.profile.conditional_writes:
            extra["IfNoneMatch"] = "*"
        elif if_absent:
            with suppress(ObjectMissing):
                self.head(key)
                raise ObjectExists("an object is at this key already", store=self.location, key=key)
        try:
            with store_errors(self.location, key=key):
                self._client.put_object(**where, Body=data, **extra)
        except ObjectExists as error:
            # The answer to our own first request may have been lost; the SDK then asked again and met our own object.
            if not _was_repeated(error.__cause__) or self.get(key, limit=2**63) != data:
                raise
        if lock_until is not None or self.options.encryption != NONE:
            self._settled(key, len(data), lock_until)

    def put_file(
        self, key: str, path: Path, *, progress: Progress | None = None, lock_until: datetime | None = None
    ) -> StoredObject:
        """See `ObjectStore.put_file`."""
        where = self.folder.at(key)
        size = file_size(path)
        part = part_size(size, least=self._part_bytes)
        extra = self.options.writing() | self._locking(lock_until)
        if self.options.storage_class:
            extra["StorageClass"] = self.options.storage_class
        if self.profile.sha256 == "parts":
            extra["ChecksumAlgorithm"] = "SHA256"
        elif self.profile.sha256 == "single" and size <= part:
            extra["ChecksumSHA256"] = base64_text(bytes.fromhex(sha256_of(read_chunks(path))[0]))
        watch = Watch(progress)
        try:
            with store_errors(self.location, key=key):
                self._client.upload_file(
                    str(path),
                    **where,
                    ExtraArgs=extra,
                    Callback=watch,
                    Config=TransferConfig(
                        multipart_threshold=part + 1,
                        multipart_chunksize=part,
                        max_concurrency=_PART_THREADS,
                        # The other one, used on some machines when it is installed, chooses its own part sizes.
                        preferred_transfer_client="classic",
                    ),
                )
        except BaseException:
            if watch.raised is not None:
                raise watch.raised from None
            raise
        return self._settled(key, size, lock_until)

    def _settled(self, key: str, size: int, lock_until: datetime | None) -> StoredObject:
        """See that what was sent is there as it was asked for, and lock it where the store forgot that."""
        try:
            answer = self.folder.head(key)
        except ObjectMissing as error:
            raise kept_nothing(self.location, key, size) from error
        compare(self.location, key, what="size", expected=size, got=answer["ContentLength"])
        self._check_encryption(key, answer)
        if lock_until is not None:
            lengthen(self.folder, key, answer, lock_until, self.options.lock)
        return _stored(key, answer)

    def _check_encryption(self, key: str, answer: Mapping[str, Any]) -> None:
        if (difference := self.options.difference(answer)) is not None:
            raise StoredWrongly(
                "the store did not encrypt the object as it was asked to",
                hint="Run the probe flow: it says how this store can encrypt. Then correct the store's block.",
                store=self.location,
                key=key,
                expected=difference[0],
                got=difference[1],
            )

    def _locking(self, until: datetime | None) -> dict[str, Any]:
        if until is not None and not self._may_lock:
            if self.options.lock == NONE:
                raise ConfigurationError("this store is not set to lock objects", hint="Set `lock` in its block.")
            require_object_lock(self.folder)
            self._may_lock = True
        return self.options.locking(until)

    def confirm(self, key: str, *, path: Path | None, sha256: str, size: int, progress: Progress | None = None) -> str:
        """See `ObjectStore.confirm`."""
        try:
            if self.options.encryption != NONE:
                self._check_encryption(key, self.folder.head(key))
            if self.profile.sha256 != "nowhere" and self._vouches(key, path, sha256=sha256, size=size):
                return BY_STORE
            chunks = self._read(key, lambda got: compare(self.location, key, what="size", expected=size, got=got))
            read, _ = sha256_of(chunks, progress)
        except ObjectMissing as error:
            raise kept_nothing(self.location, key, size) from error
        except IntegrityError as error:
            raise StoredWrongly(error.message, hint=error.hint, **error.facts) from error
        compare(self.location, key, what="SHA-256", expected=sha256, got=read)
        return BY_READING

    def _vouches(self, key: str, path: Path | None, *, sha256: str, size: int) -> bool:
        """Whether a checksum that the store keeps covers all bytes of the object, and is that of the file."""
        answer = self.folder.head(key, ChecksumMode="ENABLED")
        compare(self.location, key, what="size", expected=size, got=answer["ContentLength"])
        stored: str = answer.get("ChecksumSHA256", "")
        # The ETag of what came in parts ends in their number, and so does the checksum; some stores forget the latter.
        if stored and "-" not in stored and "-" not in answer["ETag"]:
            compare(self.location, key, what="SHA-256", expected=sha256, got=base64.b64decode(stored).hex())
            return True
        if not stored or path is None:
            return False
        part = part_size(size, least=self._part_bytes)
        # Where these differ the parts may have had another size: only reading decides then.
        return stored.partition("-")[0] == checksum_of_parts(path, part=part, sha256=sha256)

    def get(self, key: str, *, limit: int) -> bytes:
        """See `ObjectStore.get`."""

        def small(got: int) -> None:
            if got > limit:
                raise FormatError(
                    "object is too large for its kind", store=self.location, key=key, limit=limit, got=got
                )

        return b"".join(self._read(key, small))

    def get_start(self, key: str, *, size: int) -> bytes:
        """See `ObjectStore.get_start`."""
        with store_errors(self.location, key=key):
            try:
                answer = self._client.get_object(
                    **self.folder.at(key), **self.folder.reading, Range=f"bytes=0-{size - 1}"
                )
            except ClientError as error:
                if _code(error) == "InvalidRange":  # an empty object has no first byte
                    return b""
                raise
            with closing(answer["Body"]) as body:
                start: bytes = body.read(size)  # not every store heeds what it was asked
        return start

    def read(self, key: str) -> Generator[bytes, None, None]:
        """See `ObjectStore.read`."""
        return self._read(key, lambda _: None)

    def download(self, key: str, path: Path, *, size: int, progress: Progress | None = None) -> str:
        """See `ObjectStore.download`."""

        def whole(got: int) -> None:
            if got != size:
                raise wrong_length(self.location, key, expected=size, got=got)

        digest = hashlib.sha256()
        with new_file(path) as write, closing(self._read(key, whole)) as chunks:
            for chunk in chunks:
                write(chunk)
                digest.update(chunk)
                if progress is not None:
                    progress(len(chunk))
        return digest.hexdigest()

    def head(self, key: str) -> StoredObject:
        """See `ObjectStore.head`."""
        return _stored(key, self.folder.head(key))

    def encryption_gap(self, key: str) -> str:
        """See `ObjectStore.encryption_gap`."""
        if self.options.encryption == NONE:
            return ""
        difference = self.options.difference(self.folder.head(key))
        return "" if difference is None else f"expected {difference[0]}, got {difference[1]}"

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """See `ObjectStore.list`."""
        pages = self._client.get_paginator("list_objects_v2")
        with store_errors(self.location):
            for page in pages.paginate(Bucket=self.folder.bucket, Prefix=self.folder.prefix + checked_prefix(prefix)):
                for item in page.get("Contents", []):
                    key = self.folder.ours(item["Key"])
                    yield StoredObject(key, item["Size"], item["LastModified"].astimezone(UTC))

    def delete(self, keys: Iterable[str]) -> tuple[Leftover, ...]:
        """See `ObjectStore.delete`."""
        return tuple(delete_objects(self.folder, [checked_key(key) for key in keys], self.profile))

    def lock(self, key: str) -> Lock | None:
        """See `ObjectStore.lock`."""
        return lock_in(self.folder.head(key))

    def extend_lock(self, keys: Iterable[str], until: datetime) -> int:
        """See `ObjectStore.extend_lock`."""
        self._locking(until)
        return sum(lengthen(self.folder, key, self.folder.head(key), until, self.options.lock) for key in keys)

    def uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """See `ObjectStore.uploads`."""
        pages = self._client.get_paginator("list_multipart_uploads")
        with store_errors(self.location):
            try:
                for page in pages.paginate(
                    Bucket=self.folder.bucket, Prefix=self.folder.prefix + checked_prefix(prefix)
                ):
                    for item in page.get("Uploads", []):
                        key = self.folder.ours(item["Key"])
                        yield PendingUpload(key, item["UploadId"], item["Initiated"].astimezone(UTC))
            except ClientError as error:
                # rclone says NoSuchUpload of a bucket in which nothing was ever uploaded in parts.
                if not lacks(error) and _code(error) != "NoSuchUpload":
                    raise

    def abort(self, upload: PendingUpload) -> None:
        """See `ObjectStore.abort`."""
        with store_errors(self.location, key=upload.key):
            try:
                self._client.abort_multipart_upload(**self.folder.at(upload.key), UploadId=upload.upload_id)
            except ClientError as error:
                if _code(error) != "NoSuchUpload":
                    raise

    def _read(self, key: str, accept: Callable[[int], None]) -> Generator[bytes, None, None]:
        return read_object(
            self._client, {**self.folder.at(key), **self.folder.reading}, location=self.location, key=key, accept=accept
        )


def _stored(key: str, answer: Mapping[str, Any]) -> StoredObject:
    modified = answer["LastModified"].astimezone(UTC)
    return StoredObject(key, answer["ContentLength"], modified, encryption_of(answer), encryption_key_of(answer))


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code"))


def _was_repeated(error: BaseException | None) -> bool:
    return isinstance(error, ClientError) and error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0
