"""What Prefect does again for each test and has nothing to do with it: done once for all of a session."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import certifi
from prefect.blocks.core import Block
from prefect.settings import PREFECT_API_SSL_CERT_FILE, temporary_settings

_END = "-----END CERTIFICATE-----\n"


@contextmanager
def schemas_made_once() -> Iterator[None]:
    """Saving a block makes the schema of its class anew, a dozen times over: two seconds for a store."""
    original = Block.__dict__["model_json_schema"]

    @cache
    def made(kind: type[Block], arguments: tuple[Any, ...], named: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
        return original.__func__(kind, *arguments, **dict(named))

    def model_json_schema(kind: type[Block], *arguments: Any, **named: Any) -> dict[str, Any]:
        return copy.deepcopy(made(kind, arguments, tuple(sorted(named.items()))))

    Block.model_json_schema = classmethod(model_json_schema)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Block.model_json_schema = original  # type: ignore[method-assign]


@contextmanager
def one_authority(folder: Path) -> Iterator[None]:
    """Each client of the server, which has no TLS here, reads all authorities of the world: 40 ms, several a run."""
    first, end, _ = Path(certifi.where()).read_text().partition(_END)
    file = folder / "authority.pem"
    file.write_text(first + end)
    with temporary_settings({PREFECT_API_SSL_CERT_FILE: str(file)}):
        yield
