from __future__ import annotations

import pytest

from flows.storage.memory import MemoryStore
from tests.storage.contract import StoreContract
from tests.storage.lock_contract import LockContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore("backups")

    @pytest.fixture
    def neighbour(self) -> MemoryStore:
        return MemoryStore("backups-old")


class TestMemoryStoreLocks(LockContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore("backups")
