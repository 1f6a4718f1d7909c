"""The command `watch`: it works where no Prefect runs, for cron or the health check of a container."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
from cyclopts import Parameter

from flows.cli.manner import Manner
from flows.cli.names import block
from flows.cli.screen import Screen
from flows.cli.status import Status
from flows.core.errors import BackupError, ConfigurationError, StoreUnavailable
from flows.core.keys import check_plan_name
from flows.core.messages import Bells, Delivery, check_url
from flows.core.signing import trusted_signer
from flows.core.watch import Limits, StoreWatch
from flows.core.watch_judge import unreadable_store
from flows.core.watch_report import Verdict, WatchReport
from flows.steps.announce import announce, announce_start
from flows.steps.metrics import check_metrics_file
from flows.storage.environment import BUCKET, is_set, setting, store_from
from flows.storage.folder import FolderStore
from flows.storage.store import ReadableStore
from flows.storage.watching import watch_store

PING_URL, PUSH_URL = "MONGO_BACKUP_PING_URL", "MONGO_BACKUP_PUSH_URL"
_STATUSES = {
    Verdict.WELL: Status.DONE,
    Verdict.ALARM: Status.FINDINGS,
    Verdict.SUSPICIOUS: Status.SUSPICIONS,
    Verdict.UNREADABLE: Status.UNREACHABLE,
}
_SEVERAL = Parameter(consume_multiple=True, negative=())
Opener = Callable[[], ReadableStore]
Names = list[str] | None
Hours = Annotated[float, Parameter(metavar="HOURS")]
Percent = Annotated[float, Parameter(metavar="PERCENT")]


def watch(
    *,
    plan: Annotated[str, Parameter(metavar="NAME")] = "default",
    store: Annotated[Names, block("store"), _SEVERAL] = None,
    folder: Path | None = None,
    trust: Annotated[Names, Parameter(metavar="ed25519:…"), _SEVERAL] = None,
    backup_hours: Hours = 26,
    verification_hours: Hours = 50,
    drill_days: Annotated[float, Parameter(metavar="DAYS")] = 35,
    smaller_percent: Percent = 50,
    fewer_percent: Percent = 50,
    ignore: Annotated[Names, Parameter(metavar="PATTERN"), _SEVERAL] = None,
    alarms: Annotated[str | None, block("alarms")] = None,
    metrics_file: Path | None = None,
    manner: Manner = Manner(),  # noqa: B008 - it cannot be changed
) -> Status:
    """See that backups, verifications and drills are not late, that none is damaged and none looks wrong.

    Only what is in the store counts.

    Args:
        plan: Name of the backup job.
        store: Name of the MongoDB Backup Store block, `backups` by default; several are looked at alike.
        folder: A copy of the store on this machine, whose files have kept their times.
        trust: Who must have signed backups and evidence.
        backup_hours: The newest good backup may be so old; 0: not asked.
        verification_hours: The last verification may be so long ago; 0: not asked.
        drill_days: The last drill that passed may be so long ago; 0: not asked.
        smaller_percent: A backup may have so much less BSON than those before it; 0: not asked.
        fewer_percent: A collection may have so many fewer documents than in the backup before; 0: not asked.
        ignore: Patterns of namespaces that come and go, such as `logs.*`.
        alarms: Name of the MongoDB Backup Alarms block: who is told.
        metrics_file: A file for node_exporter's textfile collector, which ends in .prom.
    """
    reports: list[WatchReport] = []

    def act() -> dict[str, Any]:
        check_plan_name(plan)
        limits = Limits.of(
            backup_hours=backup_hours,
            verification_hours=verification_hours,
            drill_days=drill_days,
            smaller_percent=smaller_percent,
            fewer_percent=fewer_percent,
            ignore=ignore or (),
        )
        if metrics_file is not None:
            check_metrics_file(metrics_file)
        trusted = tuple(trusted_signer(text) for text in trust or ())
        openers = _openers(store or ["backups"], folder, os.environ)
        bells, told = _bells(alarms, os.environ)
        told += announce_start(bells)
        now = datetime.now(UTC)
        stores = (_look(opener, plan, limits, name, now, trusted) for name, opener in openers.items())
        report = WatchReport(plan, now, limits, tuple(stores))
        reports.append(report)
        told += _tell(bells, report)
        told += announce(bells, report, metrics_file)
        for problem in told.problems:
            Screen().error(f"not delivered: {problem}")
        return report.plain()

    status = manner.present(act, lambda screen, _: screen.text(reports[0].text()))
    if status is not Status.DONE:
        return status
    if manner.quiet and not reports[0].well:
        Screen().error(reports[0].text())
    return _STATUSES[reports[0].verdict]


def _openers(names: Sequence[str], folder: Path | None, environment: Mapping[str, str]) -> dict[str, Opener]:
    """How each store is opened, by its name. What is wrong with options and variables is found here."""
    if folder is None and not is_set(environment):
        return {name: _of_block(name) for name in names}
    if len(names) > 1:
        raise ConfigurationError(
            "several stores are named, and the folder or the environment is only one",
            hint="Run the command once for each.",
            got=names,
        )
    opened: ReadableStore = FolderStore(folder) if folder is not None else store_from(environment)
    return {names[0]: lambda: opened}


# Prefect takes seconds to import, and may be down: only what is in blocks needs it.


def _of_block(name: str) -> Opener:
    def opened() -> ReadableStore:
        from blocks import BackupStore  # noqa: PLC0415 - see above
        from flows.tasks.blocks import load_block  # noqa: PLC0415

        try:
            return load_block(BackupStore, name).open()
        except httpx.HTTPError as error:
            raise StoreUnavailable(
                "its block cannot be loaded, because Prefect does not answer",
                hint=f"Set {BUCKET} and its like, or give --folder, for a watch that needs no Prefect.",
                block=name,
                reason=type(error).__name__,
            ) from error

    return opened


def _bells(alarms: str | None, environment: Mapping[str, str]) -> tuple[Bells, Delivery]:
    """Whom to tell: what the block says, and what the environment says in its place."""
    ping, push = setting(PING_URL, environment), setting(PUSH_URL, environment)
    bells, told = Bells(), Delivery()
    if alarms is not None:
        from flows.tasks.alarms import load_bells  # noqa: PLC0415 - see above

        try:
            bells = load_bells(alarms)
        except httpx.HTTPError:
            told = Delivery((), (f"anything that the block {alarms} names: Prefect does not answer",))
    if ping:
        bells = replace(bells, ping_url=check_url(ping, PING_URL))
    if push:
        bells = replace(bells, push_url=check_url(push, PUSH_URL))
    return bells, told


def _look(opener: Opener, plan: str, limits: Limits, name: str, now: datetime, trusted: tuple[str, ...]) -> StoreWatch:
    try:
        return watch_store(opener(), plan, limits, name=name, now=now, trusted=trusted)
    except BackupError as error:
        return unreadable_store(plan, name, error, at=now)


def _tell(bells: Bells, report: WatchReport) -> Delivery:
    told = Delivery()
    if bells.notify:
        from flows.tasks.alarms import tell  # noqa: PLC0415 - see above

        for store in report.stores:
            told += tell(bells, report.plan, store.store, store.facts, now=report.at, forget=True)
    return told
