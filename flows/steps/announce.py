"""Telling machines how a watch went: metrics first, then the dead-man's switch."""

from __future__ import annotations

from pathlib import Path

from flows.core.messages import Bells, Delivery, Signal
from flows.core.watch_metrics import gauges
from flows.core.watch_report import WatchReport
from flows.steps.metrics import exposition, write_metrics
from flows.steps.signals import ping, push


def announce_start(bells: Bells) -> Delivery:
    """Tell the dead-man's switch that a watch begins, where there is one."""
    return _pinged(bells, Signal.START, "")


def announce(bells: Bells, report: WatchReport, metrics_file: Path | None) -> Delivery:
    """Tell machines how a watch went. What cannot be delivered is told, and changes nothing of the result.

    Args:
        bells: Where to.
        report: Of the watch.
        metrics_file: For node_exporter's textfile collector; None: none.
    """
    told = Delivery()
    if metrics_file is not None:
        problem = write_metrics(metrics_file, gauges(report.stores))
        told += Delivery((), (problem,)) if problem else Delivery((f"metrics to the file {metrics_file}",))
    for store in report.stores if bells.push_url else ():
        problem = push(bells.push_url, store.plan, store.store, exposition(gauges([store])))
        what = f"metrics of {store.store} to the push gateway"
        told += Delivery((), (f"{what}: {problem}",)) if problem else Delivery((what,))
    return told + _pinged(bells, Signal.SUCCESS if report.well else Signal.FAIL, report.reason())


def _pinged(bells: Bells, signal: Signal, reason: str) -> Delivery:
    if not bells.ping_url:
        return Delivery()
    problem = ping(bells.ping_url, signal, reason)
    what = f"ping: {signal.value}"
    return Delivery((), (f"{what}: {problem}",)) if problem else Delivery((what,))
