from __future__ import annotations

import pytest

from flows.storage.memory import MemoryStore
from tests.storage.contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore("backups")

    @pytest.fixture
    def neighbour(self) -> MemoryStore:
        return MemoryStore("backups-old")
