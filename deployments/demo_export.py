"""The demonstration of exports: a payment database is backed up, its backup becomes Parquet, and DuckDB asks it.

Run `python -m deployments.demo_export`. The chart of the revenue by month is written to the file that `--chart` names.
"""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from deployments.rig import DATABASE, Addresses, save_blocks, timed, told_by_parent
from deployments.stage import stage
from flows.core import charts
from flows.core.errors import BackupError, ConfigurationError
from flows.core.report import counted, format_bytes, format_count, text_table

_BSON_BYTES = 60_000_000
_PLAN = "demo"
_STORY = "story"  # the argument of the child that runs the flows
_DIFFERENT = 3  # its exit status where it has said already what differs
_INVOICES = f"{DATABASE}.invoices"
_QUERY = f"""\
SELECT date_trunc('month', issuedAt AT TIME ZONE 'UTC') AS month, count(*) AS invoices, sum(totals.gross) AS revenue
FROM "{_INVOICES}" WHERE status <> 'void' GROUP BY ALL ORDER BY month"""  # noqa: S608 - nobody types any of it
_PIPELINE: list[dict[str, Any]] = [
    {"$match": {"status": {"$ne": "void"}}},
    {
        "$group": {
            "_id": {"$dateTrunc": {"date": "$issuedAt", "unit": "month"}},
            "invoices": {"$sum": 1},
            "revenue": {"$sum": "$totals.gross"},
        }
    },
    {"$sort": {"_id": 1}},
]


def main(arguments: list[str]) -> int:
    """Run the demonstration; returns the exit status: 0 all is equal, 1 something differs or failed."""
    if arguments == [_STORY]:
        try:
            return _story(*told_by_parent())
        except BackupError as error:
            print(f"\nFAILED: {error}", flush=True)
            raise
    parser = argparse.ArgumentParser(prog="python -m deployments.demo_export", description="Show what an export is.")
    parser.add_argument("--chart", type=Path, default=Path("revenue.svg"), help="file for the chart [%(default)s]")
    given = parser.parse_args(arguments)
    # Ended in order by a supervisor too: without this, SIGTERM skips every `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return _stage(given.chart)
    except BackupError as error:
        if error.facts.get("status") != _DIFFERENT:
            print(f"\ndemo-export: failed: {error}", flush=True)
        return 1
    except KeyboardInterrupt:
        print("\ndemo-export: interrupted", flush=True)
        return 128 + signal.SIGINT


def _stage(chart: Path) -> int:
    """Start the parts, fill the database, let a child run the flows, and take everything away."""
    print("A payment database is backed up, and its backup becomes Parquet files that any engine reads.")
    print("All parts are real; they are on this machine only and are thrown away at the end.\n", flush=True)
    with stage(_BSON_BYTES) as held:
        told = {"folder": str(held.bucket), "chart": str(chart.resolve())}
        held.rig.run(["deployments.demo_export", _STORY], told)
        print("demo-export: ok", flush=True)
    return 0


def _story(addresses: Addresses, told: dict[str, Any]) -> int:
    """In the child: back up, export, ask, draw, and compare with what MongoDB says."""
    from flows.backup import backup  # noqa: PLC0415 - Prefect takes its settings when it is imported
    from flows.export import export  # noqa: PLC0415

    save_blocks(addresses)
    with timed("\nBackup: the flow `backup`") as line:
        made = backup(plan=_PLAN, databases=[DATABASE])
        line.append(f"Backup {made.backup}: {counted(made.documents, 'document')}")
    with MongoClient[dict[str, Any]](addresses.mongodb) as client:
        expected = [
            (row["_id"], row["invoices"], row["revenue"].to_decimal())
            for row in client[DATABASE].invoices.aggregate(_PIPELINE)
        ]
        client.drop_database(DATABASE)  # the export does not need it
    with timed("\nExport: the flow `export`; MongoDB is not asked for anything") as line:
        done = export(plan=_PLAN, units_in_flight=1)
        line.append(f"{format_count(done.rows)} rows in {counted(done.files, 'file')}, {format_bytes(done.bytes)}")
    print(f"  of {format_bytes(made.bytes)} of BSON; each file was read again and compared", flush=True)

    print("\nQuery: DuckDB, by the views that the export has left beside its manifest\n", flush=True)
    rows = _ask(Path(told["folder"]) / "exports", done.version, done.target)
    table = [
        {"month": f"{month:%Y-%m}", "invoices": format_count(count), "revenue": f"{revenue:,.2f}"}
        for month, count, revenue in rows
    ]
    print(text_table(table), flush=True)
    chart = Path(told["chart"])
    chart.write_text(_drawn(rows))
    print(f"\nThe same as a chart: {chart}", flush=True)
    if [(month, count, revenue) for month, count, revenue in rows] != expected:
        print("DIFFERS: the sums are not those of MongoDB's own aggregation", flush=True)
        return _DIFFERENT
    print("Proof: months, numbers and sums to the last cent are those of MongoDB's own aggregation", flush=True)
    return 0


def _ask(folder: Path, version: int, target: str) -> list[tuple[datetime, int, Any]]:
    """What DuckDB says, by the views of the version; it reads the folder that the S3 server serves."""
    try:
        import duckdb  # noqa: PLC0415 - the demonstration alone needs it
    except ImportError:
        raise ConfigurationError(
            "DuckDB is not installed", hint='Install it with: pip install "mongo-backup-flows[demo]"'
        ) from None
    views = (folder / f"{_PLAN}/export/versions/{version:08d}.sql").read_text().replace(target, str(folder))
    with duckdb.connect() as connection:
        connection.execute(views)
        return [(month, count, revenue) for month, count, revenue in connection.execute(_QUERY).fetchall()]


def _drawn(rows: list[tuple[datetime, int, Any]]) -> str:
    points = [charts.Point(month.replace(tzinfo=UTC), float(revenue)) for month, _, revenue in rows]
    start, end = points[0].at, points[-1].at + timedelta(days=31)
    return charts.chart("revenue", "Revenue by month", points, charts.AMOUNT, start=start, end=end, headed=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
