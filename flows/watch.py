"""The watch flow: see that backups, verifications and drills are not late, and nothing looks wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from prefect import flow

from blocks import BackupStore
from flows.core.errors import ConfigurationError
from flows.core.keys import check_plan_name
from flows.core.watch import Limits
from flows.core.watch_report import WatchReport
from flows.steps.metrics import check_metrics_file
from flows.tasks.alarms import announce, announce_start, load_bells, tell_people
from flows.tasks.blocks import load_block, load_identities
from flows.tasks.options import send_logs
from flows.tasks.publish import publish_page
from flows.tasks.watching import look_or_say_why


@flow(name="watch", flow_run_name="watch {plan}", persist_result=False)
def watch(
    plan: str = "default",
    store: str = "backups",
    stores: list[str] | None = None,
    alarms: str | None = None,
    identities: str | None = None,
    backup_hours: float = 26,
    verification_hours: float = 50,
    drill_days: float = 35,
    smaller_percent: float = 50,
    fewer_percent: float = 50,
    ignore: list[str] | None = None,
    metrics_file: str | None = None,
) -> WatchReport:
    """
    See that backups, verifications and drills are not late, that no backup is damaged, and that none looks wrong.

    Only what is in the store counts, so it also tells of a schedule that was paused and of a worker that is gone: as
    long as something runs this. `python -m flows watch` does the same elsewhere, without Prefect.

    Args:
        plan: Name of the backup job.
        store: Name of the MongoDB Backup Store block that holds its backups.
        stores: More stores that hold them, looked at in the same way.
        alarms: Name of a MongoDB Backup Alarms block: who is told of each fact, and which services are called.
        identities: Name of a MongoDB Backup Identities block with trusted signers; backups and evidence that none of
            them signed do not count then.
        backup_hours: The newest good backup may be so old [h]; 0: not asked.
        verification_hours: The last verification may be so long ago [h]; 0: not asked.
        drill_days: The last drill that passed may be so long ago [d]; 0: not asked.
        smaller_percent: A backup may have so much less BSON than the backups before it [%]; 0: not asked.
        fewer_percent: A collection may have so many fewer documents than in the backup before [%]; 0: not asked.
        ignore: Patterns of namespaces that come and go, such as `logs.*`; `*` compares none.
        metrics_file: Path on the worker of a file for node_exporter's textfile collector, `….prom`.

    Returns:
        What was found in each store. Where anything is wrong, the run fails after everybody was told.
    """
    send_logs()
    check_plan_name(plan)
    limits = Limits.of(
        backup_hours=backup_hours,
        verification_hours=verification_hours,
        drill_days=drill_days,
        smaller_percent=smaller_percent,
        fewer_percent=fewer_percent,
        ignore=ignore or (),
    )
    file = Path(metrics_file) if metrics_file else None
    if file is not None:
        check_metrics_file(file)
    names = [store, *(stores or ())]
    if len(set(names)) < len(names):
        raise ConfigurationError(
            "a store is named twice", hint="Name each once: in `store`, or in `stores`.", got=names
        )
    blocks = {name: load_block(BackupStore, name) for name in names}
    trusted = load_identities(identities).signers
    bells = load_bells(alarms)
    told = announce_start(bells)
    now = datetime.now(UTC)
    report = WatchReport(
        plan,
        now,
        limits,
        tuple(
            look_or_say_why(block, plan, limits, name=name, now=now, trusted=trusted) for name, block in blocks.items()
        ),
    )
    for found in report.stores:
        told += tell_people(bells, plan, found.store, found.facts, now=now, forget=True)
    told += announce(bells, report, file)
    publish_page(f"watch-{plan}", report.page(told.lines), f"Watch of {plan}")
    report.check()
    return report
