"""The dry run of rules: every field with its rule and what its values look like, without a value."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from flows.core.parquet.paths import FieldPath, path_text
from flows.core.parquet.pseudonymise import unused
from flows.core.parquet.ruled_columns import RULE, Shape, name_of, shape_of, walk
from flows.core.parquet.rules import Action, Extra, NamespaceRules
from flows.core.parquet.schema import KIND
from flows.core.report import markdown_table

_EXAMPLES = 3
_LONGEST = 40
_NOT_LISTED = "-"
_CHOSEN, _NUMBER = re.compile(r"[\w$-]{1,64}"), re.compile(r"\d{4}")


def listed(table: pa.Table, rules: NamespaceRules) -> list[dict[str, str]]:
    """Say of every field what a rule makes of it.

    Args:
        table: Some rows of the collection, before any rule.
        rules: Of the collection.

    Returns:
        Rows for a table: one for each field, with the shapes of three different values: `Xxxx 99` for `Anna 42`, so
        that a name is seen in a field where nobody looked for one, and is not told. Names of fields that look like
        data themselves are shapes too, and all that look alike are one row. Then one for each rule without a field.
    """
    rows = []
    for index, field in enumerate(table.schema):
        shape = shape_of(field)
        if shape is Shape.OWN:
            continue
        array = pa.concat_arrays(table.column(index).chunks) if table.num_rows else pa.nulls(0, field.type)
        if shape in (Shape.NULLS, Shape.EXTRA):
            rows.append(_of_row(field, array, shape, rules))
        else:
            rows += _rows(field, array, (name_of(field),), rules)
    for where in unused(table.schema, rules):
        rows.append(_row(rules.namespace, where, "no such field", "", "matches nothing", ()))
    return list({tuple(row.values()): row for row in rows}.values())


def ruled_columns_page(schema: pa.Schema) -> str:
    """What rules have made of columns, as Markdown for the data dictionary; empty where there is nothing to say."""
    rows = [
        {"field": f"`{path_text(path)}`", "rule": text, "holds now": field.metadata[KIND].decode()}
        for path, field in walk(schema)
        if (text := field.metadata.get(RULE, b"").decode()) not in ("", Action.KEEP.value)
        and shape_of(field) is Shape.VALUE
    ]
    if not rows:
        return ""
    return (
        "\n## Personal data\n\nRules have changed the values of these fields before they left; pseudonyms of one "
        f"domain are the same for the same value. Fields that rules drop are not listed.\n\n{markdown_table(rows)}\n"
    )


def _rows(field: pa.Field, array: pa.Array, path: FieldPath, rules: NamespaceRules) -> list[dict[str, str]]:
    shape = shape_of(field)
    if shape is Shape.DOCUMENT:
        inner = zip(field.type, array.flatten(), strict=True)
        return [row for child, part in inner for row in _rows(child, part, (*path, name_of(child)), rules)]
    if shape is Shape.ARRAY:
        return _rows(field.type.value_field, array.flatten(), (*path, None), rules)
    rule = rules.rule(path)
    decided = rules.decide(path)
    kind = field.metadata[KIND].decode() if shape is not Shape.MISFITS else "values of other types"
    what = decided.text
    if shape is Shape.MISFITS and rules.extra is Extra.DROP:
        what = Action.DROP.value
    elif shape in (Shape.JSON, Shape.MISFITS) and decided.action is Action.DROP and rules.may_leave(path):
        what = "drop, but for what rules name within"
    why = "unlisted" if rule is None else rule.where
    shown = path_text(tuple(name if name is None else _name(name) for name in path))
    return [_row(rules.namespace, shown, kind, what, why, _shapes(array))]


def _of_row(field: pa.Field, array: pa.Array, shape: Shape, rules: NamespaceRules) -> dict[str, str]:
    if shape is Shape.NULLS:
        return _row(rules.namespace, field.name, "which fields are null", "of fields that leave", "all rules", ())
    what = "drop" if rules.extra is Extra.DROP else "by the rule of each field"
    return _row(rules.namespace, field.name, "values without a column", what, "extra_columns", _shapes(array))


def _row(namespace: str, path: str, kind: str, what: str, why: str, shapes: tuple[str, ...]) -> dict[str, str]:
    return {
        "collection": namespace,
        "field": path,
        "type": kind,
        "rule": what or _NOT_LISTED,
        "by": why,
        "looks like": "  ".join(shapes) or _NOT_LISTED,
    }


def _name(name: str) -> str:
    """A name as somebody chose it; one that came from data, such as an address or a number, as its shape."""
    return name if _CHOSEN.fullmatch(name) and not _NUMBER.search(name) else _masked(name)


def _shapes(array: pa.Array) -> tuple[str, ...]:
    """The shapes of the first values that do not look alike."""
    found: dict[str, None] = {}
    for value in pc.drop_null(array):
        found[_shape(value)] = None
        if len(found) == _EXAMPLES:
            break
    return tuple(found)


def _shape(scalar: pa.Scalar) -> str:
    """What a value looks like: `x` for letters, `9` for digits."""
    if pa.types.is_binary(scalar.type):
        return f"{len(scalar.as_py())} bytes"
    if pa.types.is_timestamp(scalar.type):
        return "9999-99-99T99:99"
    if pa.types.is_boolean(scalar.type):
        return "true or false"
    return _masked(str(scalar.as_py()))


def _masked(text: str) -> str:
    masked = "".join(map(_letter, text[:_LONGEST]))
    return masked + ("…" if len(text) > _LONGEST else "")


def _letter(letter: str) -> str:
    if letter.isdigit():
        return "9"
    if letter.isalpha():
        return "X" if letter.isupper() else "x"
    return letter if letter.isascii() and letter.isprintable() else "?"
