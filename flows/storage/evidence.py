"""Evidence in a store: written so that nothing is lost of it, and read with suspicion."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from flows.core.errors import BackupError, ConfigurationError, ObjectExists, StoredWrongly
from flows.core.evidence import (
    EVIDENCE_LIMIT_BYTES,
    ChainedRecord,
    EvidenceKey,
    EvidenceKind,
    EvidenceRecord,
    Result,
    StoredEvidence,
    chain,
    evidence_prefix,
    report_key,
)
from flows.core.evidence_chain import ChainCheck, ChainReport
from flows.core.evidence_gathering import Gathering
from flows.core.evidence_html import report_html
from flows.core.evidence_report import EvidenceReport, Period
from flows.core.keys import is_folder
from flows.core.preflight_facts import Last
from flows.core.signing import SigningKey
from flows.storage.memory import MemoryStore
from flows.storage.repository import Repository
from flows.storage.store import ObjectStore, ReadableStore

REPORT_LIMIT_BYTES = 64 * 1024 * 1024  # of an HTML file; tables are cut long before
_READERS = 8  # threads; each holds one record at a time
_MOST_LOOKS = 60  # at records, for the last that passed


def append(
    store: ObjectStore,
    plan: str,
    record: EvidenceRecord,
    signing_key: SigningKey | None,
    *,
    now: datetime,
    lock_until: datetime | None = None,
) -> ChainedRecord:
    """Put a record at the end of the chain of a plan, and see that it is there.

    Safe against a crash, as it is one write; safe to repeat, as a record that is there already is not written again;
    safe against others who append at the same time, on any store, as the key holds the hash of the content: both
    records stay, with the same number, and the next one names both.

    Args:
        store: Where the evidence is kept: where the backups are, as a rule.
        plan: That of the record.
        record: What is to be kept.
        signing_key: Signs it; None: it is not signed.
        now: Aware.
        lock_until: Until when nobody can delete it, aware, where the store locks objects.

    Returns:
        The record in its place. Its `sha256` is the head that operators note: see `FORMAT.md`.

    Raises:
        ConfigurationError, FormatError: The record cannot be stored: see `EvidenceRecord.check`.
        StoredWrongly: The store has something else afterwards.
    """
    if record.plan != plan:
        raise ValueError("a record belongs to the chain of its own plan")
    existing = record_names(store, plan)
    for name in existing:
        if (name.kind, name.finished) == (record.kind.value, record.finished.replace(microsecond=0)):  # few, or none
            stored = read_record(store, str(name), name)
            if stored.record is not None and stored.record.record.same_as(record):
                return stored.record  # from an earlier try
    chained, data = chain(record, existing, key=signing_key, now=now)
    key = str(chained.key)
    with suppress(ObjectExists):  # the same bytes, from another try at the same moment
        store.put(key, data, if_absent=True, lock_until=lock_until)
    if store.get(key, limit=EVIDENCE_LIMIT_BYTES) != data:
        raise StoredWrongly(
            "the store took the evidence and has something else",
            hint="It is repeated; if it happens again, check the store.",
            store=store.location,
            key=key,
        )
    return chained


def read_chain(store: ObjectStore, plan: str) -> Iterator[StoredEvidence]:
    """All that is in the folder of the evidence of a plan, in the order of the chain; what is no record comes last.

    One request for 1,000 records, and one for each; only a few records are in memory at a time.

    Raises:
        StoreUnavailable: Where the store may answer in a minute.
    """
    keys = [item.key for item in store.list(evidence_prefix(plan)) if not is_folder(item.key)]
    named = sorted((EvidenceKey.parse(plan, key) is None, key) for key in keys)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="evidence") as pool:
        ahead: deque[Future[StoredEvidence]] = deque()
        for _, key in named:
            ahead.append(pool.submit(read_record, store, key, EvidenceKey.parse(plan, key)))
            if len(ahead) >= _READERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def prove(
    store: ObjectStore,
    plan: str,
    *,
    trusted: Iterable[str] = (),
    expected_head: str | None = None,
    sound: Callable[[ChainedRecord], None] = lambda _: None,
) -> ChainReport:
    """Prove the chain of a plan from what is in the store.

    Args:
        store: Where the evidence is.
        plan: Whose.
        trusted: Public keys of those who may sign; none: signatures are checked, and not asked for.
        expected_head: SHA-256 of a record that somebody noted; None: nobody did.
        sound: Given each record that is what was written at its key, in the order of the chain. What only the end of
            the chain shows is in the report: a record that was put in afterwards.
    """
    check = ChainCheck(plan, trusted=trusted, expected_head=expected_head)
    for stored in read_chain(store, plan):
        chained = check.add(stored)
        if chained is not None:
            sound(chained)
    return check.report()


def last_of(store: ObjectStore, plan: str, kind: EvidenceKind, *, trusted: Collection[str], now: datetime) -> Last:
    """When something was last done, and when it last passed: one listing, and a few records from the newest back.

    Records that cannot be used are left out, and so are those from the future: nobody could outdate them. Whether the
    chain is whole is not looked at: that is `prove`.

    Args:
        store: Where the evidence is.
        plan: Whose.
        kind: What was done.
        trusted: Public keys of those who may sign; none: whoever signed, or nobody.
        now: Aware.
    """
    names = [name for name in record_names(store, plan) if name.kind == kind.value and name.finished <= now]
    names.sort(key=lambda name: (name.finished, name.sequence), reverse=True)
    newest: datetime | None = None
    untrusted = 0
    for name in names[:_MOST_LOOKS]:
        stored = read_record(store, str(name), name)
        if stored.record is None or stored.sha256 != name.sha256 or stored.record.key != name:
            continue
        signature = stored.record.signature
        if trusted and (signature is None or signature.signer not in trusted):
            untrusted += 1
            continue
        newest = newest or name.finished
        if stored.record.record.result is Result.PASSED:
            return Last(newest, name.finished, untrusted)
    return Last(newest, None, untrusted)


def copied(folder: Path, plan: str) -> MemoryStore:
    """The evidence in a copy of the store in a folder, to be proved without the store.

    Raises:
        ConfigurationError: There is no evidence of this plan.
    """
    store, prefix = MemoryStore(), evidence_prefix(plan)
    for path in (folder / prefix).glob("*"):
        if path.is_file():
            store.put(f"{prefix}{path.name}", path.read_bytes())
    if next(store.list(prefix), None) is None:
        raise ConfigurationError(
            "there is no evidence of this plan in the folder",
            hint="Give the folder that holds the folder of the plan, as it is below the prefix of the store.",
            folder=str(folder / prefix),
        )
    return store


def gather(
    store: ObjectStore, plan: str, period: Period, *, by: str, now: datetime, trusted: Iterable[str] = ()
) -> EvidenceReport:
    """Make the document of a period: prove the whole chain, and hold it beside the backups that are listed now.

    Args:
        store: Where backups and evidence are.
        plan: Whose.
        period: Which.
        by: Who wants it.
        now: Aware.
        trusted: As for `prove`.
    """
    gathering = Gathering(plan, period)
    chain = prove(store, plan, trusted=trusted, sound=gathering.add)
    inventory = Repository(store, plan).inventory()
    damaged = {item.backup: item.problem for item in inventory.unreadable}
    damaged |= {item.facts.backup: item.damage for item in inventory.backups if item.damage}
    listed = (item.facts for item in inventory.backups)
    return gathering.report(chain, listed, damaged, store=store.location, by=by, made=now)


def keep_report(store: ObjectStore, report: EvidenceReport) -> tuple[str, str]:
    """Store the document of a period as one HTML file, beside the evidence and no part of the chain.

    Returns:
        Its key and the SHA-256 of the file.
    """
    data = report_html(report).encode()
    key = report_key(report.plan, report.period.first, report.period.last, report.made)
    store.put(key, data)
    return key, hashlib.sha256(data).hexdigest()


def record_names(store: ReadableStore, plan: str) -> list[EvidenceKey]:
    """What the keys of all records of a plan say, in any order; one request for 1,000 of them."""
    found = (EvidenceKey.parse(plan, item.key) for item in store.list(evidence_prefix(plan)))
    return [name for name in found if name is not None]


def read_record(store: ReadableStore, key: str, name: EvidenceKey | None) -> StoredEvidence:
    """Read what is at one key, whatever it is.

    Raises:
        StoreUnavailable: Where the store may answer in a minute.
    """
    digest = ""
    try:
        data = store.get(key, limit=EVIDENCE_LIMIT_BYTES)
        digest = hashlib.sha256(data).hexdigest()
        return StoredEvidence(key, name, digest, ChainedRecord.from_json(data))
    except BackupError as error:
        if error.retryable:
            raise
        return StoredEvidence(key, name, digest, None, str(error))
