"""The preflight flow: the checklist of an operator, gone through against the real parts."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow

from blocks import BackupEncryption, BackupStore, MongoDBSource
from flows.core.keys import check_plan_name
from flows.core.preflight import PreflightReport
from flows.core.preflight_backups import judge
from flows.core.preflight_facts import Facts
from flows.core.selection import Selection
from flows.tasks.blocks import load_block, load_identities
from flows.tasks.options import send_logs
from flows.tasks.preflight import (
    documents_place,
    keys_facts,
    look_at_backups,
    look_at_source,
    look_at_store,
    look_at_worker,
)
from flows.tasks.publish import publish_page, started_by
from flows.tasks.settings import PreflightLimits, Retention


@flow(name="preflight", flow_run_name="preflight {plan}", persist_result=False)
def preflight(
    plan: str = "default",
    source: str = "source",
    store: str = "backups",
    identities: str | None = None,
    encryption: str | None = None,
    retention: Retention = Retention(),  # noqa: B008 - Prefect shows it as the default of the form
    databases: list[str] | None = None,
    documents: str | None = None,
    limits: PreflightLimits = PreflightLimits(),  # noqa: B008 - as above
) -> PreflightReport:
    """
    Go through the checklist of an operator, as a table with pass, warn and fail, and how to mend each.

    Nothing is changed; a few small objects are written into a scratch folder of the store, and removed again.

    Args:
        plan: Name of the backup job.
        source: Name of the MongoDB Backup Source block that the plan reads.
        store: Name of the MongoDB Backup Store block that it writes to.
        identities: Name of the MongoDB Backup Identities block: what opens its backups, and who may sign them.
        encryption: Name of the MongoDB Backup Encryption block that it encrypts with.
        retention: How long it keeps backups in this store.
        databases: Databases that it takes; none means all but `local`.
        documents: Where the application keeps its documents, such as invoices: `s3://bucket/folder` at the same
            provider, or the name of a MongoDB Backup Store block.
        limits: What is long enough, late or too much.

    Returns:
        The rows of the checklist with their states. Where one failed, the run fails, after its page is there.
    """
    check_plan_name(plan)
    policy = retention.policy()
    selection = Selection(tuple(databases or ()))
    origin, place = load_block(MongoDBSource, source), load_block(BackupStore, store)
    keys = load_identities(identities)
    protection = load_block(BackupEncryption, encryption) if encryption else None
    elsewhere = documents_place(documents, place)
    send_logs()
    facts = Facts(
        source=look_at_source(origin, selection, limits),
        store=look_at_store(place, plan, elsewhere, kept=policy.days),
        backups=look_at_backups(place, plan, keys, in_flight=limits.segments_in_flight),
        keys=keys_facts(protection, keys),
        worker=look_at_worker(),
    )
    finished = datetime.now(UTC)
    rows = judge(facts, policy, limits.limits(), now=finished)
    report = PreflightReport(plan=plan, store=place.location, by=started_by(), finished=finished, rows=rows)
    publish_page(f"preflight-{plan}", report.page(), f"Preflight of {plan}")
    report.check()
    return report
