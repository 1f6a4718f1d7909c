"""Both ends on the shared MongoDB."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployments.embedded import Mongod
from flows.mongo.client import SOURCE, TARGET, MongoOptions, connect
from flows.mongo.source import MongoSource
from flows.mongo.target import MongoTarget


@pytest.fixture
def source(mongod: Mongod) -> Iterator[MongoSource]:
    with connect(MongoOptions(mongod.uri), SOURCE) as client:
        yield MongoSource(client)


@pytest.fixture
def target(mongod: Mongod) -> Iterator[MongoTarget]:
    with connect(MongoOptions(mongod.uri), TARGET) as client:
        yield MongoTarget(client)
