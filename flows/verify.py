"""The verify flow: read stored backups again, and say which are what they should be."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from blocks import BackupEncryption, BackupStore
from flows.core import zones
from flows.core.encryption import Identities
from flows.core.errors import BackupError
from flows.core.keys import check_plan_name
from flows.core.manifest import SegmentRecord
from flows.core.results import scope_of
from flows.core.verification import Walk
from flows.core.verified import VerifiedBackup
from flows.core.verify_report import VerifyReport
from flows.core.version import versions
from flows.core.watch_judge import found_damaged
from flows.storage.verifying import Due
from flows.tasks.alarms import load_bells, tell_people
from flows.tasks.blocks import load_block, load_identities
from flows.tasks.evidence import keep_evidence
from flows.tasks.options import threads
from flows.tasks.publish import name_run, publish_page, started_by
from flows.tasks.run import Run, open_run, overlapped, shown_progress
from flows.tasks.settings import MOST_IN_FLIGHT, check_in_flight
from flows.tasks.verification import VerifyJob, keep_result, open_backup, plan_verification, verify_stored


@flow(
    name="verify",
    flow_run_name="verify {plan}",
    task_runner=threads(2 * MOST_IN_FLIGHT),
    persist_result=False,
)
def verify(
    plan: str = "default",
    store: str = "backups",
    identities: str | None = None,
    backup: str | None = None,
    share: str = "1/7",
    documents: Walk = Walk.SAMPLE,
    encryption: str | None = None,
    time_zone: str = "UTC",
    segments_in_flight: int = 2,
    alarms: str | None = None,
) -> VerifyReport:
    """
    Read stored backups again, compare every byte with the manifest, mark those that are damaged, and leave evidence.

    Args:
        plan: Name of the backup job.
        store: Name of the MongoDB Backup Store block that holds the backups.
        identities: Name of the MongoDB Backup Identities block: what opens encrypted backups, and who may sign one.
            Without it encrypted ones are compared as they are stored, and not opened.
        backup: Only this one, as a whole: an id such as 2026-03-06T04-00-00Z, or `latest`; none: all, by share.
        share: How much is read, besides the newest backup, which is always read as a whole: `1/7` reads another seventh
            each day, so that a week reads everything; `all` reads all.
        documents: Which documents are walked to their innermost element: a `sample`, other ones each day, or `all`,
            which takes eight times as long. All are counted, framed and compared by CRC and digest either way.
        encryption: Name of the MongoDB Backup Encryption block whose signing key signs the evidence.
        time_zone: In which the evidence shows times, such as Europe/Berlin.
        segments_in_flight: How many segments are read at a time; bounds memory, at most 16. None is kept on disk.
        alarms: Name of a MongoDB Backup Alarms block: who is told at once of each backup that is not sound.

    Returns:
        What was read of each backup, and what was found. Where anything was found, the run fails after everything was
        looked at.
    """
    check_in_flight(segments_in_flight)
    check_plan_name(plan)
    started = datetime.now(UTC)
    scope_of(share, day=started.toordinal())
    zones.time_zone(time_zone)  # for its error, before anything is read
    block, keys = load_block(BackupStore, store), load_identities(identities)
    signer = load_block(BackupEncryption, encryption) if encryption else None
    bells = load_bells(alarms)
    with open_run() as run:
        job = VerifyJob(run.id, plan, block, documents, phase=started.toordinal())
        due = plan_verification(job, backup, share, now=started)
        name_run(f"verify {plan} {due.due[0].backup if backup else share}")
        run.expect(sum(one.stored_bytes for one in due.due), f"verification of {plan}")
        found: list[VerifiedBackup] = []
        gone: list[str] = []
        stopped: BackupError | None = None
        with shown_progress(run, key=f"progress-verify-{plan}", description=f"Verification of {plan}"):
            try:
                for one in due.due:
                    verified = verify_backup(run, job, one, keys, segments_in_flight)
                    if verified is None:
                        gone.append(one.backup)
                    else:
                        found.append(verified)
            except BackupError as error:
                stopped = error
    report = VerifyReport(
        plan=plan,
        store=due.location,
        share="all" if backup else share,
        walk=documents,
        by=started_by(),
        started=started,
        finished=datetime.now(UTC),
        listed=due.listed,
        listed_bytes=due.listed_bytes,
        backups=tuple(found),
        gone=tuple(gone),
        stopped=stopped.message if stopped is not None else "",
    )
    unkept: BackupError | None = None
    try:
        if report.backups:  # of nothing there is no evidence
            record = report.record(signers=bool(keys.signers), time_zone=time_zone, versions=versions())
            kept = keep_evidence(block, record, signer, now=report.finished)
            report = dataclasses.replace(report, evidence_key=str(kept.key))
    except BackupError as error:
        unkept = error  # what was found matters more than that there is no record of it
    publish_page(f"verify-{plan}", report.page(), f"Verification of {plan}")
    if found_wrong := found_damaged(report, store):
        tell_people(bells, plan, store, found_wrong, now=report.finished, forget=False)
    if stopped is not None:
        raise stopped
    report.check()
    if unkept is not None:
        raise unkept
    return report


def verify_backup(run: Run, job: VerifyJob, due: Due, identities: Identities, in_flight: int) -> VerifiedBackup | None:
    """Read what is due of one backup, several segments at a time, and keep the result; None: the backup is gone."""
    opened = open_backup(job, due, identities, now=datetime.now(UTC))
    if opened is None:
        return None

    def submit(segment: SegmentRecord) -> tuple[PrefectFuture[Any], ...]:
        return (verify_stored.submit(job, opened, segment, return_state=False),)

    checks = tuple(overlapped(run, opened.segments, submit, most=in_flight))
    return keep_result(job, opened, checks)
