"""Small backups in a store in memory that are verified, without the flow."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from pathlib import Path

from flows.core.encryption import Identities, Identity, Protection
from flows.core.manifest import Manifest
from flows.core.signing import SigningKey
from flows.core.verification import Walk
from flows.core.verified import VerifiedBackup
from flows.storage.listing import list_repository
from flows.storage.memory import MemoryStore
from flows.storage.repository import Repository
from flows.storage.verifying import (
    keep_result,
    open_backup,
    plan_verification,
    verify_stored,
)
from tests.support.protected import store_backup
from tests.support.samples import STARTED

ALICE, EVE = Identity.generate(), Identity.generate()
KEY, STRANGER = SigningKey.generate(), SigningKey.generate()
OPERATOR = Identities((ALICE,), signers=(KEY.public,))
SEALED = Protection((ALICE.public,), signing_key=KEY)
OPEN = Protection()
NOW = STARTED + timedelta(days=3)


def verify(
    store: MemoryStore,
    *,
    identities: Identities = OPERATOR,
    now: datetime = NOW,
    backup: str | None = None,
    share: str = "all",
    walk: Walk = Walk.ALL,
) -> list[VerifiedBackup]:
    """What the flow does, without it."""
    found = []
    for due in plan_verification(store, "mpg", backup=backup, share=share, now=now).due:
        opened = open_backup(store, "mpg", due, identities, now=now)
        assert opened is not None
        checks = [
            verify_stored(store, opened, record, phase=0, walk=walk, progress=lambda _: None)
            for record in opened.segments
        ]
        kept = keep_result(store, opened, checks)
        assert kept is not None
        found.append(kept)
    return found


def states(store: MemoryStore) -> dict[str, str]:
    return {row.backup: row.state for row in list_repository(store, "mpg", now=NOW)}


def good(store: MemoryStore) -> set[str]:
    """What retention takes for good copies."""
    return {item.backup for item in Repository(store, "mpg").inventory().candidates(NOW) if item.verified}


@dataclasses.dataclass
class Scene:
    store: MemoryStore
    folder: Path
    backup: Manifest
    other: Manifest  # taken an hour later, of the same documents but others

    def key(self, segment: int = 0) -> str:
        return self.backup.segment_key(self.backup.segments[segment])

    def get(self, key: str) -> bytes:
        return self.store.get(key, limit=10**7)

    def flip(self, key: str, place: int) -> None:
        data = bytearray(self.get(key))
        data[place] ^= 1
        self.store.put(key, bytes(data))


def scene_of(protection: Protection, folder: Path) -> Scene:
    ticks = iter(range(10**6))
    store = MemoryStore(clock=lambda: STARTED + timedelta(seconds=next(ticks)))
    return Scene(
        store,
        folder,
        store_backup(store, folder, protection),
        store_backup(store, folder, protection, started=STARTED + timedelta(hours=1), seed=1),
    )
