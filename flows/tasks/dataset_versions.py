"""The stages of what makes a new version of a data set without something: open, publish, remove."""

from __future__ import annotations

import logging
from datetime import datetime

from blocks import BackupStore
from flows.core.errors import ConfigurationError
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.erasure_report import Removal
from flows.core.report import counted
from flows.storage import exports
from flows.tasks.options import stage

logger = logging.getLogger(__name__)


@stage(name="open-dataset", task_run_name="open data set {dataset}")
def open_dataset(target: BackupStore, dataset: str, *, now: datetime) -> Dataset:
    """Read the newest version of a data set; there has to be one."""
    store = target.open()
    found = exports.read_dataset(store, dataset, now=now)
    if not found.version:
        raise ConfigurationError(
            "there is no data set of this name",
            hint="Give the name that the export had: that of its plan, where it was given none.",
            store=store.location,
            dataset=dataset,
        )
    logger.info("data set %s: version %d, %d files", dataset, found.version, len(found.files))
    return found


@stage(name="publish-version", task_run_name="publish version {dataset.version} of {dataset.name}")
def publish_version(target: BackupStore, dataset: Dataset) -> str:
    """Make a version of a data set exist; returns the SQL of its views."""
    from flows.storage.removing import views_of  # noqa: PLC0415 - Arrow takes long to load

    store = target.open()
    views = views_of(store, dataset)
    exports.publish(store, dataset, views)
    logger.info("published version %d of the data set %s: %s", dataset.version, dataset.name, dataset.key)
    return views


@stage(name="remove-unnamed", task_run_name="remove what version {dataset.version} of {dataset.name} does not name")
def remove_unnamed(target: BackupStore, dataset: Dataset) -> Removal:
    """Remove older manifests and all files that the newest does not name."""
    from flows.storage.removing import remove_unnamed as remove  # noqa: PLC0415 - Arrow takes long to load

    done = remove(target.open(), dataset)
    logger.info("removed %s with all versions", counted(done.objects, "object"))
    for item in done.kept:
        logger.warning("%s is deleted and its data lives on: %s", item.key, item.why)
    return done
