"""What monitoring asks of a watch, as gauges with names and units as Prometheus wants them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.core.watch import Severity, StoreWatch

Labels = tuple[tuple[str, str], ...]

_ZERO_IS_NEVER = "0: never."


@dataclass(frozen=True, slots=True)
class Gauge:
    """A metric with all its samples."""

    name: str
    help: str
    samples: tuple[tuple[Labels, float], ...]


def gauges(stores: Iterable[StoreWatch]) -> tuple[Gauge, ...]:
    """The metrics of all stores; what is not known has no sample."""
    every = tuple(stores)

    def of(name: str, text: str, values: Iterable[float | None]) -> Gauge:
        pairs = zip(every, values, strict=True)
        return Gauge(f"mongo_backup_{name}", text, tuple((_labels(s), v) for s, v in pairs if v is not None))

    def moments(name: str, text: str, values: Iterable[datetime | None]) -> Gauge:
        pairs = zip(every, values, strict=True)
        return of(name, f"{text} {_ZERO_IS_NEVER}", (_timestamp(v) if s.readable else None for s, v in pairs))

    counts = tuple(
        ((*_labels(store), ("severity", kind.value)), float(sum(fact.severity is kind for fact in store.facts)))
        for store in every
        for kind in Severity
    )
    found = (
        moments("last_success_timestamp_seconds", "When the newest good backup began.", (s.taken for s in every)),
        moments(
            "last_attempt_timestamp_seconds",
            "When the last backup began that has left anything in the store, good or not. One that failed "
            "before it wrote leaves nothing, and pruning removes what failed ones leave.",
            (s.attempted for s in every),
        ),
        of(
            "last_success_duration_seconds",
            "How long the newest good backup took, from its start to its manifest.",
            (s.seconds for s in every),
        ),
        of(
            "last_success_stored_bytes", "Size of the newest good backup in the store.", (s.stored_bytes for s in every)
        ),
        of("last_success_bson_bytes", "BSON in the newest good backup.", (s.bson_bytes for s in every)),
        of("last_success_documents", "Documents in the newest good backup.", (s.documents for s in every)),
        moments(
            "last_verification_timestamp_seconds",
            "When a verification last read a stored backup again, whatever it found.",
            (s.verified for s in every),
        ),
        of(
            "last_verification_age_seconds",
            "How long ago that was when this was written.",
            (_seconds(s.age(s.verified)) for s in every),
        ),
        moments("last_drill_timestamp_seconds", "When the last drill that passed ended.", (s.drilled for s in every)),
        of(
            "last_drill_age_seconds",
            "How long ago that was when this was written.",
            (_seconds(s.age(s.drilled)) for s in every),
        ),
        of("good_backups", "Listed backups that count as good copies.", (_if_known(s, s.good) for s in every)),
        of("listed_backups", "Listed backups, good or not.", (_if_known(s, s.listed) for s in every)),
        of("store_readable", "Whether the store could be read: 1, or 0.", (float(s.readable) for s in every)),
        Gauge("mongo_backup_watch_facts", "Alarms and suspicions that hold.", counts),
        of("last_watch_timestamp_seconds", "When the store was last looked at.", (_timestamp(s.at) for s in every)),
    )
    return tuple(gauge for gauge in found if gauge.samples)


def _labels(store: StoreWatch) -> Labels:
    return ("plan", store.plan), ("store", store.store)


def _timestamp(moment: datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()


def _seconds(length: timedelta | None) -> float | None:
    return None if length is None else length.total_seconds()


def _if_known(store: StoreWatch, count: int) -> float | None:
    return float(count) if store.readable else None
