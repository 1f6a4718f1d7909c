"""What a restore proved: the target held against the manifest, one namespace at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flows.core.errors import RestoreDiffers
from flows.core.extjson import CollectionMetadata, encode_exactly
from flows.core.names import Namespace
from flows.core.tally import Content

# listIndexes of old servers names the collection, and an index says how it was built; neither is what it is.
_NOT_OF_AN_INDEX = ("ns", "background")
_ID_INDEX = "_id_"


@dataclass(frozen=True, slots=True)
class NamespaceProof:
    """One namespace of the target after a restore."""

    namespace: Namespace
    indexes: int  # that were built
    content: Content | None  # as read back; None for a view, and where it was not read
    metadata: bool  # whether options and indexes were compared; the role `restore` may not list them
    differences: tuple[str, ...]  # from the manifest; none is what everybody wants
    resume: tuple[str, ...] = ()  # commands that turn on the expiry that was held


def differences_of_content(expected: Content, got: Content) -> list[str]:
    """Say in which way documents are not those of the manifest."""
    if got == expected:
        return []
    if got.documents != expected.documents:
        return [f"{expected.documents} documents expected, {got.documents} found"]
    return [f"content digest {expected.digest} expected, {got.digest} found"]


def differences_of_metadata(expected: CollectionMetadata, got: CollectionMetadata) -> list[str]:
    """Say in which way options and indexes are not those of the manifest. The order of indexes means nothing."""
    wanted, there = _indexes(expected), _indexes(got)
    if _ID_INDEX not in wanted:
        there.pop(_ID_INDEX, None)  # every collection has it, and some archives of other tools do not say so
    return _differences("option", expected.options, got.options) + _differences("index", wanted, there)


def _indexes(metadata: CollectionMetadata) -> dict[str, Any]:
    return {
        str(index.get("name")): {key: value for key, value in index.items() if key not in _NOT_OF_AN_INDEX}
        for index in metadata.indexes
    }


def _differences(what: str, expected: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
    found = []
    for name in sorted(expected.keys() | got.keys()):
        if name not in got:
            found.append(f"{what} {name!r} is missing")
        elif name not in expected:
            found.append(f"{what} {name!r} is not in the backup")
        elif encode_exactly({"": expected[name]}) != encode_exactly({"": got[name]}):
            found.append(f"{what} {name!r} differs")
    return found


def check_proofs(proofs: Iterable[NamespaceProof]) -> None:
    """Fail where anything in the target is not as in the manifest.

    Raises:
        RestoreDiffers: With the first difference.
    """
    wrong = [proof for proof in proofs if proof.differences]
    if wrong:
        raise RestoreDiffers(
            "what is in the target is not what the manifest says",
            hint="Do not use the target as it is. Something else wrote to it, or its server does not take what another "
            "version held: stop the writer and restore again, with mode `replace` and `confirm`.",
            namespaces=len(wrong),
            first=str(wrong[0].namespace),
            difference=wrong[0].differences[0],
        )
