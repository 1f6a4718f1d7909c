"""Looking at the backups of a plan in a store, with as few requests as can be, and judging them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from flows.core.errors import BackupError
from flows.core.evidence import ChainedRecord, EvidenceKey, EvidenceKind, Finding, Result
from flows.core.evidence_chain import ChainCheck
from flows.core.keys import backup_time, backups_prefix, is_backup_id
from flows.core.watch import Attempt, Drills, Limits, Seen, Sighting, StoreWatch
from flows.core.watch_compare import COMPARED, Contents
from flows.core.watch_judge import SKEW, good_backups, judge
from flows.storage.evidence import read_record, record_names
from flows.storage.inventory import Inventory, Listing, take_inventory
from flows.storage.manifests import read_manifest
from flows.storage.repository import PROBE_PREFIX
from flows.storage.store import ReadableStore, StoredObject

_MOST_RECORDS = 30  # of a kind that are read for the last one that counts: drills may have failed for years


def watch_store(
    store: ReadableStore, plan: str, limits: Limits, *, name: str, now: datetime, trusted: Sequence[str] = ()
) -> StoreWatch:
    """Say what is wrong with the backups of a plan in a store.

    Two listings, and reads of the index, of eight manifests and of two records of evidence, as a rule.

    Args:
        store: Where.
        plan: Whose.
        limits: What is taken for late or suspicious.
        name: Of the store, as the operator gave it.
        now: Aware.
        trusted: Public keys of those who may sign backups and evidence; none: nobody is asked for.

    Raises:
        StoreError: It cannot be listed or read.
    """
    return judge(look(store, plan, now=now, trusted=trusted), limits, plan=plan, store=name, now=now, trusted=trusted)


def look(store: ReadableStore, plan: str, *, now: datetime, trusted: Sequence[str] = ()) -> Sighting:
    """What is in the store of a plan. Nothing is written.

    Args:
        store: Where.
        plan: Whose.
        now: Aware.
        trusted: As for `watch_store`.
    """
    inventory = _inventory(store, plan)
    if inventory.unreadable or any(item.damage for item in inventory.backups):
        # One that was removed while it was listed looks like that, and is not there the next time.
        inventory = _inventory(store, plan)
    seen = [Seen(item.facts, item.damage, item.standing) for item in inventory.backups]
    unreadable = [(item.backup, _fact(item.problem)) for item in inventory.unreadable]
    good = [item.facts.backup for item in good_backups(seen, now=now, trusted=trusted)]
    contents = []
    for backup, found in _contents(store, plan, good[: COMPARED + 1]):
        if isinstance(found, Contents):
            contents.append(found)
        else:  # the index said that it was fine
            unreadable.append((backup, found))
    broken = {backup for backup, _ in unreadable}
    evidence = _Evidence(store, plan, trusted, now)
    return Sighting(
        location=store.location,
        backups=tuple(item for item in seen if item.facts.backup not in broken),
        unreadable=tuple(unreadable),
        attempt=_attempt(plan, inventory.garbage),
        contents=tuple(contents),
        verified=evidence.verified(),
        drills=evidence.drills(),
        unusable=tuple(evidence.unusable),
    )


class _Evidence:
    """The newest records of a plan that can be relied on, read one by one."""

    def __init__(self, store: ReadableStore, plan: str, trusted: Sequence[str], now: datetime) -> None:
        self._store, self._plan, self._trusted = store, plan, trusted
        # What is dated in the future says nothing of when it was.
        self._names = [name for name in record_names(store, plan) if name.finished <= now + SKEW]
        self.unusable: list[tuple[str, str]] = []

    def verified(self) -> datetime | None:
        """When the last verification ended that looked at a backup."""
        records = (one.record for one in self._newest(EvidenceKind.VERIFICATION))
        return next((record.finished for record in records if record.backups), None)

    def drills(self) -> Drills:
        """What came of the last drill, and when the last one passed."""
        failed: datetime | None = None
        why: tuple[Finding, ...] = ()
        for number, one in enumerate(self._newest(EvidenceKind.DRILL)):
            if one.record.result is Result.PASSED:
                return Drills(one.record.finished, failed, why)
            if number == 0:
                failed, why = one.record.finished, one.record.findings
        return Drills(None, failed, why)

    def _newest(self, kind: EvidenceKind) -> Iterator[ChainedRecord]:
        """Those that are what was written by who may, newest first."""
        names = sorted((n for n in self._names if n.kind == kind.value), key=_when, reverse=True)
        for name in names[:_MOST_RECORDS]:
            check = ChainCheck(self._plan, trusted=self._trusted)
            record = check.add(read_record(self._store, str(name), name))
            if record is not None:
                yield record
            elif name == names[0]:  # of older ones `evidence-verify` tells
                self.unusable.append((str(name), check.report().faults[0].what))


def _when(name: EvidenceKey) -> tuple[datetime, int]:
    return name.finished, name.sequence


def _inventory(store: ReadableStore, plan: str) -> Inventory:
    listing = Listing(plan)
    for item in store.list(backups_prefix(plan)):
        listing.add(item)
    return take_inventory(store, listing)


def _contents(store: ReadableStore, plan: str, backups: Sequence[str]) -> Iterator[tuple[str, Contents | str]]:
    """What each backup holds, or why its manifest cannot be used."""

    def read(backup: str) -> Contents | str:
        try:
            return Contents.of(read_manifest(store, plan, backup))
        except BackupError as error:
            if error.retryable:
                raise
            return _fact(str(error))

    with ThreadPoolExecutor(COMPARED + 1, thread_name_prefix="watch") as pool:
        yield from zip(backups, pool.map(read, backups), strict=True)


def _fact(error: str) -> str:
    """The text of an error without its hint, which is about restoring."""
    return error.partition("\nHINT: ")[0]


def _attempt(plan: str, garbage: Iterable[StoredObject]) -> Attempt | None:
    """The newest backup of which there are objects and no manifest."""
    folders = (item.key.removeprefix(backups_prefix(plan)).partition("/")[0] for item in garbage)
    ids = [folder.removeprefix(PROBE_PREFIX) for folder in folders]
    newest = max((backup for backup in ids if is_backup_id(backup)), default=None)
    return Attempt(backup_time(newest), ids.count(newest)) if newest is not None else None
