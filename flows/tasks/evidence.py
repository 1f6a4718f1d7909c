"""Evidence: leaving a record of what a run has shown, and reading what others left."""

from __future__ import annotations

import logging
from datetime import datetime

from blocks import BackupEncryption, BackupStore
from flows.core.evidence import ChainedRecord, EvidenceRecord
from flows.core.evidence_chain import ChainReport
from flows.core.evidence_markdown import record_page
from flows.core.evidence_report import EvidenceReport, Period
from flows.storage import evidence
from flows.tasks.options import stage
from flows.tasks.publish import publish_page

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


def publish_record(chained: ChainedRecord) -> None:
    """Leave the page of a record; those of a kind and plan form a history."""
    kind, plan = chained.record.kind.value, chained.record.plan
    publish_page(f"{kind}-{plan}", record_page(chained), f"Evidence of the {kind} of {plan}")


@stage(name="prove", task_run_name="prove the evidence of {plan}")
def prove_chain(store: BackupStore, plan: str, *, trusted: tuple[str, ...], expected_head: str | None) -> ChainReport:
    """Prove the chain of a plan."""
    chain = evidence.prove(store.open(), plan, trusted=trusted, expected_head=expected_head)
    logger.info("%d records of evidence; %s", chain.records, chain.signatures)
    for fault in chain.faults:
        logger.error("%s: %s (%s)", fault.fault.value, fault.what, fault.key or "no key")
    return chain


@stage(name="report", task_run_name="report on the evidence of {plan}")
def make_report(
    store: BackupStore, plan: str, period: Period, *, by: str, now: datetime, trusted: tuple[str, ...]
) -> tuple[EvidenceReport, str, str]:
    """Make the document of a period and store its HTML file; gives its key and SHA-256 too."""
    opened = store.open()
    report = evidence.gather(opened, plan, period, by=by, now=now, trusted=trusted)
    key, digest = evidence.keep_report(opened, report)
    logger.info("report with %d records in %s, SHA-256 %s", len(report.records), key, digest)
    return report, key, digest
