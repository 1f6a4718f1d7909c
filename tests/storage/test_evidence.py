"""Evidence in a store: one write each, nothing lost to others who write, and a proof from what is there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from flows.core.errors import ConfigurationError, StoredWrongly
from flows.core.evidence import EvidenceKind
from flows.core.evidence_chain import ChainReport
from flows.storage.evidence import append, copied, prove, read_chain
from flows.storage.memory import MemoryStore
from tests.support.evidence import KEY, STRANGER, history, record
from tests.support.repositories import Actor, Crash, CrashingStore
from tests.support.samples import STARTED

LATER = STARTED + timedelta(days=1)


def proved(store: MemoryStore, *, trusted: bool = True) -> ChainReport:
    return prove(store, "mpg", trusted=[KEY.public] if trusted else [])


def test_records_are_chained_in_the_order_in_which_they_were_made() -> None:
    store = MemoryStore()
    made = [append(store, "mpg", record(at=STARTED + timedelta(hours=n)), KEY, now=LATER) for n in range(6)]
    assert [one.sequence for one in made] == [1, 2, 3, 4, 5, 6]
    assert [link.sha256 for link in made[5].before] == [one.sha256 for one in made[1:5]]
    assert [stored.record for stored in read_chain(store, "mpg")] == made
    chain = proved(store)
    assert (chain.whole, chain.records) == (True, 6)


def test_the_same_record_again_is_not_written_twice() -> None:
    store = MemoryStore()
    first = append(store, "mpg", record(), KEY, now=LATER)
    append(store, "mpg", record(EvidenceKind.DRILL), KEY, now=LATER)
    assert append(store, "mpg", record(), KEY, now=LATER + timedelta(hours=1)) == first
    assert len(list(store.list("mpg/evidence/"))) == 2


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_leaves_the_record_or_nothing_and_the_next_try_goes_on(after: bool) -> None:
    store = MemoryStore()
    append(store, "mpg", record(), KEY, now=LATER)
    drill = record(EvidenceKind.DRILL, at=LATER)
    with pytest.raises(Crash):
        append(CrashingStore(store, 0, after=after), "mpg", drill, KEY, now=LATER)
    assert proved(store).records == 1 + after
    append(store, "mpg", drill, KEY, now=LATER + timedelta(minutes=1))
    assert (proved(store).whole, proved(store).records) == (True, 2)


def test_two_who_write_at_once_lose_nothing_in_any_order() -> None:
    def act(kind: EvidenceKind) -> object:
        return lambda store: append(store, "mpg", record(kind, at=LATER), KEY, now=LATER)

    for turns in range(2**4):
        store = MemoryStore()
        append(store, "mpg", record(), KEY, now=LATER)
        actors = [Actor(store, act(kind)) for kind in (EvidenceKind.VERIFICATION, EvidenceKind.DRILL)]  # type: ignore[arg-type]
        for step in range(4):
            actors[turns >> step & 1].step()
        for actor in actors:
            actor.finish()
            assert actor.error is None
        last = append(store, "mpg", record(EvidenceKind.RESTORE, at=LATER), KEY, now=LATER)
        assert (proved(store).whole, proved(store).records) == (True, 4), turns
        assert len(last.before) == 3, turns


def test_what_the_store_has_afterwards_is_looked_at() -> None:
    class Forgetful(MemoryStore):
        def get(self, key: str, *, limit: int) -> bytes:
            return super().get(key, limit=limit)[:-1] if "/evidence/" in key else super().get(key, limit=limit)

    with pytest.raises(StoredWrongly):
        append(Forgetful(), "mpg", record(), KEY, now=LATER)


@pytest.mark.parametrize("act", ["delete", "change", "forge", "none"])
def test_what_was_done_to_the_store_is_found_from_the_store_alone(act: str, tmp_path: Path) -> None:
    store = MemoryStore()
    history(store, days=7, kept=3)
    keys = [item.key for item in store.list("mpg/evidence/")]
    if act == "delete":
        store.delete([keys[3]])
    elif act == "change":
        store.put(keys[3], store.get(keys[3], limit=10**7).replace(b'"documents":1496125', b'"documents":1496126'))
    elif act == "forge":
        append(store, "mpg", record(EvidenceKind.DRILL, at=LATER + timedelta(days=9)), STRANGER, now=LATER)
    assert proved(store).whole is (act == "none")
    # The same from a copy in a folder, with neither the store nor Prefect.
    for item in store.list("mpg/evidence/"):
        path = tmp_path / item.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.get(item.key, limit=10**7))
    assert prove(copied(tmp_path, "mpg"), "mpg", trusted=[KEY.public]).faults == proved(store).faults


def test_the_end_that_was_cut_off_is_found_by_the_head_that_was_noted() -> None:
    store = MemoryStore()
    history(store, days=4, kept=2)
    newest = list(read_chain(store, "mpg"))[-1]
    store.delete([newest.key])
    assert proved(store).whole
    assert not prove(store, "mpg", trusted=[KEY.public], expected_head=newest.sha256).whole


def test_a_folder_without_evidence_is_no_proof(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no evidence of this plan"):
        copied(tmp_path, "mpg")
