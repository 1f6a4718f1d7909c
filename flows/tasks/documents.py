"""The stages of bringing single documents back: plan, scratch, load, compare, write."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.core.document_diff import Difference, DocumentDiff
from flows.core.document_plan import DocumentPlan, DocumentRequest
from flows.core.errors import BackupError
from flows.core.manifest import SegmentRecord
from flows.core.names import Namespace
from flows.core.proof import Merged
from flows.core.report import format_count
from flows.mongo.documents import diff_documents, make_scratch, plan_into, write_documents
from flows.mongo.load import LoadedSegment, Place, load_segment
from flows.tasks.options import attempt, stage
from flows.tasks.restore_job import RestoreJob
from flows.tasks.run import Run, current

logger = logging.getLogger(__name__)


@stage(name="plan-documents", task_run_name="plan documents of {job.manifest.backup}")
def plan_documents_into(job: RestoreJob, request: DocumentRequest) -> DocumentPlan:
    """Decide what would be read and written. Writes nothing."""
    with job.target.open() as target:
        return plan_into(target, job.manifest, request, run=job.run)


@contextmanager
def scratch_dropped(run: Run, job: RestoreJob, scratch: Namespace) -> Iterator[None]:
    """Drop the scratch collection at the end of the block, whatever happens in it.

    Raises:
        TargetError: Where the block succeeded and the scratch could not be dropped.
    """
    try:
        yield
    except BaseException:  # a cancellation too
        # A task that still loads would make it again.
        run.settle()
        try:
            _drop(job, scratch)
        except BackupError as error:
            logger.warning("the scratch collection %s could not be dropped, do it by hand: %s", scratch, error.message)
        raise
    _drop(job, scratch)


def _drop(job: RestoreJob, scratch: Namespace) -> None:
    with job.target.open() as target:
        target.drop(scratch)
    logger.info("dropped the scratch collection %s", scratch)


@stage(name="make-scratch", task_run_name="make scratch collection")
def make_scratch_collection(job: RestoreJob, plan: DocumentPlan) -> None:
    """Create the scratch collection, and see that the server takes the filter."""
    with job.target.open() as target:
        make_scratch(target, plan)
    logger.info("made the scratch collection %s; the server takes the filter", plan.scratch)


@stage(name="load-scratch", task_run_name="load {segment.name}")
def load_scratch(job: RestoreJob, plan: DocumentPlan, segment: SegmentRecord, path: Path) -> LoadedSegment:
    """Write the documents that one segment holds of the namespace into the scratch; its file leaves the spool."""
    with job.target.open() as target:
        loaded = load_segment(
            target,
            path,
            segment,
            key=job.key(segment),
            identity=job.access.identity,
            places={plan.record.data_namespace: Place(plan.scratch)},
            described=job.manifest.described,
            users=frozenset(),
            again=attempt() > 1,
            progress=current(job.run).counter(documents=True),
        )
    path.unlink()
    logger.info("loaded %s: %s documents into the scratch", segment.name, format_count(loaded.documents))
    return loaded


@stage(name="compare-documents", task_run_name="compare documents")
def compare_documents(job: RestoreJob, plan: DocumentPlan) -> DocumentDiff:
    """Find the documents that match, and compare them with the live collection."""
    with job.target.open() as target:
        diff = diff_documents(target, plan, checkpoint=current(job.run).checkpoint)
    logger.info(
        "%s documents match: %s",
        format_count(diff.matching),
        ", ".join(f"{format_count(diff.counts[kind])} {kind.value}" for kind in Difference),
    )
    return diff


# Not repeated by itself: the next run shows what is still missing, and says again what it will write.
@stage(name="write-documents", task_run_name="write documents", retries=False)
def write_matching(job: RestoreJob, plan: DocumentPlan) -> Merged:
    """Write the documents that match, and read them again."""
    with job.target.open() as target:
        written = write_documents(target, plan, checkpoint=current(job.run).checkpoint)
    logger.info(
        "inserted %s documents, replaced %s, all read again",
        format_count(written.inserted),
        format_count(written.replaced),
    )
    return written
