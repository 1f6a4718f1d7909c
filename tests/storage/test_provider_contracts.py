"""The contract of a store at each provider, as a proxy that does what its documentation and its users say.

AWS is moto without such rules, and `other` is rclone: `test_s3.py` has both.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows.storage.s3 import S3Store
from tests.storage.conftest import Emulated, Server
from tests.storage.contract import StoreContract
from tests.storage.lock_contract import LockContract
from tests.support.fault_proxy import FaultProxy
from tests.support.providers import behave_like


@pytest.mark.parametrize("emulated", ["r2", "b2", "spaces", "minio"], indirect=True)
class TestAtAProvider(StoreContract):
    MANY = 5  # rclone shows that pages and batches work

    @pytest.fixture
    def store(self, emulated: Emulated) -> S3Store:
        return emulated.store(prefix="backups")

    @pytest.fixture
    def neighbour(self, emulated: Emulated) -> S3Store:
        return emulated.store(prefix="backups-old")


class TestLocksAtAProvider(LockContract):
    @pytest.fixture(params=["b2", "minio"])
    def store(self, request: pytest.FixtureRequest, locking: Server) -> Iterator[S3Store]:
        with FaultProxy(locking.host, locking.port) as proxy:
            behave_like(request.param, proxy)
            yield locking.store(endpoint=proxy.url, profile=request.param, lock="governance")
