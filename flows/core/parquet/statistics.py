"""Which columns may have their smallest and largest values in the footer of a file, where catalogues copy them from."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from flows.core.parquet.paths import FieldPath
from flows.core.parquet.ruled_columns import Shape, kind_of, name_of, shape_of
from flows.core.parquet.rules import Action, NamespaceRules
from flows.core.parquet.schema import Kind

# They help readers to leave row groups out, and are no names of people, texts or addresses.
_PLAIN = {Kind.INTEGER, Kind.DOUBLE, Kind.DECIMAL, Kind.BOOLEAN, Kind.DATE, Kind.OBJECT_ID}
_SEEN = {Action.KEEP, Action.DATE, Action.BUCKET}


def safe_statistics(schema: pa.Schema, rules: NamespaceRules | None) -> list[str]:
    """The columns that may have statistics, as the writer of Parquet names them.

    Texts have none but where a rule keeps the field: what nobody has thought of may be a name. Nor have pseudonyms,
    whose order says nothing, and what is JSON.

    Args:
        schema: What is written: after the rules.
        rules: Of the collection; None where there are none.
    """
    return [name for field in schema for name in _leaves(field, (), field.name, rules)]


def _leaves(field: pa.Field, above: FieldPath, name: str, rules: NamespaceRules | None) -> Iterator[str]:
    shape = shape_of(field)
    if shape is Shape.OWN:
        yield name
        return
    # The writer takes a dot for a step down. Arrays have none: a reader leaves out little by them.
    if shape is Shape.ARRAY or "." in field.name:
        return
    path = (*above, name_of(field))
    if shape is Shape.DOCUMENT:
        for child in field.type:
            yield from _leaves(child, path, f"{name}.{child.name}", rules)
    elif shape is Shape.VALUE and _is_safe(field, path, rules):
        yield name


def _is_safe(field: pa.Field, path: FieldPath, rules: NamespaceRules | None) -> bool:
    kind = kind_of(field)
    if rules is None:
        return kind in _PLAIN
    if rules.decide(path).action not in _SEEN:
        return False
    return kind in _PLAIN or (kind in (Kind.TEXT, Kind.UUID) and rules.rule(path) is not None)
