"""The drill flow: restore a backup into a scratch target, prove it, and leave evidence."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow

from blocks import BackupEncryption, BackupStore, DrillChecks, MongoDBTarget
from blocks.checks import AnyCheck
from flows.core import zones
from flows.core.drill_report import DrillReport
from flows.core.errors import BackupError
from flows.core.keys import check_plan_name
from flows.core.watch_judge import failed_drill
from flows.tasks.alarms import load_bells, tell_people
from flows.tasks.blocks import load_block, load_identities
from flows.tasks.drilling import DrillOrder, rehearse
from flows.tasks.evidence import keep_evidence
from flows.tasks.options import threads
from flows.tasks.publish import publish_page
from flows.tasks.run import open_run
from flows.tasks.settings import MOST_IN_FLIGHT, check_drill_limits, check_in_flight


@flow(
    name="drill",
    flow_run_name="drill {plan} {backup}",
    task_runner=threads(2 * MOST_IN_FLIGHT),
    persist_result=False,
)
def drill(
    plan: str = "default",
    store: str = "backups",
    backup: str = "newest",
    identities: str | None = None,
    target: str | None = None,
    checks: str | None = None,
    assertions: list[AnyCheck] | None = None,
    rto_limit_minutes: float | None = None,
    rpo_limit_hours: float | None = None,
    encryption: str | None = None,
    time_zone: str = "UTC",
    cache_gb: float = 0.5,
    segments_in_flight: int = 3,
    alarms: str | None = None,
) -> DrillReport:
    """
    Restore a backup into a scratch target, compare it with its manifest, ask your own checks, and leave evidence.

    The run fails where anything differs, a check fails or a limit is exceeded. The scratch target is always removed.

    Args:
        plan: Name of the backup job.
        store: Name of the MongoDB Backup Store block that holds the backup, and takes the evidence.
        backup: Which one: `newest`, `oldest`, `random` (the same all day), `in-turn` (the one that was never drilled,
            or whose drill is longest ago), or an id such as 2026-03-06T04-00-00Z.
        identities: Name of the MongoDB Backup Identities block: what opens an encrypted backup, and who may sign one.
        target: Name of a MongoDB Restore Target block to restore into, under names that begin with `drill_`; none
            means a throw-away MongoDB on the worker. The MongoDB that was backed up is always refused.
        checks: Name of a MongoDB Drill Checks block: what must be true of the backup.
        assertions: More checks, for this run: counts, newest dates, aggregations that must find nothing.
        rto_limit_minutes: The drill fails if it takes longer to the end of the comparison [min].
        rpo_limit_hours: The drill fails if the data is older when it begins [h].
        encryption: Name of the MongoDB Backup Encryption block whose signing key signs the evidence.
        time_zone: In which the report and the evidence show times, such as Europe/Berlin.
        cache_gb: Cache of the throw-away MongoDB [GiB], at least 0.25.
        segments_in_flight: How many segments are worked on at a time; bounds disk and memory, at most 16.
        alarms: Name of a MongoDB Backup Alarms block: who is told at once when the drill fails.

    Returns:
        What the drill has shown.
    """
    check_plan_name(plan)
    check_in_flight(segments_in_flight)
    check_drill_limits(rto_limit_minutes, rpo_limit_hours, cache_gb)
    zones.time_zone(time_zone)  # for its error, before anything is read
    where = load_block(BackupStore, store)
    server = load_block(MongoDBTarget, target) if target else None
    signer = load_block(BackupEncryption, encryption) if encryption else None
    bells = load_bells(alarms)
    asked = load_block(DrillChecks, checks).open() if checks else ()
    order = DrillOrder(
        plan=plan,
        rule=backup,
        checks=(*asked, *(check.open() for check in assertions or ())),
        rto_limit_minutes=rto_limit_minutes,
        rpo_limit_hours=rpo_limit_hours,
        cache_gb=cache_gb,
        in_flight=segments_in_flight,
        time_zone=time_zone,
    )
    with open_run() as run:
        report = rehearse(run, where, server, load_identities(identities), order)
        publish_page(f"drill-{plan}", report.page("not written yet"), f"Drill of {plan}", shown=False)
        if not report.passed:
            failure = failed_drill(plan, store, report.finished, report.findings)
            tell_people(bells, plan, store, (failure,), now=report.finished, forget=False)
        try:
            record = keep_evidence(where, report.record(), signer, now=datetime.now(UTC))
        except BackupError:
            publish_page(f"drill-{plan}", report.page("could not be written"), f"Drill of {plan}")
            report.check()  # what the drill has found matters more than that there is no record of it
            raise
        publish_page(f"drill-{plan}", report.page(f"`{record.key}`"), f"Drill of {plan}")
    report.check()
    return report
