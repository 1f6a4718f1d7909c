"""A folder of a bucket and the client that reaches it: what the parts of the S3 store have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.core.errors import StoreUnavailable
from flows.storage.s3_errors import store_errors
from flows.storage.store import checked_key

S3Client = Any  # boto3 makes the methods of a client at run time, and no class that it ships has them


@dataclass(frozen=True, slots=True)
class S3Folder:
    """Where the objects of a store are.

    Attributes:
        client: Of boto3.
        bucket: Its name.
        prefix: Of all keys; empty, or ending in a slash.
        reading: What goes along with each GET and HEAD: the key of SSE-C.
    """

    client: S3Client = field(repr=False)
    bucket: str
    prefix: str
    reading: Mapping[str, Any] = field(repr=False)

    @property
    def location(self) -> str:
        """See `ObjectStore.location`."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def at(self, key: str) -> dict[str, Any]:
        """Bucket and key, as the SDK wants them."""
        return {"Bucket": self.bucket, "Key": self.prefix + checked_key(key)}

    def ours(self, key: str) -> str:
        """A key of the bucket as one of this store."""
        return key.removeprefix(self.prefix)

    def head(self, key: str, **more: Any) -> dict[str, Any]:
        """What the store says of an object.

        Raises:
            ObjectMissing: No object at this key.
            StoreUnavailable: Somebody else than a store answers.
        """
        with store_errors(self.location, key=key):
            answer: dict[str, Any] = self.client.head_object(**self.at(key), **self.reading, **more)
        if not {"ContentLength", "ETag", "LastModified"} <= answer.keys():
            raise StoreUnavailable(
                "the answer is not that of an S3 store",
                hint="Run it again; if it stays, check the endpoint of the store's credentials and proxies before it.",
                store=self.location,
                key=key,
                operation="HeadObject",
            )
        return answer
