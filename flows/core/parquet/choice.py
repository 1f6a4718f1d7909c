"""Which namespaces an export takes: collections with documents of people, and neither MongoDB's own nor views."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from flows.core.errors import ConfigurationError
from flows.core.manifest import Manifest, SegmentRecord
from flows.core.names import Namespace
from flows.core.selection import Selection, choose_databases, choose_namespaces, is_system, unused_excludes
from flows.core.source import Kind


def choose(kinds: Mapping[Namespace, Kind], selection: Selection) -> tuple[tuple[Namespace, ...], tuple[str, ...]]:
    """Decide what is exported.

    Args:
        kinds: What there is, by the names that users know.
        selection: What the operator asked for.

    Returns:
        The namespaces, in their order, and what the operator should know, as sentences.

    Raises:
        ConfigurationError: For an unknown database, a pattern that matches nothing, or an empty selection.
    """
    there = [namespace for namespace in kinds if not is_system(namespace)]
    databases = choose_databases({namespace.database for namespace in there}, selection.databases)
    there = [namespace for namespace in there if namespace.database in databases]
    # Only what can be exported: where a pattern takes a view along with collections, nobody is surprised.
    possible = [namespace for namespace in there if kinds[namespace] is Kind.COLLECTION]
    if not possible:
        raise ConfigurationError(
            "there is no collection to export",
            hint="Views have no documents of their own, and those of time-series collections are stored as buckets.",
            databases=databases,
        )
    chosen = choose_namespaces(possible, dataclasses.replace(selection, databases=()))
    warnings = [f"the exclude pattern {text!r} matches nothing" for text in unused_excludes(there, selection)]
    for namespace in sorted(set(there) - set(possible)):
        if kinds[namespace] is Kind.TIMESERIES:
            warnings.append(
                f"{namespace} is not exported: it is a time-series collection, whose documents MongoDB keeps as buckets"
            )
    return tuple(chosen), tuple(warnings)


def units_of(manifest: Manifest, wanted: frozenset[Namespace]) -> tuple[SegmentRecord, ...]:
    """The segments of a backup that hold documents of some namespaces."""
    return tuple(
        segment
        for segment in manifest.segments
        if any(entry.namespace in wanted and entry.totals.documents for entry in segment.entries)
    )
