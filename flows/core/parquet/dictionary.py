"""The data dictionary of a namespace: a page that says what each column is. Values are not in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flows.core.markup import markdown_text
from flows.core.parquet import profile as types
from flows.core.parquet.profile import Node, Profile
from flows.core.parquet.schema import EXTRA, NULLS, Column, ExportSchema, Kind, escaped
from flows.core.report import counted, format_count, markdown_table

_KINDS: dict[Kind, str] = {
    Kind.INTEGER: "integer, 64 bits",
    Kind.DOUBLE: "double",
    Kind.DECIMAL_TEXT: "text: a decimal, as MongoDB writes it",
    Kind.BOOLEAN: "boolean",
    Kind.TEXT: "text",
    Kind.DATE: "timestamp, milliseconds, UTC",
    Kind.OBJECT_ID: "text: an ObjectId, 24 hexadecimal digits",
    Kind.UUID: "text: a UUID",
    Kind.BINARY: "bytes",
    Kind.JSON: "text: canonical Extended JSON",
    Kind.STRUCT: "struct",
    Kind.LIST: "list",
}


@dataclass(frozen=True, slots=True)
class _Field:
    """A field that was seen.

    Args:
        path: Its JSON pointer.
        name: The column, with those around it.
        kind: What the column has, in words.
        node: What the profile knows; None for a column whose field was not in these documents.
        holders: How many documents could have had it.
    """

    path: str
    name: str
    kind: str
    node: Node | None
    holders: int


def data_dictionary(schema: ExportSchema, profile: Profile, first_seen: Mapping[str, str]) -> str:
    """A Markdown page on the columns of a namespace.

    Args:
        schema: The columns.
        profile: The documents that the shares are of.
        first_seen: For JSON pointers as in `mongo.path`, when the field came: any text, such as a backup id.
    """
    rows = [
        {
            "column": f"`{_code(item.name)}`" if item.name else "none",
            "field": f"`{_code(item.path)}`",
            "holds": item.kind,
            "there": _share(item.node.present if item.node else 0, item.holders),
            "null": _share(item.node.count(types.NULL) if item.node else 0, item.node.present if item.node else 0),
            "types in MongoDB": markdown_text(_types(item.node)),
            "first seen": markdown_text(first_seen.get(item.path, "")),
        }
        for item in _fields(schema.columns, profile.root, "", "")
    ]
    lines = [
        f"# Data dictionary of {markdown_text(schema.namespace)}",
        "",
        f"Version {schema.version} of the schema, SHA-256 `{schema.sha256}`. The shares are of "
        + counted(profile.documents, "document")
        + (f"; {format_count(profile.rejects)} more could not be read." if profile.rejects else "."),
        "",
        markdown_table(rows) if rows else "No field was seen yet.",
        "",
        f"Besides these, every row has `{NULLS}`, the JSON pointers of fields that are there and null, and `{EXTRA}`, "
        "a JSON object with the values that have no place in a column, by their pointers; null where there is none.",
        "A column `…__json` has the values of its neighbour that are of another type, as canonical Extended JSON.",
        "A field without a column had only nulls and empty arrays so far, or came after the schema had 256 beside it.",
    ]
    return "\n".join(lines) + "\n"


def _fields(columns: Sequence[Column], node: Node | None, path: str, name: str) -> Iterator[_Field]:
    holders = node.count(types.OBJECT) if node else 0
    children = node.children if node else {}
    for column in columns:
        here, child = f"{path}/{escaped(column.key)}", children.get(column.key)
        yield from _column(column, child, here, f"{name}{column.name}", holders)
        if column.companion is not None:
            yield _Field(here, f"{name}{column.companion}", _KINDS[Kind.JSON], child, holders)
    known = {column.key for column in columns}
    for key, child in children.items():
        if key not in known:
            yield _Field(f"{path}/{escaped(key)}", "", f"in `{EXTRA}` and `{NULLS}`", child, holders)


def _column(column: Column, node: Node | None, path: str, name: str, holders: int) -> Iterator[_Field]:
    yield _Field(path, name, _kind(column), node, holders)
    if column.kind is Kind.STRUCT:
        yield from _fields(column.children, node, path, f"{name}.")
    element = column.element
    if element and element.kind in (Kind.STRUCT, Kind.LIST):
        inner = node.element if node else None
        if element.kind is Kind.STRUCT:
            yield from _fields(element.children, inner, f"{path}/[]", f"{name}[].")
        else:
            yield from _column(element, inner, f"{path}/[]", f"{name}[]", node.count(types.ARRAY) if node else 0)


def _kind(column: Column) -> str:
    if column.kind is Kind.DECIMAL:
        return f"decimal, {column.scale} digits behind the point"
    if column.element:
        return f"list of {_kind(column.element)}"
    return _KINDS[column.kind]


def _types(node: Node | None) -> str:
    if node is None:
        return "not in these documents"
    found = sorted(((times, name) for name, times in node.types.items()), key=lambda item: (-item[0], item[1]))
    return ", ".join(f"{name} {format_count(times)}" for times, name in found)


def _share(part: int, whole: int) -> str:
    """In percent; what is rounded never says all or none where that is wrong."""
    if not whole:
        return ""
    if part in (0, whole):
        return "100 %" if part else "0 %"
    return f"{min(max(100 * part / whole, 0.1), 99.9):.1f} %"


def _code(text: str) -> str:
    """For a code span: no backtick ends it, and nothing is unseen."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text.replace("`", "'"))
