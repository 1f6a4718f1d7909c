"""Restoring into collections that have documents already: what is missing is added, and nothing is dropped."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

from flows.core.extjson import CollectionMetadata
from flows.core.names import Namespace
from flows.core.proof import EXTRA, differences_of_metadata
from flows.core.source import Kind
from flows.core.ttl import expiries


class Duplicates(StrEnum):
    """What happens to a document of the backup whose `_id` the target has with other content."""

    KEEP = "keep"  # the target's stays
    OVERWRITE = "overwrite"
    FAIL = "fail"  # the restore stops; documents that are equal byte by byte are no conflict


@dataclass(frozen=True, slots=True)
class Existing:
    """A namespace that the target has before a restore."""

    namespace: Namespace
    kind: Kind
    documents: int | None  # None: the user may not count them
    metadata: CollectionMetadata | None = None  # None: not asked for, or the user may not list indexes
    uuid: str | None = None  # 32 hex digits; None for a view


def refusal(kind: Kind, held: CollectionMetadata, there: Existing, duplicates: Duplicates) -> str:
    """Why a namespace cannot be merged into what the target has under its name; empty where it can.

    Args:
        kind: What it is in the backup.
        held: Its options and indexes there.
        there: What the target has.
        duplicates: What happens to documents that both have.
    """
    if there.kind is not kind:
        return f"it is a {there.kind.value} there, and a {kind.value} in the backup"
    options = there.metadata.options if there.metadata is not None else {}
    if held.options.get("capped") or options.get("capped"):
        return "it is capped: each document that is added pushes out another"
    if kind is Kind.TIMESERIES and duplicates is Duplicates.OVERWRITE:
        return "a bucket of a time-series collection may hold newer measurements, so none is overwritten"
    if kind is Kind.VIEW and duplicates is Duplicates.FAIL and _differs(held, there):
        return "the view has another definition there"
    return ""


def replaces_view(held: CollectionMetadata, there: Existing, duplicates: Duplicates) -> bool:
    """Whether a view of the target gets the definition that it has in the backup."""
    return duplicates is Duplicates.OVERWRITE and _differs(held, there)


def notes(kind: Kind, held: CollectionMetadata, there: Existing) -> list[str]:
    """What the operator should know of a namespace that is merged: what of the target is not made like the backup."""
    if kind is Kind.VIEW:
        return ["the view has another definition in the target, which stays"] if _differs(held, there) else []
    found = []
    if kind is Kind.TIMESERIES:
        found.append("whole buckets of measurements are compared and added, not single measurements")
    if there.metadata is None:
        return [*found, "options and indexes of the target could not be compared: the user may not list them"]
    building = {index["name"] for index in missing_indexes(held, there.metadata).indexes}
    for difference in differences_of_metadata(held, there.metadata):
        if difference.what == "index" and (difference.name in building or difference.how == EXTRA):
            continue
        found.append(f"the target keeps its own: {difference}")
    return found


def missing_indexes(held: CollectionMetadata, there: CollectionMetadata | None) -> CollectionMetadata:
    """The indexes of the backup that can be built beside those of the target: neither name nor key is taken."""
    if there is None:
        return held
    names = {index["name"] for index in there.indexes}
    keys = [list(index["key"].items()) for index in there.indexes]
    lacking = [i for i in held.indexes if i["name"] not in names and list(i["key"].items()) not in keys]
    return dataclasses.replace(held, indexes=lacking)


def holds_expiry(there: Existing) -> bool:
    """Whether the server deletes documents of a collection of the target by a rule that is in force."""
    return there.metadata is not None and bool(expiries(there.metadata))


def _differs(held: CollectionMetadata, there: Existing) -> bool:
    return there.metadata is None or bool(differences_of_metadata(held, there.metadata))
