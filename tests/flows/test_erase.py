"""The flows erase and prune_exports, on a bucket that keeps every version of every object."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prefect_aws import MinIOCredentials

from blocks import BackupStore, ErasureSubject, ExportRules
from flows.core.errors import BackupError, ErasureIncomplete, PlanBusy
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.pseudonyms import Keys, RootKey
from flows.core.parquet.rules import RuleSet
from flows.erase import erase
from flows.prune_exports import prune_exports
from flows.storage.exports import read_dataset
from flows.tasks.lock import hold_dataset
from flows.tasks.settings import ExportRetention, Overlap
from tests.storage.test_erasing import ANNA, DOCUMENTS, EMAIL, NS, RULES, invoice
from tests.support.datasets import NAME, export_documents, rows_in
from tests.support.flow_runs import FlowRunRecord, flow_run_record, logged, page, run_flow, table

KEY = RootKey.generate()
PSEUDONYM = Keys([KEY]).pseudonyms("shared subject").of(ANNA.encode(), 128)
AT = datetime(2026, 3, 6, 4, tzinfo=UTC)


@dataclass
class Versioned:
    """A bucket, with every version of every object in it."""

    block: BackupStore
    client: Any

    @property
    def dataset(self) -> Dataset:
        return read_dataset(self.block.open(), NAME, now=AT)

    def versions(self) -> Iterator[tuple[str, bytes]]:
        for item in self.client.list_object_versions(Bucket=self.block.bucket).get("Versions", []):
            got = self.client.get_object(Bucket=self.block.bucket, Key=item["Key"], VersionId=item["VersionId"])
            yield item["Key"], got["Body"].read()

    def holding(self, *texts: str) -> set[str]:
        """Keys of which any version has one of some texts, in its bytes or in a value."""
        found = set()
        for key, data in self.versions():
            values = str(pq.read_table(pa.BufferReader(data)).to_pydict()) if key.endswith(".parquet") else ""
            found |= {key for text in texts if text.encode() in data or text in values}
        return found


@pytest.fixture
def exports(_prefect: None, moto_port: int, tmp_path: Path) -> Versioned:
    """Two exports of a collection under rules, each in partitions by month."""
    endpoint, bucket = f"http://127.0.0.1:{moto_port}", f"exports-{uuid.uuid4().hex[:8]}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="user", aws_secret_access_key="key-1", region_name="us-east-1"
    )
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    credentials = MinIOCredentials(minio_root_user="user", minio_root_password="key-1")
    block = BackupStore(credentials=credentials, bucket=bucket, endpoint=endpoint, region="us-east-1")
    block.save("exports", overwrite=True)
    raw = {rules.namespace: rules.as_json() for rules in RULES.namespaces}
    raw["shop.*"]["rules"].append({"path": "at", "action": "date", "unit": "month"})
    rules = RuleSet.parse(raw)
    ExportRules(rules=raw, keys=KEY.secret).save("gdpr", overwrite=True)
    folder = tmp_path / "exports"
    folder.mkdir()
    for day, documents in enumerate((DOCUMENTS, [*DOCUMENTS[1:9], invoice(77, "C-77", note=f"for {ANNA}")])):
        export_documents(
            block.open(),
            folder,
            {NS: documents},
            at=AT + timedelta(days=day),
            rules=rules,
            keys=Keys([KEY]),
            partition="at",
        )
    return Versioned(block, client)


def said(run: FlowRunRecord) -> str:
    """Everything that Prefect keeps of a run."""
    shown = [*logged(run.id), flow_run_record(run.id).model_dump_json(), page(run.id), str(run.state.message)]
    return "\n".join(shown)


def test_a_person_is_erased_from_every_version_of_every_object(exports: Versioned) -> None:
    ErasureSubject(values=[ANNA]).save("case-42", overwrite=True)
    given = {"subject": "case-42", "why": "case 42", "rules": "gdpr", "domain": "subject"}
    before, whole = exports.dataset, rows_in(exports.block.open(), exports.dataset, NS)
    tried = run_flow(erase, **given)
    assert (tried.value.gone, tried.value.version_after, exports.dataset) == (4, 2, before)
    assert "4 rows of one person would go; nothing was written, this is a dry run." in page(tried.id)
    assert exports.holding(PSEUDONYM)

    # A note still has the name of the person in it, and that is found.
    failed = run_flow(erase, **given, dry_run=False)
    assert isinstance(failed.error, ErasureIncomplete)
    assert "**Traces were found.**" in page(failed.id)
    assert exports.dataset.version == 3
    assert exports.holding(PSEUDONYM) == set()

    run = run_flow(erase, **given, anywhere=True, by="Anna Schmidt", dry_run=False)
    report = run.value
    assert (report.gone, report.version_after, report.kept) == (1, 4, ())
    assert exports.holding(PSEUDONYM, ANNA, EMAIL) == set()
    left = rows_in(exports.block.open(), exports.dataset, NS)
    assert left == [row for row in whole if row["_id"] not in (2, 3, 77)]
    stored = {key for key, _ in exports.versions()}
    assert {key for key in stored if "/data/" in key} == {file.key for file in exports.dataset.files}
    record = json.loads(dict(exports.versions())[report.record_key])
    assert (record["why"], record["by"], record["proof"]["traces"]) == ("case 42", "Anna Schmidt", [])
    assert [item["gone"] for item in record["namespaces"][0]["files"]] == [1]
    for one in (tried, failed, run):
        assert ANNA not in said(one)
        assert PSEUDONYM not in said(one)
    assert "searched " in said(run)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"subject": "nobody"}, "there is no block 'nobody' of the type MongoDB Erasure Subject"),
    ({"why": " "}, "`why` is empty or too long"),
    ({"domain": ""}, "nobody could be found by this"),
    ({"rules": None}, "pseudonyms cannot be found without the key that made them"),
    ({"dataset": "other"}, "there is no data set of this name"),
    ({"dataset": "Other"}, "not a name for a plan"),
    ({"domain": "", "fields": {NS: "customer.*"}}, "a person is found by single fields"),
]


def test_what_cannot_work_is_refused_before_anything_is_written(exports: Versioned) -> None:
    ErasureSubject(values=[ANNA]).save("case-42", overwrite=True)
    given = {"subject": "case-42", "why": "case 42", "rules": "gdpr", "domain": "subject", "dry_run": False}
    before = dict(exports.versions())
    for parameters, message in REFUSED:
        with pytest.raises(BackupError) as caught:
            erase(**{**given, **parameters})
        assert message in str(caught.value)
    assert dict(exports.versions()) == before


def test_exports_and_partitions_go_by_their_age(exports: Versioned) -> None:
    before = exports.dataset
    with hold_dataset(NAME), pytest.raises(PlanBusy):
        prune_exports(overlap=Overlap.REFUSE)
    # The time of January 2026 is over long ago by whatever clock this runs.
    january = (datetime.now(UTC) - datetime(2026, 2, 1, tzinfo=UTC)).days
    keep = ExportRetention(partition_days=january)
    tried = run_flow(prune_exports, keep=keep)
    assert exports.dataset == before
    rows = table(tried.id)
    assert [(row["partition"], row["decision"]) for row in rows[:2]] == [("month=2026-01", "would be removed")] * 2
    assert {row["decision"] for row in rows[2:]} == {"kept"}

    run = run_flow(prune_exports, keep=keep, dry_run=False)
    assert (run.value.version_before, run.value.version_after) == (2, 3)
    assert run.value.removal.objects == 2 * 2 + 2  # manifests with their views, files
    assert "month=2026-01" not in {file.partition for file in exports.dataset.files}
    assert {file.key for file in exports.dataset.files} == {key for key, _ in exports.versions() if "/data/" in key}
    assert "were removed, with all versions." in page(run.id)
    again = run_flow(prune_exports, keep=keep, dry_run=False)
    assert (again.value.version_after, again.value.removal.objects) == (3, 0)
