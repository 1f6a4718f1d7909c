"""Errors of boto3, botocore and s3transfer become ours here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from boto3.exceptions import Boto3Error
from botocore import exceptions
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ResponseStreamingError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from flows.core.errors import (
    BackupError,
    ConfigurationError,
    IntegrityError,
    ObjectExists,
    ObjectMissing,
    StoreDenied,
    StoredWrongly,
    StoreError,
    StoreUnavailable,
)

FOREIGN = (BotoCoreError, ClientError, Boto3Error, ResponseParserError, HTTPError)

_AGAIN = "Run it again; if it stays, check the network and the status page of the store."
_PROFILE = "Set `provider` in the store's block to who runs it, or to `other`; the probe flow says what a store can do."
_UNREADABLE = (
    "An object that was written with a customer key needs `encryption` and `customer_key` in the store's block. "
    f"Otherwise: {_PROFILE}"
)
_ROLE = (
    "Check `assume_role_arn` and its parameters in the store's credentials: the role's trust policy must name whoever "
    "these credentials are, and they need sts:AssumeRole."
)
_UNAVAILABLE = (StoreUnavailable, "the store does not answer", _AGAIN)
_DAMAGED = (StoredWrongly, "the bytes were damaged on their way to the store", _AGAIN)
_ELSEWHERE = (
    StoreError,
    "the bucket is in another region",
    "Set the region and the endpoint of the store's credentials.",
)
_TAKEN = (ObjectExists, "an object is at this key already", "")
_MISSING = (ObjectMissing, "no object at this key", "")
_REPLACED = (IntegrityError, "the object was replaced while it was read", "Verify the backup.")
_DENIED = "the store denies access"
_WEB_PAGE = (
    "a web page answers in place of the store",
    "Check the endpoint of the store's credentials: it may be that of a console or of a proxy.",
)

_CODES: dict[str, tuple[type[BackupError], str, str]] = {
    "NoSuchBucket": (
        StoreError,
        "bucket does not exist",
        "Create the bucket, or correct its name in the store's block.",
    ),
    "NoSuchKey": _MISSING,
    "NotImplemented": (StoreError, "the store cannot do what was asked", _PROFILE),
    "PreconditionFailed": _TAKEN,
    "InvalidObjectState": (
        StoreError,
        "the object is in an archive class",
        "Restore it to a storage class that can be read at once.",
    ),
    # Passing, though the status says for ever: part of an upload that the store has lost, a conditional write that met
    # another one, a body that broke off on its way.
    "NoSuchUpload": _UNAVAILABLE,
    "InvalidPart": _UNAVAILABLE,
    "ConditionalRequestConflict": _UNAVAILABLE,
    "OperationAborted": _UNAVAILABLE,
    "RequestTimeout": _UNAVAILABLE,
    "IncompleteBody": _UNAVAILABLE,
    "SlowDown": _UNAVAILABLE,
    "TooManyRequests": _UNAVAILABLE,
    "Throttling": _UNAVAILABLE,
    "ThrottlingException": _UNAVAILABLE,
    "BadDigest": _DAMAGED,
    "InvalidDigest": _DAMAGED,
    # Also what stores say that cannot read a body with a checksum at its end.
    "XAmzContentSHA256Mismatch": (*_DAMAGED[:2], f"Run it again; if it stays: {_PROFILE}"),
    "PermanentRedirect": _ELSEWHERE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
    "AccessDenied": (StoreDenied, _DENIED, ""),
    "InvalidAccessKeyId": (
        StoreDenied,
        "the store does not know the access key",
        "Check the access key and the endpoint of the store's credentials.",
    ),
    "SignatureDoesNotMatch": (
        StoreDenied,
        "the store refuses the signature",
        "Check the secret key and the region of the store's credentials.",
    ),
    "ExpiredToken": (StoreDenied, "the credentials have expired", "Renew the session of the store's credentials."),
    "RequestTimeTooSkewed": (StoreDenied, "the clocks of store and machine differ", "Set the clock of this machine."),
}
# For a HEAD that was refused there is no body, and the status is all that is known.
_STATUS: dict[int, tuple[type[BackupError], str, str]] = {
    301: _ELSEWHERE,
    401: (StoreDenied, _DENIED, ""),
    403: (StoreDenied, _DENIED, ""),
    404: _MISSING,
    412: _TAKEN,
    429: _UNAVAILABLE,
    501: (StoreError, "the store cannot do what was asked", _PROFILE),
}
_UNKNOWN_OPERATION = {"NotImplemented", "MethodNotAllowed", "MissingContentMD5", "501", "405"}
_PERMISSIONS = {
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "DeleteObjects": "s3:DeleteObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectVersions": "s3:ListBucketVersions",
    "GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
}

_SDK: tuple[tuple[tuple[type[Exception], ...], type[BackupError], str, str], ...] = (
    (
        (NoCredentialsError, PartialCredentialsError),
        StoreDenied,
        "no credentials for the store",
        "Fill in the store's credentials block.",
    ),
    (
        (ParamValidationError,),
        ConfigurationError,
        "the SDK refuses the request",
        "Check the name of the bucket in the store's block.",
    ),
    (
        (FlexibleChecksumError,),
        IntegrityError,
        "the bytes read do not have the checksum that the store keeps of them",
        "Verify the backup, and use an older one if it is damaged.",
    ),
    (
        (SSLError,),
        StoreError,
        "no trusted connection to the store",
        "Check the endpoint's certificate and the CA file of the store's credentials.",
    ),
    (
        (ResponseParserError,),
        StoreError,
        "the answer is not that of an S3 store",
        "Check the endpoint of the store's credentials.",
    ),
    (
        (exceptions.ConnectionError, HTTPClientError, ResponseStreamingError, IncompleteReadError, HTTPError),
        *_UNAVAILABLE,
    ),
)


@contextmanager
def store_errors(location: str, *, key: str | None = None) -> Iterator[None]:
    """Raise foreign errors of the block as ours, about this store and key."""
    try:
        yield
    except FOREIGN as error:
        raise explain(error, location, key) from error


def answered_at(answer: Mapping[str, Any]) -> datetime | None:
    """When the store gave an answer, by its own clock."""
    told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(told) if told else None


def lacks(error: BaseException | None) -> bool:
    """Whether the store says that it does not know this operation at all."""
    return isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") in _UNKNOWN_OPERATION


def explain(error: Exception, location: str, key: str | None = None) -> BackupError:
    """Say in our words what the SDK or the store said. Texts of theirs that could quote a request are left out.

    Args:
        error: What was raised.
        location: Of the store.
        key: Of the object, where one was meant.
    """
    facts: dict[str, Any] = {"store": location} | ({"key": key} if key is not None else {})
    # The transfer manager raises an error with only a text while it handles the one that has the code.
    answer = error if isinstance(error, ClientError) else error.__context__
    if isinstance(answer, ClientError):
        about = answer.response.get("ResponseMetadata", {})
        headers = about.get("HTTPHeaders", {})
        if "retry-after" in headers:
            facts["retry_after"] = headers["retry-after"]  # [s], or a date: as the store says it
        return explain_code(
            answer.response.get("Error", {}),
            facts,
            operation=answer.operation_name,
            status=about.get("HTTPStatusCode", 0),
            content_type=headers.get("content-type", ""),
        )
    for kinds, ours, message, hint in _SDK:
        if isinstance(error, kinds):
            return ours(message, hint=hint, **facts, reason=type(error).__name__)
    return StoreError("the SDK failed", hint="Check the store's block.", **facts, reason=type(error).__name__)


def explain_code(
    error: Mapping[str, Any], facts: dict[str, Any], *, operation: str, status: int = 0, content_type: str = ""
) -> BackupError:
    """Our error for one of the S3 protocol.

    Args:
        error: Its `Code` and `Message`.
        facts: Where; the operation and the code are added.
        operation: As the SDK calls it, for example `PutObject`.
        status: Of the HTTP answer; 0 where the error is about one key of many.
        content_type: Of the HTTP answer. No S3 store answers with HTML, but to a HEAD, where nobody sees it.
    """
    code = str(error.get("Code", "unknown"))
    if operation == "AssumeRole" and status < 500:
        return StoreDenied("the role of the store's credentials cannot be assumed", hint=_ROLE, **facts, code=code)
    known = _CODES.get(code) or _STATUS.get(status)
    if known is None and status >= 500 and code not in _UNKNOWN_OPERATION:
        known = _UNAVAILABLE
    if content_type.startswith("text/html") and operation != "HeadObject":
        known = (StoreUnavailable if status >= 500 else StoreError, *_WEB_PAGE)
    if known is _TAKEN and operation == "GetObject":
        known = _REPLACED
    facts = facts | {"operation": operation, "code": code}
    if known is None and operation == "HeadObject":  # which has no body that would say more
        return StoreError("the store refuses to say anything of the object", hint=_UNREADABLE, **facts)
    if known is None:
        says = str(error.get("Message", ""))
        hint = _PROFILE if "header" in says.lower() or "checksum" in says.lower() else ""
        return StoreError("the store refuses the request", hint=hint, says=says, **facts)
    ours, message, hint = known
    if message == _DENIED:
        allow = _PERMISSIONS.get(operation, f"s3:{operation}")
        hint = f"Allow {allow} for the store's credentials, on this bucket and prefix."
    return ours(message, hint=hint, **facts)
