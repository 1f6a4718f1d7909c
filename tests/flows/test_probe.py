"""The probe flow: its table, and that a store which does not do what backups need fails the run."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from flows.core.errors import StoreError
from flows.probe import probe
from tests.flows.conftest import Repo
from tests.support.fault_proxy import FaultProxy, status
from tests.support.flow_runs import logged, run_flow


def table(run: UUID) -> list[dict[str, Any]]:
    with get_client(sync_client=True) as client:
        only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        (found,) = [one for one in client.read_artifacts(artifact_filter=only) if one.type == "table"]
    assert found.key == "probe-backups"
    return list(json.loads(str(found.data)))


def test_a_store_is_probed_and_left_clean(repo: Repo) -> None:
    run = run_flow(probe)

    rows = {row["tried"]: row for row in table(run.id)}
    assert [line.name for line in run.value] == list(rows)
    assert rows["conditional write"] == {
        "tried": "conditional write",
        "fine": "yes",
        "seen": "the store overwrites an object that it was told to keep",
        "means for backups": "a key is looked up before the write",
        "contradicts": "",
        "do": "",
    }
    assert "write: 49 bytes at" in "\n".join(logged(run.id))
    assert repo.files == []


def test_a_store_that_cannot_keep_backups_fails_the_run_and_has_its_table(repo: Repo, proxy: FaultProxy) -> None:
    proxy.fail("POST ?uploads", times=None, action=status(403, "AccessDenied"))

    run = run_flow(probe)

    assert isinstance(run.error, StoreError)
    location = repo.block.open().location
    assert str(run.error) == (
        "the store does not do all that backups need (store='backups', "
        "failed=['multipart upload', 'start an upload'], first=\"the store denies access "
        f"(store='{location}', operation='CreateMultipartUpload', code='AccessDenied')\")\n"
        "HINT: Allow s3:PutObject for the store's credentials, on this bucket and prefix."
    )
    assert [row["tried"] for row in table(run.id) if row["fine"] == "NO"] == ["multipart upload", "start an upload"]
    assert repo.files == []
