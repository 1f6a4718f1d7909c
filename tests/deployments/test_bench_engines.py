"""The measure of the engines of the export: that it measures, not how fast."""

from __future__ import annotations

import pytest

from deployments import bench_engines


@pytest.mark.timeout(300)
def test_both_engines_are_measured_on_the_same_documents() -> None:
    measured = bench_engines.measure(400_000)
    assert list(measured) == ["python", "kernel"]
    python, kernel = measured.values()
    assert (python["rows"], python["bytes"]) == (kernel["rows"], kernel["bytes"])
    assert all(figures[work] > 0 for figures in measured.values() for work in ("profile", "convert", "parquet"))
    assert "MB/s" in bench_engines.table_of(measured)
