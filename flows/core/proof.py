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
class Merged:
    """What became of documents that were written into a collection that has some."""

    inserted: int = 0
    replaced: int = 0
    kept: int = 0  # the target has another document under the same `_id`, and it stayed
    equal: int = 0  # the target had it already, perhaps from an earlier try

    def __add__(self, other: Merged) -> Merged:
        return Merged(
            self.inserted + other.inserted,
            self.replaced + other.replaced,
            self.kept + other.kept,
            self.equal + other.equal,
        )

    @property
    def documents(self) -> int:
        """All of them."""
        return self.inserted + self.replaced + self.kept + self.equal


@dataclass(frozen=True, slots=True)
class NamespaceProof:
    """One namespace of the target after a restore."""

    namespace: Namespace
    indexes: int  # that were built
    content: Content | None  # as read back; None for a view, and where it was not read
    metadata: bool  # whether options and indexes were compared; the role `restore` may not list them
    differences: tuple[str, ...]  # from the manifest; none is what everybody wants
    resume: tuple[str, ...] = ()  # commands that turn on the expiry that was held
    merged: Merged | None = None  # what became of the documents where the collection had some; they are not its content


def differences_of_content(expected: Content, got: Content) -> list[str]:
    """Say in which way documents are not those of the manifest."""
    if got == expected:
        return []
    if got.documents != expected.documents:
        return [f"{expected.documents} documents expected, {got.documents} found"]
    return [f"content digest {expected.digest} expected, {got.digest} found"]


@dataclass(frozen=True, slots=True)
class MetadataDifference:
    """One option or index that is not as in the manifest."""

    what: str  # "option" or "index"
    name: str
    how: str

    def __str__(self) -> str:
        return f"{self.what} {self.name!r} {self.how}"


MISSING, EXTRA, OTHER = "is missing", "is not in the backup", "differs"


def differences_of_metadata(expected: CollectionMetadata, got: CollectionMetadata) -> list[MetadataDifference]:
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


def _differences(what: str, expected: Mapping[str, Any], got: Mapping[str, Any]) -> list[MetadataDifference]:
    found = []
    for name in sorted(expected.keys() | got.keys()):
        if name not in got:
            found.append(MetadataDifference(what, name, MISSING))
        elif name not in expected:
            found.append(MetadataDifference(what, name, EXTRA))
        elif encode_exactly({"": expected[name]}) != encode_exactly({"": got[name]}):
            found.append(MetadataDifference(what, name, OTHER))
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
