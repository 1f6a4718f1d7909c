"""The variables that the set-up understands: their names, here and in mgob, and where a value came from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flows.core.errors import BackupError, ConfigurationError

PREFIX = "MONGO_BACKUP_"
# They are for workers and for `python -m flows watch`, and mean nothing here.
_OF_OTHERS = ("SPOOL", "RETRY_DELAYS", "PING_URL", "PUSH_URL")
_OF_WORKERS = frozenset(f"{PREFIX}{key}{file}" for key in _OF_OTHERS for file in ("", "_FILE"))


@dataclass(frozen=True, slots=True)
class Variable:
    """A setting that can be given.

    Args:
        key: Its name without the prefix.
        what: What it is, as the list of variables shows it.
        mgob: Other names for it: those of mgob and of the stacks around it.
        fallback: Names that are looked at where none of the others is given.
        secret: Whether it may come from a file that `NAME_FILE` names, and is never shown.
        own: Whether it has a name of this project; otherwise only mgob has it.
    """

    key: str
    what: str
    mgob: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    secret: bool = False
    own: bool = True

    @property
    def name(self) -> str:
        """Its name here; that of mgob where it has none."""
        return PREFIX + self.key if self.own else self.mgob[0]

    @property
    def names(self) -> tuple[str, ...]:
        """All names that are as good as each other."""
        return (self.name, *self.mgob) if self.own else self.mgob


def _server(end: str, mgob: Mapping[str, tuple[str, ...]], fallback: Mapping[str, tuple[str, ...]]) -> list[Variable]:
    of = "source" if end == "SOURCE" else "target of restores"
    variables = (
        ("URI", f"connection string of the {of}, in place of host, port, user and password", True),
        ("HOST", f"host of the {of}, or several with commas", False),
        ("PORT", "its port [27017]", False),
        ("REPLICA_SET", "name of its replica set", False),
        ("USERNAME", "its user, who needs the role `backup`" if end == "SOURCE" else "its user, role `restore`", False),
        ("PASSWORD", "password of the user", True),
        ("AUTH_DATABASE", "database in which the user is defined [admin]", False),
        ("TLS", "encrypt the connection: true, false [false]", False),
        ("TLS_CA_FILE", "path, on the worker, of the CA certificates behind the server's", False),
        ("TLS_CERTIFICATE_KEY_FILE", "path, on the worker, of a client certificate with its key", False),
        ("TLS_CERTIFICATE_KEY_PASSWORD", "password of that key", True),
    )
    return [
        Variable(f"{end}_{key}", what, mgob.get(key, ()), fallback.get(key, ()), secret)
        for key, what, secret in variables
    ]


VARIABLES: tuple[Variable, ...] = (
    Variable("PLAN", "name of the plan [default]"),
    Variable("CRON", "when backups are taken, five fields [0 4 * * *]", ("MGOB_CRON", "MGOB_SCHEDULER_CRON")),
    Variable("TIME_ZONE", "whose clock that is, such as Europe/Berlin [UTC]"),
    Variable("DATABASES", "what is backed up, with commas [all]", ("MGOB_TARGET_DATABASE",)),
    Variable("INCLUDE", "patterns such as mpg.*, with commas: only these collections"),
    Variable("EXCLUDE", "patterns of collections to leave out"),
    Variable("INCLUDE_USERS", "back up users and roles: true, false [false]"),
    Variable("COMPRESSION", "gzip, zstd, none [gzip]"),
    Variable(
        "RETENTION_DAYS",
        "how old a backup in the bucket may get [7]; `forever` removes nothing",
        ("MGOB_RETENTION", "MGOB_SCHEDULER_RETENTION"),
    ),
    Variable("RETENTION_AT_LEAST", "so many verified backups always stay [3]"),
    Variable("RETENTION_LAST", "so many of the newest stay [0]"),
    *(
        Variable(f"RETENTION_{rule}", f"the newest of each of so many {periods} stays [0]")
        for rule, periods in (
            ("HOURLY", "hours"),
            ("DAILY", "days"),
            ("WEEKLY", "weeks"),
            ("MONTHLY", "months"),
            ("YEARLY", "years"),
        )
    ),
    *_server(
        "SOURCE",
        {
            "URI": ("MGOB_TARGET_URI",),
            "HOST": ("MGOB_TARGET_HOST", "MGOB_TARGET_HOSTNAME"),
            "PORT": ("MGOB_TARGET_PORT",),
            "USERNAME": ("MGOB_TARGET_USERNAME",),
            "PASSWORD": ("MGOB_TARGET_PASSWORD",),
            "TLS": ("MONGO_TLS_ENABLED",),
            "TLS_CA_FILE": ("MONGO_TLS_CA_FILE",),
        },
        {"USERNAME": ("MONGO_INITDB_ROOT_USERNAME",), "PASSWORD": ("MONGO_INITDB_ROOT_PASSWORD",)},
    ),
    Variable("SOURCE_READ_PREFERENCE", "which member is read: primary, secondaryPreferred, … [primary]"),
    Variable("PARAMS", "options of mongodump: what they mean is taken over", ("MGOB_TARGET_PARAMS",), own=False),
    Variable("NO_GZIP", "true means COMPRESSION=none", ("MGOB_TARGET_NOGZIP",), own=False),
    *_server("TARGET", {}, {}),
    Variable("S3_URL", "address of the store, such as https://s3.example.com", ("MGOB_S3_URL",)),
    Variable("S3_BUCKET", "name of the bucket", ("MGOB_S3_BUCKET",)),
    Variable("S3_PREFIX", "folder in the bucket [none]"),
    Variable("S3_ACCESS_KEY", "access key", ("MGOB_S3_ACCESS_KEY", "MGOB_S3_ACCESSKEY"), secret=True),
    Variable("S3_SECRET_KEY", "secret key", ("MGOB_S3_SECRET_KEY", "MGOB_S3_SECRETKEY"), secret=True),
    Variable("S3_API", "version of the signature: S3v4 [S3v4]", ("MGOB_S3_API",)),
    Variable("S3_REGION", "region of the bucket [told from the URL]"),
    Variable("S3_PROVIDER", "aws, r2, b2, spaces, minio, other [told from the URL]"),
    Variable("S3_STORAGE_CLASS", "storage class of the segments", ("MGOB_S3_STORAGE_CLASS", "MGOB_S3_STORAGECLASS")),
    Variable("S3_KMS_KEY", "key of the provider's key service to encrypt with",
             ("MGOB_S3_KMS_KEY_ID", "MGOB_S3_KMSKEYID")),
    Variable("S3_CUSTOMER_KEY", "key of your own to encrypt with: 32 bytes in base64", secret=True),
    Variable("S3_LOCK", "Object Lock: governance, compliance [none]"),
    Variable("S3_LOCK_DAYS", "for how many days backups are locked"),
    Variable("RECIPIENTS", "public keys of age (age1…) to encrypt to, with commas or spaces"),
    Variable("PASSPHRASE", "in place of recipients: encrypt with a passphrase", secret=True),
    Variable("SIGNING_KEY", "secret key (ed25519-secret:…) that signs backups and evidence", secret=True),
    Variable("IDENTITIES", "secret keys of age that open backups", secret=True),
    Variable("IDENTITY_PASSPHRASES", "passphrases that open backups, one a line", secret=True),
    Variable("TRUSTED_SIGNERS", "public keys (ed25519:…) of those who may sign backups"),
    Variable("WORK_POOL", "name of the work pool [mongo-backup]"),
    Variable("WORK_POOL_TYPE", "process, docker, kubernetes [process]"),
    Variable("IMAGE", "image of the containers, for docker and kubernetes"),
    Variable("ALERT_BLOCK", "notification block that gets alarms, such as slack-webhook/ops [none: no alarms]"),
    Variable("WATCH_ALARMS", "block of the type MongoDB Backup Alarms that the watch tells [none]"),
    Variable("LATE_HOURS", "alarm where no backup succeeded in so many hours [longest gap of CRON, and 2]"),
    Variable("DRILL_OVERDUE_DAYS", "alarm where no drill succeeded in so many days [35]"),
)  # fmt: skip

BY_KEY = {variable.key: variable for variable in VARIABLES}
_BY_NAME = {name: variable for variable in VARIABLES for name in (*variable.names, *variable.fallback)}

_ALARMS = "alarms are automations of Prefect here: make a notification block and name it in MONGO_BACKUP_ALERT_BLOCK"
_ONLY_S3 = "backups go to S3-compatible stores here (Google Cloud Storage has such an address too)"
_STEPS = "each stage of a backup is tried again by itself; workers have MONGO_BACKUP_RETRY_DELAYS"
# What mgob knows and this project has no setting for: the beginning of its name, and why.
NOT_TAKEN: tuple[tuple[str, str], ...] = (
    ("MGOB_EN_", "it chose what is in mgob's image"),
    ("MGOB_SMTP_", _ALARMS),
    ("MGOB_SLACK_", _ALARMS),
    ("MGOB_TEAM_", _ALARMS),
    ("MGOB_SFTP_", _ONLY_S3),
    ("MGOB_GCLOUD_", _ONLY_S3),
    ("MGOB_AZURE_", _ONLY_S3),
    ("MGOB_RCLONE_", _ONLY_S3),
    ("MGOB_RETRY_", _STEPS),
    ("MGOB_SCHEDULER_TIMEOUT", "a backup has no time limit here: MONGO_BACKUP_LATE_HOURS raises an alarm instead"),
    ("MGOB_TIMEOUT", "a backup has no time limit here: MONGO_BACKUP_LATE_HOURS raises an alarm instead"),
    ("MGOB_VALIDATION_", "every backup is verified in the store, and the drill restores one into a throw-away MongoDB"),
    ("MGOB_S3_CREATEBUCKETIFNEEDED", "the bucket has to exist: who can make buckets can lose backups"),
)
GPG = "MGOB_ENCRYPTION_"  # also the key of what begins so: it asks for encryption, which must not get lost


@dataclass(frozen=True, slots=True)
class Given:
    """A value and where it came from, such as `MGOB_CRON` or `mpg.yml: scheduler.cron`."""

    text: str = field(repr=False)  # it may be a secret
    origin: str


def read_values(
    values: Mapping[str, Given], notes: list[str], problems: list[BackupError], *, everything: bool
) -> dict[str, Given]:
    """Find the settings among variables by their names.

    Args:
        values: Variables by name; an empty one counts as not given.
        notes: Gets a line for each that is not taken over or not known.
        problems: Gets an error for each setting that is given twice, or whose file cannot be read.
        everything: Whether all values are meant for this program; otherwise those that begin as its variables do.

    Returns:
        What was given, by the keys of `VARIABLES`.
    """
    given = {name: value for name, value in values.items() if value.text.strip()}
    found: dict[str, Given] = {}
    for variable in VARIABLES:
        for names in (variable.names, variable.fallback):
            candidates = [value for name in names for value in _of(variable, name, given, problems)]
            if len({value.text for value in candidates}) > 1:
                problems.append(_given_twice(candidates))
            if candidates:
                found[variable.key] = candidates[0]
                break
    if gpg := next((value for name, value in given.items() if name.startswith(GPG)), None):
        found[GPG] = gpg
    notes.extend(_strangers(given, everything=everything))
    return found


def _of(variable: Variable, name: str, given: Mapping[str, Given], problems: list[BackupError]) -> list[Given]:
    values = [given[name]] if name in given else []
    if variable.secret and (named := given.get(f"{name}_FILE")):
        try:
            text = Path(named.text).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(
                ConfigurationError(
                    "the file with a secret cannot be read",
                    hint=f"Give a file that this user may read, or the value itself in {name}.",
                    variable=named.origin,
                    got=getattr(error, "strerror", None) or "not UTF-8",
                    path=named.text,
                )
            )
            return values
        if not text.strip():
            problems.append(
                ConfigurationError(
                    "the file with a secret is empty",
                    hint="Write the secret into it, or leave the variable out.",
                    variable=named.origin,
                    path=named.text,
                )
            )
            return values
        values.append(Given(text, named.origin))
    return values


def _given_twice(candidates: Iterable[Given]) -> ConfigurationError:
    return ConfigurationError(
        "one setting is given twice, with different values",
        hint="Leave one of them out.",
        variables=[value.origin for value in candidates],
    )


def _strangers(given: Mapping[str, Given], *, everything: bool) -> list[str]:
    """A line for each variable that is not known, and for those that are not taken over, by the reason."""
    lines = []
    left: dict[str, list[str]] = {}
    known = [*_BY_NAME, *(f"{name}_FILE" for name, variable in _BY_NAME.items() if variable.secret)]
    for name, value in sorted(given.items()):
        if name in known or name in _OF_WORKERS or name.startswith(GPG):
            continue
        why = next((why for start, why in NOT_TAKEN if name.startswith(start)), None)
        if why:
            left.setdefault(why, []).append(value.origin)
        elif everything or name.startswith(("MGOB_", PREFIX)):
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            hint = f"did you mean {close[0]}?" if close else "it changes nothing. --variables lists those that do."
            lines.append(f"{value.origin} is not known here: {hint}")
    return lines + [
        f"{', '.join(origins)} {'is' if len(origins) == 1 else 'are'} not taken over: {why}."
        for why, origins in left.items()
    ]


def variables_text() -> str:
    """The list of variables, for a terminal."""
    lines = [
        "Variables of the set-up. A secret (*) may also be in a file that NAME_FILE names.",
        "Where several names are given, they mean the same, and one is enough.",
        "",
    ]
    for variable in VARIABLES:
        lines.append(f"{variable.name}{' *' if variable.secret else ''}")
        also = ", ".join(name for name in (*variable.names, *variable.fallback) if name != variable.name)
        lines.append(f"    {variable.what}{f'. Also {also}' if also else ''}")
    return "\n".join(lines)
