"""How fast the engines of the export are, on one core: `python -m deployments.bench_engines --size 128MB`.

Invoices of the payment database become one unit of work: profile, columns, a Parquet file with zstd. Each engine runs
in a process of its own, and reads as much of a file at a time as the flow takes. Seconds are of CPU, of all threads;
the kernel's compiling is told apart, as it is kept for the next process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flows.core.report import format_bytes, text_table

if TYPE_CHECKING:
    from flows.core.parquet.engine import EngineName

Figures = dict[str, Any]
T = TypeVar("T")

ENGINES = ("python", "kernel")
SIZE = 128 * 10**6  # [bytes] of a unit
_ROUNDS = 3  # the best one counts: the machine is rarely ours alone
_FEW = 200  # [documents] that make the kernel compile
_MEGA = 10**6


def measure(size: int = SIZE) -> dict[str, Figures]:
    """Measure both engines, each in a process of its own.

    Args:
        size: [bytes] of BSON.

    Returns:
        By engine: megabytes (10**6) of BSON per CPU second for `profile`, `convert` and `parquet` (convert and write),
        `compile_seconds`, `peak_rss_bytes`, and `rss_before_bytes` of the interpreter with Arrow.
    """
    with tempfile.TemporaryDirectory(prefix="bench-engines-") as folder:
        unit = Path(folder, "unit.bson")
        unit.write_bytes(documents(size))
        command = [sys.executable, "-m", "deployments.bench_engines"]
        return {
            name: json.loads(
                subprocess.run([*command, "--engine", name, "--unit", unit], check=True, stdout=subprocess.PIPE).stdout
            )
            for name in ENGINES
        }


def documents(size: int) -> bytes:
    """Invoices as BSON, one after the other."""
    import bson  # noqa: PLC0415 - is in the memory of a child, and must not be in the figures of another

    from deployments.payment_documents import Payments  # noqa: PLC0415

    made = Payments(1000)
    found: list[bytes] = []
    length = 0
    while length < size:
        found.append(bson.encode(made.invoice(len(found))))
        length += len(found[-1])
    return b"".join(found)


def table_of(measured: dict[str, Figures]) -> str:
    """The figures for people."""
    rows = [
        {
            "engine": name,
            **{work: f"{figures[work]:.0f} MB/s" for work in ("profile", "convert", "parquet")},
            "peak RSS": format_bytes(figures["peak_rss_bytes"]),
            "before": format_bytes(figures["rss_before_bytes"]),
            "compile": f"{figures['compile_seconds']:.1f} s",
        }
        for name, figures in measured.items()
    ]
    return "\n".join([text_table(rows), "", "MB of BSON per second of CPU; parquet: convert, and write with zstd 3."])


def main(arguments: Sequence[str]) -> int:
    """Measure one engine on a file of BSON, or both on documents that are made; returns the exit status."""
    from deployments.bench import parse_size  # noqa: PLC0415 - it imports this module

    parser = argparse.ArgumentParser(prog="python -m deployments.bench_engines", description="Measure the engines.")
    parser.add_argument("--size", type=parse_size, default=SIZE, help="how much BSON, such as 128MB")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--unit", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.engine:
        print(json.dumps(_one(given.engine, given.unit)))
    else:
        print(table_of(measure(given.size)))
    return 0


def _one(name: EngineName, unit: Path) -> Figures:
    import pyarrow as pa  # noqa: PLC0415 - of the measured process alone
    import pyarrow.parquet as pq  # noqa: PLC0415

    from flows.core.parquet.engine import engine  # noqa: PLC0415
    from flows.core.parquet.growth import grown  # noqa: PLC0415
    from flows.core.parquet.memory import WaitingRows  # noqa: PLC0415
    from flows.core.parquet.parts import FileFormat  # noqa: PLC0415
    from flows.core.parquet.profile import Profile  # noqa: PLC0415
    from flows.core.parquet.reading import split  # noqa: PLC0415

    pa.set_cpu_count(1)
    group = FileFormat().group_bytes
    before = _peak_rss()
    cuts = _cuts(unit)
    one = engine(name)
    begun = time.process_time()
    few = b"".join(split(next(_pieces(unit, cuts)))[:_FEW])
    one.convert(grown(None, one.profile("bench.unit", few))[0], few)
    compiling = time.process_time() - begun
    megabytes = cuts[-1] / _MEGA

    def profile() -> Profile:
        found = Profile("bench.unit")
        for piece in _pieces(unit, cuts):
            found.merge(one.profile("bench.unit", piece))
        return found

    def write(path: Path) -> int:
        waiting = WaitingRows()
        with pq.ParquetWriter(path, schema.arrow, compression="zstd", compression_level=3) as writer:
            for number, piece in enumerate(_pieces(unit, cuts), 1):
                waiting.add(one.convert(schema, piece).table)
                if number == len(cuts) - 1 or waiting.bytes >= group:
                    writer.write_table(waiting.table(), row_group_size=1 << 30)
                    waiting = WaitingRows()
        return path.stat().st_size

    found, profiling = _best(profile)
    schema, _changes = grown(None, found)
    rows, converting = _best(lambda: sum(one.convert(schema, piece).table.num_rows for piece in _pieces(unit, cuts)))
    with tempfile.TemporaryDirectory(prefix="bench-engines-") as folder:
        stored, writing = _best(lambda: write(Path(folder, "unit.parquet")))
    return {
        "profile": round(megabytes / profiling, 1),
        "convert": round(megabytes / converting, 1),
        "parquet": round(megabytes / writing, 1),
        "compile_seconds": round(compiling, 2),
        "rss_before_bytes": before,
        "peak_rss_bytes": _peak_rss(),
        "bytes": cuts[-1],
        "rows": rows,
        "stored_bytes": stored,
    }


def _cuts(unit: Path) -> list[int]:
    """Where a file of documents is cut into pieces of the size that is converted at a time, with its start and end."""
    from flows.core.parquet.unit import BATCH_BYTES  # noqa: PLC0415 - brings Arrow

    cuts, at, size = [0], 0, unit.stat().st_size
    with unit.open("rb") as file:
        while at < size:
            file.seek(at)
            at += int.from_bytes(file.read(4), "little")
            if at - cuts[-1] >= BATCH_BYTES or at == size:
                cuts.append(at)
    return cuts


def _pieces(unit: Path, cuts: Sequence[int]) -> Iterator[bytes]:
    with unit.open("rb") as file:
        for begin, end in itertools.pairwise(cuts):
            yield file.read(end - begin)


def _best(work: Callable[[], T]) -> tuple[T, float]:
    seconds = []
    for _ in range(_ROUNDS):
        begun = time.process_time()
        result = work()
        seconds.append(time.process_time() - begun)
    return result, min(seconds)


def _peak_rss() -> int:
    """[bytes] VmHWM; unlike `ru_maxrss` it does not count what the parent had."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
