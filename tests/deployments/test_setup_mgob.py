"""Plan files of mgob as plans of this project, and what is said of their settings."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from deployments.setup.settings import Plan
from flows.core.errors import BackupError
from tests.support.setups import GUIDE, IDENTITY, read

# As mgob's documentation has it, but for the sections that are not S3.
DOCUMENTED = """\
scheduler:
  cron: "0 6,18 */1 * *" # run every day at 6:00 and 18:00 UTC
  retention: 14
  timeout: 60
target:
  host: "172.18.7.21"
  port: 27017
  database: "test"
  username: "admin"
  password: "secret"
  params: "--ssl --authenticationDatabase admin"
  noGzip: false
retry:
  attempts: 3
  backoffFactor: 60
validation:
  database:
    host: "127.0.0.1"
    port: 27017
    noGzip: false
    database: test_restore
s3:
  url: "https://play.minio.io:9000"
  bucket: "backup"
  accessKey: "Q3AM3UQ867SPQQA43P2F"
  secretKey: "zuf+tfteSlswRu7BJ86wekitnifILbZam1KYY3TG"
  #kmsKeyId:
  api: "S3v4"
smtp:
  server: smtp.company.com
  port: 465
  username: user
  password: hunter2
  to:
    - devops@company.com
  warnOnly: false
slack:
  url: https://hooks.slack.com/services/xxxx/xxx/xx
team:
  webhookUrl: https://xxx/services/xxxx/xxx/xx
"""


def convert(
    folder: Path, *, given: dict[str, str] | None = None, **files: str
) -> tuple[list[Plan], list[str], list[BackupError]]:
    """Plan files by their names without the ending, `-` written as `_`; plans, notes and problems."""
    paths = []
    for name, text in files.items():
        path = folder / f"{name.replace('_', '-')}.yml"
        path.write_text(text)
        paths.append(path)
    plans, _, notes, problems = read(given or {}, without=tuple(GUIDE), plans=tuple(paths))
    return plans, notes, problems


def test_the_documented_plan_becomes_a_plan_and_says_what_changed(tmp_path: Path) -> None:
    (plan,), notes, problems = convert(tmp_path, mongo_test=DOCUMENTED)
    assert problems == []
    assert (plan.name, plan.cron, plan.databases, plan.compression) == (
        "mongo-test", "0 6,18 */1 * *", ("test",), "gzip",
    )  # fmt: skip
    assert plan.retention == {"days": 14, "at_least": 3}
    assert plan.late == timedelta(hours=14)
    source = plan.source
    assert (source.host, source.port, source.username, source.password) == ("172.18.7.21", 27017, "admin", "secret")
    assert (source.tls, source.auth_database) == (True, "admin")
    bucket = plan.bucket
    assert (bucket.endpoint, bucket.bucket) == ("https://play.minio.io:9000", "backup")
    assert (bucket.access_key, bucket.secret_key) == (
        "Q3AM3UQ867SPQQA43P2F", "zuf+tfteSlswRu7BJ86wekitnifILbZam1KYY3TG",
    )  # fmt: skip

    retention = next(note for note in notes if note.startswith("mongo-test.yml: scheduler.retention"))
    assert retention == (
        "mongo-test.yml: scheduler.retention meant the newest 14 files in mgob's own folder, and nothing was ever "
        "removed from the bucket. Here it is 14 days in the bucket, for backups that are made from now on. At this "
        "schedule that is 28 backups or more. To keep the newest 14, set MONGO_BACKUP_RETENTION_LAST=14 and "
        "MONGO_BACKUP_RETENTION_DAYS=0."
    )
    left = {}
    for note in notes:
        named, words, why = note.partition(" not taken over: ")
        left |= dict.fromkeys(re.findall(r"mongo-test.yml: ([\w.]+)", named), why) if words else {}
    assert {name.partition(".")[0] for name in left} == {"scheduler", "retry", "validation", "smtp", "slack", "team"}
    assert "MONGO_BACKUP_ALERT_BLOCK" in left["slack.url"]
    assert "drill" in left["validation.database.host"]
    assert not any("not known" in note for note in notes)
    assert not any("hunter2" in note or "hooks.slack.com" in note for note in notes)


SMALL = """\
target: {uri: "mongodb://%s/shop?replicaSet=rs0"}
scheduler: {cron: "* * * * *", retention: 5}
s3: {url: "http://127.0.0.1:9000", bucket: backup2, accessKey: AK, secretKey: SK}
"""


def test_several_plans_share_what_is_the_same(tmp_path: Path) -> None:
    plans, _, problems = convert(tmp_path, one=SMALL % "a", two=SMALL % "b", three=SMALL % "a")
    assert problems == []
    assert [(plan.name, plan.databases) for plan in plans] == [
        (name, ("shop",)) for name in ("one", "two", "three")
    ]  # fmt: skip
    assert plans[0].source == plans[2].source != plans[1].source
    assert plans[0].bucket == plans[1].bucket


def test_variables_of_mgob_win_over_a_plan_file_and_others_fill_it_up(tmp_path: Path) -> None:
    text = "target: {host: mongo, username: admin, password: old}\nscheduler: {cron: '0 1 * * *'}\n"
    given = {
        "MY_PLAN__TARGET_PASSWORD": "new",
        "MGOB_CRON": "0 4 * * *",
        "MGOB_TARGET_URI": "mongodb://another",
        "MGOB_S3_URL": "https://minio",
        "MGOB_S3_BUCKET": "backups",
        "MGOB_S3_ACCESS_KEY": "AK",
        "MGOB_S3_SECRET_KEY": "SK",
        "MONGO_BACKUP_TIME_ZONE": "Europe/Berlin",
    }
    (plan,), _, problems = convert(tmp_path, given=given, my_plan=text)
    assert problems == []
    assert (plan.cron, plan.time_zone, plan.bucket.bucket) == ("0 1 * * *", "Europe/Berlin", "backups")
    assert (plan.source.host, plan.source.password, plan.source.connection_string) == ("mongo", "new", None)


def test_options_of_mongodump_are_taken_over_or_named(tmp_path: Path) -> None:
    params = (
        "--oplog --excludeCollection=sessions --excludeCollectionsWithPrefix tmp_ --readPreference "
        "'{mode: x}' --sslAllowInvalidCertificates --query '{}' --dumpDbUsersAndRoles --foo --gzip -p pa"
    )
    text = SMALL % "h" + f'target: {{host: h, username: u, database: shop, params: "{params}"}}'
    (plan,), notes, problems = convert(tmp_path, shop=text)
    assert [error.facts["variable"] for error in problems] == ["readPreference in shop.yml: target.params"]
    assert plan.exclude == ("shop.sessions", "shop.tmp_*")
    assert plan.include_users
    assert plan.source.password == "pa"
    left = [note.split()[0] for note in notes if "in shop.yml: target.params is not taken over" in note]
    assert left == ["oplog", "sslAllowInvalidCertificates", "query", "foo"]

    collection = "target: {host: h, database: shop, params: '--collection orders --readPreference secondary'}"
    (plan,), _, problems = convert(tmp_path, shop=SMALL % "h" + collection)
    assert problems == []
    assert (plan.include, plan.read_preference) == (("shop.orders",), "secondary")


def test_retention_of_no_file_says_nothing_of_the_bucket(tmp_path: Path) -> None:
    (plan,), notes, problems = convert(tmp_path, shop=SMALL.replace("retention: 5", "retention: 0") % "h")
    assert problems == []
    assert plan.retention == {"days": 7, "at_least": 3}
    assert any(note.startswith("shop.yml: scheduler.retention 0 meant no copy") for note in notes)


def test_what_was_encrypted_stays_encrypted_or_is_refused(tmp_path: Path) -> None:
    text = SMALL % "h" + "encryption: {gpg: {keyFile: /secret/key.pub}}\n"
    (error,) = convert(tmp_path, shop=text)[2]
    assert error.facts == {"variable": "shop.yml: encryption.gpg.keyFile"}
    assert "MONGO_BACKUP_RECIPIENTS" in error.hint
    assert convert(tmp_path, shop=text, given={"MONGO_BACKUP_RECIPIENTS": IDENTITY.public})[2] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("target: {password: hunter2", "the plan file cannot be read"),
        ("- hunter2", "the plan file is not one of mgob"),
        ("hunter2: hunter2", "the plan file is not one of mgob"),
        ("target: {password: '${hunter2}'}", "the plan file has a place that is still to be filled in"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_without_quoting_it(tmp_path: Path, text: str, message: str) -> None:
    (error,) = convert(tmp_path, shop=text)[2]
    assert error.message == message
    assert "hunter2" not in str(error)


def test_options_without_an_end_are_refused_without_quoting_them(tmp_path: Path) -> None:
    text = SMALL % "h" + 'target: {host: h, params: "-p \'hunter2"}'
    (error,) = convert(tmp_path, shop=text)[2]
    assert error.message == "the options of mongodump cannot be read"
    assert "hunter2" not in str(error)


def test_plans_have_names_of_their_own_that_fit(tmp_path: Path) -> None:
    (tmp_path / "Mongo_Test.yaml").write_text(SMALL % "h")
    (tmp_path / "mongo-test.yml").write_text(SMALL % "h")
    paths = (tmp_path / "Mongo_Test.yaml", tmp_path / "mongo-test.yml", tmp_path / "none.yml")
    _, _, notes, problems = read(without=tuple(GUIDE), plans=paths)
    assert any("Mongo_Test.yaml: the plan is called mongo-test here" in note for note in notes)
    assert [error.message for error in problems] == [
        "the plan file cannot be read",
        "several plan files give plans of the same name",
    ]
