"""What sets the matching documents of a backup apart from what a collection holds now. Never holds their values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from flows.core.elements import document_of, elements, id_of
from flows.core.errors import FormatError
from flows.core.extjson import dumps_document

MOST_EXAMPLES = 20  # of each class
_MOST_NAMES = 20
_MOST_CHARACTERS = 200  # of an `_id` or of a name, which may be as long as a document
ORDER = "(the order of the fields)"


class Difference(StrEnum):
    """What a collection holds now under the `_id` of a document of the backup."""

    MISSING = "missing"
    DIFFERENT = "different"
    EQUAL = "equal"


@dataclass(frozen=True, slots=True)
class Example:
    """One document of a class, by its `_id` alone."""

    identifier: str  # as a filter in canonical Extended JSON: `{"_id":{"$numberInt":"42"}}`
    fields: tuple[str, ...] = ()  # top-level fields that differ


@dataclass(slots=True)
class DocumentDiff:
    """How many documents match, by class, with a few examples of each."""

    counts: dict[Difference, int] = field(default_factory=lambda: dict.fromkeys(Difference, 0))
    examples: dict[Difference, list[Example]] = field(default_factory=lambda: {kind: [] for kind in Difference})
    # Of the different ones: what is there has an `_id` of other bytes that the server takes for the same, such as 1 and
    # 1.0, or two spellings that are one to a collation.
    other_id: int = 0

    @property
    def matching(self) -> int:
        """Documents of the backup that the filter matches."""
        return sum(self.counts.values())

    def add(self, document: bytes, present: bytes | None) -> None:
        """Count one document.

        Args:
            document: From the backup.
            present: What the collection has under its `_id`; None: nothing.
        """
        kind = compare(document, present)
        self.counts[kind] += 1
        shown = self.examples[kind]
        if present is not None and kind is Difference.DIFFERENT:
            self.other_id += id_of(document) != id_of(present)
        if len(shown) < MOST_EXAMPLES:
            fields = differing_fields(document, present) if present is not None and document != present else ()
            shown.append(Example(_identifier(document), fields))


def compare(document: bytes, present: bytes | None) -> Difference:
    """The class of one document: equal is every byte, so types and the order of fields too."""
    if present is None:
        return Difference.MISSING
    return Difference.EQUAL if document == present else Difference.DIFFERENT


def differing_fields(one: bytes, other: bytes) -> tuple[str, ...]:
    """Names of the top-level fields that two documents do not have in common byte by byte."""
    first, second = _by_name(one), _by_name(other)
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    if not names:
        return (ORDER,)
    shown = tuple(_cut(name.decode(errors="replace")) for name in names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else (*shown, f"and {len(names) - _MOST_NAMES} more")


def _by_name(document: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in elements(document):
        # BSON can have a name twice, and servers store it.
        found[name] = found.get(name, b"") + value
    return found


def _identifier(document: bytes) -> str:
    try:
        return _cut(dumps_document(document_of(b"_id", id_of(document))))
    except FormatError:
        return "(an _id that cannot be written as text)"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…"
