"""The benchmark: the flows beside `mongodump --gzip` with an upload, beside only reading the database; and the engines.

Run `python -m deployments.bench --size 1GB --json bench.json`. Every figure is that of a fresh child process, taken
in one run on one server. Where the official tools are not on PATH, their lines are left out. Nothing is asserted but
that each contender has moved every document.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from deployments import bench_engines, payments
from deployments.contenders import RESTORED, Figures
from deployments.embedded import parts
from deployments.rig import DATABASE, Addresses, Rig
from flows.core.errors import BackupError
from flows.core.report import format_bytes, format_count, text_table
from flows.core.version import versions

_CACHE_GB = 1.0  # [GiB] of the server
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_RATIOS = (("backup", "floor"), ("encrypted-backup", "backup"), ("backup", "mgob-backup"), ("restore", "mgob-restore"))


def main(arguments: list[str]) -> int:
    """Measure, print a table and write JSON; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m deployments.bench", description="Measure backup and restore.")
    parser.add_argument("--size", type=parse_size, default="1GB", help="how much BSON, such as 250MB [%(default)s]")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--repeat", type=int, default=1, help="rounds; the table has the medians [%(default)s]")
    given = parser.parse_args(arguments)
    try:
        result = _bench(given.size, max(1, given.repeat))
    except BackupError as error:
        print(f"bench: failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n")
        print(f"\nAll figures are in {given.json}")
    return 0


def parse_size(text: str) -> int:
    """`250MB` to bytes; K, M and G with B count in thousands, with iB in 1024.

    Raises:
        argparse.ArgumentTypeError: It is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMG]i?B)?", text, re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"not a size: {text!r}; write 250MB or 1GiB")
    return int(float(match[1]) * _UNITS.get((match[2] or "").upper(), 1))


def _bench(size: int, repeat: int) -> Figures:
    load = os.getloadavg()[0]
    with parts() as held:
        mongod, s3 = held.mongod(cache_gb=_CACHE_GB), held.s3()
        client: MongoClient[dict[str, Any]]
        with MongoClient(mongod.uri) as client:
            begun = time.monotonic()
            made = payments.fill(client, DATABASE, bson_bytes=size)
            size_line = f"{format_count(made.documents)} documents, {format_bytes(made.bytes)} of BSON"
            print(f"{size_line}, made in {time.monotonic() - begun:.0f} s", flush=True)
            server = held.prefect_server()
            rig = Rig(held, server, Addresses.of(mongod, s3), held.folder / "bench.log")
            _run_child(rig, "setup")
            rounds = [_round(rig, client, made) for _ in range(repeat)]
            server_version = str(client.server_info()["version"])
    medians = {name: _median([one[name] for one in rounds]) for name in rounds[0]}
    print()
    print(_report(medians))
    engines = bench_engines.measure(min(size, bench_engines.SIZE))
    print(f"\n{bench_engines.table_of(engines)}")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {**_machine(), "load_average_at_start": load},
        "versions": {**_versions(), "mongod": server_version},
        "database": {"documents": made.documents, "bytes": made.bytes, "indexes": made.indexes},
        "settings": {"mongod_cache_gib": _CACHE_GB, "repeat": repeat},
        "rounds": rounds,
        "medians": medians,
        "ratios_of_wall": _ratios(medians, "wall_seconds"),
        "ratios_of_process": _ratios(medians, "process_seconds"),
        "ratios_of_cpu": _ratios(medians, "cpu_seconds"),
        "verified_megabytes_per_cpu_second": _verified_per_second(medians["verification"]),
        "exported_megabytes_per_cpu_second": _exported_per_second(medians),
        "export_engines": engines,
    }


def _round(rig: Rig, client: MongoClient[dict[str, Any]], made: payments.Filled) -> dict[str, Figures]:
    """One measurement of every contender, in an order in which the floor also warms the server up for the others."""
    archive = rig.parts.folder / "mgob.archive.gz"
    found: dict[str, Figures] = {}
    official = shutil.which("mongodump") and shutil.which("mongorestore")
    for name in (
        "floor",
        "backup",
        "verification",
        "export",
        "encrypted-backup",
        "mgob-backup",
        "restore",
        "mgob-restore",
    ):
        if name.startswith("mgob") and not official:
            continue
        # No contender pays for the pages that the one before it has left unwritten.
        client.admin.command("fsync")
        found[name] = _run_child(rig, name, {"archive": str(archive)})
        moved = found[name]
        if name.endswith("restore"):
            moved["documents"] = _count(client[RESTORED])
            client.drop_database(RESTORED)
        expected = {"documents": made.documents, "bytes": made.bytes}
        wrong = [fact for fact in expected if moved.get(fact, expected[fact]) != expected[fact]]
        if wrong:
            raise BackupError(
                "a contender did not move everything",
                hint="Its figures mean nothing. Find out why before you measure again.",
                contender=name,
                expected=expected[wrong[0]],
                got=moved[wrong[0]],
            )
    archive.unlink(missing_ok=True)
    return found


def _count(database: Database[dict[str, Any]]) -> int:
    names = database.list_collection_names(filter={"type": "collection"})
    return sum(database[name].estimated_document_count() for name in names if not name.startswith("system."))


def _run_child(rig: Rig, name: str, told: Mapping[str, Any] | None = None) -> Figures:
    begun = time.monotonic()
    output = rig.run(["deployments.contenders", name], told or {}, output=subprocess.PIPE)
    wall = time.monotonic() - begun
    print(f"{name}: {wall:.1f} s", flush=True)
    return {**json.loads(output), "process_seconds": round(wall, 2)}


def _median(rounds: list[Figures]) -> Figures:
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def _ratios(medians: Mapping[str, Figures], of: str) -> dict[str, float]:
    return {
        f"{ours} / {theirs}": round(medians[ours][of] / medians[theirs][of], 2)
        for ours, theirs in _RATIOS
        if theirs in medians
    }


def _report(medians: Mapping[str, Figures]) -> str:
    titles = {
        "floor": "read, throw away",
        "backup": "flow backup",
        "verification": "offline verification",
        "export": "flow export",
        "encrypted-backup": "flow backup, encrypted",
        "mgob-backup": "mongodump --gzip, upload",
        "restore": "flow restore",
        "mgob-restore": "download, mongorestore",
    }
    rows = [
        {
            "contender": titles[name],
            "wall": f"{figures['wall_seconds']:.1f} s",
            "process": f"{figures['process_seconds']:.1f} s",
            "CPU": f"{figures['cpu_seconds']:.1f} s",
            "peak RSS": format_bytes(int(figures["peak_rss_bytes"])),
            "stored": format_bytes(int(figures["stored_bytes"])) if "stored_bytes" in figures else "-",
        }
        for name, figures in medians.items()
    ]
    lines = [
        text_table(rows),
        "",
        "wall: from the call of the flow, or the start of the tool, to its end.",
        "process: with the start and the end of Python and what it imports.",
        "CPU, RSS: of that process and its children, not of the servers.",
        "The floor ran first, so that every contender reads from a warm server.",
        "",
        f"offline verification: {_verified_per_second(medians['verification'])} MB of BSON per second and core",
        f"flow export: {_exported_per_second(medians)} MB of BSON per second and core, both passes, upload and all",
        *(
            f"{name}: {ratio:.2f} of the wall, {_ratios(medians, 'process_seconds')[name]:.2f} of the process, "
            f"{_ratios(medians, 'cpu_seconds')[name]:.2f} of the CPU"
            for name, ratio in _ratios(medians, "wall_seconds").items()
        ),
    ]
    if "mgob-backup" not in medians:
        lines.append("mongodump and mongorestore are not on PATH: not compared.")
    return "\n".join(lines)


def _verified_per_second(figures: Figures) -> int:
    """Of CPU time, without the start of Python [MB of 10^6 bytes]."""
    return int(figures["bytes"] / figures["work_cpu_seconds"] / 10**6)


def _exported_per_second(medians: Mapping[str, Figures]) -> int:
    """Of CPU time of the flow [MB of 10^6 bytes]."""
    return int(medians["verification"]["bytes"] / medians["export"]["work_cpu_seconds"] / 10**6)


def _machine() -> dict[str, Any]:
    models = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": models[0] if models else platform.machine(),
        "memory_bytes": memory,
        "system": platform.platform(),
    }


def _versions() -> dict[str, str]:
    found = {**versions(), "python": platform.python_version(), "prefect": metadata.version("prefect")}
    for tool in ("mongodump", "mongorestore"):
        if shutil.which(tool):
            said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout
            found[tool] = said.splitlines()[0].removeprefix(f"{tool} version: ") if said else "unknown"
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
