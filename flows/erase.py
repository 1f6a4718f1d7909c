"""The erase flow: remove the rows of one person from all files of a data set, and prove that nothing is left."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow

from blocks import BackupStore, ErasureSubject, ExportRules
from flows.core.errors import ConfigurationError
from flows.core.keys import check_plan_name
from flows.core.parquet.erasure_report import ErasureReport, Removal, erasure_page, without
from flows.core.parquet.pseudonyms import Keys
from flows.core.parquet.sought import Sought
from flows.tasks.blocks import load_block
from flows.tasks.dataset_versions import open_dataset, publish_version, remove_unnamed
from flows.tasks.erasing import ErasureJob, erase_from, keep_record, search
from flows.tasks.lock import hold_dataset
from flows.tasks.publish import publish_page, started_by
from flows.tasks.run import open_run, shown_progress
from flows.tasks.settings import Overlap

_MOST_LETTERS = 2000


@flow(name="erase", flow_run_name="erase from {dataset}", persist_result=False)
def erase(
    subject: str,
    why: str,
    dataset: str = "default",
    target: str = "exports",
    rules: str | None = None,
    domain: str = "",
    fields: dict[str, str] | None = None,
    anywhere: bool = False,
    by: str = "",
    dry_run: bool = True,
    overlap: Overlap = Overlap.WAIT,
) -> ErasureReport:
    """
    Remove the rows of one person from all files of an export, and prove that no trace is left.

    Files with such rows are written anew without them, a new version of the data set names these, and the old files go
    with all their versions. Then everything is read again and searched. Erase the person in MongoDB first: the next
    export brings back what is still there.

    Args:
        subject: Name of a MongoDB Erasure Subject block with what identifies the person. Delete it afterwards.
        why: The reason, for whoever asks in some years. Name a case or a ticket; no personal data.
        dataset: Name of the data set.
        target: Name of the MongoDB Backup Store block that holds the data set.
        rules: Name of the MongoDB Export Rules block that has the keys, where the person is found by pseudonyms.
        domain: Find the person in all fields whose pseudonyms are of this domain.
        fields: Or in these, by collection: `{"shop.invoices": "customer.id, payer.id"}`; patterns with `*` will do.
        anywhere: Also the rows in which a value, or a pseudonym that was found, stands anywhere, within a longer text
            too; values of fewer than 6 letters only where they are the whole.
        by: Who wants it; none means whoever started this run, as far as Prefect knows.
        dry_run: Only show how many rows of which files would go. Turn it off to erase.
        overlap: While another run works on this data set: `wait` for its end, or `refuse` to run.

    Returns:
        What was found in which files, what was removed, and what the search has shown.
    """
    check_plan_name(dataset)
    if not why.strip() or len(why) > _MOST_LETTERS:
        raise ConfigurationError(
            "`why` is empty or too long",
            hint=f"Say it in up to {_MOST_LETTERS} letters: an auditor will read it.",
            got=len(why),
        )
    person = load_block(ErasureSubject, subject).open()
    rule_set, keys = load_block(ExportRules, rules).open() if rules else (None, Keys())
    sought = Sought.of(person, fields or {}, domain=domain, keys=keys, rules=rule_set, anywhere=anywhere)
    sought.check()
    block = load_block(BackupStore, target)
    started = datetime.now(UTC)
    with open_run() as run, hold_dataset(dataset, overlap):
        before = open_dataset(block, dataset, now=started)
        job = ErasureJob(run.id, dataset, block, sought)
        run.expect(3 * sum(file.bytes for file in before.files), f"erase from {dataset}")
        with shown_progress(run, key=f"progress-erase-{dataset}", description=f"Erasure from {dataset}"):
            found = tuple(
                erase_from(job, before, namespace, dry_run=dry_run)
                for namespace in before.namespaces
                if sought.concerns(str(namespace))
            )
            after = before if dry_run else without(before, found, written=datetime.now(UTC))
            if after is not before:
                publish_version(block, after)
            done = Removal() if dry_run else remove_unnamed(block, after)
            proof = None if dry_run else search(job, after, sought.clear.union(*(item.needles for item in found)))
        report = ErasureReport(
            dataset=dataset,
            target=block.location,
            by=by or started_by(),
            why=why,
            started=started,
            finished=datetime.now(UTC),
            values=len(person),
            domain=domain,
            keys=keys.ids,
            version_before=before.version,
            version_after=after.version,
            namespaces=found,
            removed=done.objects,
            kept=done.kept,
            proof=proof,
            dry_run=dry_run,
        )
        if not dry_run:
            keep_record(block, report)
    publish_page(f"erasure-{dataset}", erasure_page(report), f"Erasure from {dataset}")
    report.check()
    return report
