"""Moving the bytes of large objects to and from S3."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from flows.core.errors import IntegrityError, StoreUnavailable
from flows.storage.files import read_chunks
from flows.storage.profiles import MIB
from flows.storage.s3_errors import store_errors
from flows.storage.s3_folder import S3Client
from flows.storage.store import READ_BYTES, Progress

MAX_PARTS = 10_000  # S3's own limit for one upload
_READ_TRIES = 3  # for a download that makes no progress


class Watch:
    """Hands the bytes that pass to `progress`, one thread at a time, and keeps what it raises in `raised`.

    The SDK would take it for a broken connection, wrap it and send the request again.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self.raised: BaseException | None = None

    def __call__(self, count: int) -> None:
        """Called by the transfer manager with bytes sent, negative before it sends them again."""
        with self._lock:
            if self.raised is None and self._progress is not None:
                try:
                    self._progress(count)
                except BaseException as error:  # noqa: BLE001 - some would leave the transfer manager waiting for ever
                    self.raised = error
            if self.raised is not None:
                raise RuntimeError("the upload was stopped")


def read_object(
    client: S3Client, where: dict[str, Any], *, location: str, key: str, accept: Callable[[int], None]
) -> Generator[bytes, None, None]:
    """The bytes of an object, a bounded number at a time; goes on where a transfer broke.

    Args:
        client: Of the store.
        where: Bucket and key, as the SDK wants them.
        location: Of the store, for messages.
        key: Of the object, for messages.
        accept: Is given the size [bytes] before any byte is read, and raises to refuse it.

    Raises:
        IntegrityError: The object was replaced between two requests.
        StoreUnavailable: Three requests in a row gave nothing more.
    """
    etag, offset, tries = "", 0, 0
    while True:
        begun = offset
        try:
            with store_errors(location, key=key):
                # The ETag keeps the head of one object from being stitched to the tail of one that replaced it.
                rest = {"Range": f"bytes={offset}-", "IfMatch": etag} if offset else {}
                answer = client.get_object(**where, **rest)
                with closing(answer["Body"]) as body:
                    if not offset:
                        accept(answer["ContentLength"])
                        etag = _etag(answer, location, key)
                    # Not every store heeds what it was asked, so the answer is looked at too.
                    elif answer["ETag"] != etag or not answer.get("ContentRange", "").startswith(f"bytes {offset}-"):
                        raise IntegrityError(
                            "the object was replaced while it was read",
                            hint="Verify the backup.",
                            store=location,
                            key=key,
                        )
                    while chunk := body.read(READ_BYTES):
                        offset += len(chunk)
                        yield chunk
                    return
        except StoreUnavailable:
            tries = 1 if offset > begun else tries + 1
            if tries >= _READ_TRIES:
                raise


def _etag(answer: dict[str, Any], location: str, key: str) -> str:
    """That of an object; a page of errors with the status 200 has none."""
    if not answer.get("ETag"):
        raise StoreUnavailable(
            "the store answered with something that is no object",
            hint="Try again; if it stays like this, look at what is between here and the store.",
            store=location,
            key=key,
        )
    return str(answer["ETag"])


def part_size(size: int, *, least: int) -> int:
    """Bytes of each part but the last of an upload of `size` [bytes]: whole MiB, at least `least`, few enough parts."""
    return -(-max(least, -(-size // MAX_PARTS)) // MIB) * MIB


def checksum_of_parts(path: Path, *, part: int, sha256: str) -> str:
    """What S3 calls a composite checksum: the SHA-256 of the SHA-256 of each part, without their number at its end.

    Args:
        path: What was uploaded.
        part: [bytes] of each part but the last, whole MiB.
        sha256: Of the whole file, in hex.

    Raises:
        IntegrityError: The file is not the one with that SHA-256, so the checksum of its parts proves nothing.
    """
    whole, parts, held = hashlib.sha256(), [hashlib.sha256()], 0
    for chunk in read_chunks(path):  # a chunk is 1 MiB and never crosses the border of a part
        if held == part:
            parts.append(hashlib.sha256())
            held = 0
        whole.update(chunk)
        parts[-1].update(chunk)
        held += len(chunk)
    if whole.hexdigest() != sha256:
        raise IntegrityError(
            "a file in the spool folder changed after it was hashed",
            hint="Check the disk of this machine, and run the backup again.",
            path=str(path),
            expected=sha256,
            got=whole.hexdigest(),
        )
    return base64_text(hashlib.sha256(b"".join(one.digest() for one in parts)).digest())


def base64_text(digest: bytes) -> str:
    """A checksum as S3 writes it in its headers."""
    return base64.b64encode(digest).decode("ascii")


def refuse_truncated(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    """After an answer: make one whose connection broke a failed one. The SDK takes a listing without a body for empty.

    An answer to GET always has a body: none came where the connection was closed and no length was told.
    """
    body, method = response_dict["body"], operation_model.http["method"]
    if not isinstance(body, bytes) or method == "HEAD" or response_dict["status_code"] != 200:
        return
    told = response_dict["headers"].get("content-length", "")
    if (told.isdigit() and int(told) > len(body)) or (method == "GET" and not body):
        response_dict["status_code"] = 500  # which the SDK repeats


def add_md5(params: dict[str, Any], **_: Any) -> None:
    """Before a request: give it the MD5 of its body, in the header that stores want with what they are to lock.

    It takes the place of the newer checksum that the SDK sends with some requests whatever its settings say.
    """
    params["context"].get("checksum", {}).pop("request_algorithm", None)
    body, digest = params["body"], hashlib.md5(usedforsecurity=False)
    if isinstance(body, bytes):
        digest.update(body)
    else:
        start = body.tell()
        while chunk := body.read(READ_BYTES):
            digest.update(chunk)
        body.seek(start)
    params["headers"]["Content-MD5"] = base64_text(digest.digest())
