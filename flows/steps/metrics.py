"""Metrics in the text format of Prometheus, as text and as a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import Metric, generate_latest, write_to_textfile
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from flows.core.errors import ConfigurationError
from flows.core.watch_metrics import Gauge


class _Gauges(Collector):
    def __init__(self, gauges: Iterable[Gauge]) -> None:
        self._gauges = tuple(gauges)

    def collect(self) -> Iterator[Metric]:
        for gauge in self._gauges:
            names = [name for name, _ in gauge.samples[0][0]]
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=names)
            for labels, value in gauge.samples:
                family.add_metric([text for _, text in labels], value)
            yield family


def exposition(gauges: Iterable[Gauge]) -> str:
    """The metrics as text; each gauge has a sample at least."""
    return generate_latest(_Gauges(gauges)).decode()


def check_metrics_file(path: Path) -> None:
    """See that node_exporter would read a file.

    Raises:
        ConfigurationError: By its name it would not, or there is no such folder.
    """
    if path.suffix != ".prom":
        raise ConfigurationError(
            "not the name of a file for node_exporter's textfile collector",
            hint="Let it end in .prom, and lie in the folder of --collector.textfile.directory.",
            got=str(path),
        )
    if not path.parent.is_dir():
        raise ConfigurationError(
            "there is no folder for the metrics", hint="Make it, or correct the path.", got=str(path)
        )


def write_metrics(path: Path, gauges: Iterable[Gauge]) -> str:
    """Replace the file in one step, so that nobody ever reads half of it.

    Returns:
        Why that failed, as a lower-case fact, or nothing. The file is then as it was before.
    """
    try:
        write_to_textfile(str(path), _Gauges(gauges))
    except OSError as error:
        return f"the metrics could not be written to {path}: {error.strerror}"
    return ""
