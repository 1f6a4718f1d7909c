"""What the SDK does again for each test and has nothing to do with it: done once for all of a session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from botocore.loaders import JSONFileLoader


@contextmanager
def services_read_once() -> Iterator[None]:
    """Each session of the SDK reads the description of S3 from JSON again: a fifth of a second."""
    original = JSONFileLoader.load_file

    @cache
    def read(path: str) -> Any:
        return original(JSONFileLoader(), path)

    JSONFileLoader.load_file = lambda _, path: read(path)  # type: ignore[method-assign]
    try:
        yield
    finally:
        JSONFileLoader.load_file = original  # type: ignore[method-assign]
