"""Which exports, and which partitions of them, to keep and which to remove: a decision of its arguments, with reasons.

An export is as old as its data. A partition is as old as its time is over: that of March 2016 is ten years old at the
end of March 2026. An export stays as long as another one that stays has only the changes since.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from flows.core.errors import ConfigurationError
from flows.core.markup import markdown_text
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.erasure_report import Removal
from flows.core.parquet.partition_times import partition_end
from flows.core.parquet.records import DataFile, ExportedNamespace, ExportRecord
from flows.core.report import counted, format_bytes, format_count, format_time, markdown_table

_MOST_DAYS = 36_500  # a century; more is a typing error
_SHOWN = 500


@dataclass(frozen=True, slots=True)
class ExportPolicy:
    """The rules; one that is 0 is off.

    Attributes:
        partition_days: A partition is kept until its time is over for so long [days of 24 hours].
        export_days: An export is kept until its data is so old [days of 24 hours].
        at_least: So many of the newest exports are never removed as a whole, however old they are.
    """

    partition_days: int = 0
    export_days: int = 0
    at_least: int = 1

    def __post_init__(self) -> None:
        for name in ("partition_days", "export_days"):
            if not 0 <= getattr(self, name) <= _MOST_DAYS:
                raise ConfigurationError(
                    "retention of exports in days is out of range",
                    hint=f"Give 1 to {_MOST_DAYS} days; 0 is no such rule.",
                    rule=name,
                    got=getattr(self, name),
                )
        if self.at_least < 1:
            raise ConfigurationError(
                "a retention that may remove the last export is refused",
                hint="Set `at_least` to 1 or more: so many of the newest exports are never removed as a whole.",
                got=self.at_least,
            )
        if not self.partition_days and not self.export_days:
            raise ConfigurationError(
                "a retention of exports without any rule removes nothing",
                hint="Set `partition_days`, `export_days` or both.",
            )


@dataclass(frozen=True, slots=True)
class ExportDecision:
    """What happens to an export, or to one partition of a collection in it, and why.

    Attributes:
        export: Its id.
        namespace: Empty for the export as a whole.
        partition: Empty for the export as a whole.
        keep: Whether it stays.
        reasons: Of what keeps it, all; of what goes, why no rule keeps it.
        files: How many files it is.
        bytes: Their size [bytes].
    """

    export: str
    namespace: str
    partition: str
    keep: bool
    reasons: tuple[str, ...]
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """The decisions for a data set, newest export first, and its next version.

    Attributes:
        decisions: For each export, and for each of its partitions where it stays.
        after: The next version; the given one where nothing goes.
    """

    decisions: tuple[ExportDecision, ...]
    after: Dataset


def plan_exports(dataset: Dataset, policy: ExportPolicy, *, now: datetime) -> ExportPlan:
    """Decide what of a data set is kept. An export or partition of the future is kept: a clock may be wrong.

    Args:
        dataset: Its newest version.
        policy: The rules.
        now: Time of the decision, aware.
    """
    stays = _exports_that_stay(dataset, policy, now)
    decisions: list[ExportDecision] = []
    kept: list[ExportRecord] = []
    for export in reversed(dataset.exports):
        reasons = stays.get(export.export, ())
        files = export.files
        why = reasons or (f"older than {policy.export_days} days", f"not one of the newest {policy.at_least}")
        decisions.append(_decision(export, "", "", bool(reasons), why, files))
        if not reasons:
            continue
        namespaces = []
        for item in export.namespaces:
            of_partitions, left = _partitions(export, item, policy, now)
            decisions += of_partitions
            namespaces.append(replace(item, files=left))
        kept.append(replace(export, namespaces=tuple(namespaces)))
    if all(decision.keep for decision in decisions):
        return ExportPlan(tuple(decisions), dataset)
    return ExportPlan(tuple(decisions), dataset.following(kept, dataset.schemas, written=now, by="prune"))


def _exports_that_stay(dataset: Dataset, policy: ExportPolicy, now: datetime) -> dict[str, tuple[str, ...]]:
    """Why each export stays that does; newest first, since an older one may be needed by a newer one."""
    stays: dict[str, tuple[str, ...]] = {}
    newest = [export.export for export in dataset.exports if export.data_time <= now][-policy.at_least :]
    for export in reversed(dataset.exports):
        reasons = []
        age = now - export.data_time
        if age < timedelta(0):
            reasons.append("its data is of the future: a clock may be wrong")
        elif not policy.export_days:
            reasons.append("no rule is for whole exports")
        elif age < timedelta(days=policy.export_days):
            reasons.append(f"younger than {policy.export_days} days")
        if export.export in newest:
            reasons.append(f"one of the newest {policy.at_least}, which are never removed")
        needed = {
            other
            for item in export.namespaces
            for other in dataset.needed_by(export.export, item.namespace)
            if other in stays
        }
        if needed:
            reasons.append(f"the changes of {min(needed)} follow it")
        if reasons:
            stays[export.export] = tuple(reasons)
    return stays


def _partitions(
    export: ExportRecord, item: ExportedNamespace, policy: ExportPolicy, now: datetime
) -> tuple[list[ExportDecision], tuple[DataFile, ...]]:
    """The decisions for the partitions of a namespace, newest first, and the files that stay."""
    decisions, gone = [], set()
    for partition in sorted({file.partition for file in item.files if file.partition}, reverse=True):
        files = tuple(file for file in item.files if file.partition == partition)
        end = partition_end(partition)
        if end is None:
            keep, why = True, "its rows have no date that a partition could have: it goes with its export"
        elif not policy.partition_days:
            keep, why = True, "no rule is for partitions"
        else:
            keep = now - end < timedelta(days=policy.partition_days)
            kind = "less than" if keep else "for"
            why = f"its time is over {kind} {policy.partition_days} days" if now >= end else "its time is not over"
        decisions.append(_decision(export, str(item.namespace), partition, keep, (why,), files))
        if not keep:
            gone |= {file.key for file in files}
    return decisions, tuple(file for file in item.files if file.key not in gone)


def _decision(
    export: ExportRecord,
    namespace: str,
    partition: str,
    keep: bool,
    reasons: tuple[str, ...],
    files: tuple[DataFile, ...],
) -> ExportDecision:
    return ExportDecision(
        export.export, namespace, partition, keep, reasons, len(files), sum(file.bytes for file in files)
    )


@dataclass(frozen=True, slots=True)
class PrunedExports:
    """What a pruning of exports has decided and done."""

    dataset: str
    target: str
    version_before: int
    version_after: int
    decisions: tuple[ExportDecision, ...]
    removal: Removal
    dry_run: bool

    @property
    def gone(self) -> tuple[ExportDecision, ...]:
        """What went, or would go."""
        return tuple(decision for decision in self.decisions if not decision.keep)


def decision_rows(report: PrunedExports) -> list[dict[str, str]]:
    """The decisions for a table: first what goes."""
    gone = "would be removed" if report.dry_run else "removed"
    return [
        {
            "export": one.export,
            "collection": one.namespace or "all",
            "partition": one.partition or "-",
            "decision": "kept" if one.keep else gone,
            "reason": "; ".join(one.reasons),
            "files": format_count(one.files),
            "size": format_bytes(one.bytes),
        }
        for one in sorted(report.decisions, key=lambda one: one.keep)
    ]


def pruned_page(report: PrunedExports) -> str:
    """The page for people."""
    files, size = sum(one.files for one in report.gone), sum(one.bytes for one in report.gone)
    rows = decision_rows(report)
    parts = [
        f"# Retention of the exports in {report.dataset}\n",
        f"{counted(files, 'file')}, {format_bytes(size)}, "
        + ("would be removed: this is a dry run." if report.dry_run else "were removed, with all versions."),
        f"\nVersion {report.version_before} of the data set in {markdown_text(report.target)}"
        + ("." if report.version_after == report.version_before else f", now {report.version_after}."),
        "\n## Decisions\n",
        markdown_table(rows[:_SHOWN]),
    ]
    if len(rows) > _SHOWN:
        parts.append(f"\n… and {len(rows) - _SHOWN} more.")
    if report.removal.kept:
        kept = [
            {"object": one.key, "is": one.why, "until": format_time(one.until) if one.until else "not known"}
            for one in report.removal.kept
        ]
        parts += ["\n## Still in the store\n", markdown_table(kept[:_SHOWN])]
    return "\n".join(parts) + "\n"
