"""Functions that are written for a schema or a profile: names of fields are not in their text, but constants."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any

WORTH = 0.1  # share of the documents of a batch that have to be as expected, or the next ones are all decoded
LONGEST = 2000  # columns or fields that a function is written for
_KEYS = tuple(b"%d\0" % index for index in range(1000))  # of the elements of arrays


class Otherwise(Exception):
    """A document is not as the function expects."""


# All that such a function raises for a document that is not as it expects.
UNEXPECTED = (Otherwise, IndexError, struct.error)


class Code:
    """The text of a function that reads documents, and what the names in it mean.

    `data` is the document, `at` the position in it, and `here(constant, at)` says whether these bytes stand there.

    Args:
        names: What it may use besides.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        self._lines: list[str] = []
        self.names: dict[str, Any] = {
            "otherwise": Otherwise,
            "keys": _KEYS,
            "uuid": struct.pack("<iB", 16, 4),
            "words": struct.Struct("<QQ").unpack_from,
            "int32": struct.Struct("<i").unpack_from,
            "int64": struct.Struct("<q").unpack_from,
            "double": struct.Struct("<d").unpack_from,
            **names,
        }
        self.line(0, "def read(data, row):")
        self.line(1, "at, here, end0 = 4, data.startswith, len(data) - 1\nif data[end0]:\n    raise otherwise")

    def line(self, depth: int, text: str) -> None:
        """Add lines at a level of indentation."""
        self._lines += ["    " * depth + line for line in text.splitlines()]

    def constant(self, value: Any) -> str:
        """A name for a value."""
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def begin(self, depth: int) -> None:
        """Read the length of a document or an array, after which `at` is at its first element."""
        self.line(depth, f"end{depth} = at + int32(data, at)[0] - 1\nat += 4")
        self.line(depth, f"if end{depth} < at or data[end{depth}]:\n    raise otherwise")

    def end(self, depth: int) -> None:
        """Be behind it, and nowhere else."""
        self.line(depth, f"if at != end{depth}:\n    raise otherwise\nat += 1")

    def elements(self, depth: int) -> None:
        """Begin the loop over the elements of an array; `index…` counts them, and has to be counted up."""
        self.line(depth, f"index{depth} = 0\nwhile at < end{depth}:")
        self.line(depth + 1, f"kind, key = data[at], keys[index{depth}]\nat += 1")
        self.line(depth + 1, "if not here(key, at):\n    raise otherwise\nat += len(key)")

    def function(self) -> Callable[[bytes, int], None]:
        """The function of a document and the number of its row. It raises `UNEXPECTED`."""
        self.line(1, "if at != end0:\n    raise otherwise")
        exec(_compiled("\n".join(self._lines)), self.names)  # noqa: S102 - all of the text is from here
        # Not left there: it would hold itself, and all that was read with it, until the collector comes.
        found: Callable[[bytes, int], None] = self.names.pop("read")
        return found


@lru_cache(maxsize=16)  # of schemas
def _compiled(text: str) -> CodeType:
    return compile(text, "documents of a schema", "exec")
