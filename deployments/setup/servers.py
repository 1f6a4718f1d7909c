"""How the two MongoDB servers are reached, from variables."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from deployments.setup.reader import Reader
from deployments.setup.variables import PREFIX

_LOGIN = ("USERNAME", "PASSWORD")


@dataclass(frozen=True, slots=True)
class Server:
    """How a MongoDB is reached: the fields of its block, by their names there."""

    connection_string: str | None = field(default=None, repr=False)
    host: str = "localhost"
    port: int = 27017
    replica_set: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    auth_database: str = "admin"
    tls: bool = False
    tls_ca_file: str | None = None
    tls_certificate_key_file: str | None = None
    tls_certificate_key_password: str | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """For texts; never the connection string, which may hold a password."""
        if self.connection_string:
            return "by connection string"
        return ",".join(host if ":" in host else f"{host}:{self.port}" for host in self.host.split(","))


def read_source(reader: Reader, notes: list[str], *, complete: bool) -> Server:
    """The server that is backed up.

    Args:
        reader: What was given.
        notes: Gets what the operator should know.
        complete: Whether it has to be there.
    """
    if complete and "SOURCE_URI" not in reader and "SOURCE_HOST" not in reader:
        reader.missing(
            "SOURCE_HOST",
            "host of the MongoDB that is backed up",
            "In a compose stack that is the name of its service, often `mongo`.",
        )
    server = _server(reader, "SOURCE", notes)
    if not server.connection_string and not server.tls:
        notes.append("The connection to MongoDB is not encrypted: MONGO_TLS_ENABLED=true turns TLS on.")
    if server.username == "root":
        notes.append("`root` may do anything. To back up the role `backup` is enough, and to restore `restore`.")
    return server


def read_target(reader: Reader, source: Server, notes: list[str]) -> Server:
    """The server that is restored into: the source where no other one is named, with a user of its own if one is given.

    Args:
        reader: What was given.
        source: The server that is backed up.
        notes: Gets what the operator should know.
    """
    if "TARGET_URI" in reader or "TARGET_HOST" in reader:
        return _server(reader, "TARGET", notes)
    notes.append(
        f"Restores go to the MongoDB that is backed up ({source.address}), once `into_source` is turned on. "
        "MONGO_BACKUP_TARGET_HOST or _URI names another one."
    )
    if not any(f"TARGET_{key}" in reader for key in _LOGIN):
        return source
    own = _server(reader, "TARGET", notes)
    if source.connection_string:
        reader.wrong(
            "TARGET_USERNAME",
            "a user for restores does not go with a source by connection string",
            "a connection string with that user",
            "Give it in MONGO_BACKUP_TARGET_URI.",
        )
    return replace(source, username=own.username, password=own.password, auth_database=own.auth_database)


def database_of_uri(reader: Reader) -> tuple[str, ...]:
    """The database in a connection string of mgob, which hands it to mongodump: that is what it backs up."""
    if reader.origin("SOURCE_URI").startswith(PREFIX):
        return ()
    _, _, rest = reader.secret("SOURCE_URI").partition("://")
    database = rest.partition("/")[2].partition("?")[0].strip()
    return (database,) if database else ()


def _server(reader: Reader, end: str, notes: list[str]) -> Server:
    uri, port = reader.secret(f"{end}_URI").strip(), reader.number(f"{end}_PORT", 27017, 1, 65535)
    username, password = reader.text(f"{end}_USERNAME"), reader.secret(f"{end}_PASSWORD")
    host, replica_set = reader.text(f"{end}_HOST"), reader.text(f"{end}_REPLICA_SET")
    if "://" in host or " " in host:
        reader.wrong(
            f"{end}_HOST",
            "not the name of a host",
            "a name, or several with commas and no spaces: mongo-0,mongo-1:27018",
            f"A connection string goes into {reader.origin(f'{end}_URI')}.",
        )
    elif "/" in host:  # mongodump takes rs0/mongo-0,mongo-1
        replica_set, _, host = host.partition("/")
    if uri:
        if not uri.startswith(("mongodb://", "mongodb+srv://")):
            reader.wrong(
                f"{end}_URI", "not a connection string", "mongodb://… or mongodb+srv://…", "It begins like that."
            )
        if ignored := [reader.origin(f"{end}_{key}") for key in ("HOST", "PORT", *_LOGIN) if f"{end}_{key}" in reader]:
            notes.append(f"{reader.origin(f'{end}_URI')} says it all: {', '.join(ignored)} not used.")
        host, port, username, password = "", 27017, "", ""
    elif username and not password:
        reader.missing(f"{end}_PASSWORD", f"password of the user {username!r}", "Give it, or leave the user out.")
    elif password and not username:
        reader.missing(f"{end}_USERNAME", "the user of the password that is given", "Give it, or leave both out.")
    return Server(
        connection_string=uri or None,
        host=host or "localhost",
        port=port,
        replica_set=replica_set or None,
        username=username or None,
        password=password or None,
        auth_database=reader.text(f"{end}_AUTH_DATABASE") or "admin",
        tls=reader.flag(f"{end}_TLS"),
        tls_ca_file=_path(reader, f"{end}_TLS_CA_FILE"),
        tls_certificate_key_file=_path(reader, f"{end}_TLS_CERTIFICATE_KEY_FILE"),
        tls_certificate_key_password=reader.secret(f"{end}_TLS_CERTIFICATE_KEY_PASSWORD") or None,
    )


def _path(reader: Reader, key: str) -> str | None:
    path = reader.text(key)
    if path and not path.startswith("/"):
        reader.wrong(key, "not a full path", "a path from /, as the worker sees it", "Write it from the root.")
    return path or None
