"""Where backups are kept, from variables: what the address of a store tells of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from deployments.setup.reader import Reader
from flows.storage.profiles import PROFILES

_LOCKS = ("none", "governance", "compliance")
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_ADDRESS = re.compile(r"(?P<scheme>https?)://(?P<host>[\w.-]+|\[[0-9A-Fa-f:]+\])(?P<port>:\d{1,5})?(?P<rest>[/?#].*)?")
# The usual addresses of AWS; others, such as those of a private endpoint, are kept as they are.
_AWS = re.compile(r"s3[.-](?:dualstack\.)?(?:([a-z]{2}(?:-[a-z]+)+-\d)\.)?amazonaws\.com(?:\.cn)?\Z")
# Where the name of a bucket may stand before them.
_PROVIDERS = (
    ("aws", re.compile(r"(?:(.+)\.)?s3[.-][a-z0-9.-]*amazonaws\.com(?:\.cn)?\Z")),
    ("r2", re.compile(r"(?:(.+)\.)?[0-9a-f]{32}(?:\.[a-z]+)?\.r2\.cloudflarestorage\.com\Z")),
    ("b2", re.compile(r"(?:(.+)\.)?s3\.[a-z0-9-]+\.backblazeb2\.com\Z")),
    ("spaces", re.compile(r"(?:(.+)\.)?[a-z0-9]+\.digitaloceanspaces\.com\Z")),
)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A place for backups: the fields of its block, by their names there, and the keys of its credentials.

    Attributes:
        access_key: Empty for the role of the machine, at AWS.
    """

    bucket: str = ""
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    provider: str = "other"
    storage_class: str | None = None
    encryption: str = "none"
    kms_key: str | None = None
    customer_key: str | None = field(default=None, repr=False)
    lock: str = "none"
    lock_days: int | None = None
    access_key: str = ""
    secret_key: str = field(default="", repr=False)


def read_bucket(reader: Reader, notes: list[str], *, complete: bool) -> Bucket:
    """The store of a plan.

    Args:
        reader: What was given.
        notes: Gets what the operator should know.
        complete: Whether it has to be there.
    """
    endpoint, provider, region = _address(reader, notes)
    provider = reader.choice("S3_PROVIDER", tuple(PROFILES), provider)
    access, secret = reader.text("S3_ACCESS_KEY"), reader.secret("S3_SECRET_KEY").strip()
    if complete:
        if not endpoint and provider != "aws" and "S3_URL" not in reader:
            reader.missing(
                "S3_URL",
                "address of the store, such as https://s3.example.com",
                "For AWS set MONGO_BACKUP_S3_PROVIDER=aws.",
            )
        if "S3_BUCKET" not in reader:
            reader.missing("S3_BUCKET", "name of the bucket for backups", "It has to exist.")
        if access and not secret:
            reader.missing("S3_SECRET_KEY", "the secret key that belongs to the access key", "Give both or neither.")
        elif secret and not access:
            reader.missing("S3_ACCESS_KEY", "the access key that belongs to the secret key", "Give both or neither.")
        elif not access and provider != "aws":
            reader.missing("S3_ACCESS_KEY", "the access key of the store", "Only at AWS a machine may have a role.")
        elif not access:
            notes.append("No access key is given: workers use the role of their machine.")
    _api(reader, notes)
    lock = reader.choice("S3_LOCK", _LOCKS, "none")
    lock_days = reader.number("S3_LOCK_DAYS", 0, 1, 36_500) or None
    if (lock == "none") != (lock_days is None):
        given, absent = ("S3_LOCK_DAYS", "S3_LOCK") if lock == "none" else ("S3_LOCK", "S3_LOCK_DAYS")
        reader.missing(absent, f"what goes with {reader.origin(given)}", "Give both or neither.")
    kms_key, customer_key = reader.text("S3_KMS_KEY") or None, reader.secret("S3_CUSTOMER_KEY").strip() or None
    if kms_key and customer_key:
        reader.wrong(
            "S3_CUSTOMER_KEY",
            "the store cannot encrypt with two keys",
            f"this one or that of {reader.origin('S3_KMS_KEY')}",
            "Leave one of them out.",
        )
    return Bucket(
        bucket=reader.text("S3_BUCKET"),
        prefix=reader.text("S3_PREFIX").strip("/"),
        endpoint=endpoint,
        region=reader.text("S3_REGION") or region,
        provider=provider,
        # mgob writes one of the names in its own way.
        storage_class=reader.text("S3_STORAGE_CLASS").upper().replace("ONE-ZONE_IA", "ONEZONE_IA") or None,
        encryption="sse-kms" if kms_key else "sse-c" if customer_key else "none",
        kms_key=kms_key,
        customer_key=customer_key,
        lock=lock,
        lock_days=lock_days,
        access_key=access,
        secret_key=secret,
    )


def _address(reader: Reader, notes: list[str]) -> tuple[str | None, str, str | None]:
    """Endpoint, provider and region that the address tells."""
    url = reader.text("S3_URL").rstrip("/")
    if not url:
        return None, "other", None
    parts = _ADDRESS.fullmatch(url)
    if parts is None:
        reader.wrong(
            "S3_URL",
            "not the address of a store",
            "https://host or https://host:port",
            "Keys have variables of their own.",
            quote="@" not in url,
        )
        return None, "other", None
    host = parts["host"].lower()
    provider, bucket = next(
        ((name, match[1]) for name, pattern in _PROVIDERS if (match := pattern.match(host))), ("other", None)
    )
    if parts["rest"] or bucket:
        reader.wrong(
            "S3_URL",
            "the address of the store names more than the store",
            "https://host or https://host:port",
            f"The bucket goes into {reader.origin('S3_BUCKET')}, a folder into MONGO_BACKUP_S3_PREFIX.",
            quote=False,
        )
        return None, "other", None
    if parts["scheme"] == "http" and host not in _LOCAL:
        notes.append(f"{reader.origin('S3_URL')} is http: what goes to the store can be read on the way.")
    if provider == "other" and "S3_PROVIDER" not in reader:
        notes.append("The store may be any: with MONGO_BACKUP_S3_PROVIDER=minio, say, more of what it can do is used.")
    if (usual := _AWS.match(host)) and parts["scheme"] == "https" and not parts["port"]:
        return None, "aws", usual[1]
    region = host.split(".")[1] if provider == "b2" else None
    return url, provider, region


def _api(reader: Reader, notes: list[str]) -> None:
    if reader.choice("S3_API", ("S3v4", "S3v2"), "S3v4") == "S3v2":
        notes.append(
            f"{reader.origin('S3_API')}: requests are signed by version 4 here; Google Cloud Storage takes both."
        )
