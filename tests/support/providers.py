"""What providers of S3-compatible storage do differently, as rules of the fault proxy in front of a test server.

    with FaultProxy(server.host, server.port) as proxy:
        behave_like("r2", proxy)

Each behaviour was documented by the provider or seen by users of other backup tools; none was tried at the provider.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from tests.support.fault_proxy import Action, FaultProxy, Request, answer, call, status, tell

_SSE, _SSE_C = "x-amz-server-side-encryption", "x-amz-server-side-encryption-customer-algorithm"
_NO_UPLOADS = b"<ListMultipartUploadsResult></ListMultipartUploadsResult>"


def behave_like(name: str, proxy: FaultProxy) -> None:
    """Make the server behind a proxy behave like that of a provider. `aws` and `other` stay as they are."""
    {"r2": _r2, "b2": _b2, "spaces": _spaces, "minio": _minio}.get(name, lambda _: None)(proxy)
    if name in {"aws", "r2", "b2", "spaces", "minio"}:
        encrypt_for_clients(proxy)


def _r2(proxy: FaultProxy) -> None:
    refuse = status(501, "NotImplemented")
    proxy.fail(_sends_checksum_of_the_sdk, times=None, action=refuse)
    proxy.fail(lambda r: r.headers.get(_SSE) is not None, times=None, action=refuse)
    proxy.fail(lambda r: "x-amz-object-lock-mode" in r.headers, times=None, action=refuse)
    for subresource in ("versions", "versioning", "object-lock", "retention", "tagging", "acl"):
        proxy.fail(f"?{subresource}", times=None, action=refuse)
    _keep_sha256(proxy)
    proxy.fail(_UnequalParts(), times=None, action=status(400, "InvalidPart"))


def _b2(proxy: FaultProxy) -> None:
    """To be put before a bucket that keeps versions, as theirs always do."""
    unsupported = "Unsupported header 'x-amz-sdk-checksum-algorithm' received for this API call."
    proxy.fail(_sends_checksum, times=None, action=status(400, "InvalidArgument", unsupported))
    proxy.fail(lambda r: r.headers.get(_SSE) == "aws:kms", times=None, action=status(400, "InvalidArgument"))


def _spaces(proxy: FaultProxy) -> None:
    proxy.fail(_sends_checksum, times=None, action=status(400, "XAmzContentSHA256Mismatch"))
    proxy.fail(lambda r: _SSE in r.headers, times=None, action=status(400, "InvalidArgument"))
    proxy.fail("?object-lock", times=None, action=status(404, "ObjectLockConfigurationNotFoundError"))
    # The SDK sends another checksum with the one request that always has one.
    proxy.fail("POST ?delete", times=None, action=status(400, "MissingContentMD5"))


def _minio(proxy: FaultProxy) -> None:
    """As releases of before 2025."""
    wrong = status(400, "InvalidArgument", "Invalid checksum provided.")
    proxy.fail(_sends_checksum_of_the_sdk, times=None, action=wrong)
    uploads: set[str] = set()

    def begins(request: Request) -> bool:
        if request.method == "POST" and request.path.endswith("?uploads"):
            uploads.add(request.path.removesuffix("?uploads").split("/", 2)[2])
        return False

    def lists_a_folder(request: Request) -> bool:
        prefix = request.path.partition("prefix=")[2].partition("&")[0]
        return request.method == "GET" and "?uploads" in request.path and prefix not in uploads

    proxy.fail(begins)
    proxy.fail(lists_a_folder, times=None, action=answer(200, _NO_UPLOADS))


def _keep_sha256(proxy: FaultProxy) -> None:
    """Verify the SHA-256 of a header, and give it back; moto overlooks it."""
    sums: dict[str, str] = {}

    def given(request: Request) -> str:
        return request.headers.get("x-amz-checksum-sha256", "")

    def remember(request: Request) -> None:
        value = sums[request.path] = given(request)
        proxy.fail(lambda r: r.method == "HEAD" and sums.get(r.path) == value, times=None, action=told(value))

    def told(value: str) -> Action:
        return tell(x_amz_checksum_sha256=value)

    def wrong(request: Request) -> bool:
        digest = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
        return request.method == "PUT" and given(request) not in {"", digest}

    proxy.fail(wrong, times=None, action=status(400, "BadDigest"))
    proxy.fail(lambda r: r.method == "PUT" and bool(given(r)), times=None, action=call(after=remember))


def encrypt_for_clients(proxy: FaultProxy) -> None:
    """Let nobody read what was written with a client's own key (SSE-C) without that key."""
    keys: dict[str, str] = {}

    def of_object(request: Request) -> str:
        return request.path.partition("?")[0]

    def given(request: Request) -> str:
        return request.headers.get(f"{_SSE}-customer-key-md5", "")

    def writes(request: Request) -> bool:
        begins = request.method == "POST" and request.path.endswith("?uploads")
        if begins or (request.method == "PUT" and "?" not in request.path):
            keys[of_object(request)] = given(request)
            return bool(given(request))
        return False

    def touches(right: bool) -> Callable[[Request], bool]:
        def match(request: Request) -> bool:
            part = request.method == "PUT" and "partNumber" in request.path
            reads = request.method in {"GET", "HEAD"} and ("?" not in request.path or "versionId" in request.path)
            key = keys.get(of_object(request))
            return bool(key) and (reads or part) and (given(request) == key) is right

        return match

    proxy.fail(
        lambda r: r.headers.get(_SSE, "AES256") not in {"AES256", "aws:kms"},
        times=None,
        action=status(400, "InvalidArgument"),
    )
    seen = tell(**{_SSE_C.replace("-", "_"): "AES256"})
    proxy.fail(writes, times=None, action=seen)
    proxy.fail(touches(False), times=None, action=status(400, "InvalidRequest"))
    proxy.fail(touches(True), times=None, action=seen)


def _sends_checksum(request: Request) -> bool:
    names = [
        name for name in request.headers if name.startswith(("x-amz-checksum-", "x-amz-sdk-checksum", "x-amz-trailer"))
    ]
    return request.method == "PUT" and "x-amz-checksum-mode" not in names and bool(names)


def _sends_checksum_of_the_sdk(request: Request) -> bool:
    own = "x-amz-checksum-sha256" in request.headers and "x-amz-sdk-checksum-algorithm" not in request.headers
    return _sends_checksum(request) and not own


class _UnequalParts:
    """Matches the completion of an upload whose parts, but the last, differ in size."""

    def __init__(self) -> None:
        self._sizes: dict[str, dict[int, int]] = {}

    def __call__(self, request: Request) -> bool:
        path, _, query = request.path.partition("?")
        fields = dict(part.partition("=")[::2] for part in query.split("&"))
        if request.method == "PUT" and "partNumber" in fields:
            self._sizes.setdefault(path, {})[int(fields["partNumber"])] = len(request.body)
        if request.method != "POST" or "uploadId" not in fields:
            return False
        sizes = [size for _, size in sorted(self._sizes.pop(path, {}).items())]
        return len(set(sizes[:-1])) > 1 or (len(sizes) > 1 and sizes[-1] > sizes[0])
