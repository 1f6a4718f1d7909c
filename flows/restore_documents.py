"""The restore-documents flow: plan, load into a scratch collection, match, compare, show, write."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from blocks import BackupStore, MongoDBTarget
from flows.core.document_diff import DocumentDiff
from flows.core.document_page import (
    DocumentsReport,
    check_matching,
    documents_page,
    documents_report,
)
from flows.core.document_plan import DocumentPlan, ExistingDocuments, Into, request_documents
from flows.core.manifest import SegmentRecord
from flows.core.proof import Merged
from flows.core.report import format_count
from flows.tasks.blocks import load_block, load_identities
from flows.tasks.documents import (
    compare_documents,
    load_scratch,
    make_scratch_collection,
    plan_documents_into,
    scratch_dropped,
    write_matching,
)
from flows.tasks.fetch import fetch
from flows.tasks.find import check_access, find_backup
from flows.tasks.options import threads
from flows.tasks.publish import name_run, publish_page
from flows.tasks.restore_job import RestoreJob
from flows.tasks.run import Run, open_run, overlapped, shown_progress
from flows.tasks.settings import MOST_IN_FLIGHT, check_in_flight


@flow(
    name="restore-documents",
    flow_run_name="restore-documents {plan} {backup}",
    task_runner=threads(2 * MOST_IN_FLIGHT),
    persist_result=False,
)
def restore_documents(
    namespace: str,
    filter: dict[str, Any] | str,  # noqa: A002 - what MongoDB calls it
    plan: str = "default",
    store: str = "backups",
    target: str = "target",
    identities: str | None = None,
    backup: str = "latest",
    into: Into = Into.LIVE,
    existing: ExistingDocuments = ExistingDocuments.KEEP,
    confirm: str = "",
    dry_run: bool = False,
    database: str | None = None,
    segments_in_flight: int = 3,
) -> DocumentsReport:
    """
    Bring single documents of a backup back: those of one namespace that match a filter.

    The namespace is loaded in full into a scratch collection of the target database, so that MongoDB itself decides
    what matches; it is dropped at the end. Before anything else is written, an artifact shows how many of the documents
    are missing in the live collection, different or equal there. The user needs `readWrite` on the database beside the
    role `restore`.

    Documents are told apart by `_id`. So time-series collections are refused, whose measurements have no unique one,
    and views, which have no documents. A capped live collection is refused too: each insert would push out another
    document.

    Args:
        namespace: Collection in the backup, such as mpg.invoices.
        filter: Which documents, as for `find`, in Extended JSON: {"number": "INV-000042"}. Where it holds `$ref`, give
            it as text: Prefect takes that word in an object for one of its own.
        plan: Name of the backup job.
        store: Name of the MongoDB Backup Store block that holds the backup.
        target: Name of the MongoDB Restore Target block to write to.
        identities: Name of the MongoDB Backup Identities block: what opens an encrypted backup, and who may sign one.
        backup: Id of the backup, such as 2026-03-06T04-00-00Z, or `latest`.
        into: `live` writes into the collection itself; `beside` into a new one, named after it and the backup, that has
            the same collation and neither indexes nor validator.
        existing: Documents that differ in the live collection: `keep` leaves them alone, `overwrite` replaces them.
        confirm: With `overwrite`: type the name of the database in the target.
        dry_run: Only show the differences; write nothing but the scratch collection.
        database: Database in the target, where it has another name than in the backup.
        segments_in_flight: How many segments are worked on at a time; bounds disk and memory, at most 16.

    Returns:
        How many documents match, what the target had of them, and what was written.
    """
    check_in_flight(segments_in_flight)
    request = request_documents(namespace, filter, into=into, existing=existing, database=database)
    if not dry_run:
        request.check_confirmation(confirm)
    blocks = load_block(MongoDBTarget, target), load_block(BackupStore, store)
    keys = load_identities(identities)
    with open_run() as run:
        manifest = find_backup(blocks[1], plan, backup)
        access = check_access(blocks[1], manifest, keys)
        job = RestoreJob(run.id, *blocks, access.opened(manifest), access)
        name_run(f"restore-documents {plan} {job.manifest.backup} {namespace}")
        decided = plan_documents_into(job, request)
        run.spool.require(sum(sorted(s.bytes for s in decided.segments)[-segments_in_flight:]))
        run.expect(sum(s.bytes for s in decided.segments) + decided.record.content.bytes, f"documents of {namespace}")
        with (
            scratch_dropped(run, job, decided.scratch),
            shown_progress(run, key=f"progress-restore-documents-{plan}", description="Restore of documents"),
        ):
            make_scratch_collection(job, decided)
            load_segments(run, job, decided, segments_in_flight)
            diff = compare_documents(job, decided)
            publish(job, decided, diff, "Differences: nothing has been written")
            check_matching(decided, diff)
            written = Merged() if dry_run else write_matching(job, decided)
        if not dry_run:
            numbers = f"{format_count(written.inserted)} inserted, {format_count(written.replaced)} replaced"
            publish(job, decided, diff, f"Complete: {numbers}, each read again; below is what was there before")
        return documents_report(decided, job.manifest, diff, written, dry_run=dry_run)


def load_segments(run: Run, job: RestoreJob, plan: DocumentPlan, in_flight: int) -> None:
    """Fetch the segments that hold the namespace and load it; while some are loaded, the next are fetched."""

    def submit(segment: SegmentRecord) -> tuple[PrefectFuture[Any], ...]:
        path = fetch.submit(job, segment)
        return path, load_scratch.submit(job, plan, segment, path, return_state=False)

    for _ in overlapped(run, plan.segments, submit, most=in_flight):
        pass


def publish(job: RestoreJob, plan: DocumentPlan, diff: DocumentDiff, done: str) -> None:
    """Leave the page of differences."""
    page = documents_page(plan, job.manifest, diff, now=datetime.now(UTC), done=done, access=job.access)
    publish_page(f"restore-documents-{job.manifest.plan}", page, "Documents restored, or to be restored")
