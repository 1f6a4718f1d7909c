"""How a bucket is set: asked of the store, question by question, for a preflight.

Some stores answer questions that they do not know with 200 and a listing, so an answer counts only if it shows what was
asked for. What the store does not say is `Unknown`, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from botocore.exceptions import ClientError

from flows.core.errors import BackupError
from flows.core.preflight_facts import BucketLock, LifecycleRule, Unknown
from flows.storage.profiles import ARCHIVE_CLASSES
from flows.storage.s3_errors import lacks, store_errors
from flows.storage.s3_folder import S3Folder

_STRANGERS = {
    "http://acs.amazonaws.com/groups/global/AllUsers": "everybody",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers": "everybody with an account at the provider",
}
_UNTOLD = Unknown("the store does not tell", "Look it up in the console of its provider.")

Answer = Mapping[str, Any]


def _question(folder: S3Folder, operation: str, *, shows: str, absent: Collection[str] = ()) -> Answer | Unknown:
    """Ask something about the bucket.

    Args:
        folder: In it.
        operation: As boto3 calls it.
        shows: What an answer has in it; an empty one is none.
        absent: What the store says where there is no such thing: the answer is empty then.
    """
    try:
        with store_errors(folder.location):
            try:
                answer: Answer = getattr(folder.client, operation)(Bucket=folder.bucket)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in absent:
                    return {}
                if lacks(error):
                    return _UNTOLD
                raise
    except BackupError as error:
        return Unknown.of(error)
    return answer if shows in answer else _UNTOLD


def keeps_versions(folder: S3Folder) -> bool:
    """Whether the bucket says that it keeps versions."""
    answer = _question(folder, "get_bucket_versioning", shows="Status")
    return not isinstance(answer, Unknown) and answer["Status"] == "Enabled"


def policy_public(folder: S3Folder) -> bool | Unknown:
    """Whether the policy of the bucket lets everybody in."""
    answer = _question(folder, "get_bucket_policy_status", shows="PolicyStatus", absent={"NoSuchBucketPolicy"})
    if isinstance(answer, Unknown) or (answer and "IsPublic" not in answer["PolicyStatus"]):
        return _policy_itself(folder)
    return bool(answer and answer["PolicyStatus"]["IsPublic"])


def _policy_itself(folder: S3Folder) -> bool | Unknown:
    """For stores that keep policies and do not judge them."""
    answer = _question(folder, "get_bucket_policy", shows="Policy", absent={"NoSuchBucketPolicy"})
    if isinstance(answer, Unknown) or not answer:
        return answer if isinstance(answer, Unknown) else False
    return lets_everybody_in(answer["Policy"])


def lets_everybody_in(policy: str) -> bool | Unknown:
    """Whether the policy of a bucket, as JSON, lets everybody in."""
    try:
        said = json.loads(policy)["Statement"]
        statements = [said] if isinstance(said, dict) else list(said)
        open_ones = [one for one in statements if one["Effect"] == "Allow" and _is_everybody(one.get("Principal"))]
    except (ValueError, KeyError, TypeError):
        return _UNTOLD
    if open_ones and all(one.get("Condition") for one in open_ones):
        return Unknown("it lets everybody in under conditions", "Read the policy of the bucket.")
    return bool(open_ones)


def _is_everybody(principal: object) -> bool:
    named = list(principal.values()) if isinstance(principal, dict) else [principal]
    return any("*" in (one if isinstance(one, list) else [one]) for one in named)


def acl_public(folder: S3Folder) -> tuple[str, ...] | Unknown:
    """The groups of strangers that the ACL of the bucket names, for people."""
    answer = _question(folder, "get_bucket_acl", shows="Grants")
    if isinstance(answer, Unknown):
        return answer
    uris = [grant.get("Grantee", {}).get("URI") for grant in answer["Grants"]]
    return tuple(dict.fromkeys(_STRANGERS[uri] for uri in uris if uri in _STRANGERS))


def public_blocks(folder: S3Folder) -> frozenset[str] | Unknown:
    """The parts of the public access block that are on; none where there is no block."""
    name = "PublicAccessBlockConfiguration"
    answer = _question(folder, "get_public_access_block", shows=name, absent={f"NoSuch{name}"})
    if isinstance(answer, Unknown):
        return answer
    if answer and not answer[name]:
        return _UNTOLD
    return frozenset(part for part, on in answer.get(name, {}).items() if on)


def default_encryption(folder: S3Folder) -> str | Unknown:
    """What the bucket encrypts with where nobody asks; empty: it does not."""
    name = "ServerSideEncryptionConfiguration"
    answer = _question(folder, "get_bucket_encryption", shows=name, absent={f"{name}NotFoundError"})
    if isinstance(answer, Unknown) or not answer:
        return answer if isinstance(answer, Unknown) else ""
    if not answer[name].get("Rules"):
        return _UNTOLD
    return str(answer[name]["Rules"][0].get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", ""))


def lifecycle_rules(folder: S3Folder) -> tuple[LifecycleRule, ...] | Unknown:
    """The rules of the bucket that are switched on."""
    answer = _question(
        folder, "get_bucket_lifecycle_configuration", shows="Rules", absent={"NoSuchLifecycleConfiguration"}
    )
    if isinstance(answer, Unknown):
        return answer
    return tuple(_rule(rule) for rule in answer.get("Rules", []) if rule.get("Status") == "Enabled")


def _rule(rule: Answer) -> LifecycleRule:
    only = rule.get("Filter", {})
    only = only.get("And", only)
    moves = [move.get("Days", 0) for move in rule.get("Transitions", []) if move.get("StorageClass") in ARCHIVE_CLASSES]
    expiration = rule.get("Expiration", {})
    return LifecycleRule(
        name=rule.get("ID") or "without a name",
        prefix=only.get("Prefix", rule.get("Prefix", "")),
        by_tag="Tag" in only or "Tags" in only,
        expires_days=expiration.get("Days"),
        expires_at=expiration.get("Date"),
        archives_days=min(moves, default=None),
    )


def object_lock(folder: S3Folder) -> BucketLock | Unknown:
    """Whether the bucket locks objects."""
    name = "ObjectLockConfiguration"
    answer = _question(folder, "get_object_lock_configuration", shows=name, absent={f"{name}NotFoundError"})
    if answer is _UNTOLD:
        return BucketLock(False)  # who has locks knows the question
    if isinstance(answer, Unknown):
        return answer
    found = answer.get(name, {})
    default = found.get("Rule", {}).get("DefaultRetention", {})
    days = default.get("Days") or 365 * (default.get("Years") or 0)
    return BucketLock(found.get("ObjectLockEnabled") == "Enabled", days)
