"""How the operator wants the files of an export to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flows.core.errors import ConfigurationError
from flows.core.names import Namespace
from flows.core.parquet.partitions import Partitioning


@dataclass(frozen=True, slots=True)
class Wishes:
    """How the operator wants files to be.

    Attributes:
        level: Of zstd, 1 to 19.
        partition: Namespaces, with the field that they are partitioned by.
        bloom: Namespaces, with the columns that get a bloom filter, commas between.
    """

    level: int = 3
    partition: Mapping[str, str] | None = None
    bloom: Mapping[str, str] | None = None

    def check(self) -> None:
        """Refuse what can never work.

        Raises:
            ConfigurationError: For a level that zstd does not have, a namespace or a field that is none.
        """
        if not 1 <= self.level <= 19:
            raise ConfigurationError(
                "there is no such level of compression",
                hint="3 is the default; 9 is 3 % smaller and takes twice as long.",
                expected="1 to 19",
                got=self.level,
            )
        for name in (*(self.partition or {}), *(self.bloom or {})):
            Namespace.parse(name)
        for text in (self.partition or {}).values():
            Partitioning.parse(text)

    def check_used(self, namespaces: Iterable[Namespace]) -> None:
        """Refuse wishes for namespaces that are not exported.

        Raises:
            ConfigurationError: With the first.
        """
        exported = {str(namespace) for namespace in namespaces}
        for name in (*(self.partition or {}), *(self.bloom or {})):
            if name not in exported:
                raise ConfigurationError(
                    "a setting is for a collection that is not exported",
                    hint="Check the name; `include` and `exclude` say what is exported.",
                    got=name,
                )

    def partitioning(self, namespace: Namespace) -> Partitioning | None:
        """By what a namespace is partitioned; None: it is not."""
        text = (self.partition or {}).get(str(namespace))
        return Partitioning.parse(text) if text else None

    def bloom_columns(self, namespace: Namespace) -> tuple[str, ...]:
        """The columns of a namespace that get a bloom filter."""
        return tuple(part.strip() for part in (self.bloom or {}).get(str(namespace), "").split(",") if part.strip())
