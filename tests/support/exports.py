"""A store for exports, its objects as files, and what readers make of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from bson import Decimal128

from blocks import BackupStore
from flows.core.names import Namespace
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.records import DataFile, FileRole
from flows.core.parquet.views import view_query
from flows.storage.exports import read_dataset, versions
from tests.support.fault_proxy import FaultProxy


@dataclass(frozen=True)
class Target:
    """The store of one test: the block that is saved as `exports`, and its objects as files."""

    block: BackupStore
    proxy: FaultProxy
    folder: Path

    def dataset(self, name: str = "default") -> Dataset:
        return read_dataset(self.block.open(), name, now=datetime.now(UTC))

    def versions(self, name: str = "default") -> list[int]:
        return versions(self.block.open(), name)

    @property
    def files(self) -> list[str]:
        """Everything that is stored, as keys below the prefix."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def paths(self, namespace: str, name: str = "default", *roles: FileRole) -> list[Path]:
        """The files of a namespace in its newest export."""
        _, item = self.dataset(name).chain(Namespace.parse(namespace))[-1]
        return [self.folder / file.key for file in item.of(*(roles or (FileRole.ROWS, FileRole.CHANGES)))]

    def file(self, file: DataFile) -> Path:
        return self.folder / file.key

    def current(self, namespace: str, name: str = "default", export: str = "") -> str:
        """The query for a namespace as it is, or was at an export."""
        dataset, parsed = self.dataset(name), Namespace.parse(namespace)
        return view_query(dataset, parsed, str(self.folder), export=export)


def ask(query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """What DuckDB answers, in UTC."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(query, parameters or None).fetchall()


def invoice(number: int) -> dict[str, Any]:
    """An invoice, with everything that makes conversion hard."""
    made: dict[str, Any] = {
        "_id": number,
        "number": f"INV-{number:06d}",
        "issuedAt": datetime(2026, 1 + number % 4, 1 + number % 28, 12, tzinfo=UTC),
        "customer": {"id": f"C-{number % 40}", "name": f"Müller {number % 40}", "note": None},
        "items": [
            {"sku": f"A-{n}", "n": n + 1, "price": Decimal128(f"{n}.{number % 100:02d}")} for n in range(number % 4)
        ],
        "totals": {"gross": Decimal128(f"{number}.{number % 100:02d}"), "paid": number % 3 == 0},
        "rate": number / 7,
    }
    if number % 5 == 0:
        made["rate"] = "none"
    if number % 7 == 0:
        del made["issuedAt"]
    return made


def revenue(documents: Iterator[dict[str, Any]]) -> dict[str, Decimal]:
    """The sum of invoices by month, in Python."""
    found: dict[str, Decimal] = {}
    for one in documents:
        month = f"{one['issuedAt']:%Y-%m}" if "issuedAt" in one else ""
        found[month] = found.get(month, Decimal(0)) + one["totals"]["gross"].to_decimal()
    return found
