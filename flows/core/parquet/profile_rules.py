"""What the rules leave of a profile: so the registry and the dictionary never hear of a field that does not leave."""

from __future__ import annotations

from dataclasses import replace

from flows.core.parquet import profile
from flows.core.parquet.growth import element_kind, kind_of
from flows.core.parquet.paths import FieldPath
from flows.core.parquet.profile import Node, Profile
from flows.core.parquet.rules import NamespaceRules


def ruled_profiles(found: Profile, rules: NamespaceRules) -> tuple[Profile, Profile]:
    """Two profiles, of what leaves and of all that is read.

    The schema that is stored grows with the first. The schema that documents are converted with is the stored one,
    grown with the second: so every column that leaves has the same id in both, and names of fields that do not leave,
    which may be data themselves (`{"anna@example.com": 3}`), are in memory alone.

    Args:
        found: What was seen of all documents.
        rules: Of the collection.

    Returns:
        What leaves, and all. Where nothing that leaves was seen in a document or an array yet, neither counts it among
        the types of its field: it would get a column for its contents that could not become another one later.
    """
    left, whole = _node(found.root, (), rules, depth=0)
    return replace(found, root=left or Node(found.root.types)), replace(found, root=whole)


def _node(node: Node, path: FieldPath, rules: NamespaceRules, depth: int) -> tuple[Node | None, Node]:
    """What leaves of a field, or None; and all of it."""
    if path and not rules.may_leave(path):
        return None, node
    parts = {key: _node(child, (*path, key), rules, depth + 1) for key, child in node.children.items()}
    left = {key: part for key, (part, _) in parts.items() if part is not None}
    element, whole_element = _node(node.element, (*path, None), rules, depth + 1) if node.element else (None, None)
    types = dict(node.types)
    if node.children and all(kind_of(child, depth + 1) is None for child in left.values()):
        types.pop(profile.OBJECT, None)
    if node.element and (element is None or element_kind(element, depth + 1) is None):
        types.pop(profile.ARRAY, None)
    whole = replace(node, types=types, children={key: part for key, (_, part) in parts.items()}, element=whole_element)
    return replace(node, types=types, children=left, element=element), whole
