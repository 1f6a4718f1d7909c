"""What a preflight finds out about real buckets: each row about the store, forced into each of its states."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from flows.core.checks import CheckLine
from flows.core.preflight import Row, State
from flows.core.preflight_backups import judge
from flows.core.preflight_facts import BucketLock, KeysFacts, Limits, StoreFacts, Unknown
from flows.core.retention import RetentionPolicy
from flows.storage.bucket import lets_everybody_in
from flows.storage.preflight import DocumentsPlace, Settings, survey_store
from flows.storage.probe import check_store
from flows.storage.s3 import S3Store, client_config, without_credentials
from tests.storage.conftest import Server
from tests.support.fault_proxy import FaultProxy, Request, status
from tests.support.preflights import GOOD, NEWEST, NOW

FAIL, WARN, PASS, NOT_CHECKED = State.FAIL, State.WARN, State.PASS, State.NOT_CHECKED
DENIED = status(403, "AccessDenied")
WHERE = DocumentsPlace("no-such-bucket-anywhere")
Told = dict[str, tuple[State, str]]


@pytest.fixture
def gate(moto: Server) -> Iterator[FaultProxy]:
    """Stands before moto, which lets everybody in: refuses who has no credentials, as a real store does."""
    with FaultProxy(moto.host, moto.port) as proxy:
        proxy.fail(lambda request: "authorization" not in request.headers, times=None, action=DENIED)
        yield proxy


def survey(
    server: Server,
    url: str,
    *,
    prefix: str = "mongo",
    settings: Settings | None = None,
    documents: DocumentsPlace | None = None,
    ahead: timedelta = timedelta(),
    **options: Any,
) -> StoreFacts:
    store = server.store(prefix, url, **options)
    config = without_credentials(client_config(server.profile, connect_timeout=5, read_timeout=20))
    nobody = boto3.client("s3", endpoint_url=url, region_name="us-east-1", config=config)
    return survey_store(
        store,
        S3Store(nobody, server.bucket, prefix, server.profile),
        "mpg",
        settings or Settings("block", True, None),
        tuple(check_store(store, "abc")),
        documents,
        scratch="def",
        clock=lambda: datetime.now(UTC) - ahead,
    )


def rows(facts: StoreFacts, policy: RetentionPolicy | None = None, *, ours: bool = True) -> dict[str, Row]:
    """The checklist; without `ours`, of backups that this project does not encrypt."""
    given = replace(GOOD, store=facts)
    if not ours:
        backups = replace(GOOD.backups, newest=replace(NEWEST, recipients=()))
        given = replace(given, backups=backups, keys=KeysFacts())
    return {row.check: row for row in judge(given, policy or RetentionPolicy(), Limits(), now=NOW)}


def compare(found: dict[str, Row], told: Told) -> None:
    for check, (state, seen) in told.items():
        row = found[check]
        assert (row.state, seen in row.seen) == (state, True), row


def left(server: Server) -> list[str]:
    listed = server.client().list_objects_v2(Bucket=server.bucket)
    return [item["Key"] for item in listed.get("Contents", [])]


def lists_buckets(request: Request) -> bool:
    return request.method == "GET" and request.path.partition("?")[0] == "/"


def others_than(bucket: str) -> Callable[[Request], bool]:
    return lambda request: not lists_buckets(request) and request.path.split("/")[1].partition("?")[0] != bucket


def lifecycle(client: Any, bucket: str, *rules: dict[str, Any]) -> None:
    made = [{"ID": f"rule-{n}", "Status": "Enabled", "Filter": {"Prefix": ""}, **rule} for n, rule in enumerate(rules)]
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": made})


def block_public_access(client: Any, bucket: str) -> None:
    parts = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(parts, True))


def let_everybody_in(client: Any, bucket: str) -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")


def test_a_bucket_as_it_should_be(locking: Server, gate: FaultProxy) -> None:
    client = locking.client()
    block_public_access(client, locking.bucket)
    encryption = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]}
    client.put_bucket_encryption(Bucket=locking.bucket, ServerSideEncryptionConfiguration=encryption)
    lifecycle(
        client,
        locking.bucket,
        {"Expiration": {"Days": 1}, "Status": "Disabled"},
        {"Expiration": {"Days": 1}, "Filter": {"Prefix": "invoices/"}},
        {"Expiration": {"Days": 1}, "Filter": {"And": {"Prefix": "", "Tags": [{"Key": "a", "Value": "b"}]}}},
        {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
        {"Transitions": [{"Days": 1, "StorageClass": "GLACIER_IR"}]},
    )
    gate.fail(lists_buckets, times=None, action=DENIED)
    gate.fail(others_than(locking.bucket), times=None, action=DENIED)

    facts = survey(
        locking,
        gate.url,
        settings=Settings("block", True, 7),
        documents=DocumentsPlace("invoices-pdf", "2026/"),
        lock="governance",
    )

    found = rows(facts)
    compare(
        found,
        {
            "store takes backups": (PASS, f"s3://{locking.bucket}/mongo: written, read back and deleted"),
            "TLS to the store": (WARN, "off; the connection stays on this machine"),
            "bucket not public": (PASS, "refused; nobody is let in by policy, ACL, public access block"),
            "lifecycle rules": (PASS, "none deletes backups"),
            "what is deleted is gone": (PASS, "an object was deleted, with all its versions"),
            "Object Lock": (PASS, "locked for 7 days, no longer than retention"),
            "documents kept apart": (
                PASS,
                "another bucket, s3://invoices-pdf/2026; the credentials of the backups are",
            ),
            "rights of the store's credentials": (PASS, "they list no other bucket, and nothing beyond the folder"),
            "encryption at rest": (PASS, "the store encrypts too: its default is aws:kms"),
        },
    )
    assert {row.check for row in found.values() if row.state is not PASS} == {"TLS to the store"}
    compare(rows(facts, ours=False), {"encryption at rest": (WARN, "only by the store: its default is aws:kms")})
    assert left(locking) == []
    assert isinstance(facts.ahead_seconds, float)
    assert abs(facts.ahead_seconds) < 30


def test_a_bucket_that_is_wrong_in_every_way(moto: Server, gate: FaultProxy) -> None:
    client = moto.client()
    let_everybody_in(client, moto.bucket)
    lifecycle(client, moto.bucket, {"Expiration": {"Days": 30}}, {"Expiration": {"Days": 3}})
    client.put_bucket_versioning(Bucket=moto.bucket, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=moto.bucket, Key="invoices/1.pdf", Body=b"x")
    client.create_bucket(Bucket=f"{moto.bucket}-other")
    gate.fail("GET ?versions", times=None, action=DENIED)  # so that a deletion only hides

    facts = survey(
        moto,
        gate.url,
        prefix="",
        settings=Settings("env", True, 7),
        documents=DocumentsPlace(moto.bucket),
        lock="governance",
    )

    compare(
        rows(facts),
        {
            "bucket not public": (FAIL, "its policy lets everybody in; its ACL lets in everybody"),
            "lifecycle rules": (FAIL, "the rule rule-1 deletes after 3 days, and retention keeps 7"),
            "what is deleted is gone": (FAIL, "a deletion only hides, and no rule ever removes the old versions"),
            "Object Lock": (FAIL, "asks for a lock of 7 days, and the bucket has no Object Lock"),
            "documents kept apart": (FAIL, f"backups and documents are in one folder: s3://{moto.bucket}"),
            "rights of the store's credentials": (FAIL, "they can list the objects of other buckets: "),
            "credentials are in blocks": (FAIL, "the environment of the worker"),
        },
    )
    compare(rows(facts, ours=False), {"encryption at rest": (FAIL, "neither this project nor the store encrypts")})
    assert facts.beyond is None
    assert left(moto) == ["invoices/1.pdf"]


def test_a_bucket_that_could_be_better(locking: Server, gate: FaultProxy) -> None:
    client = locking.client()
    let_everybody_in(client, locking.bucket)
    block_public_access(client, locking.bucket)
    late = {"NoncurrentVersionExpiration": {"NoncurrentDays": 90}}
    lifecycle(client, locking.bucket, {"Expiration": {"Days": 30}}, late)
    gate.fail("GET ?versions", times=None, action=DENIED)
    gate.fail(others_than(locking.bucket), times=None, action=DENIED)
    # While nothing else is in the bucket, there is nothing to be seen beyond the folder.
    compare(
        rows(survey(locking, gate.url)),
        {"rights of the store's credentials": (WARN, "they can list the names of other buckets: ")},
    )
    client.put_object(Bucket=locking.bucket, Key="invoices/1.pdf", Body=b"x")

    facts = survey(
        locking,
        gate.url,
        settings=Settings("block", True, 30),
        documents=DocumentsPlace(locking.bucket, "invoices/"),
        lock="compliance",
    )

    found = rows(facts)
    compare(
        found,
        {
            "bucket not public": (WARN, "its ACL lets in everybody, and only the public access block keeps them out"),
            "lifecycle rules": (WARN, "the rule rule-0 deletes after 30 days whatever there is"),
            "what is deleted is gone": (WARN, "the old versions live on for 91 days"),
            "Object Lock": (WARN, "backups are locked for 30 days (in mode compliance)"),
            "documents kept apart": (WARN, "another folder of the bucket"),
            "rights of the store's credentials": (WARN, "they can list what else is in the bucket"),
        },
    )
    # What retention is meant to keep for longer makes the same rule a fail.
    assert rows(facts, RetentionPolicy(days=7, weekly=5))["lifecycle rules"].state is FAIL


def test_rules_by_date_and_into_an_archive_and_a_lock_of_the_bucket_itself(locking: Server, gate: FaultProxy) -> None:
    client = locking.client()
    lifecycle(client, locking.bucket, {"Transitions": [{"Days": 60, "StorageClass": "DEEP_ARCHIVE"}]})
    facts = survey(locking, gate.url)
    compare(
        rows(facts),
        {
            "lifecycle rules": (WARN, "moves objects after 60 days to a class that cannot be read at once"),
            "Object Lock": (WARN, "there is none: whoever takes over the worker"),
            "bucket not public": (
                WARN,
                "are off: BlockPublicAcls, BlockPublicPolicy, IgnorePublicAcls, RestrictPublic",
            ),
        },
    )
    lifecycle(client, locking.bucket, {"Expiration": {"Date": datetime(2027, 1, 1, tzinfo=UTC)}})
    default = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Years": 1}}}
    client.put_object_lock_configuration(Bucket=locking.bucket, ObjectLockConfiguration=default)
    facts = survey(locking, gate.url)
    compare(
        rows(facts),
        {
            "lifecycle rules": (FAIL, "deletes everything from 2027-01-01 on"),
            "Object Lock": (WARN, "backups are locked for 365 days (by the bucket itself)"),
            "what is deleted is gone": (PASS, "the bucket locks new objects"),
        },
    )


def test_credentials_that_may_ask_nothing_leave_rows_unchecked_and_say_what_to_allow(
    moto: Server, gate: FaultProxy
) -> None:
    for question in ("policyStatus", "policy", "acl", "publicAccessBlock", "encryption", "lifecycle", "object-lock"):
        gate.fail(f"GET ?{question}", times=None, action=DENIED)
    gate.fail(lists_buckets, times=None, action=status(500, "InternalError"))
    facts = survey(moto, gate.url, documents=WHERE)
    found = rows(facts)
    denied = (NOT_CHECKED, "the store denies access")
    compare(
        found,
        {
            "lifecycle rules": denied,
            "Object Lock": denied,
            "rights of the store's credentials": (NOT_CHECKED, "the store does not answer"),
            "documents kept apart": (NOT_CHECKED, "is not known: bucket does not exist"),
            "bucket not public": (
                PASS,
                "a request without credentials is refused; not known: policy (the store denies",
            ),
        },
    )
    assert found["lifecycle rules"].do == (
        "Allow s3:GetLifecycleConfiguration for the store's credentials, on this bucket and prefix."
    )
    assert found["documents kept apart"].do == "Correct `documents`."


def test_credentials_that_cannot_delete_are_told_from_those_that_do_not_want_to(moto: Server, gate: FaultProxy) -> None:
    gate.fail(lambda r: r.method == "DELETE" or r.path.endswith("?delete"), times=None, action=DENIED)
    compare(
        rows(survey(moto, gate.url)),
        {
            "store takes backups": (WARN, "abort an upload: the store denies access"),
            "what is deleted is gone": (NOT_CHECKED, "these credentials cannot delete"),
            "Object Lock": (PASS, "there is none; the store's credentials cannot delete"),
        },
    )


def test_the_lesser_store_tells_little_and_nothing_is_made_up(rclone: Server) -> None:
    facts = survey(rclone, f"http://{rclone.host}:{rclone.port}", documents=DocumentsPlace("a", "b/", here=False))
    untold = (NOT_CHECKED, "the store does not tell")
    compare(
        rows(facts),
        {
            "store takes backups": (PASS, "written, read back and deleted"),
            "bucket not public": (
                PASS,
                "refused; not known: policy (the store does not tell), ACL (the store does not",
            ),
            "lifecycle rules": untold,
            "what is deleted is gone": (PASS, "an object was deleted"),
            "Object Lock": (WARN, "there is none"),
            "documents kept apart": (PASS, "s3://a/b, at another provider"),
        },
    )
    compare(rows(facts, ours=False), {"encryption at rest": (NOT_CHECKED, "whether the store does is not known")})
    assert facts.object_lock == BucketLock(False)
    assert left(rclone) == []


@pytest.mark.parametrize(
    ("policy", "public"),
    [
        ({"Effect": "Allow", "Principal": "*"}, True),
        ([{"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam::1:root", "*"]}}], True),
        (
            [{"Effect": "Deny", "Principal": "*"}, {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:root"}}],
            False,
        ),
        ([{"Effect": "Allow", "Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}], None),
        ("nonsense", None),
    ],
)
def test_a_policy_is_read_where_the_store_does_not_judge_it(policy: object, public: bool | None) -> None:
    told = lets_everybody_in(json.dumps({"Statement": policy}))
    assert (None if isinstance(told, Unknown) else told) is public


def test_a_store_that_lets_strangers_in_is_found_by_trying(moto: Server) -> None:
    facts = survey(moto, f"http://{moto.host}:{moto.port}", ahead=timedelta(seconds=90))
    compare(
        rows(facts),
        {
            "bucket not public": (FAIL, "somebody without credentials could list it"),
            "clocks": (WARN, "the store is "),
        },
    )


@pytest.mark.parametrize(
    ("url", "verified", "state"),
    [
        ("https://store.invalid", True, PASS),
        ("https://store.invalid", False, FAIL),
        ("http://store.invalid", True, FAIL),
        ("http://127.0.0.1:1", True, WARN),
    ],
)
def test_a_store_that_is_not_reached_is_asked_nothing_more(
    moto: Server, url: str, verified: bool, state: State
) -> None:
    store = moto.store("mongo", url)
    lines = (CheckLine("reach the bucket", False, "the store does not answer", "Check it."),)
    settings = Settings("block", verified, None)
    facts = survey_store(store, store, "mpg", settings, lines, WHERE, scratch="def", clock=lambda: datetime.now(UTC))
    found = rows(facts)
    assert found["TLS to the store"].state is state
    assert found["store takes backups"].state is FAIL
    for check in ("bucket not public", "lifecycle rules", "what is deleted is gone", "Object Lock"):
        assert (found[check].state, found[check].seen) == (NOT_CHECKED, "the store was not reached")
    assert found["rights of the store's credentials"].state is found["documents kept apart"].state is NOT_CHECKED
