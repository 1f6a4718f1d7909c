"""Documents of which a profile has seen the like, counted straight from their bytes.

Their fields have to come in the order of the profile, though some may be missing, and have types that it has seen. Of
any other document nothing is counted.
"""

from __future__ import annotations

from collections import Counter

from flows.core.parquet import profile, reading
from flows.core.parquet.generated import LONGEST, UNEXPECTED, WORTH, Code
from flows.core.parquet.observing import EXACT_IN_DOUBLE, observe, observe_decimals
from flows.core.parquet.profile import MAX_DEPTH, Node, Profile

_FIRST = 64 << 10  # [bytes] of documents that are decoded, so that there is something to expect
_WIDE = "integer beyond what a double has"
# Types by their names: the byte, and how to pass over a value at `at`. `{saw}` counts it, `{wide}` if it is too wide.
_CODE: dict[str, tuple[int, str]] = {
    profile.NULL: (0x0A, "saw({saw})"),
    profile.INT: (0x10, "saw({saw})\nat += 4"),
    profile.LONG: (
        0x12,
        "value = int64(data, at)[0]\nat += 8\nsaw({saw})\n"
        f"if not {-EXACT_IN_DOUBLE} <= value <= {EXACT_IN_DOUBLE}:\n    saw({{wide}})",
    ),
    profile.DOUBLE: (0x01, "saw({saw})\nat += 8"),
    profile.DECIMAL: (0x13, "saw({saw})\ndecimal(({saw}, data[at : at + 16]))\nat += 16"),
    "bool": (0x08, "if data[at] > 1:\n    raise otherwise\nsaw({saw})\nat += 1"),
    "string": (
        0x02,
        "start = at + 4\nat = start + int32(data, at)[0]\nif at <= start or data[at - 1]:\n    raise otherwise\n"
        "text(data[start : at - 1])\nsaw({saw})",
    ),
    "date": (0x09, "saw({saw})\nat += 8"),
    "timestamp": (0x11, "saw({saw})\nat += 8"),
    "objectId": (0x07, "saw({saw})\nat += 12"),
    "uuid": (0x05, "if not here(uuid, at):\n    raise otherwise\nsaw({saw})\nat += 21"),
    "binData": (
        0x05,
        "start = at + 5\nat = start + int32(data, at)[0]\n"
        "if at < start or data[start - 1]:\n    raise otherwise\nsaw({saw})",
    ),
    "minKey": (0xFF, "saw({saw})"),
    "maxKey": (0x7F, "saw({saw})"),
}


# Bytes of the types that are counted here; all others are left to the decoder.
_MARKERS = {profile.OBJECT: 0x03, profile.ARRAY: 0x04, **{kind: marker for kind, (marker, _code) in _CODE.items()}}


class Tallies:
    """Counts for a profile.

    Args:
        root: What was seen so far; what is counted is added to its nodes.
    """

    def __init__(self, root: Node) -> None:
        self._root = root
        self._places: list[tuple[Node, str]] = []  # what the numbers in `_seen` stand for
        self._seen: list[int] = []
        self._texts: list[bytes] = []
        self._decimals: list[tuple[int, bytes]] = []
        self._documents = 0
        names = {"saw": self._seen.append, "text": self._texts.append, "decimal": self._decimals.append}
        code = Code(names)
        self._write_fields(code, 1, root, 0)
        self._read = code.function()

    def add(self, document: bytes) -> bool:
        """Count a document; False where it is not as expected, and then nothing of it counts."""
        before = len(self._seen), len(self._texts), len(self._decimals)
        try:
            self._read(document, 0)
        except UNEXPECTED:
            del self._seen[before[0] :], self._texts[before[1] :], self._decimals[before[2] :]
            return False
        self._documents += 1
        return True

    def count(self, found: Profile) -> None:
        """Add what was counted to the profile of the root, to begin with nothing again.

        Raises:
            UnicodeDecodeError: A text is not UTF-8; then nothing is added.
        """
        try:
            # A NUL is between any two of them, so none makes another one good.
            b"\0".join(self._texts).decode()
            for number, times in Counter(self._seen).items():
                node, name = self._places[number]
                if name is _WIDE:
                    node.wide += times
                else:
                    node.saw(name, times)
            by_node: dict[int, list[bytes]] = {}
            for number, value in self._decimals:
                by_node.setdefault(number, []).append(value)
            for number, values in by_node.items():
                observe_decimals(self._places[number][0], values)
            if self._documents:
                self._root.saw(profile.OBJECT, self._documents)
            found.documents += self._documents
        finally:
            self._documents = 0
            for kept in (self._seen, self._texts, self._decimals):
                kept.clear()

    def _place(self, node: Node, name: str) -> int:
        self._places.append((node, name))
        return len(self._places) - 1

    def _write_fields(self, code: Code, depth: int, node: Node, level: int) -> None:
        for key, child in node.children.items():
            name = key.encode() + b"\0"
            word = "if"
            for kind in filter(_MARKERS.get, child.types):
                header = code.constant(bytes((_MARKERS[kind],)) + name)
                code.line(depth, f"{word} here({header}, at):\n    at += {1 + len(name)}")
                self._write_value(code, depth + 1, child, kind, level + 1)
                word = "elif"

    def _write_value(self, code: Code, depth: int, node: Node, kind: str, level: int) -> None:
        if kind in _CODE:
            saw, wide = self._place(node, kind), self._place(node, _WIDE)
            code.line(depth, _CODE[kind][1].format(saw=saw, wide=wide))
        elif kind == profile.OBJECT and level < MAX_DEPTH and not node.dynamic:
            code.begin(depth)
            self._write_fields(code, depth, node, level)
            code.end(depth)
            code.line(depth, f"saw({self._place(node, kind)})")
        elif kind == profile.ARRAY and level < MAX_DEPTH:
            code.begin(depth)
            self._write_elements(code, depth, node.element, level + 1)
            code.end(depth)
            code.line(depth, f"saw({self._place(node, kind)})")
        else:
            code.line(depth, "raise otherwise")

    def _write_elements(self, code: Code, depth: int, element: Node | None, level: int) -> None:
        if element is None:
            return
        code.elements(depth)
        word = "if"
        for kind in filter(_MARKERS.get, element.types):
            code.line(depth + 1, f"{word} kind == {_MARKERS[kind]}:")
            self._write_value(code, depth + 2, element, kind, level)
            word = "elif"
        code.line(depth + 1, f"{'else' if word == 'elif' else 'if True'}:\n    raise otherwise")
        code.line(depth + 1, f"index{depth} += 1")


def profiled(namespace: str, documents: bytes) -> Profile:
    """The profile of whole BSON documents, one after the other.

    Raises:
        Truncated: They do not follow each other without a gap.
    """
    found = Profile(namespace)
    tallies: Tallies | None = None
    worth = True
    with reading.no_collector():
        for batch in reading.batches(documents, _FIRST):
            others = batch
            if tallies:
                others = [document for document in batch if not tallies.add(document)]
                try:
                    tallies.count(found)
                except UnicodeDecodeError:
                    others = batch
                worth = len(others) <= (1 - WORTH) * len(batch)
            if others:
                observe(found, others)
                tallies = None
            if worth and tallies is None:
                tallies = Tallies(found.root) if found.root.size() <= LONGEST else None
    return found
