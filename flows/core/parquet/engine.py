"""What an engine of the export does, and which there are."""

from __future__ import annotations

import importlib.util
from typing import Literal, Protocol

from flows.core.errors import ConfigurationError
from flows.core.parquet.columns import Converted
from flows.core.parquet.profile import Profile
from flows.core.parquet.python_engine import PythonEngine
from flows.core.parquet.reading import Reject
from flows.core.parquet.schema import ExportSchema

__all__ = ["Converted", "Engine", "EngineName", "Reject", "engine"]

EngineName = Literal["auto", "python", "kernel"]


class Engine(Protocol):
    """Turns documents into columns. All engines give the same; threads may share one."""

    name: str

    def profile(self, namespace: str, documents: bytes) -> Profile:
        """What whole documents, one after the other, are made of.

        Raises:
            Truncated: They do not follow each other without a gap.
        """

    def convert(self, schema: ExportSchema, documents: bytes) -> Converted:
        """The same as rows of a schema; what it has no place for goes to `_extra`.

        Raises:
            Truncated: As above.
        """


def engine(name: EngineName) -> Engine:
    """The engine of this name; `auto` is the kernel where it can be had.

    Raises:
        ConfigurationError: The kernel was asked for, and what it needs is not installed.
    """
    there = importlib.util.find_spec("numba") is not None
    if name == "python" or (name == "auto" and not there):
        return PythonEngine()
    if not there:
        raise ConfigurationError(
            "the compiled engine of exports is not installed",
            hint='Install it with: pip install "mongo-backup-flows[kernel]"; or export with the engine `python`, '
            "which takes about four times as long.",
            missing="numba",
        )
    from flows.core.parquet.kernel_engine import KernelEngine  # noqa: PLC0415 - what it needs is an extra

    return KernelEngine()


def is_to_compile(name: EngineName) -> bool:
    """Whether the engine of this name would be compiled at its first use, and can be kept for other processes."""
    if engine(name).name != "kernel":
        return False
    from flows.core.parquet.kernel_engine import is_compiled  # noqa: PLC0415

    return not is_compiled()
