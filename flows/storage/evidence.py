"""Evidence in a store: written so that nothing is lost of it, and read with suspicion."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from flows.core.errors import BackupError, ObjectExists, StoredWrongly
from flows.core.evidence import (
    EVIDENCE_LIMIT_BYTES,
    ChainedRecord,
    EvidenceKey,
    EvidenceRecord,
    chain,
    evidence_prefix,
)
from flows.core.keys import is_folder
from flows.core.signing import SigningKey
from flows.storage.store import ObjectStore

_READERS = 8  # threads; each holds one record at a time


@dataclass(frozen=True, slots=True)
class StoredEvidence:
    """What is at one key: a record, or why there is none to be read."""

    key: str
    name: EvidenceKey | None  # what the key says; None where it is not the key of a record
    sha256: str  # of the bytes that are there; empty where they cannot be read
    record: ChainedRecord | None
    problem: str = ""


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
    existing = _names(store, plan)
    for name in existing:
        if (name.kind, name.finished) == (record.kind.value, record.finished.replace(microsecond=0)):  # few, or none
            stored = _read(store, str(name), name)
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
            ahead.append(pool.submit(_read, store, key, EvidenceKey.parse(plan, key)))
            if len(ahead) >= _READERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _names(store: ObjectStore, plan: str) -> list[EvidenceKey]:
    found = (EvidenceKey.parse(plan, item.key) for item in store.list(evidence_prefix(plan)))
    return [name for name in found if name is not None]


def _read(store: ObjectStore, key: str, name: EvidenceKey | None) -> StoredEvidence:
    digest = ""
    try:
        data = store.get(key, limit=EVIDENCE_LIMIT_BYTES)
        digest = hashlib.sha256(data).hexdigest()
        return StoredEvidence(key, name, digest, ChainedRecord.from_json(data))
    except BackupError as error:
        if error.retryable:
            raise
        return StoredEvidence(key, name, digest, None, str(error))
