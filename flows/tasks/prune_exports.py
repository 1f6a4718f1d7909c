"""Removing what the retention of exports no longer keeps."""

from __future__ import annotations

import logging
from datetime import datetime

from flows.core.parquet.dataset import Dataset
from flows.core.parquet.export_retention import ExportPlan, plan_exports
from flows.core.report import counted
from flows.tasks.options import stage
from flows.tasks.settings import ExportRetention

logger = logging.getLogger(__name__)


@stage(name="plan-retention", task_run_name="plan retention of {dataset.name}")
def plan_retention(dataset: Dataset, retention: ExportRetention, *, now: datetime) -> ExportPlan:
    """Decide by the manifest what goes."""
    plan = plan_exports(dataset, retention.policy(), now=now)
    gone = [decision for decision in plan.decisions if not decision.keep]
    logger.info("%s of %d go", counted(len(gone), "export or partition"), len(plan.decisions))
    return plan
