"""What a preflight finds out about real servers: each row about the source, forced into each of its states."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from deployments import embedded
from flows.core.preflight import Row, State
from flows.core.preflight_facts import Limits, Rights, SourceFacts, Unknown
from flows.core.preflight_source import source_rows
from flows.core.selection import Selection
from flows.mongo.client import SOURCE, MongoOptions, connect, holds_password
from flows.mongo.preflight import survey_source
from flows.mongo.source import MongoSource
from tests.support.preflights import GOOD, NEWEST, row

MIB = 1024 * 1024
FAIL, WARN, PASS, NOT_CHECKED = State.FAIL, State.WARN, State.PASS, State.NOT_CHECKED
USERS: dict[str, list[Any]] = {
    "backup": ["backup"],
    "monitor": ["backup", "clusterMonitor", "readAnyDatabase"],
    "reader": [{"role": "read", "db": "mpg"}],
    "killer": ["backup", "killer"],
    "writer": ["backup", "readWriteAnyDatabase"],
    "restorer": ["backup", "restore"],
    "root": ["root"],
}


@pytest.fixture(scope="module")
def secure(parts: embedded.Parts) -> Iterator[embedded.Mongod]:
    """With access control and TLS, a user for each set of rights, two databases, and a history of a second."""
    mongod = parts.mongod(auth=("admin", "admin-password"), tls=True)
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongod.uri) as client:
        killing = [{"resource": {"cluster": True}, "actions": ["killAnyCursor"]}]
        client.admin.command("createRole", "killer", privileges=killing, roles=[])
        for name, roles in USERS.items():
            client.admin.command("createUser", name, pwd="x", roles=roles)
        client.admin.command({"setParameter": 1, "minSnapshotHistoryWindowInSeconds": 1})
        for database in ("mpg", "other"):
            client[database]["invoices"].insert_many([{"_id": number, "text": "x" * 1000} for number in range(100)])
        # An oplog counts in seconds: without a later entry, a machine that is quick makes one that reaches back none.
        time.sleep(2)
        client["other"]["invoices"].insert_one({})
    yield mongod
    mongod.kill()


@pytest.fixture(scope="module")
def standalone(parts: embedded.Parts) -> Iterator[embedded.Mongod]:
    mongod = parts.mongod(replica_set=None)
    yield mongod
    mongod.kill()


def survey(uri: str, *databases: str, ahead: timedelta = timedelta(), patience_ms: int = 20_000) -> SourceFacts:
    with connect(MongoOptions(uri, {"serverSelectionTimeoutMS": patience_ms}), SOURCE) as client:
        return survey_source(
            MongoSource(client),
            Selection(databases),
            password_in_uri=holds_password(uri),
            segment_bytes=16 * MIB,
            in_flight=3,
            clock=lambda: datetime.now(UTC) - ahead,
        )


def rows(facts: SourceFacts, limits: Limits | None = None) -> dict[str, Row]:
    return {row.check: row for row in source_rows(facts, NEWEST, limits or Limits())}


def as_user(mongod: embedded.Mongod, name: str) -> str:
    return mongod.uri.replace("admin:admin-password@", f"{name}:x@")


@pytest.mark.parametrize(
    ("name", "databases", "state", "seen"),
    [
        ("backup", (), PASS, "the user may read all that a backup reads, and change nothing"),
        ("monitor", (), PASS, "change nothing"),
        ("reader", ("mpg",), PASS, "change nothing"),
        ("reader", (), FAIL, "Insufficient permissions to list all databases"),
        ("reader", ("other",), PASS, "the user may change nothing"),
        ("killer", (), WARN, "the user has rights that no backup uses: killAnyCursor on cluster"),
        ("writer", (), FAIL, "dropCollection on every database, remove on every database, update on every database"),
        ("restorer", (), FAIL, "the user may do more than read: dropCollection on every database"),
        ("root", (), FAIL, "the user may do more than read: dropCollection on every database, dropDatabase"),
    ],
)
def test_a_user_with_too_few_or_too_many_rights(
    secure: embedded.Mongod, name: str, databases: tuple[str, ...], state: State, seen: str
) -> None:
    row = rows(survey(as_user(secure, name), *databases))["rights of the backup user"]
    assert (row.state, seen in row.seen) == (state, True), row


def test_a_server_as_it_should_be_is_all_right(secure: embedded.Mongod) -> None:
    facts = survey(as_user(secure, "backup"))
    found = rows(facts, Limits(oplog_hours=0.0001))
    assert found["MongoDB answers"].seen.startswith("MongoDB 6.0.5, replica set rs0; a backup would read 2 namespaces")
    assert found["replica set"].seen == "rs0: all collections are read at one point in time"
    assert found["TLS to MongoDB"].seen == "on, and the certificate is verified"
    assert {row.check for row in found.values() if row.state is not PASS} == {"snapshot history"}
    assert found["snapshot history"].state is WARN  # of the one second that it is set to
    assert (
        "a point in time stays readable for 1.0 s, and the newest backup took 2 min" in found["snapshot history"].seen
    )
    assert facts.password_in_uri
    # What the role itself has is no harm, whatever that is on this server.
    assert isinstance(facts.rights, Rights)
    assert facts.rights.of_backup == facts.rights.held
    # Both databases are one segment, and its compressed form beside it.
    assert isinstance(facts.spool_bytes, int)
    assert 2 * 200_000 < facts.spool_bytes < 2 * 300_000
    assert isinstance(facts.ahead_seconds, float)
    assert abs(facts.ahead_seconds) < 30


@pytest.mark.parametrize(
    ("option", "state", "seen"),
    [
        ("tlsAllowInvalidCertificates=true", FAIL, "on, and the certificate is not verified"),
        ("tlsInsecure=true", FAIL, "on, and the certificate is not verified"),
        ("tlsAllowInvalidHostnames=true", WARN, "any certificate of the CA is taken"),
    ],
)
def test_a_verification_that_is_switched_off_is_seen(
    secure: embedded.Mongod, option: str, state: State, seen: str
) -> None:
    row = rows(survey(f"{as_user(secure, 'backup')}&{option}"))["TLS to MongoDB"]
    assert (row.state, seen in row.seen) == (state, True), row


def test_an_oplog_that_is_short_fails_and_one_that_is_young_warns(secure: embedded.Mongod) -> None:
    facts = survey(as_user(secure, "backup"))
    row = rows(facts, Limits(oplog_hours=0.1))["oplog window"]
    assert (row.state, "it is not full yet, and at this rate will reach" in row.seen) == (WARN, True), row
    assert rows(facts, Limits(oplog_hours=10**6))["oplog window"].state is FAIL
    nobody = rows(survey(as_user(secure, "reader"), "mpg"))
    assert nobody["oplog window"].state is nobody["snapshot history"].state is NOT_CHECKED
    # To whom MongoDB shows no database of that name.
    blind = rows(survey(as_user(secure, "reader"), "other"))["MongoDB answers"]
    assert (blind.state, blind.seen) == (FAIL, "no such database in the source (got: other)")
    assert nobody["oplog window"].do == "Grant the built-in role `backup` on the database admin."


def test_a_standalone_without_access_control(standalone: embedded.Mongod) -> None:
    found = rows(survey(standalone.uri))
    assert found["rights of the backup user"].state is found["replica set"].state is FAIL
    assert found["rights of the backup user"].seen.startswith("nobody logs in")
    assert found["TLS to MongoDB"].state is WARN
    assert found["oplog window"].state is found["snapshot history"].state is NOT_CHECKED
    assert found["MongoDB answers"].seen == "nothing is selected (candidates: 0)"


def test_a_server_that_wants_tls_is_not_reached_without_and_nothing_else_is_claimed(secure: embedded.Mongod) -> None:
    facts = survey(f"mongodb://127.0.0.1:{secure.port}/", patience_ms=300)
    found = rows(facts)
    assert found.pop("MongoDB answers").state is FAIL
    assert found.pop("TLS to MongoDB").state is WARN
    assert {row.seen for row in found.values()} == {"MongoDB was not reached"}
    assert {row.state for row in found.values()} == {NOT_CHECKED}
    assert isinstance(facts.spool_bytes, Unknown)
    # Reserved for documentation: nobody is there.
    away = rows(survey("mongodb://192.0.2.1/", patience_ms=200))
    assert (away["TLS to MongoDB"].state, away["MongoDB answers"].state) == (FAIL, FAIL)


def test_a_clock_that_is_wrong_is_seen(standalone: embedded.Mongod) -> None:
    facts = survey(standalone.uri, ahead=timedelta(seconds=400))
    assert isinstance(facts.ahead_seconds, float)
    assert 370 < facts.ahead_seconds < 430
    assert row("clocks", replace(GOOD, source=facts)).state is FAIL


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mongodb://anna:secret@a,b/mpg?authSource=admin", True),
        ("mongodb+srv://anna:secret@cluster.example.com", True),
        ("mongodb://a/?tlsCertificateKeyFilePassword=secret", True),
        ("mongodb://anna@a/?authMechanism=MONGODB-X509", False),
        ("mongodb://a:27017,b:27017/?replicaSet=rs0", False),
    ],
)
def test_a_password_in_a_connection_string_is_seen(uri: str, expected: bool) -> None:
    assert holds_password(uri) is expected
