"""Real parts for all tests; each starts when the first test asks for it and lives as long as the session."""

from __future__ import annotations

import os

# Read once, when the tasks are defined, so it has to be there before anything imports them.
os.environ["MONGO_BACKUP_RETRY_DELAYS"] = "0.2,0.2"

import logging
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer
from playwright.sync_api import Browser
from pymongo import MongoClient

from deployments import embedded
from tests.support.browser import NAMES, chromium, find_chromium
from tests.support.quick import services_read_once
from tests.support.quick_prefect import empty_database


@pytest.fixture(scope="session", autouse=True)
def _services() -> Iterator[None]:
    with services_read_once():
        yield


@pytest.fixture(scope="session")
def parts() -> Iterator[embedded.Parts]:
    with embedded.parts() as held:
        yield held


@pytest.fixture(scope="session")
def prefect_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a new Prefect server may begin with: it would take seconds to make the same."""
    folder = tmp_path_factory.getbasetemp()
    # The folder of one of several workers is in that of all.
    return empty_database(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)


@pytest.fixture(scope="session")
def mongod(parts: embedded.Parts) -> embedded.Mongod:
    """A replica set of one without access control, shared: write into `database`, and do not stop it."""
    return parts.mongod()


@pytest.fixture(scope="session")
def mongo_client(mongod: embedded.Mongod) -> Iterator[MongoClient[dict[str, Any]]]:
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongod.uri) as client:
        yield client


@pytest.fixture
def database(mongo_client: MongoClient[dict[str, Any]]) -> Iterator[str]:
    """The name of a database that no other test uses; it is dropped after the test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    mongo_client.drop_database(name)


@pytest.fixture(scope="session")
def s3(parts: embedded.Parts) -> embedded.S3Server:
    """An S3 server over a folder, shared: write below `store_prefix`, and do not stop it."""
    return parts.s3()


@pytest.fixture
def store_prefix(s3: embedded.S3Server) -> Iterator[str]:
    """A prefix without a slash at its end that no other test uses; its objects are removed after the test."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    shutil.rmtree(s3.folder / s3.bucket / name, ignore_errors=True)


@pytest.fixture(scope="session")
def moto_port() -> Iterator[int]:
    """A server that does what AWS does, and takes any credentials."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


def _official_tool(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on PATH")
    return Path(found)


@pytest.fixture(scope="session")
def mongodump() -> Path:
    return _official_tool("mongodump")


@pytest.fixture(scope="session")
def mongorestore() -> Path:
    return _official_tool("mongorestore")


@pytest.fixture(scope="session")
def age() -> Path:
    return _official_tool("age")


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Ask for it before anything is started for the sake of a browser."""
    path = find_chromium()
    if path is None:
        pytest.skip(f"{NAMES[0]} is not on PATH; Debian and Ubuntu have it: apt-get install chromium")
    return path


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    """Chromium, for a module: no flow can be called in this process, and no block saved, while it is open."""
    with chromium(chromium_path) as held:
        yield held
