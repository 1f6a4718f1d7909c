"""Evidence: leaving a record of what a run has shown."""

from __future__ import annotations

import logging
from datetime import datetime

from blocks import BackupEncryption, BackupStore
from flows.core.evidence import ChainedRecord, EvidenceRecord
from flows.storage import evidence
from flows.tasks.options import stage

logger = logging.getLogger(__name__)


@stage(name="evidence", task_run_name="keep evidence of the {record.kind.value} of {record.plan}")
def keep_evidence(
    store: BackupStore, record: EvidenceRecord, encryption: BackupEncryption | None, *, now: datetime
) -> ChainedRecord:
    """Put a record at the end of the chain of its plan, signed and locked where the blocks say so."""
    chained = evidence.append(
        store.open(),
        record.plan,
        record,
        encryption.signer() if encryption is not None else None,
        now=now,
        lock_until=store.lock_until(now),
    )
    logger.info("evidence %d of %s, SHA-256 %s: %s", chained.sequence, record.plan, chained.sha256, chained.key)
    return chained
