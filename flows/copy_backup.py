"""The copy flow: bring backups from one store to another."""

from __future__ import annotations

from prefect import flow

from flows.core.copied import CopiedBackup, copy_page
from flows.core.errors import BackupError, RepositoryError, Stopped
from flows.tasks.copying import MISSING, CopyJob, choose, commit_copy, copy_segment, plan_copy
from flows.tasks.options import threads
from flows.tasks.publish import publish_page
from flows.tasks.run import Run, open_run, overlapped, shown_progress
from flows.tasks.settings import MOST_IN_FLIGHT, check_in_flight
from flows.tasks.stores import load_destinations


@flow(name="copy", flow_run_name="copy {plan} to {to}", task_runner=threads(MOST_IN_FLIGHT), persist_result=False)
def copy_backup(
    to: str,
    plan: str = "default",
    store: str = "backups",
    backup: str = "latest",
    segments_in_flight: int = 3,
) -> list[CopiedBackup]:
    """
    Bring a backup from one store to another, verified, as it is: nothing is decrypted, and its signature holds.

    Args:
        to: Name of the MongoDB Backup Store block that gets it.
        plan: Name of the backup job.
        store: Name of the MongoDB Backup Store block that has it.
        backup: Id of the backup, `latest`, or `missing` for all that the other store lacks.
        segments_in_flight: How many segments are copied at a time; bounds disk and memory, at most 16.

    Returns:
        What was done for each backup, oldest first.
    """
    check_in_flight(segments_in_flight)
    origin, other = load_destinations((store, to))
    copied: list[CopiedBackup] = []
    with open_run() as run:
        for chosen in choose(origin, other, plan, backup):
            try:
                copied.append(_copy(run, CopyJob(run.id, plan, chosen, origin, other), segments_in_flight))
            except Stopped:
                raise
            except BackupError as error:
                if backup != MISSING:
                    raise
                copied.append(CopiedBackup(chosen, 0, 0, 0, problem=str(error)))
        publish_page(f"copy-{plan}", copy_page(plan, store, to, copied), f"Copies from {store} to {to}")
    failed = {item.backup: item.problem for item in copied if item.problem}
    if failed:
        raise RepositoryError(
            f"{len(failed)} of {len(copied)} backups could not be copied",
            hint="Mend what the errors say, then run it again: what has arrived is not sent a second time.",
            store=store,
            to=to,
            problems=failed,
        )
    return copied


def _copy(run: Run, job: CopyJob, in_flight: int) -> CopiedBackup:
    planned = plan_copy(job)
    manifest = planned.manifest
    if planned.whole:
        return CopiedBackup(job.backup, len(manifest.segments), 0, manifest.stored_bytes)
    largest = sorted((segment.bytes for segment in manifest.segments), reverse=True)
    run.spool.require(sum(largest[:in_flight]))
    run.expect(manifest.stored_bytes, f"copy {job.backup}")
    with shown_progress(run, key=f"progress-copy-{job.plan}", description=f"Copy {job.backup} to {job.to.name}"):
        brought = overlapped(
            run,
            manifest.segments,
            lambda segment: (copy_segment.submit(job, manifest, segment, return_state=False),),
            most=in_flight,
        )
        number = sum(brought)
    if not planned.listed:
        commit_copy(job, manifest)
    return CopiedBackup(job.backup, len(manifest.segments), number, manifest.stored_bytes)
