"""The stages of a restore that work on the target as a whole: plan, prepare, finish."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

from flows.core.names import Namespace
from flows.core.proof import Merged, NamespaceProof
from flows.core.restore_plan import RestoreItem, RestorePlan, RestoreRequest
from flows.mongo.restoring import (
    compare_documents,
    finish_collections,
    finish_views,
    plan_target,
    prepare_target,
)
from flows.tasks.options import attempt, stage
from flows.tasks.restore_job import RestoreJob
from flows.tasks.run import current

logger = logging.getLogger(__name__)


@stage(name="plan-restore", task_run_name="plan restore of {job.manifest.backup}")
def plan_restore_into(job: RestoreJob, request: RestoreRequest, *, now: datetime) -> RestorePlan:
    """Decide what would be written where. Writes nothing."""
    with job.target.open() as target:
        return plan_target(target, job.manifest, request, now=now)


@stage(name="prepare-target", task_run_name="prepare target")
def prepare(job: RestoreJob, plan: RestorePlan, *, preserve_uuid: bool) -> None:
    """Drop what is replaced and create the collections, empty."""
    with job.target.open() as target:
        prepare_target(target, plan, preserve_uuid=preserve_uuid, again=attempt() > 1)
    logger.info(
        "prepared %d namespaces; %d were replaced, %d stay and are added to",
        len(plan.items),
        len(plan.replaced),
        len(plan.merged),
    )


@stage(name="compare", task_run_name="read documents back and compare")
def compare(
    job: RestoreJob,
    items: tuple[RestoreItem, ...],
    merged: Mapping[Namespace, Merged],
    *,
    read_back: bool,
    majority: bool,
) -> tuple[NamespaceProof, ...]:
    """Hold the documents of collections against the manifest, when all of them are there."""
    run = current(job.run)
    with job.target.open() as target:
        return compare_documents(
            target, items, merged=merged, read_back=read_back, majority=majority, progress=run.counter()
        )


@stage(name="finish", task_run_name="build indexes and compare")
def finish(
    job: RestoreJob, items: tuple[RestoreItem, ...], compared: tuple[NamespaceProof, ...], *, hold_ttl: bool
) -> tuple[NamespaceProof, ...]:
    """Build the indexes of collections whose documents were compared, and hold them against the manifest too."""
    current(job.run)  # for its error, before anything is written
    with job.target.open() as target:
        proofs = finish_collections(target, items, compared, hold_ttl=hold_ttl)
    logger.info("finished %s", ", ".join(str(proof.namespace) for proof in proofs))
    return proofs


@stage(name="finish-views", task_run_name="create views and compare")
def create_views(job: RestoreJob, plan: RestorePlan) -> tuple[NamespaceProof, ...]:
    """Create the views, and hold each against the manifest."""
    with job.target.open() as target:
        return finish_views(target, plan)
