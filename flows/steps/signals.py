"""Telling services outside how it went: a dead-man's switch, and a push gateway. What fails is told, never raised."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from flows.core.maintenance import Call, Mask
from flows.core.messages import Signal
from flows.steps.call import make_call

JOB = "mongo_backup"
_TIMEOUT_SECONDS = 10.0
_ATTEMPTS, _PAUSE_SECONDS = 2, 1.0
_MOST_LETTERS = 10_000  # of a reason; what takes pings cuts more off anyway


def ping(url: str, signal: Signal, reason: str = "") -> str:
    """Tell a dead-man's switch; gives why that failed, as a lower-case fact without the address, or nothing.

    Args:
        url: Its address; a secret.
        signal: What to tell.
        reason: The body; without a secret.
    """
    return _call(url, "POST", signal.url(url), reason[:_MOST_LETTERS], {"Content-Type": "text/plain; charset=utf-8"})


def push(url: str, plan: str, store: str, metrics: str) -> str:
    """Replace the metrics of a plan and store in a push gateway; gives why that failed, as `ping` does.

    Args:
        url: Its address, without `/metrics`; a secret where it holds a password.
        plan: Becomes part of the key of the group.
        store: The same.
        metrics: In the text format.
    """
    where = f"{url.rstrip('/')}/metrics/job/{JOB}/plan/{quote(plan, safe='')}/store/{quote(store, safe='')}"
    return _call(url, "PUT", where, metrics, {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _call(secret: str, method: str, url: str, body: str, headers: dict[str, str]) -> str:
    call = Call("", method, url, _TIMEOUT_SECONDS, headers, body, attempts=_ATTEMPTS, pause_seconds=_PAUSE_SECONDS)
    parts = urlsplit(secret)
    hidden = {secret, url, parts.path, parts.query, parts.password or "", parts.username or ""} - {"/", ""}
    return Mask.of(hidden).text(make_call(call).problem)
