"""Hive partitions: rows by the year, month or day of one of their dates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from flows.core.errors import ConfigurationError

NO_DATE = "__HIVE_DEFAULT_PARTITION__"
_FORMS = {"year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d"}
# Years of four digits: as milliseconds since 1970. What is beyond has no name that readers understand.
_FIRST, _LAST = -62_135_596_800_000, 253_402_300_799_999


class Unit(StrEnum):
    """How long a time a partition is of."""

    YEAR = "year"
    MONTH = "month"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Partitioning:
    """By which field, and how finely. Written `createdAt` or `createdAt by day`."""

    path: str  # names of the field and of those that it is in, with dots between
    unit: Unit = Unit.MONTH

    def __str__(self) -> str:
        return f"{self.path} by {self.unit.value}"

    @classmethod
    def parse(cls, text: str) -> Partitioning:
        """Read what an operator has written.

        Raises:
            ConfigurationError: For what is no field, or a unit that is not known.
        """
        path, by, unit = text.strip().partition(" by ")
        if not path or (by and unit.strip() not in _FORMS):
            raise ConfigurationError(
                "not a field to partition by",
                hint="Write the path of a date, such as `createdAt` or `meta.created by day`; "
                f"after `by` one of {', '.join(_FORMS)}, else it is month.",
                got=text,
            )
        return cls(path.strip(), Unit(unit.strip()) if by else Unit.MONTH)

    def check(self, schema: pa.Schema, namespace: str) -> None:
        """See that a schema has the date, and no column of the name that readers give to partitions.

        Raises:
            ConfigurationError: It has not, or it has one.
        """
        found = _field(schema, self.path)
        if found is None or not pa.types.is_timestamp(found.type):
            raise ConfigurationError(
                "a collection cannot be partitioned by a field that is no date in its schema",
                hint="Name a field whose values are dates and that no rule removes, best one that never changes.",
                namespace=namespace,
                path=self.path,
                expected="timestamp",
                got=str(found.type) if found is not None else "no such field",
            )
        if self.unit.value in {name.casefold() for name in schema.names}:
            raise ConfigurationError(
                "a collection has a field of the name that its partitions would have",
                hint="Partition by another unit: readers could not tell the two.",
                namespace=namespace,
                field=self.unit.value,
            )

    def split(self, table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        """The rows of each partition, with its name such as `month=2026-03`; the order of rows stays."""
        dates = _column(table, self.path)
        milliseconds = dates.cast(pa.int64())
        sane = pc.and_(pc.greater_equal(milliseconds, _FIRST), pc.less_equal(milliseconds, _LAST))
        floors = pc.floor_temporal(pc.if_else(sane, dates, pa.scalar(None, dates.type)), unit=self.unit.value)
        codes = floors.combine_chunks().cast(pa.int64()) if isinstance(floors, pa.ChunkedArray) else floors
        for floor in pc.unique(codes).to_pylist():
            if floor is None:
                yield f"{self.unit.value}={NO_DATE}", table.filter(pc.is_null(codes))
                continue
            name = f"{datetime.fromtimestamp(floor / 1000, UTC).strftime(_FORMS[self.unit.value])}"
            # Years below 1000 come without zeros.
            year, dash, rest = name.partition("-")
            yield f"{self.unit.value}={year.zfill(4)}{dash}{rest}", table.filter(pc.equal(codes, floor))


def _field(schema: pa.Schema, path: str) -> pa.Field | None:
    names = path.split(".")
    if schema.get_field_index(names[0]) < 0:
        return None
    found = schema.field(names[0])
    for name in names[1:]:
        if not pa.types.is_struct(found.type) or found.type.get_field_index(name) < 0:
            return None
        found = found.type.field(name)
    return found


def _column(table: pa.Table, path: str) -> pa.ChunkedArray:
    first, *rest = path.split(".")
    column = table.column(first)
    return pc.struct_field(column, rest) if rest else column
