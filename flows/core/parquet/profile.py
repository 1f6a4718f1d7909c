"""What the documents of a namespace are made of: for every field its types, and how often. Values are not in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from flows.core.fields import Fields

MAX_DEPTH = 8  # levels of fields that become columns; what is below them is text
MAX_FIELDS = 256  # of one document that become columns; more are taken for data in the place of names
FORMAT = 1

NULL, OBJECT, ARRAY = "null", "object", "array"
INT, LONG, DOUBLE, DECIMAL = "int", "long", "double", "decimal"


@dataclass(slots=True)
class Node:
    """A field, the elements of an array, or the document itself.

    Args:
        types: How often each type was there, by MongoDB's name for it; `uuid` and `binData5` say the subtype.
        wide: Of the integers, those beyond 2**53, which a double cannot hold.
        whole: Most digits before the point in a decimal.
        scale: Most digits behind the point.
        odd: Decimals that are infinite, not a number, or need more than 38 digits.
        dynamic: There were too many fields; none is listed.
        children: Fields in the order in which they first came.
        element: All elements of the arrays.
    """

    types: dict[str, int] = field(default_factory=dict)
    wide: int = 0
    whole: int = 0
    scale: int = 0
    odd: int = 0
    dynamic: bool = False
    children: dict[str, Node] = field(default_factory=dict)
    element: Node | None = None

    @property
    def present(self) -> int:
        """How often there was a value, null or another."""
        return sum(self.types.values())

    def count(self, *types: str) -> int:
        """How many values were of one of these types."""
        return sum(self.types.get(name, 0) for name in types)

    def saw(self, name: str, times: int) -> None:
        """Count values of a type."""
        self.types[name] = self.types.get(name, 0) + times

    def merge(self, other: Node) -> None:
        """Add what another node has seen."""
        for name, times in other.types.items():
            self.saw(name, times)
        self.wide += other.wide
        self.whole = max(self.whole, other.whole)
        self.scale = max(self.scale, other.scale)
        self.odd += other.odd
        if other.dynamic:
            self.forget_children()
        for key, child in other.children.items():
            if mine := self.child(key):
                mine.merge(child)
        if other.element:
            self.element = self.element or Node()
            self.element.merge(other.element)

    def child(self, key: str) -> Node | None:
        """The field of this name, made if need be; None where there are too many."""
        if self.dynamic:
            return None
        if key not in self.children:
            if len(self.children) == MAX_FIELDS:
                self.forget_children()
                return None
            self.children[key] = Node()
        return self.children[key]

    def size(self) -> int:
        """How many fields there are in it, at all levels."""
        inner = [*self.children.values(), *([self.element] if self.element else [])]
        return len(inner) + sum(node.size() for node in inner)

    def forget_children(self) -> None:
        """Take the names of the fields for data."""
        self.dynamic = True
        self.children.clear()

    def as_json(self) -> dict[str, Any]:
        """Without what is zero or empty."""
        value = {
            "types": dict(sorted(self.types.items())),
            "wide": self.wide,
            "whole": self.whole,
            "scale": self.scale,
            "odd": self.odd,
            "dynamic": self.dynamic,
            # A list: the order of names is what columns come in, and canonical JSON sorts keys.
            "fields": [{"name": key, **child.as_json()} for key, child in self.children.items()],
            "element": self.element.as_json() if self.element else None,
        }
        return {key: part for key, part in value.items() if part}

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Read what `as_json` wrote.

        Raises:
            FormatError: It is not that.
        """
        types = fields.inner("types") if fields.has("types") else None
        return cls(
            types={name: types.integer(name) for name in types.value} if types else {},
            children={item.text("name"): cls.from_json(item) for item in fields.items("fields")}
            if fields.has("fields")
            else {},
            element=cls.from_json(fields.inner("element")) if fields.has("element") else None,
            dynamic=fields.boolean("dynamic") if fields.has("dynamic") else False,
            **{name: fields.integer(name) if fields.has(name) else 0 for name in ("wide", "whole", "scale", "odd")},
        )


@dataclass(slots=True)
class Profile:
    """All documents of a namespace that were read so far.

    Args:
        namespace: Whose.
        documents: How many can be rows.
        rejects: How many cannot.
        root: The documents.
    """

    namespace: str
    documents: int = 0
    rejects: int = 0
    root: Node = field(default_factory=Node)

    def add(self, documents: bytes) -> None:
        """Read whole BSON documents, one after the other, in pure Python.

        Raises:
            Truncated: They do not follow each other without a gap.
        """
        # Below this module, which only says what a profile is; and the driver is not loaded for that.
        from flows.core.parquet.tallies import profiled  # noqa: PLC0415

        self.merge(profiled(self.namespace, documents))

    def merge(self, other: Profile) -> None:
        """Add what another profile of the same namespace has seen."""
        self.documents += other.documents
        self.rejects += other.rejects
        self.root.merge(other.root)

    def as_json(self) -> dict[str, Any]:
        """For a file; names of fields are in it, values are not."""
        return {
            "format": FORMAT,
            "namespace": self.namespace,
            "documents": self.documents,
            "rejects": self.rejects,
            "root": self.root.as_json(),
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `as_json` wrote.

        Raises:
            FormatError: It is not that.
        """
        fields = Fields(value, "profile")
        return cls(
            fields.text("namespace"),
            fields.integer("documents"),
            fields.integer("rejects"),
            Node.from_json(fields.inner("root")),
        )
