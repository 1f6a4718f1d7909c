"""The hold flow: keep a backup whatever retention says, or let it go."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow

from blocks import BackupStore
from flows.core.holds import HoldAction, HoldKind, HoldReport, HoldRequest
from flows.core.keys import check_plan_name
from flows.tasks.blocks import load_block
from flows.tasks.hold import change_holds
from flows.tasks.options import send_logs
from flows.tasks.publish import name_run, publish_table, started_by


@flow(name="hold", flow_run_name="hold {backup} of {plan}", persist_result=False)
def hold(
    backup: str,
    why: str,
    plan: str = "default",
    store: str = "backups",
    action: HoldAction = HoldAction.SET,
    kind: HoldKind = HoldKind.LEGAL_HOLD,
    by: str = "",
    until: datetime | None = None,
    only: str | None = None,
) -> HoldReport:
    """
    Keep a backup whatever retention says, or let it go again. Both are recorded in the store, with who and why.

    Args:
        backup: Id of the backup, such as 2026-03-06T04-00-00Z, or `latest`.
        why: The reason, for whoever asks in some years. Name a case or a ticket; no personal data.
        plan: Name of the backup job.
        store: Name of the MongoDB Backup Store block that holds the backup.
        action: `set` a hold, or `lift` one.
        kind: `legal-hold` because the law wants the backup kept, `pin` because you do.
        by: Who wants it; none means whoever started this run, as far as Prefect knows.
        until: When a `pin` ends by itself, with its time zone; none means when it is lifted.
        only: To lift, where there are several of this kind: the id of one, as the inventory shows it.

    Returns:
        The holds of the backup that stand now.
    """
    send_logs()
    now = datetime.now(UTC)
    request = HoldRequest(action, kind, by or started_by(), why, until, only)
    request.check(now)
    check_plan_name(plan)
    found, holds = change_holds(load_block(BackupStore, store), plan, backup, request, at=now)
    name_run(f"{action.value} {kind.value} on {found} of {plan}")
    publish_table(f"holds-{plan}", holds.history(now), f"Holds of backup {found} of {plan}, all that was done")
    return HoldReport(plan, found, action, kind, holds.reasons(now))
