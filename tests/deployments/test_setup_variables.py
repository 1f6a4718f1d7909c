"""What each variable of the set-up means, and what is said of those that cannot be used."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.setup.inputs import read_environment
from deployments.setup.settings import Common, Plan
from deployments.setup.variables import VARIABLES, variables_text
from flows.core.errors import BackupError, ConfigurationError
from tests.support.setups import GUIDE, IDENTITY, SIGNER, read, read_example


def plan(*changes: dict[str, str], without: tuple[str, ...] = ()) -> Plan:
    (found,), _, _, problems = read(*changes, without=without)
    assert problems == []
    return found


def problem(*changes: dict[str, str], without: tuple[str, ...] = ()) -> BackupError:
    problems = read(*changes, without=without)[3]
    assert len(problems) == 1, problems
    return problems[0]


def test_the_environment_of_the_guide_is_a_nightly_plan() -> None:
    (found,), common, notes, problems = read()
    assert problems == []
    assert (found.name, found.cron, found.time_zone) == ("default", "0 4 * * *", "UTC")
    assert found.databases == ("mpg",)
    assert found.retention == {"days": 7, "at_least": 3}
    assert found.late == timedelta(hours=26)
    source = found.source
    assert (source.host, source.port, source.username, source.password) == ("mongo", 27017, "root", "p@ss w0rd$#")
    assert source.tls
    assert found.target == source
    bucket = found.bucket
    assert (bucket.endpoint, bucket.bucket, bucket.prefix) == ("https://s3.example.com", "mongo-backups", "")
    assert (bucket.access_key, bucket.secret_key, bucket.provider) == ("access", "secret", "other")
    assert (common.pool, common.pool_type, common.alert_block) == ("mongo-backup", "process", "")
    assert not common.keys.protect
    assert any(note.startswith("MGOB_RETENTION meant the newest 7 files") for note in notes)
    assert any(note.startswith("MGOB_CRON is by the clock of UTC") for note in notes)
    assert not any("not known" in note for note in notes)


Look = Callable[[Plan, Common], Any]
OWN_SOURCE = {"MGOB_TARGET_HOST": "", "MGOB_TARGET_USERNAME": "", "MGOB_TARGET_PASSWORD": ""}
AWS = {"MGOB_S3_URL": "https://s3.eu-central-1.amazonaws.com"}

# Key, what is given, what it becomes. All names of a setting are tried, below.
MEANT: tuple[tuple[str, dict[str, str], Look, Any], ...] = (
    ("PLAN", {"MONGO_BACKUP_PLAN": "mpg"}, lambda p, _: p.name, "mpg"),
    ("CRON", {"MGOB_CRON": "30  3 * * 1-5"}, lambda p, _: (p.cron, p.late), ("30 3 * * 1-5", timedelta(hours=74))),
    ("TIME_ZONE", {"MONGO_BACKUP_TIME_ZONE": "Europe/Berlin"},
     lambda p, _: (p.time_zone, p.retention["time_zone"], p.late), ("Europe/Berlin",) * 2 + (timedelta(hours=27),)),
    ("DATABASES", {"MGOB_TARGET_DATABASE": "mpg, shop"}, lambda p, _: p.databases, ("mpg", "shop")),
    ("INCLUDE", {"MONGO_BACKUP_INCLUDE": "mpg.*,shop.orders"}, lambda p, _: p.include, ("mpg.*", "shop.orders")),
    ("EXCLUDE", {"MONGO_BACKUP_EXCLUDE": "mpg.sessions"}, lambda p, _: p.exclude, ("mpg.sessions",)),
    ("INCLUDE_USERS", {"MONGO_BACKUP_INCLUDE_USERS": "Yes"}, lambda p, _: p.include_users, True),
    ("COMPRESSION", {"MONGO_BACKUP_COMPRESSION": "ZSTD"}, lambda p, _: p.compression, "zstd"),
    ("RETENTION_DAYS", {"MGOB_RETENTION": "30"}, lambda p, _: p.retention["days"], 30),
    ("RETENTION_DAYS", {"MGOB_RETENTION": "forever"}, lambda p, _: p.retention, None),
    ("RETENTION_AT_LEAST", {"MONGO_BACKUP_RETENTION_AT_LEAST": "5"}, lambda p, _: p.retention["at_least"], 5),
    ("RETENTION_LAST", {"MONGO_BACKUP_RETENTION_LAST": "9", "MGOB_RETENTION": "0"},
     lambda p, _: p.retention, {"days": 0, "at_least": 3, "last": 9}),
    *((f"RETENTION_{unit}", {f"MONGO_BACKUP_RETENTION_{unit}": "4"},
       lambda p, _, unit=unit: p.retention[unit.lower()], 4)
      for unit in ("HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY")),
    ("SOURCE_URI", {**OWN_SOURCE, "MGOB_TARGET_URI": "mongodb://u:p@h/shop?tls=true", "MGOB_TARGET_DATABASE": ""},
     lambda p, _: (p.source.connection_string, p.source.username), ("mongodb://u:p@h/shop?tls=true", None)),
    ("SOURCE_HOST", {"MGOB_TARGET_HOST": "rs0/mongo-0,mongo-1:27018"},
     lambda p, _: (p.source.host, p.source.replica_set, p.source.address),
     ("mongo-0,mongo-1:27018", "rs0", "mongo-0:27017,mongo-1:27018")),
    ("SOURCE_PORT", {"MGOB_TARGET_PORT": "27018"}, lambda p, _: p.source.port, 27018),
    ("SOURCE_REPLICA_SET", {"MONGO_BACKUP_SOURCE_REPLICA_SET": "rs1"}, lambda p, _: p.source.replica_set, "rs1"),
    ("SOURCE_USERNAME", {"MGOB_TARGET_USERNAME": "backup"}, lambda p, _: p.source.username, "backup"),
    ("SOURCE_PASSWORD", {"MGOB_TARGET_PASSWORD": " a b "}, lambda p, _: p.source.password, " a b "),
    ("SOURCE_AUTH_DATABASE", {"MONGO_BACKUP_SOURCE_AUTH_DATABASE": "mpg"}, lambda p, _: p.source.auth_database, "mpg"),
    ("SOURCE_TLS", {"MONGO_TLS_ENABLED": "false"}, lambda p, _: p.source.tls, False),
    ("SOURCE_TLS_CA_FILE", {"MONGO_TLS_CA_FILE": "/etc/ca.pem"}, lambda p, _: p.source.tls_ca_file, "/etc/ca.pem"),
    ("SOURCE_TLS_CERTIFICATE_KEY_FILE", {"MONGO_BACKUP_SOURCE_TLS_CERTIFICATE_KEY_FILE": "/c.pem"},
     lambda p, _: p.source.tls_certificate_key_file, "/c.pem"),
    ("SOURCE_TLS_CERTIFICATE_KEY_PASSWORD", {"MONGO_BACKUP_SOURCE_TLS_CERTIFICATE_KEY_PASSWORD": "k"},
     lambda p, _: p.source.tls_certificate_key_password, "k"),
    ("SOURCE_READ_PREFERENCE", {"MONGO_BACKUP_SOURCE_READ_PREFERENCE": "secondarypreferred"},
     lambda p, _: p.read_preference, "secondaryPreferred"),
    ("PARAMS", {"MGOB_TARGET_PARAMS": "--authenticationDatabase=mpg --excludeCollection a --excludeCollection b"},
     lambda p, _: (p.source.auth_database, p.exclude), ("mpg", ("mpg.a", "mpg.b"))),
    ("NO_GZIP", {"MGOB_TARGET_NOGZIP": "true"}, lambda p, _: p.compression, "none"),
    ("TARGET_URI", {"MONGO_BACKUP_TARGET_URI": "mongodb+srv://x"}, lambda p, _: p.target.connection_string,
     "mongodb+srv://x"),
    ("TARGET_HOST", {"MONGO_BACKUP_TARGET_HOST": "other"},
     lambda p, _: (p.target.host, p.target.username, p.target.tls), ("other", None, False)),
    *((f"TARGET_{key}", {"MONGO_BACKUP_TARGET_HOST": "other", f"MONGO_BACKUP_TARGET_{key}": text},
       lambda p, _, field=field: getattr(p.target, field), value)
      for key, text, field, value in (
          ("PORT", "1", "port", 1),
          ("REPLICA_SET", "rs2", "replica_set", "rs2"),
          ("AUTH_DATABASE", "x", "auth_database", "x"),
          ("TLS", "on", "tls", True),
          ("TLS_CA_FILE", "/a", "tls_ca_file", "/a"),
          ("TLS_CERTIFICATE_KEY_FILE", "/b", "tls_certificate_key_file", "/b"),
          ("TLS_CERTIFICATE_KEY_PASSWORD", "pw", "tls_certificate_key_password", "pw"),
      )),
    *((key, {"MONGO_BACKUP_TARGET_USERNAME": "restorer", "MONGO_BACKUP_TARGET_PASSWORD": "pw"},
       lambda p, _: (p.target.username, p.target.password, p.target.host, p.target.tls),
       ("restorer", "pw", "mongo", True)) for key in ("TARGET_USERNAME", "TARGET_PASSWORD")),
    ("S3_URL", {"MGOB_S3_URL": "https://minio:9000/"}, lambda p, _: p.bucket.endpoint, "https://minio:9000"),
    ("S3_BUCKET", {"MGOB_S3_BUCKET": "b42"}, lambda p, _: p.bucket.bucket, "b42"),
    ("S3_PREFIX", {"MONGO_BACKUP_S3_PREFIX": "/mongo/"}, lambda p, _: p.bucket.prefix, "mongo"),
    ("S3_ACCESS_KEY", {"MGOB_S3_ACCESS_KEY": "a"}, lambda p, _: p.bucket.access_key, "a"),
    ("S3_SECRET_KEY", {"MGOB_S3_SECRET_KEY": "s"}, lambda p, _: p.bucket.secret_key, "s"),
    ("S3_API", {"MGOB_S3_API": "s3V4"}, lambda p, _: p.bucket.bucket, "mongo-backups"),
    ("S3_REGION", {"MONGO_BACKUP_S3_REGION": "eu"}, lambda p, _: p.bucket.region, "eu"),
    ("S3_PROVIDER", {"MONGO_BACKUP_S3_PROVIDER": "MinIO"}, lambda p, _: p.bucket.provider, "minio"),
    ("S3_STORAGE_CLASS", {"MGOB_S3_STORAGE_CLASS": "one-zone_ia"}, lambda p, _: p.bucket.storage_class, "ONEZONE_IA"),
    ("S3_KMS_KEY", {"MGOB_S3_KMS_KEY_ID": "k"}, lambda p, _: (p.bucket.encryption, p.bucket.kms_key), ("sse-kms", "k")),
    ("S3_CUSTOMER_KEY", {"MONGO_BACKUP_S3_CUSTOMER_KEY": "AAAA"},
     lambda p, _: (p.bucket.encryption, p.bucket.customer_key), ("sse-c", "AAAA")),
    *((key, {"MONGO_BACKUP_S3_LOCK": "compliance", "MONGO_BACKUP_S3_LOCK_DAYS": "7"},
       lambda p, _: (p.bucket.lock, p.bucket.lock_days), ("compliance", 7)) for key in ("S3_LOCK", "S3_LOCK_DAYS")),
    ("RECIPIENTS", {"MONGO_BACKUP_RECIPIENTS": "age1a, age1b"}, lambda _, c: c.keys.recipients, "age1a\nage1b"),
    ("PASSPHRASE", {"MONGO_BACKUP_PASSPHRASE": "six random words"},
     lambda _, c: (c.keys.passphrase, c.keys.protect), ("six random words", True)),
    ("SIGNING_KEY", {"MONGO_BACKUP_SIGNING_KEY": SIGNER.secret, "MONGO_BACKUP_RECIPIENTS": IDENTITY.public},
     lambda _, c: c.keys.signing_key, SIGNER.secret),
    ("IDENTITIES", {"MONGO_BACKUP_IDENTITIES": IDENTITY.secret},
     lambda _, c: (c.keys.identities, c.keys.open), (IDENTITY.secret, True)),
    ("IDENTITY_PASSPHRASES", {"MONGO_BACKUP_IDENTITY_PASSPHRASES": "one\ntwo"},
     lambda _, c: c.keys.passphrases, "one\ntwo"),
    ("TRUSTED_SIGNERS", {"MONGO_BACKUP_TRUSTED_SIGNERS": "a b"}, lambda _, c: c.keys.trusted_signers, "a\nb"),
    ("WORK_POOL", {"MONGO_BACKUP_WORK_POOL": "night"}, lambda _, c: c.pool, "night"),
    ("WORK_POOL_TYPE", {"MONGO_BACKUP_WORK_POOL_TYPE": "docker"}, lambda _, c: c.pool_type, "docker"),
    ("IMAGE", {"MONGO_BACKUP_IMAGE": "registry/x:1"}, lambda _, c: c.image, "registry/x:1"),
    ("ALERT_BLOCK", {"MONGO_BACKUP_ALERT_BLOCK": "slack-webhook/ops"}, lambda _, c: c.alert_block, "slack-webhook/ops"),
    ("WATCH_ALARMS", {"MONGO_BACKUP_WATCH_ALARMS": "people"}, lambda _, c: c.watch_alarms, "people"),
    ("LATE_HOURS", {"MONGO_BACKUP_LATE_HOURS": "1.5"}, lambda p, _: p.late, timedelta(hours=1.5)),
    ("DRILL_OVERDUE_DAYS", {"MONGO_BACKUP_DRILL_OVERDUE_DAYS": "40"}, lambda _, c: c.drill_overdue, timedelta(days=40)),
)  # fmt: skip


@pytest.mark.parametrize(("key", "given", "look", "expected"), MEANT, ids=[case[0] for case in MEANT])
def test_each_variable_is_understood_by_all_its_names(
    key: str, given: dict[str, str], look: Look, expected: Any
) -> None:
    variable = next(variable for variable in VARIABLES if variable.key == key)
    named = next(name for name in variable.names if name in given)
    for name in variable.names:
        # By another name, and without the one of the guide that is as good.
        renamed = {name if old == named else old: text for old, text in given.items()}
        (found,), common, _, problems = read(renamed, without=variable.names)
        assert problems == []
        assert look(found, common) == expected


def test_no_variable_is_without_a_test() -> None:
    assert {case[0] for case in MEANT} == {variable.key for variable in VARIABLES}


@pytest.mark.parametrize("key", [variable.key for variable in VARIABLES if variable.secret])
def test_each_secret_may_come_from_a_file(key: str, tmp_path: Path) -> None:
    variable = next(variable for variable in VARIABLES if variable.key == key)
    _, given, look, expected = next(case for case in MEANT if case[0] == key)
    for name in (*variable.names, *variable.fallback):
        file = tmp_path / name
        file.write_text(given[next(name for name in variable.names if name in given)] + "\n")
        other = {old: text for old, text in given.items() if old not in variable.names}
        (found,), common, _, problems = read(other, {f"{name}_FILE": str(file)}, without=variable.names)
        assert problems == []
        assert look(found, common) == expected


def test_the_root_of_the_mongo_image_is_taken_where_nobody_else_is_named() -> None:
    root = {"MONGO_INITDB_ROOT_USERNAME": "admin", "MONGO_INITDB_ROOT_PASSWORD": "initial"}
    assert plan(root).source.username == "root"
    taken = plan(root, without=("MGOB_TARGET_USERNAME", "MGOB_TARGET_PASSWORD")).source
    assert (taken.username, taken.password) == ("admin", "initial")


def test_mgob_backs_up_the_database_that_its_connection_string_names() -> None:
    given = OWN_SOURCE | {"MGOB_TARGET_DATABASE": ""}
    assert plan(given, {"MGOB_TARGET_URI": "mongodb://h/shop?tls=true"}).databases == ("shop",)
    assert plan(given, {"MGOB_TARGET_URI": "mongodb://h"}).databases == ()
    # For everybody else it says where the user is defined.
    assert plan(given, {"MONGO_BACKUP_SOURCE_URI": "mongodb://h/shop"}).databases == ()


@pytest.mark.parametrize(
    ("url", "endpoint", "provider", "region"),
    [
        ("https://s3.amazonaws.com", None, "aws", None),
        ("https://s3.eu-west-3.amazonaws.com", None, "aws", "eu-west-3"),
        ("https://s3-fips.us-gov-west-1.amazonaws.com", "https://s3-fips.us-gov-west-1.amazonaws.com", "aws", None),
        (f"https://{'0a' * 16}.eu.r2.cloudflarestorage.com",) * 2 + ("r2", None),
        ("https://s3.eu-central-003.backblazeb2.com",) * 2 + ("b2", "eu-central-003"),
        ("https://fra1.digitaloceanspaces.com",) * 2 + ("spaces", None),
        ("http://minio:9000",) * 2 + ("other", None),
    ],
)
def test_the_address_tells_the_provider(url: str, endpoint: str | None, provider: str, region: str | None) -> None:
    bucket = plan({"MGOB_S3_URL": url}).bucket
    assert (bucket.endpoint, bucket.provider, bucket.region) == (endpoint, provider, region)


def test_at_aws_the_role_of_the_machine_is_enough() -> None:
    (found,), _, notes, problems = read(AWS, without=("MGOB_S3_ACCESS_KEY", "MGOB_S3_SECRET_KEY"))
    assert problems == []
    assert found.bucket.access_key == ""
    assert "No access key is given: workers use the role of their machine." in notes


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"MGOB_CRON": "every night"}, "MGOB_CRON"),
        ({"MGOB_CRON": "@every 6h"}, "MGOB_CRON"),
        ({"MGOB_CRON": "0 0 4 * * *"}, "MGOB_CRON"),
        ({"MGOB_CRON": "0 4 31 2 *"}, "MGOB_CRON"),
        ({"MGOB_RETENTION": "seven"}, "MGOB_RETENTION"),
        ({"MGOB_RETENTION": "0"}, "MGOB_RETENTION"),
        ({"MGOB_RETENTION": "-1"}, "MGOB_RETENTION"),
        ({"MONGO_BACKUP_RETENTION_AT_LEAST": "0"}, "MONGO_BACKUP_RETENTION_AT_LEAST"),
        ({"MONGO_BACKUP_TIME_ZONE": "Mars"}, "MONGO_BACKUP_TIME_ZONE"),
        ({"MONGO_BACKUP_PLAN": "My Plan"}, "MONGO_BACKUP_PLAN"),
        ({"MONGO_BACKUP_EXCLUDE": "a$b"}, "MONGO_BACKUP_EXCLUDE"),
        ({"MONGO_BACKUP_COMPRESSION": "lzma"}, "MONGO_BACKUP_COMPRESSION"),
        ({"MONGO_TLS_ENABLED": "maybe"}, "MONGO_TLS_ENABLED"),
        ({"MONGO_TLS_CA_FILE": "ca.pem"}, "MONGO_TLS_CA_FILE"),
        ({"MGOB_TARGET_PORT": "70000"}, "MGOB_TARGET_PORT"),
        ({"MGOB_TARGET_HOST": "mongodb://mongo"}, "MGOB_TARGET_HOST"),
        ({"MGOB_TARGET_PASSWORD": ""}, "MGOB_TARGET_PASSWORD or MONGO_BACKUP_SOURCE_PASSWORD"),
        ({"MGOB_TARGET_USERNAME": ""}, "MGOB_TARGET_USERNAME or MONGO_BACKUP_SOURCE_USERNAME"),
        ({**OWN_SOURCE}, "MGOB_TARGET_HOST or MONGO_BACKUP_SOURCE_HOST"),
        ({**OWN_SOURCE, "MGOB_TARGET_URI": "postgres://secret"}, "MGOB_TARGET_URI"),
        ({"MGOB_TARGET_URI": "mongodb://x", "MONGO_BACKUP_TARGET_USERNAME": "u", "MONGO_BACKUP_TARGET_PASSWORD": "p"},
         "MONGO_BACKUP_TARGET_USERNAME"),
        ({"MGOB_S3_URL": ""}, "MGOB_S3_URL or MONGO_BACKUP_S3_URL"),
        ({"MGOB_S3_URL": "s3.example.com"}, "MGOB_S3_URL"),
        ({"MGOB_S3_URL": "https://s3.example.com:https"}, "MGOB_S3_URL"),
        ({"MGOB_S3_URL": "https://key:secret@s3.example.com"}, "MGOB_S3_URL"),
        ({"MGOB_S3_URL": "https://s3.example.com/bucket"}, "MGOB_S3_URL"),
        ({"MGOB_S3_URL": "https://bucket.s3.eu-west-3.amazonaws.com"}, "MGOB_S3_URL"),
        ({"MGOB_S3_BUCKET": ""}, "MGOB_S3_BUCKET or MONGO_BACKUP_S3_BUCKET"),
        ({"MGOB_S3_API": "S3v9"}, "MGOB_S3_API"),
        ({"MGOB_S3_ACCESS_KEY": ""}, "MGOB_S3_ACCESS_KEY or MONGO_BACKUP_S3_ACCESS_KEY"),
        ({"MGOB_S3_SECRET_KEY": ""}, "MGOB_S3_SECRET_KEY or MONGO_BACKUP_S3_SECRET_KEY"),
        ({"MGOB_S3_ACCESS_KEY": "", "MGOB_S3_SECRET_KEY": ""}, "MGOB_S3_ACCESS_KEY or MONGO_BACKUP_S3_ACCESS_KEY"),
        ({"MONGO_BACKUP_S3_PROVIDER": "azure"}, "MONGO_BACKUP_S3_PROVIDER"),
        ({"MGOB_S3_KMS_KEY_ID": "k", "MONGO_BACKUP_S3_CUSTOMER_KEY": "s"}, "MONGO_BACKUP_S3_CUSTOMER_KEY"),
        ({"MONGO_BACKUP_S3_LOCK": "governance"}, "MONGO_BACKUP_S3_LOCK_DAYS"),
        ({"MONGO_BACKUP_S3_LOCK_DAYS": "7"}, "MONGO_BACKUP_S3_LOCK"),
        ({"MONGO_BACKUP_SIGNING_KEY": SIGNER.secret}, "MONGO_BACKUP_RECIPIENTS"),
        ({"MONGO_BACKUP_WORK_POOL_TYPE": "ecs"}, "MONGO_BACKUP_WORK_POOL_TYPE"),
        ({"MONGO_BACKUP_LATE_HOURS": "0"}, "MONGO_BACKUP_LATE_HOURS"),
        ({"MONGO_BACKUP_DRILL_OVERDUE_DAYS": "soon"}, "MONGO_BACKUP_DRILL_OVERDUE_DAYS"),
        ({"MGOB_TARGET_PASSWORD": "", "MGOB_TARGET_PASSWORD_FILE": "/nowhere/at-all"}, "MGOB_TARGET_PASSWORD_FILE"),
        ({"MGOB_ENCRYPTION_GPG_RECIPIENTS": "a@example.com"}, "MGOB_ENCRYPTION_GPG_RECIPIENTS"),
    ],
)  # fmt: skip
def test_an_absurd_or_missing_variable_is_named_with_what_was_expected(given: dict[str, str], named: str) -> None:
    problems = [error for error in read(given)[3] if error.facts.get("variable") == named]
    assert len(problems) == 1, read(given)[3]
    assert isinstance(problems[0], ConfigurationError)
    assert problems[0].hint
    text = str(problems[0])
    assert "secret" not in text.replace("the file with a secret", "").replace("secret key", "")
    assert SIGNER.secret not in text


def test_everything_that_is_wrong_is_told_at_once() -> None:
    problems = read({"MGOB_CRON": "x", "MGOB_RETENTION": "x", "MGOB_S3_BUCKET": ""})[3]
    assert len(problems) == 3
    assert str(problems[1]) == (
        "a variable has a value that makes no sense (variable='MGOB_RETENTION', expected='a whole number from 1 to "
        "36500', got='x')\nHINT: Correct it, or leave it out."
    )


def test_a_setting_that_is_given_twice_has_to_be_given_the_same() -> None:
    assert plan({"MONGO_BACKUP_CRON": "0 4 * * *"}).cron == "0 4 * * *"
    error = problem({"MONGO_BACKUP_CRON": "0 5 * * *"})
    assert error.facts["variables"] == ["MONGO_BACKUP_CRON", "MGOB_CRON"]


def test_a_secret_in_a_variable_and_in_a_file_is_given_twice(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("another")
    error = problem({"MGOB_TARGET_PASSWORD_FILE": str(tmp_path / "password")})
    assert "another" not in str(error)
    assert "w0rd" not in str(error)


def test_what_is_not_known_or_not_taken_over_is_named() -> None:
    _, _, notes, problems = read(
        {
            "MGOB_S3_BUKET": "x",
            "MGOB_EN_MINIO": "true",
            "MGOB_SMTP_SERVER": "x",
            "MGOB_SLACK_URL": "x",
            "MGOB_FOO": "1",
            "MONGO_BACKUP_BAR": "1",
            "MONGO_BACKUP_SPOOL": "/for/the/worker",
            "MONGO_URL": "for the application",
        }
    )
    assert problems == []
    found = [note for note in notes if "not known" in note or "not taken over" in note]
    assert [note.partition(" is")[0].partition(" are")[0] for note in found] == [
        "MGOB_FOO", "MGOB_S3_BUKET", "MONGO_BACKUP_BAR", "MGOB_EN_MINIO", "MGOB_SLACK_URL, MGOB_SMTP_SERVER",
    ]  # fmt: skip
    assert "did you mean MGOB_S3_BUCKET?" in found[1]
    assert "MONGO_BACKUP_ALERT_BLOCK" in found[4]


def test_an_hourly_schedule_says_what_days_of_retention_mean_now() -> None:
    note = next(note for note in read({"MGOB_CRON": "0 * * * *"})[2] if note.startswith("MGOB_RETENTION"))
    assert "At this schedule that is 168 backups or more." in note


def test_gpg_of_mgob_is_let_go_only_for_another_encryption() -> None:
    assert plan({"MGOB_ENCRYPTION_GPG_KEYFILE": "/k", "MONGO_BACKUP_RECIPIENTS": IDENTITY.public})


def test_a_file_of_deployments_needs_neither_source_nor_store() -> None:
    assert read(dict.fromkeys(GUIDE, ""), complete=False)[3] == []


def test_env_files_are_read_and_the_environment_wins(tmp_path: Path) -> None:
    one, two = tmp_path / ".env", tmp_path / ".env.secrets"
    one.write_text("# as compose has it\nMGOB_CRON=0 4 * * *\nexport MGOB_RETENTION='7' # days\nA=1\nEMPTY\n")
    two.write_text('A=2\nMGOB_TARGET_PASSWORD="p$w#d=1"\n')
    notes: list[str] = []
    found = read_environment([one, two], {"MGOB_RETENTION": "9"}, notes)
    assert {name: given.text for name, given in found.items()} == {
        "MGOB_CRON": "0 4 * * *", "MGOB_RETENTION": "9", "A": "2", "EMPTY": "", "MGOB_TARGET_PASSWORD": "p$w#d=1",
    }  # fmt: skip
    assert notes == [
        "MGOB_RETENTION is taken from the environment, and not from the env file, which has another value."
    ]


def test_a_bad_line_of_an_env_file_is_named_by_its_number(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("A=1\nthe password is hunter2\n")
    with pytest.raises(ConfigurationError) as caught:
        read_environment([file], {}, [])
    assert caught.value.facts == {"file": str(file), "line": 2}
    with pytest.raises(ConfigurationError):
        read_environment([tmp_path / "none"], {}, [])


def test_the_list_of_variables_names_all_of_them() -> None:
    text = variables_text()
    for variable in VARIABLES:
        for name in (*variable.names, *variable.fallback):
            assert name in text


def test_the_example_of_the_readme_is_understood(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (example,) = re.findall(r"understood as they are:\n\n```dotenv [^\n]*\n(.*?)```", text, re.DOTALL)
    env = tmp_path / ".env"
    env.write_text(example)
    found, common, strangers = read_example(env, tmp_path)
    assert strangers == []
    assert (found.databases, found.bucket.provider, common.alert_block) == (("mpg",), "b2", "slack-webhook/ops")
