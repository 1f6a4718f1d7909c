"""The columns of a namespace: a version of its schema in the registry, as the Arrow schema that files have."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

import pyarrow as pa

from flows.core.canonical import canonical
from flows.core.errors import IntegrityError
from flows.core.fields import Fields
from flows.core.parquet.decimals import PRECISION

NULLS, EXTRA = "_nulls", "_extra"
# Besides the two, what an incremental export adds to a row.
RESERVED = (NULLS, EXTRA, "_op", "_export")
FORMAT = 1

PATH, KIND, COMPANION = b"mongo.path", b"mongo.kind", b"json-of-misfits"
FIELD_ID = b"PARQUET:field_id"


class Kind(StrEnum):
    """How a column holds values of MongoDB."""

    INTEGER = "integer"
    DOUBLE = "double"
    DECIMAL = "decimal"
    DECIMAL_TEXT = "decimal-text"
    BOOLEAN = "boolean"
    TEXT = "text"
    DATE = "date"
    OBJECT_ID = "object-id"
    UUID = "uuid"
    BINARY = "binary"
    JSON = "json"
    STRUCT = "struct"
    LIST = "list"


_ARROW: dict[Kind, pa.DataType] = {
    Kind.INTEGER: pa.int64(),
    Kind.DOUBLE: pa.float64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.DATE: pa.timestamp("ms", tz="UTC"),
    Kind.BINARY: pa.binary(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column, or the elements of a list.

    Args:
        key: The name of the field in documents; empty for elements.
        name: The name of the column among its siblings.
        kind: How it holds values.
        id: The field id in Parquet, for ever.
        scale: Digits behind the point of a decimal.
        children: Of a struct, in their order.
        element: Of a list.
        companion: The name of the column beside it, with values of other types as JSON; None where there were none.
        companion_id: Its field id.
    """

    key: str
    name: str
    kind: Kind
    id: int
    scale: int = 0
    children: tuple[Column, ...] = ()
    element: Column | None = None
    companion: str | None = None
    companion_id: int = 0

    @property
    def type(self) -> pa.DataType:
        """Without the fields' metadata."""
        if self.kind is Kind.STRUCT:
            return pa.struct(list(fields_of(self.children, "")))
        if self.kind is Kind.LIST and self.element:
            return pa.list_(self.element.field("", "element"))
        if self.kind is Kind.DECIMAL:
            return pa.decimal128(PRECISION, self.scale)
        return _ARROW.get(self.kind, pa.string())

    def field(self, parent: str, name: str = "") -> pa.Field:
        """The Arrow field; `parent` is the path of what holds it."""
        path = f"{parent}/{escaped(self.key)}" if not name else f"{parent}/[]"
        if self.kind is Kind.STRUCT:
            kind: pa.DataType = pa.struct(list(fields_of(self.children, path)))
        elif self.kind is Kind.LIST and self.element:
            kind = pa.list_(self.element.field(path, "element"))
        else:
            kind = self.type
        return pa.field(name or self.name, kind, metadata=_metadata(path, self.kind, self.id))


def _metadata(path: str, kind: str | bytes, field_id: int) -> dict[bytes, bytes]:
    return {PATH: path.encode(), KIND: kind.encode() if isinstance(kind, str) else kind, FIELD_ID: b"%d" % field_id}


def escaped(key: str) -> str:
    """A name as a part of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def fields_of(columns: tuple[Column, ...], path: str) -> Iterator[pa.Field]:
    """The Arrow fields of these columns, each with its companion behind it."""
    for column in columns:
        yield column.field(path)
        if column.companion is not None:
            metadata = _metadata(f"{path}/{escaped(column.key)}", COMPANION, column.companion_id)
            yield pa.field(column.companion, pa.string(), metadata=metadata)


@dataclass(frozen=True)
class ExportSchema:
    """A version of the schema of a namespace. A later one has all columns of an earlier one, with the same types.

    Args:
        namespace: Whose.
        version: From 1.
        columns: Of the documents, without the last two.
        next_id: The next field id that is free.
    """

    namespace: str
    version: int
    columns: tuple[Column, ...]
    next_id: int

    @cached_property
    def arrow(self) -> pa.Schema:
        """What files have; `_nulls` and `_extra` come last."""
        pointers = pa.list_(pa.field("element", pa.string(), metadata=_metadata("", "pointer", 3)))
        return pa.schema(
            [
                *fields_of(self.columns, ""),
                pa.field(NULLS, pointers, metadata=_metadata("", "nulls", 1)),
                pa.field(EXTRA, pa.string(), metadata=_metadata("", "extra", 2)),
            ]
        )

    @cached_property
    def sha256(self) -> str:
        """Of all the rest, as hexadecimal digits."""
        return hashlib.sha256(canonical(self._content())).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """For the registry."""
        return {**self._content(), "sha256": self.sha256}

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "namespace": self.namespace,
            "version": self.version,
            "next_id": self.next_id,
            "columns": [_as_json(column) for column in self.columns],
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `as_json` wrote.

        Raises:
            FormatError: It is not that.
            IntegrityError: It was changed.
        """
        fields = Fields(value, "schema")
        found = cls(
            fields.text("namespace"),
            fields.integer("version"),
            tuple(_from_json(item) for item in fields.items("columns")),
            fields.integer("next_id"),
        )
        if fields.text("sha256") != found.sha256:
            raise IntegrityError(
                "the schema of an export is not what its SHA-256 says",
                hint="Take the schema of an earlier version, and export again.",
                namespace=found.namespace,
                expected=fields.text("sha256"),
                got=found.sha256,
            )
        return found

    def next_version(self, columns: tuple[Column, ...], next_id: int) -> ExportSchema:
        """The version after this one."""
        return replace(self, version=self.version + 1, columns=columns, next_id=next_id)


def _as_json(column: Column) -> dict[str, Any]:
    value: dict[str, Any] = {"key": column.key, "name": column.name, "kind": column.kind.value, "id": column.id}
    if column.kind is Kind.DECIMAL:
        value["scale"] = column.scale
    if column.children:
        value["children"] = [_as_json(child) for child in column.children]
    if column.element:
        value["element"] = _as_json(column.element)
    if column.companion is not None:
        value |= {"companion": column.companion, "companion_id": column.companion_id}
    return value


def _from_json(fields: Fields) -> Column:
    return Column(
        fields.text("key"),
        fields.text("name"),
        fields.member("kind", Kind),
        fields.integer("id"),
        scale=fields.integer("scale") if fields.has("scale") else 0,
        children=tuple(_from_json(item) for item in fields.items("children")) if fields.has("children") else (),
        element=_from_json(fields.inner("element")) if fields.has("element") else None,
        companion=fields.text("companion") if fields.has("companion") else None,
        companion_id=fields.integer("companion_id") if fields.has("companion_id") else 0,
    )
