"""The flows evidence-verify and evidence-report: the proof of what was recorded, and what it shows in a period."""

from __future__ import annotations

from datetime import UTC, date, datetime

from prefect import flow

from blocks import BackupStore
from flows.core.evidence_chain import ChainReport, check_head
from flows.core.evidence_markdown import chain_page, report_markdown
from flows.core.evidence_report import Period, ReportSummary
from flows.core.keys import check_plan_name
from flows.core.zones import time_zone as zone_of
from flows.tasks.blocks import load_block, load_identities
from flows.tasks.evidence import make_report, prove_chain
from flows.tasks.options import send_logs
from flows.tasks.publish import publish_page, started_by


@flow(name="evidence-verify", flow_run_name="prove the evidence of {plan}", persist_result=False)
def evidence_verify(
    plan: str = "default", store: str = "backups", identities: str | None = None, expect_head: str | None = None
) -> ChainReport:
    """
    Prove the chain of evidence of a plan from what is in the store: tell what is missing, changed, moved or forged.

    Args:
        plan: Name of the backup job.
        store: Name of the MongoDB Backup Store block that holds the evidence.
        identities: Name of a MongoDB Backup Identities block whose trusted signers must have signed each record; none
            means that signatures are checked and shown, and not asked for.
        expect_head: The head that you noted: SHA-256 of a record that must be there. Without it nobody can see that the
            newest records were cut off.

    Returns:
        What the chain is. The run fails where it is not whole.
    """
    send_logs()
    check_plan_name(plan)
    head = check_head(expect_head) if expect_head else None
    trusted = load_identities(identities).signers
    chain = prove_chain(load_block(BackupStore, store), plan, trusted=trusted, expected_head=head)
    publish_page(f"evidence-{plan}", chain_page(chain), f"Proof of the evidence of {plan}")
    chain.check()
    return chain


@flow(name="evidence-report", flow_run_name="report on the evidence of {plan}", persist_result=False)
def evidence_report(
    plan: str = "default",
    store: str = "backups",
    identities: str | None = None,
    first: date | None = None,
    last: date | None = None,
    time_zone: str = "UTC",
) -> ReportSummary:
    """
    Make one document of a period for an auditor: what was tested, what came of it, and which controls of GDPR Article
    32 that shows and which not. As a page here, and as one HTML file with charts in the store.

    Args:
        plan: Name of the backup job.
        store: Name of the MongoDB Backup Store block that holds backups and evidence.
        identities: Name of a MongoDB Backup Identities block: only records of its trusted signers count; none means
            that all count whose signature is right or missing.
        first: First day; none means 30 days with the last.
        last: Last day; none means today.
        time_zone: Whose days, and what times are shown in: a name such as Europe/Berlin.

    Returns:
        Where the HTML file is, its SHA-256, and how far each control is shown. A chain that is not whole does not fail
        the run: the document says so.
    """
    send_logs()
    check_plan_name(plan)
    now = datetime.now(UTC)
    period = Period.of(first, last, zone_of(time_zone), now=now)
    trusted = load_identities(identities).signers
    report, key, digest = make_report(
        load_block(BackupStore, store), plan, period, by=started_by(), now=now, trusted=trusted
    )
    page = f"{report_markdown(report)}\nWith charts: `{key}` in the store, SHA-256 `{digest}`.\n"
    publish_page(f"evidence-report-{plan}", page, f"Evidence of {plan} from {period.first}")
    return ReportSummary.of(report, key=key, sha256=digest)
