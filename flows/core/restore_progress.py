"""How far a restore has come: what a failure says of the state of the target, and how to go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flows.core.errors import BackupError, RestoreIncomplete
from flows.core.names import Namespace
from flows.core.proof import Merged
from flows.core.restore_plan import RestoreItem, RestoreMode, RestorePlan
from flows.core.source import Kind


class RestoreProgress:
    """What is loaded of a plan."""

    def __init__(self, plan: RestorePlan) -> None:
        self._plan = plan
        self._prepared = False
        self._loaded: set[str] = set()
        self.merged: dict[Namespace, Merged] = {}
        self._collections = tuple(item for item in plan.items if item.record.kind is not Kind.VIEW)
        self._pending = self._collections

    def prepared(self) -> None:
        """Remember that everything to be replaced is dropped, and every collection is there."""
        self._prepared = True

    def loaded(self, segment: str, merged: Mapping[Namespace, Merged] | None = None) -> None:
        """Remember that all of a segment is in the target.

        Args:
            segment: Its name.
            merged: By the name in the target: what became of documents for collections that had some.
        """
        self._loaded.add(segment)
        for namespace, more in (merged or {}).items():
            self.merged[namespace] = self.merged.get(namespace, Merged()) + more

    def completed(self) -> tuple[RestoreItem, ...]:
        """The collections whose documents are all there since this was asked last."""
        missing = self._missing()
        done = tuple(item for item in self._pending if item.record.data_namespace not in missing)
        self._pending = tuple(item for item in self._pending if item.record.data_namespace in missing)
        return done

    @contextmanager
    def told_on_failure(self, kept: str) -> Iterator[None]:
        """Add the state of the target to an error of ours that leaves the block.

        Args:
            kept: Plan and id of the backup of what was overwritten; empty where there is none.

        Raises:
            RestoreIncomplete: In place of the error, which is its cause.
        """
        try:
            yield
        except BackupError as error:
            raise RestoreIncomplete(
                f"the restore stopped: {error.message}; {self.sentence()}",
                hint=f"{error.hint} {self._again()}".strip()
                + (f" What was there before is kept as {kept}." if kept else ""),
                **error.facts,
            ) from error

    def sentence(self) -> str:
        """The state of the target in one sentence. It claims what the target has confirmed, and nothing else.

        A write whose answer was lost has been done or not: that is why it says `may`.
        """
        if not self._prepared:
            replaced = len(self._plan.replaced)
            dropped = f"the {replaced} namespaces to be replaced may be dropped, " if replaced else ""
            return f"no documents were loaded, {dropped}new namespaces may be there, empty"
        missing = self._missing()
        whole = sum(item.record.data_namespace not in missing for item in self._collections)
        return (
            f"the target has {len(self._loaded)} of {len(self._plan.segments)} segments for certain, "
            f"the documents of {whole} collections are complete, {len(self._collections) - whole} may be empty or "
            "incomplete, indexes and views may be missing"
        )

    def _again(self) -> str:
        if self._plan.mode is RestoreMode.MERGE:
            return "Run it again to add what is still missing: what was added counts as equal then."
        return (
            "To restore this or another backup again, use mode `replace` with `confirm`: it drops what is there and "
            "begins anew."
        )

    def _missing(self) -> set[Namespace]:
        """The archive's names of what has documents in segments that are not loaded."""
        return {
            entry.namespace
            for segment in self._plan.segments
            if segment.name not in self._loaded
            for entry in segment.entries
            if entry.totals.documents
        }
